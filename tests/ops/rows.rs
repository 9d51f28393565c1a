use recis::device::{Buffer, Stream};
use recis::ops::hash_table::NO_ROW;
use recis::ops::rows::{BLOCK_ROWS, Rows, gather, scatter};

#[test]
fn slots_of_a_row_are_kept_apart_across_blocks() {
    let stream = Stream::default();
    let mut storage = Rows::new(3, 2).unwrap();
    storage.reserve(BLOCK_ROWS + 1, &stream).unwrap();
    assert_eq!(storage.capacity(), 2 * BLOCK_ROWS);
    let rows: Buffer<u32> = vec![0, BLOCK_ROWS as u32, NO_ROW, BLOCK_ROWS as u32 - 1].into();
    for slot in 0..2 {
        let values: Vec<f32> = (0..12).map(|i| (i + 100 * slot) as f32).collect();
        scatter(&mut storage, slot, &rows, &values.into(), &stream).unwrap();
    }
    let mut out = Buffer::from(vec![9.0; 12]);
    gather(&storage, 1, &rows, &mut out, &stream).unwrap();
    assert_eq!(out.host(), [100., 101., 102., 103., 104., 105., 0., 0., 0., 109., 110., 111.]);
    gather(&storage, 0, &rows, &mut out, &stream).unwrap();
    assert_eq!(out.host(), [0., 1., 2., 3., 4., 5., 0., 0., 0., 9., 10., 11.]);
}

#[test]
fn rows_without_memory_are_refused() {
    let stream = Stream::default();
    let storage = Rows::new(1, 1).unwrap();
    let error = gather(&storage, 0, &vec![7].into(), &mut vec![0.0].into(), &stream).unwrap_err();
    assert_eq!(error.to_string(), "rows: row 7 of 0");
    assert!(Rows::new(0, 1).is_err());
}
