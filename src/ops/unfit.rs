//! What an operation finds in its data that does not belong there. A device tells of it later, so that
//! no step waits for the answer.

use crate::Result;
use crate::device::{Buffer, ReadBack, Stream};
use crate::error::ensure;

/// The first row of a batch with a value that does not fit, and that value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The row.
    pub row: usize,
    /// The value, as f32.
    pub value: f32,
}

/// Where operations put what they find: a word for each of several columns, cleared and read together.
#[derive(Debug)]
pub struct Unfit(Buffer<u64>);

/// From one column's word to the next: kernels want arrays at multiples of 16 bytes.
const STRIDE: usize = 16 / size_of::<u64>();

/// The row above the bits of the value: the least of several is the first row's.
pub(crate) fn word(row: usize, value: f32) -> u64 {
    (row as u64) << 32 | u64::from(value.to_bits())
}

impl Unfit {
    /// Nothing found yet in any of so many columns.
    pub fn new(columns: usize, stream: &Stream) -> Result<Self> {
        let mut unfit = Self(Buffer::unset(columns * STRIDE, stream)?);
        unfit.clear(stream)?;
        Ok(unfit)
    }

    /// A word for what nobody asks for.
    #[cfg(feature = "trainer")]
    pub(crate) fn ignored(stream: &Stream) -> Result<Self> {
        Ok(Self(Buffer::unset(STRIDE, stream)?))
    }

    /// Forgets what was found.
    pub fn clear(&mut self, stream: &Stream) -> Result<()> {
        self.0.fill_bytes(0xff, stream)
    }

    /// See [`Buffer::order`].
    #[cfg(feature = "trainer")]
    pub(crate) fn order(&self) -> Option<&crate::device::Order> {
        self.0.order()
    }

    /// The word of a column, for an operation, which fails if there is no such column.
    pub fn word(&mut self, column: usize) -> Word<'_> {
        Word { words: &mut self.0, column }
    }

    /// What has been found by the work enqueued so far, for [`Unfit::found`].
    pub fn read_back(&self, stream: &Stream) -> Result<ReadBack<u64>> {
        self.0.read_back(stream)
    }

    /// What a read-back says of each column. Waits for it.
    pub fn found(read_back: ReadBack<u64>) -> Result<Vec<Option<Found>>> {
        let found = |&word: &u64| Found { row: (word >> 32) as usize, value: f32::from_bits(word as u32) };
        let words = read_back.wait()?;
        Ok(words
            .iter()
            .step_by(STRIDE)
            .map(|word| Some(word).filter(|&&w| w != u64::MAX).map(found))
            .collect())
    }
}

/// Where an operation puts what it finds in one column.
#[derive(Debug)]
pub struct Word<'a> {
    words: &'a mut Buffer<u64>,
    column: usize,
}

impl Word<'_> {
    /// For the CPU form of an operation.
    pub(crate) fn on_cpu_mut(&mut self) -> Result<&mut u64> {
        let place = self.place()?;
        Ok(&mut self.words.on_cpu_mut()?[place])
    }

    /// For a kernel on `stream`.
    pub(crate) fn on_mut(&mut self, stream: &Stream) -> Result<*mut u64> {
        let place = self.place()?;
        Ok(self.words.on_mut(stream)?.wrapping_add(place))
    }

    fn place(&self) -> Result<usize> {
        let columns = self.words.len() / STRIDE;
        ensure(self.column < columns, "unfit", || format!("column {} of {columns}", self.column))?;
        Ok(self.column * STRIDE)
    }
}
