use recis::ops::scale::forward;

use crate::common::{each, on, read};

#[test]
fn every_value_is_multiplied() {
    each(|stream| {
        for n in [0, 1, 40_001] {
            let mut values = on((0..n).map(|i| i as f32).collect::<Vec<_>>(), stream);
            forward(&mut values, 0.5, stream).unwrap();
            assert!(read(&values, stream).iter().enumerate().all(|(i, &v)| v == i as f32 * 0.5));
        }
    });
}
