//! The product of two columns of ids.

use super::string_hash::murmur;

/// One of the two columns.
pub struct Side<'a> {
    /// The ids.
    pub values: &'a [i64],
    /// Where each row begins and ends.
    pub offsets: &'a [i32],
    /// One weight a value.
    pub weights: Option<&'a [f32]>,
}

impl Side<'_> {
    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    fn has_one_value_a_row(&self) -> bool {
        self.offsets.windows(2).all(|ends| ends[1] - ends[0] == 1)
    }

    fn is_empty(&self, row: usize) -> bool {
        self.offsets[row] == self.offsets[row + 1]
    }

    fn weight(&self, i: usize) -> f32 {
        self.weights.map_or(1.0, |weights| weights[i])
    }

    /// The distinct ids of a row, ascending, with the weight of the first occurrence.
    fn distinct(&self, row: usize) -> Vec<(i64, f32)> {
        let range = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        let mut ids: Vec<_> = range.map(|i| (self.values[i], self.weight(i))).collect();
        // Stable: of equal ids the first stays first.
        ids.sort_by_key(|(id, _)| *id);
        ids.dedup_by_key(|(id, _)| *id);
        ids
    }
}

/// Where each row of the result begins and ends.
pub fn offsets(x: &Side<'_>, y: &Side<'_>) -> Vec<u64> {
    let mut end = 0;
    let rows = x.rows().min(y.rows());
    if x.has_one_value_a_row() && y.has_one_value_a_row() {
        return (0..=rows as u64).collect();
    }
    let counts = (0..rows).map(|row| {
        if x.is_empty(row) || y.is_empty(row) {
            return 0;
        }
        x.distinct(row).len() as u64 * y.distinct(row).len() as u64
    });
    std::iter::once(0).chain(counts.map(|count| (end += count, end).1)).collect()
}

/// Writes the pairs of every row.
pub fn forward(x: &Side<'_>, y: &Side<'_>, offsets: &[i32], values: &mut [i64], weights: &mut [f32]) {
    if x.has_one_value_a_row() && y.has_one_value_a_row() {
        for (i, (value, weight)) in values.iter_mut().zip(weights).enumerate() {
            *value = cross(x.values[i], y.values[i]);
            *weight = x.weight(i) * y.weight(i);
        }
        return;
    }
    for row in (0..offsets.len() - 1).filter(|&row| offsets[row] < offsets[row + 1]) {
        let range = offsets[row] as usize..offsets[row + 1] as usize;
        let (x, y) = (x.distinct(row), y.distinct(row));
        let pairs = x.iter().flat_map(|x| y.iter().map(move |y| (x, y)));
        for ((value, weight), (x, y)) in values[range.clone()].iter_mut().zip(&mut weights[range]).zip(pairs)
        {
            *value = cross(x.0, y.0);
            *weight = x.1 * y.1;
        }
    }
}

fn cross(x: i64, y: i64) -> i64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&x.to_le_bytes());
    bytes[8..].copy_from_slice(&y.to_le_bytes());
    murmur(&bytes) as i64
}
