//! A dense column into a matrix of several.

use crate::ops::copy_column::{NotFinite, Place};

/// Writes the column, and tells of the first value that is not finite.
pub fn forward<T: Copy>(
    values: &[T],
    width: usize,
    out: &mut [f32],
    place: Place,
    cast: impl Fn(T) -> f32,
) -> Option<NotFinite> {
    let mut first = None;
    let rows = out.chunks_exact_mut(place.stride).zip(values.chunks_exact(width)).enumerate();
    for (row, (out, values)) in rows {
        let out = &mut out[place.first_column..][..width];
        out.iter_mut().zip(values).for_each(|(out, &value)| *out = cast(value));
        if let (None, Some(&value)) = (first, out.iter().find(|value| !value.is_finite())) {
            first = Some(NotFinite { row, value });
        }
    }
    first
}
