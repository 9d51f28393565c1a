use recis::device::Stream;
use recis::ops::merge_offsets::forward;

use crate::common::{each_with_kernels, on};

#[test]
fn offsets_go_on_where_the_column_before_ended() {
    let stream = &Stream::default();
    let columns = [vec![0, 2, 2], vec![0], vec![0, 3]].map(|offsets| on(offsets, stream));
    let merged = forward(&[(&columns[0], 2), (&columns[1], 0), (&columns[2], 3)], stream).unwrap();
    assert_eq!(merged.host(), [0, 2, 2, 5]);
    assert_eq!(forward(&[], stream).unwrap().host(), [0]);
}

#[test]
fn values_behind_the_last_row_belong_to_no_row() {
    let stream = &Stream::default();
    let columns = [vec![0, 2, 5], vec![0, 3, 6]].map(|offsets| on(offsets, stream));
    let merged = forward(&[(&columns[0], 5), (&columns[1], 8)], stream).unwrap();
    assert_eq!(merged.host(), [0, 2, 5, 8, 11]);
}

#[test]
fn it_runs_on_the_cpu_alone() {
    each_with_kernels(|stream| {
        let error = forward(&[(&on([0, 2], stream), 2)], stream).unwrap_err().to_string();
        assert_eq!(error, format!("device {}: merge_offsets has no kernel; run it on cpu", stream.device()));
    });
}
