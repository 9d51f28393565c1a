use recis::device::{Buffer, Stream};
use recis::ops::hash_table::NO_ROW;
use recis::ops::merge_gradients::forward;

#[test]
fn rows_that_repeat_are_added_and_unknown_ones_left_out() {
    let stream = Stream::default();
    let lists: [(Buffer<u32>, Buffer<f32>); 3] = [
        (vec![5, NO_ROW, 2].into(), vec![1.0, 2.0, 9.0, 9.0, 3.0, 4.0].into()),
        (vec![].into(), vec![].into()),
        (vec![2, 5].into(), vec![10.0, 20.0, 30.0, 40.0].into()),
    ];
    let (rows, gradients) = forward(&lists, 2, 2, &stream).unwrap();
    assert_eq!(rows.host(), [2, 5]);
    assert_eq!(gradients.host(), [6.5, 12.0, 15.5, 21.0]);
    assert!(forward(&lists, 3, 2, &stream).is_err());
    assert!(forward(&lists, 2, 0, &stream).is_err());
}
