use recis::device::Stream;
use recis::ops::hash_table::NO_ROW;
use recis::ops::rows::{Rows, gather, scatter};

use crate::common::{each, each_with_kernels, on, read};

/// A slot of some rows.
fn gathered(storage: &Rows, slot: usize, rows: &[u32], stream: &Stream) -> Vec<f32> {
    let mut out = on(vec![9.0; rows.len() * storage.dim()], stream);
    gather(storage, slot, &on(rows, stream), None, &mut out, stream).unwrap();
    read(&out, stream)
}

#[test]
fn slots_of_a_row_are_kept_apart() {
    each(|stream| {
        let mut storage = Rows::new(3, 2, stream).unwrap();
        storage.reserve(1001).unwrap();
        let last = storage.capacity() as u32 - 1;
        assert!(last >= 1000);
        let rows = [0, last, NO_ROW, last - 1];
        for slot in 0..2 {
            let values: Vec<f32> = (0..12).map(|i| (i + 100 * slot) as f32).collect();
            scatter(&mut storage, slot, &on(rows, stream), &on(values, stream), stream).unwrap();
        }
        let expected = [100., 101., 102., 103., 104., 105., 0., 0., 0., 109., 110., 111.];
        assert_eq!(gathered(&storage, 1, &rows, stream), expected);
        assert_eq!(gathered(&storage, 0, &rows, stream), [0., 1., 2., 3., 4., 5., 0., 0., 0., 9., 10., 11.]);
    });
}

#[test]
fn rows_of_all_widths_come_back_and_stay_as_storage_grows() {
    each(|stream| {
        for (dim, slots) in [(1, 1), (3, 1), (4, 3), (8, 2), (17, 3), (64, 1), (128, 3)] {
            let mut storage = Rows::new(dim, slots, stream).unwrap();
            assert_eq!((storage.dim(), storage.slots(), storage.capacity()), (dim, slots, 0));
            let rows: Vec<u32> = (0..200).map(|i| i * 7 % 200).collect();
            let values: Vec<f32> = (0..rows.len() * dim).map(|i| i as f32).collect();
            storage.reserve(200).unwrap();
            scatter(&mut storage, slots - 1, &on(&rows[..], stream), &on(&values[..], stream), stream)
                .unwrap();
            let before = storage.capacity();
            storage.reserve(before + 1).unwrap();
            assert!(storage.capacity() > before);
            assert_eq!(gathered(&storage, slots - 1, &rows, stream), values, "{dim} {slots}");
        }
    });
}

#[test]
fn what_is_behind_the_count_is_left_alone() {
    each(|stream| {
        let mut storage = Rows::new(2, 1, stream).unwrap();
        storage.reserve(10).unwrap();
        let rows = on([3, 5, NO_ROW], stream);
        scatter(&mut storage, 0, &rows, &on([1., 2., 3., 4., 5., 6.], stream), stream).unwrap();
        let expected =
            [[9.0; 6], [1., 2., 9., 9., 9., 9.], [1., 2., 3., 4., 9., 9.], [1., 2., 3., 4., 0., 0.]];
        for (count, expected) in expected.iter().enumerate() {
            let (count, mut out) = (on([count as u32], stream), on([9.0; 6], stream));
            gather(&storage, 0, &rows, Some(&count), &mut out, stream).unwrap();
            assert_eq!(read(&out, stream), expected);
        }
        assert!(gathered(&storage, 0, &[], stream).is_empty());
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    each(|stream| {
        let mut storage = Rows::new(2, 1, stream).unwrap();
        storage.reserve(4).unwrap();
        let (rows, mut out) = (on([0], stream), on([0.0; 3], stream));
        let error = gather(&storage, 0, &rows, None, &mut out, stream).unwrap_err().to_string();
        assert_eq!(error, "rows: 3 values for 1 rows of 2");
        let error = scatter(&mut storage, 1, &rows, &on([0.0; 2], stream), stream).unwrap_err().to_string();
        assert_eq!(error, "rows: slot 1 of 1");
        let error = Rows::new(0, 1, stream).map(drop).unwrap_err().to_string();
        assert_eq!(error, "rows: no rows have 1 slots of 0 values");
    });
    let stream = &Stream::default();
    let storage = Rows::new(1, 1, stream).unwrap();
    let error = gather(&storage, 0, &on([7], stream), None, &mut on([0.0], stream), stream).unwrap_err();
    assert_eq!(error.to_string(), "rows: row 7 of 0");
}

#[test]
fn rows_without_memory_are_passed_over() {
    each_with_kernels(|stream| {
        let mut storage = Rows::new(4, 1, stream).unwrap();
        let rows = [0, 1 << 20, NO_ROW - 1, NO_ROW];
        assert_eq!(gathered(&storage, 0, &rows, stream), [0.0; 16], "without any memory");
        storage.reserve(1).unwrap();
        assert!(storage.capacity() < 1 << 20);
        scatter(&mut storage, 0, &on(rows, stream), &on([3.0; 16], stream), stream).unwrap();
        let gathered = gathered(&storage, 0, &rows, stream);
        assert_eq!((&gathered[..4], &gathered[4..]), (&[3.0; 4][..], &[0.0; 12][..]));
    });
}
