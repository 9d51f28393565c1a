//! The offsets of several ragged columns as those of one.

/// The offsets of the columns one after the other.
pub fn forward(columns: &[(&[i32], usize)]) -> Vec<i32> {
    let mut merged = vec![0];
    let mut first = 0;
    for (offsets, values) in columns {
        // A column begins where the values before it end, which the last row before it takes along.
        merged.pop();
        merged.extend(offsets.iter().map(|offset| offset + first));
        first += *values as i32;
    }
    merged
}
