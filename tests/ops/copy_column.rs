use recis::device::Stream;
use recis::ops::copy_column::{Column, Place, forward};
use recis::ops::unfit::{Found, Unfit};

use crate::common::{each, on, read};

const PLACE: Place = Place { first_column: 1, stride: 4 };

fn run(column: Column<'_>, stream: &Stream) -> (Vec<f32>, Option<Found>) {
    let (mut out, mut unfit) = (on([9.0; 8], stream), Unfit::new(1, stream).unwrap());
    forward(column, 2, &mut out, PLACE, unfit.word(0), stream).unwrap();
    (read(&out, stream), Unfit::found(unfit.read_back(stream).unwrap()).unwrap()[0])
}

#[test]
fn every_type_goes_to_its_place() {
    each(|stream| {
        let expected = vec![9.0, 1.0, 2.0, 9.0, 9.0, 3.0, 4.0, 9.0];
        assert_eq!(run(Column::F32(&on([1.0, 2.0, 3.0, 4.0], stream)), stream), (expected.clone(), None));
        assert_eq!(run(Column::F64(&on([1.0, 2.0, 3.0, 4.0], stream)), stream), (expected.clone(), None));
        assert_eq!(run(Column::I64(&on([1, 2, 3, 4], stream)), stream), (expected, None));
    });
}

#[test]
fn numbers_are_rounded_to_the_nearest() {
    each(|stream| {
        let doubles = [0.1, 1.0 + 2f64.powi(-24), -1e-50, 1.0 + 3.0 * 2f64.powi(-24)];
        let (out, _) = run(Column::F64(&on(doubles, stream)), stream);
        assert_eq!([out[1], out[2], out[5], out[6]], doubles.map(|v| v as f32));
        let integers = [i64::MAX, i64::MIN, (1 << 24) + 1, -(1 << 53) - 1];
        let (out, _) = run(Column::I64(&on(integers, stream)), stream);
        assert_eq!([out[1], out[2], out[5], out[6]], integers.map(|v| v as f32));
    });
}

#[test]
fn the_first_value_that_is_not_finite_is_told() {
    each(|stream| {
        let (_, found) = run(Column::F64(&on([1.0, 1e300, f64::NAN, 0.0], stream)), stream);
        assert_eq!(found, Some(Found { row: 0, value: f32::INFINITY }));
        let (_, found) = run(Column::F32(&on([1.0, 0.0, f32::NAN, 0.0], stream)), stream);
        assert!(found.is_some_and(|found| found.row == 1 && found.value.is_nan()));
    });
}

#[test]
fn columns_are_told_apart() {
    each(|stream| {
        let (mut out, mut unfit) = (on([0.0; 2], stream), Unfit::new(3, stream).unwrap());
        let place = Place { first_column: 0, stride: 1 };
        for (i, values) in [[1.0, f32::NAN], [1.0, 2.0], [f32::INFINITY, 0.0]].into_iter().enumerate() {
            forward(Column::F32(&on(values, stream)), 1, &mut out, place, unfit.word(i), stream).unwrap();
        }
        let found = Unfit::found(unfit.read_back(stream).unwrap()).unwrap();
        let rows: Vec<_> = found.iter().map(|found| found.map(|found| found.row)).collect();
        assert_eq!(rows, [Some(1), None, Some(0)]);
        let values = on([1.0f32, 2.0], stream);
        let error = forward(Column::F32(&values), 1, &mut out, place, unfit.word(3), stream).unwrap_err();
        assert_eq!(error.to_string(), "unfit: column 3 of 3");
    });
}

#[test]
fn many_rows_of_all_widths() {
    each(|stream| {
        for (rows, width, place) in [
            (0, 1, Place { first_column: 0, stride: 1 }),
            (3001, 1, Place { first_column: 0, stride: 1 }),
            (500, 8, Place { first_column: 4, stride: 16 }),
            (500, 7, Place { first_column: 3, stride: 11 }),
        ] {
            let values: Vec<f32> = (0..rows * width).map(|i| i as f32).collect();
            let mut out = on(vec![-1.0; rows * place.stride], stream);
            let mut unfit = Unfit::new(1, stream).unwrap();
            forward(Column::F32(&on(values.clone(), stream)), width, &mut out, place, unfit.word(0), stream)
                .unwrap();
            let mut expected = vec![-1.0; rows * place.stride];
            for (to, from) in expected.chunks_mut(place.stride).zip(values.chunks(width)) {
                to[place.first_column..][..width].copy_from_slice(from);
            }
            assert_eq!(read(&out, stream), expected);
        }
    });
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    each(|stream| {
        let (mut out, mut unfit) = (on([0.0; 8], stream), Unfit::new(1, stream).unwrap());
        let values = on([0.0f32; 3], stream);
        let mut run = |width| {
            forward(Column::F32(&values), width, &mut out, PLACE, unfit.word(0), stream)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(run(2), "copy_column: 3 values are not rows of 2");
        assert!(run(3).starts_with("copy_column: 1 rows of 3 values do not fit 8 values at"));
    });
}
