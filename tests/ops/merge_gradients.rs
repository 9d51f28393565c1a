use std::collections::BTreeMap;

use rand::Rng;
use recis::device::Stream;
use recis::ops::hash_table::NO_ROW;
use recis::ops::merge_gradients::{Gradients, forward};

use crate::common::{each, each_with_kernels, floats, on, read, rng};

fn list(rows: &[u32], values: &[f32], count: Option<u32>, stream: &Stream) -> Gradients {
    let count = count.map(|count| on([count], stream));
    Gradients { rows: on(rows, stream), values: on(values, stream), count }
}

/// The rows and the gradients that are there.
fn merged(lists: &[Gradients], dim: usize, steps: usize, stream: &Stream) -> (Vec<u32>, Vec<f32>) {
    let Gradients { rows, values, count } = forward(lists, dim, steps, stream).unwrap();
    let (mut rows, mut values) = (read(&rows, stream), read(&values, stream));
    let count = count.map_or(rows.len(), |count| read(&count, stream)[0] as usize);
    rows.truncate(count);
    values.truncate(count * dim);
    (rows, values)
}

#[test]
fn rows_that_repeat_are_added_and_unknown_ones_left_out() {
    each(|stream| {
        let lists = [
            list(&[5, NO_ROW, 2], &[1.0, 2.0, 9.0, 9.0, 3.0, 4.0], None, stream),
            list(&[], &[], None, stream),
            // Only two of them are there.
            list(&[2, 5, 2, 1], &[10.0, 20.0, 30.0, 40.0, 7.0, 7.0, 7.0, 7.0], Some(2), stream),
        ];
        assert_eq!(merged(&lists, 2, 2, stream), (vec![2, 5], vec![6.5, 12.0, 15.5, 21.0]));
        assert!(forward(&lists, 3, 2, stream).is_err());
        let error = forward(&lists, 2, 0, stream).unwrap_err().to_string();
        assert_eq!(error, "merge_gradients: 0 steps of dim 2");
        assert_eq!(merged(&[], 2, 1, stream), (vec![], vec![]));
        assert_eq!(merged(&lists[1..2], 2, 1, stream), (vec![], vec![]));
    });
}

#[test]
fn sums_are_taken_in_the_order_of_the_lists() {
    each(|stream| {
        for (lists, len, bound, dim, steps) in
            [(1, 50, u32::MAX, 4, 1), (3, 300, 400, 3, 3), (7, 5000, 10_000, 8, 2), (2, 1, 1, 17, 1)]
        {
            let mut rng = rng(len as u64);
            let mut expected: BTreeMap<u32, Vec<f32>> = BTreeMap::new();
            let lists: Vec<_> = (0..lists)
                .map(|_| {
                    // Within a list rows differ.
                    let mut rows: Vec<u32> = (0..len).map(|_| rng.random_range(0..bound)).collect();
                    rows.sort_unstable();
                    rows.dedup();
                    rows.reverse();
                    let values = floats(&mut rng, rows.len() * dim);
                    for (&row, values) in rows.iter().zip(values.chunks(dim)) {
                        let sum = expected.entry(row).or_insert_with(|| vec![0.0; dim]);
                        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                    }
                    list(&rows, &values, None, stream)
                })
                .collect();
            let (rows, values) = merged(&lists, dim, steps, stream);
            assert!(rows.iter().eq(expected.keys()));
            for (got, sum) in values.chunks(dim).zip(expected.values()) {
                for (&got, &sum) in got.iter().zip(sum) {
                    let expected = sum / steps as f32;
                    assert!(
                        (got - expected).abs() <= f32::EPSILON * expected.abs(),
                        "{got}, expected {expected}"
                    );
                }
            }
            assert_eq!(merged(&lists, dim, steps, stream), (rows, values), "a second run gives other bits");
        }
    });
}

#[test]
fn a_count_beyond_the_rows_is_all_of_them() {
    each_with_kernels(|stream| {
        let lists = [list(&[3, 1], &[1.0, 2.0], Some(u32::MAX), stream)];
        assert_eq!(merged(&lists, 1, 1, stream), (vec![1, 3], vec![2.0, 1.0]));
    });
    let stream = &Stream::default();
    let lists = [list(&[3, 1], &[1.0, 2.0], Some(3), stream)];
    let error = forward(&lists, 1, 1, stream).unwrap_err().to_string();
    assert_eq!(error, "merge_gradients: a count of [3] for 2 elements");
}
