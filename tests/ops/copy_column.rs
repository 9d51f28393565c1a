use recis::device::{Buffer, Stream};
use recis::ops::copy_column::{Column, NotFinite, Place, forward};

const PLACE: Place = Place { first_column: 1, stride: 4 };

fn run(column: Column<'_>) -> (Vec<f32>, Option<NotFinite>) {
    let mut out = Buffer::from(vec![9.0; 8]);
    let found = forward(column, 2, &mut out, PLACE, &Stream::default()).unwrap();
    (out.host().to_vec(), found)
}

#[test]
fn every_type_goes_to_its_place() {
    let expected = vec![9.0, 1.0, 2.0, 9.0, 9.0, 3.0, 4.0, 9.0];
    assert_eq!(run(Column::F32(&vec![1.0, 2.0, 3.0, 4.0].into())), (expected.clone(), None));
    assert_eq!(run(Column::F64(&vec![1.0, 2.0, 3.0, 4.0].into())), (expected.clone(), None));
    assert_eq!(run(Column::I64(&vec![1, 2, 3, 4].into())), (expected, None));
}

#[test]
fn the_first_value_that_is_not_finite_is_told() {
    let (_, found) = run(Column::F64(&vec![1.0, 1e300, f64::NAN, 0.0].into()));
    assert_eq!(found, Some(NotFinite { row: 0, value: f32::INFINITY }));
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let mut out = Buffer::from(vec![0.0; 8]);
    let values = Buffer::from(vec![0.0f32; 3]);
    let error = forward(Column::F32(&values), 2, &mut out, PLACE, &Stream::default()).unwrap_err();
    assert_eq!(error.to_string(), "copy_column: 3 values are not rows of 2");
    let error = forward(Column::F32(&values), 3, &mut out, PLACE, &Stream::default()).unwrap_err();
    assert!(error.to_string().starts_with("copy_column: 1 rows of 3 values do not fit 8 values at"));
}
