//! How long something takes: by events on a CUDA device, by the clock on the CPU.

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;
use recis::Result;
use recis::device::{Buffer, Device, Stream};

use super::SAMPLES;

/// Larger than the caches of any device.
const LARGE: usize = 256 << 20;
/// Runs between two waits for the device; so many are enqueued while it is still busy with what is
/// before them, so that the host's part of them does not count.
const CHUNK: u64 = 16;

/// What is in the cache when a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What the run before has left there.
    Warm,
    /// Nothing of what it reads.
    Cold,
    /// What the run before has left there, and the time is the host's.
    Wall,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
            Self::Wall => "wall",
        })
    }
}

pub struct Timer {
    stream: Stream,
    /// Written to empty the caches of a CUDA device; on the CPU there is none.
    large: Buffer<u8>,
}

impl Timer {
    pub fn new(device: Device) -> Result<Self> {
        let stream = Stream::new(device)?;
        let large = Buffer::unset(if device == Device::Cpu { 0 } else { LARGE }, &stream)?;
        Ok(Self { stream, large })
    }

    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Seconds that some runs of `op` take.
    pub fn time<T>(
        &mut self,
        mode: Mode,
        runs: u64,
        op: &mut impl FnMut(&Stream) -> Result<T>,
    ) -> Result<f64> {
        if mode == Mode::Cold {
            return self.time_fresh(runs, &mut |_| Ok(()), &mut |(), stream| op(stream));
        }
        if self.stream.device() == Device::Cpu {
            let begin = Instant::now();
            for _ in 0..runs {
                black_box(op(&self.stream)?);
            }
            return Ok(begin.elapsed().as_secs_f64());
        }
        let mut seconds = 0.0;
        let mut left = runs;
        while left > 0 {
            let count = left.min(CHUNK);
            self.empty_cache()?;
            op(&self.stream)?;
            let begin = self.stream.record()?;
            for _ in 0..count {
                op(&self.stream)?;
            }
            seconds += self.stream.record()?.seconds_since(&begin)?;
            left -= count;
        }
        Ok(seconds)
    }

    /// Seconds that some runs of `op` take, each on what `setup` makes, with empty caches on a CUDA
    /// device. `setup` does not count.
    pub fn time_fresh<S, T>(
        &mut self,
        runs: u64,
        setup: &mut impl FnMut(&Stream) -> Result<S>,
        op: &mut impl FnMut(&mut S, &Stream) -> Result<T>,
    ) -> Result<f64> {
        let mut seconds = 0.0;
        for _ in 0..runs {
            let mut state = setup(&self.stream)?;
            self.empty_cache()?;
            let begin = self.stream.record()?;
            black_box(op(&mut state, &self.stream)?);
            seconds += self.stream.record()?.seconds_since(&begin)?;
        }
        Ok(seconds)
    }

    /// The median of single runs.
    pub fn median<T>(&mut self, mode: Mode, op: &mut impl FnMut(&Stream) -> Result<T>) -> Result<f64> {
        self.time(mode, 1, op)?;
        let mut samples = (0..SAMPLES).map(|_| self.time(mode, 1, op)).collect::<Result<Vec<_>>>()?;
        Ok(median(&mut samples))
    }

    /// Bytes a second, read and written, of a copy that no cache holds: between two places of a CUDA
    /// device's memory; on the CPU by all threads.
    pub fn copy_speed(&mut self) -> Result<f64> {
        let moved = 2 * LARGE;
        if self.stream.device() != Device::Cpu {
            let seconds = self.copy_seconds(Mode::Cold, moved)?;
            return Ok(moved as f64 / seconds);
        }
        let (from, mut to) = (vec![1u8; LARGE], vec![0u8; LARGE]);
        let seconds = self.median(Mode::Warm, &mut |_| {
            to.par_chunks_mut(1 << 20).zip(from.par_chunks(1 << 20)).for_each(|(to, from)| {
                to.copy_from_slice(from);
            });
            Ok(())
        })?;
        Ok(moved as f64 / seconds)
    }

    /// A copy on the CUDA device that moves so many bytes, if there is memory for it.
    pub fn copy_baseline(&mut self, mode: Mode, moved: usize) -> Option<(&'static str, f64)> {
        let seconds = if moved > 1 { self.copy_seconds(mode, moved).ok() } else { None };
        seconds.map(|seconds| ("cudaMemcpyAsync", seconds))
    }

    /// Seconds of a copy that reads half of the bytes and writes the other half.
    fn copy_seconds(&mut self, mode: Mode, moved: usize) -> Result<f64> {
        let from = Buffer::<u8>::zeros(moved / 2, &self.stream)?;
        let mut to = Buffer::<u8>::zeros(moved / 2, &self.stream)?;
        self.median(mode, &mut |stream| to.copy_from(&from, stream))
    }

    /// Fills the caches with something else, as nvbench and Triton do. It also keeps the device busy for
    /// a tenth of a millisecond or two, in which the host gets ahead.
    fn empty_cache(&mut self) -> Result<()> {
        if self.large.is_empty() {
            return Ok(());
        }
        self.large.fill_bytes(1, &self.stream)?;
        self.large.fill_bytes(0, &self.stream)
    }
}

/// The median; sorts.
pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    if samples.len() % 2 == 1 { samples[middle] } else { (samples[middle - 1] + samples[middle]) / 2.0 }
}
