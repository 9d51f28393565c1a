use recis::Error;
use recis::device::{Buffer, Stream};
use recis::ops::ragged_dense::{Cutoff, Dense, Side, from_dense, to_dense, topk_index};

use crate::common::{each_with_kernels, on};

fn ids(values: &[i64]) -> Buffer<i64> {
    values.to_vec().into()
}

fn offsets(values: &[i32]) -> Buffer<i32> {
    values.to_vec().into()
}

#[test]
fn every_level_is_padded_to_its_longest_list() {
    let (outer, inner) = (offsets(&[0, 2, 2, 3]), offsets(&[0, 1, 3, 3]));
    let dense = to_dense(&ids(&[5, 6, 7]), &[&outer, &inner], -1, &Stream::default()).unwrap();
    assert_eq!(dense.shape, [3, 2, 2]);
    assert_eq!(dense.values.host(), [5, -1, 6, 7, -1, -1, -1, -1, -1, -1, -1, -1]);

    let nothing = to_dense(&ids(&[]), &[&offsets(&[0, 0]), &offsets(&[0])], -1, &Stream::default()).unwrap();
    assert_eq!((nothing.shape, nothing.values.len()), (vec![1, 0, 0], 0));
}

#[test]
fn only_invalid_values_at_the_end_of_a_list_are_dropped() {
    let dense = Dense { values: ids(&[1, 0, 3, 0, 0, 0, 0, 4]), shape: vec![2, 2, 2] };
    let ragged = from_dense(&dense, Some(0), &Stream::default()).unwrap();
    assert_eq!(ragged.values.host(), [1, 3, 0, 4]);
    assert_eq!(ragged.offsets, [offsets(&[0, 2, 4]), offsets(&[0, 1, 2, 2, 4])]);

    let whole = from_dense(&dense, None, &Stream::default()).unwrap();
    let levels: Vec<_> = whole.offsets.iter().collect();
    assert_eq!(to_dense(&whole.values, &levels, 9, &Stream::default()).unwrap(), dense);
}

#[test]
fn positions_count_from_the_cut_and_padded_row() {
    // Values 0 to 4 of which 3 stay, and values 5 and 6 with padding of 1.
    let (ends, drop_num, pad_num) = (offsets(&[0, 5, 7]), offsets(&[2, 0]), offsets(&[0, 1]));
    for (side, places) in [(Side::Left, [2, 4, 5, 6]), (Side::Right, [0, 2, 5, 6])] {
        let cutoff = Cutoff {
            offsets: &ends,
            drop_num: &drop_num,
            drop_side: side,
            pad_num: &pad_num,
            pad_side: side,
        };
        let topk = if side == Side::Left { ids(&[0, 2, 3, 1, 2, 0]) } else { ids(&[0, 2, 3, 0, 1, 2]) };
        let found = topk_index(&cutoff, &topk, 3, &ids(&[0, 1]), &Stream::default()).unwrap();
        assert_eq!(found.values.host(), places, "{side:?}");
        assert_eq!(found.offsets, [offsets(&[0, 2, 4])]);
        let outside = topk_index(&cutoff, &topk, 3, &ids(&[0, 2]), &Stream::default());
        assert_eq!(outside.unwrap_err().to_string(), "ragged_dense: row 2 of 2");
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let stream = Stream::default();
    let refused = |result: Result<_, Error>| matches!(result, Err(Error::Shape { op: "ragged_dense", .. }));
    assert!(refused(to_dense(&ids(&[1]), &[], 0, &stream).map(drop)));
    assert!(refused(to_dense(&ids(&[1]), &[&offsets(&[0, 2])], 0, &stream).map(drop)));
    assert!(refused(to_dense(&ids(&[1]), &[&offsets(&[0, 2]), &offsets(&[0, 1])], 0, &stream).map(drop)));
    assert!(refused(from_dense(&Dense { values: ids(&[1]), shape: vec![1] }, None, &stream).map(drop)));
    assert!(refused(from_dense(&Dense { values: ids(&[1]), shape: vec![1, 2] }, None, &stream).map(drop)));
    let many = Dense { values: ids(&[]), shape: vec![usize::MAX, usize::MAX, 0] };
    assert!(refused(from_dense(&many, None, &stream).map(drop)));
}

#[test]
fn it_runs_on_the_cpu_alone() {
    each_with_kernels(|stream| {
        let refused = |result: recis::Result<()>| {
            let device = stream.device();
            let expected = format!("device {device}: ragged_dense has no kernel; run it on cpu");
            assert_eq!(result.unwrap_err().to_string(), expected);
        };
        let (values, ends, zero) = (on([1i64], stream), on([0, 1], stream), on([0], stream));
        refused(to_dense(&values, &[&ends], 0, stream).map(drop));
        refused(from_dense(&Dense { values: values.clone(), shape: vec![1, 1] }, None, stream).map(drop));
        let (drop_side, pad_side) = (Side::Left, Side::Left);
        let cutoff = Cutoff { offsets: &ends, drop_num: &zero, drop_side, pad_num: &zero, pad_side };
        refused(topk_index(&cutoff, &values, 1, &values, stream).map(drop));
    });
}
