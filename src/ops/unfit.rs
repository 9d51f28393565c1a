//! What an operation finds in its data that does not belong there. A device tells of it later, so that
//! no step waits for the answer.

use crate::Result;
use crate::device::{Buffer, ReadBack, Stream};

/// The first row of a batch with a value that does not fit, and that value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The row.
    pub row: usize,
    /// The value, as f32.
    pub value: f32,
}

/// Where operations put what they find.
#[derive(Debug)]
pub struct Unfit(pub(crate) Buffer<u64>);

/// The row above the bits of the value: the least of several is the first row's.
pub(crate) fn word(row: usize, value: f32) -> u64 {
    (row as u64) << 32 | u64::from(value.to_bits())
}

impl Unfit {
    /// Nothing found yet.
    pub fn new(stream: &Stream) -> Result<Self> {
        let mut unfit = Self(Buffer::unset(1, stream)?);
        unfit.clear(stream)?;
        Ok(unfit)
    }

    /// Forgets what was found.
    pub fn clear(&mut self, stream: &Stream) -> Result<()> {
        self.0.fill_bytes(0xff, stream)
    }

    /// What has been found by the work enqueued so far, for [`Unfit::found`].
    pub fn read_back(&self, stream: &Stream) -> Result<ReadBack<u64>> {
        self.0.read_back(stream)
    }

    /// What a read-back says. Waits for it.
    pub fn found(read_back: ReadBack<u64>) -> Result<Option<Found>> {
        let word = read_back.wait()?.first().copied().filter(|&word| word != u64::MAX);
        Ok(word.map(|word| Found { row: (word >> 32) as usize, value: f32::from_bits(word as u32) }))
    }
}
