//! A dense column into a matrix of several.

use crate::ops::copy_column::Place;
use crate::ops::unfit::word;

/// Writes the column; `unfit` becomes the word of the first value that is not finite, if that is less.
pub fn forward<T: Copy>(
    values: &[T],
    width: usize,
    out: &mut [f32],
    place: Place,
    unfit: &mut u64,
    cast: impl Fn(T) -> f32,
) {
    let rows = out.chunks_exact_mut(place.stride).zip(values.chunks_exact(width)).enumerate();
    for (row, (out, values)) in rows {
        let out = &mut out[place.first_column..][..width];
        out.iter_mut().zip(values).for_each(|(out, &value)| *out = cast(value));
        let least = out.iter().filter(|value| !value.is_finite()).map(|&value| word(row, value)).min();
        *unfit = least.map_or(*unfit, |word| word.min(*unfit));
    }
}
