use recis::device::Stream;
use recis::ops::fill::forward;

use crate::common::{each, each_with_kernels, on, read};

#[test]
fn as_many_rows_as_the_count_says_are_filled() {
    each(|stream| {
        // Widths and ends that do not fall on 16 bytes too.
        for (width, rows) in [(1, 1), (3, 7), (4, 5), (16, 33), (5, 2001)] {
            for count in [0, 1, rows / 2, rows] {
                let mut values = on(vec![-1.0; width * rows], stream);
                let there = on([count as u32], stream);
                forward(&mut values, width, Some(&there), 2.5, stream).unwrap();
                let values = read(&values, stream);
                let (filled, behind) = values.split_at(count * width);
                assert!(filled.iter().all(|&v| v == 2.5), "{width} {rows} {count}");
                assert!(behind.iter().all(|&v| v == -1.0), "{width} {rows} {count}");
            }
            let mut values = on(vec![-1.0; width * rows], stream);
            forward(&mut values, width, None, 0.0, stream).unwrap();
            assert_eq!(read(&values, stream), vec![0.0; width * rows]);
        }
    });
}

#[test]
fn nothing_is_fine_and_rows_that_do_not_fit_are_refused() {
    each(|stream| {
        forward(&mut on([], stream), 3, None, 1.0, stream).unwrap();
        let mut values = on([0.0; 4], stream);
        for width in [0, 3] {
            let error = forward(&mut values, width, None, 1.0, stream).unwrap_err().to_string();
            assert_eq!(error, format!("fill: 4 values are not rows of {width}"));
        }
    });
    let stream = &Stream::default();
    let error = forward(&mut on([0.0; 4], stream), 2, Some(&on([3], stream)), 1.0, stream).unwrap_err();
    assert_eq!(error.to_string(), "fill: a count of [3] for 2 elements");
}

#[test]
fn a_count_beyond_the_rows_fills_all_and_no_more() {
    each_with_kernels(|stream| {
        let mut values = on([0.0; 6], stream);
        forward(&mut values, 2, Some(&on([u32::MAX], stream)), 1.0, stream).unwrap();
        assert_eq!(read(&values, stream), [1.0; 6]);
    });
}
