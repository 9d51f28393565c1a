use recis::device::{Buffer, Stream};
use recis::ops::scale::forward;

#[test]
fn every_value_is_multiplied() {
    let mut values = Buffer::from((0..40_000).map(|i| i as f32).collect::<Vec<_>>());
    forward(&mut values, 0.5, &Stream::default()).unwrap();
    assert!(values.host().iter().enumerate().all(|(i, &v)| v == i as f32 * 0.5));
}
