use recis::device::{Buffer, Stream};
use recis::ops::merge_offsets::forward;

#[test]
fn offsets_go_on_where_the_column_before_ended() {
    let columns = [vec![0, 2, 2], vec![0], vec![0, 3]].map(Buffer::from);
    let merged =
        forward(&[(&columns[0], 2), (&columns[1], 0), (&columns[2], 3)], &Stream::default()).unwrap();
    assert_eq!(merged.host(), [0, 2, 2, 5]);
    assert_eq!(forward(&[], &Stream::default()).unwrap().host(), [0]);
}

#[test]
fn values_behind_the_last_row_belong_to_no_row() {
    let columns = [vec![0, 2, 5], vec![0, 3, 6]].map(Buffer::from);
    let merged = forward(&[(&columns[0], 5), (&columns[1], 8)], &Stream::default()).unwrap();
    assert_eq!(merged.host(), [0, 2, 5, 8, 11]);
}
