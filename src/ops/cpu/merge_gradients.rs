//! One gradient for each row out of several lists.

use crate::ops::hash_table::NO_ROW;

/// The rows of all lists, ascending, and the sums of their gradients divided by `steps`.
pub fn forward(lists: &[(&[u32], &[f32])], dim: usize, steps: usize) -> (Vec<u32>, Vec<f32>) {
    let mut occurrences: Vec<(u32, &[f32])> = (lists.iter())
        .flat_map(|(rows, gradients)| rows.iter().copied().zip(gradients.chunks_exact(dim)))
        .filter(|(row, _)| *row != NO_ROW)
        .collect();
    // Stable: gradients of a row are added in the order of the lists.
    occurrences.sort_by_key(|(row, _)| *row);
    let (mut rows, mut sums) = (Vec::new(), Vec::<f32>::new());
    for (row, gradient) in occurrences {
        if rows.last() == Some(&row) {
            let sum = sums.len() - dim;
            sums[sum..].iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
        } else {
            rows.push(row);
            sums.extend_from_slice(gradient);
        }
    }
    sums.iter_mut().for_each(|sum| *sum /= steps as f32);
    (rows, sums)
}
