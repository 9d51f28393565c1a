//! What the benches have in common: every case on every device, timed, and a line that says how near it
//! comes to what the device's memory can do.
//!
//! ```text
//! combine_tile/forward/1024x1000x16 cuda:0 cold: 23.1 us (min 22.9, max 23.8) | 65.5 MB | 2835 GB/s | 96 % of copy | 1.0x cudaMemcpyAsync
//! ```
//!
//! Median, least and most of ten samples | bytes the algorithm must move | those bytes in that time |
//! as a share of the bandwidth of a large copy on the device, measured in the same run | how much faster
//! than the baseline: by default a copy that moves as many bytes.

// Every bench uses a part of this, and makes a program of its own of it.
#![allow(dead_code, unused_imports)]

pub mod data;
mod memory;
mod report;
mod timer;

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{Bencher, Criterion, SamplingMode, Throughput};
use recis::Result;
use recis::device::{Device, Stream};

pub use memory::Memory;
pub use report::{Baseline, Row, Unit, Work, device_name};
use timer::Timer;
pub use timer::{Mode, median};

#[path = "../../examples/keep_memory/mod.rs"]
pub mod keep_memory;

/// Samples a case.
const SAMPLES: usize = 10;

/// Some cases of one family, and their name for messages.
pub type Family = (&'static str, fn(&mut Bench<'_>) -> Result<()>);

/// Runs families on the devices there are, or on those that `RECIS_BENCH_DEVICES=cpu,cuda:0` names.
/// What a device cannot do, for want of memory say, is passed over and told.
pub fn run(families: &[Family]) {
    keep_memory::keep_memory();
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    let mut devices = Device::available();
    if devices == [Device::Cpu] {
        let reason = Device::choose("auto").map_or_else(|error| error.to_string(), |(_, reason)| reason);
        println!("{reason}; the CPU forms are measured");
    }
    if let Ok(wanted) = std::env::var("RECIS_BENCH_DEVICES") {
        devices.retain(|device| wanted.split(',').any(|name| name == device.to_string()));
    }
    for device in devices {
        let mut bench = match Bench::new(device, &mut criterion) {
            Ok(bench) => bench,
            Err(error) => {
                println!("{device}: passed over: {error}");
                continue;
            }
        };
        for (name, family) in families {
            if let Err(error) = family(&mut bench) {
                println!("{name} {device}: passed over: {error}");
            }
        }
    }
    criterion.final_summary();
}

/// The benches of one device.
pub struct Bench<'a> {
    criterion: &'a mut Criterion,
    timer: Timer,
    /// The device's name as its maker gives it.
    name: String,
    /// Bytes a second, read and written, of a large copy.
    copy_speed: f64,
}

impl<'a> Bench<'a> {
    fn new(device: Device, criterion: &'a mut Criterion) -> Result<Self> {
        let mut timer = Timer::new(device)?;
        let copy_speed = timer.copy_speed()?;
        let name = device_name(device);
        println!("{device} is {name}; it copies {:.0} GB/s, read and written", copy_speed / 1e9);
        Ok(Self { criterion, timer, name, copy_speed })
    }

    /// The stream that everything is enqueued on.
    pub fn stream(&self) -> Stream {
        self.timer.stream().clone()
    }

    /// Whether the device is the host.
    pub fn is_cpu(&self) -> bool {
        self.stream().device() == Device::Cpu
    }

    /// A size for CUDA devices, and one that a host of few cores gets done.
    pub fn size(&self, cuda: usize, cpu: usize) -> usize {
        if self.is_cpu() { cpu } else { cuda }
    }

    /// How long something else takes that other cases are to be compared with.
    pub fn baseline<T>(
        &mut self,
        name: &'static str,
        mut op: impl FnMut(&Stream) -> Result<T>,
    ) -> Result<Baseline> {
        let warm = self.timer.median(Mode::Warm, &mut op)?;
        let cold = if self.is_cpu() { warm } else { self.timer.median(Mode::Cold, &mut op)? };
        Ok(Baseline { name, warm, cold })
    }

    /// The same on what `setup` makes anew for every run, which does not count.
    pub fn baseline_fresh<S, T>(
        &mut self,
        name: &'static str,
        mut setup: impl FnMut(&Stream) -> Result<S>,
        mut op: impl FnMut(&mut S, &Stream) -> Result<T>,
    ) -> Result<Baseline> {
        self.timer.time_fresh(1, &mut setup, &mut op)?;
        let samples = (0..SAMPLES).map(|_| self.timer.time_fresh(1, &mut setup, &mut op));
        let seconds = median(&mut samples.collect::<Result<Vec<_>>>()?);
        Ok(Baseline { name, warm: seconds, cold: seconds })
    }

    /// Measures `op`, run again and again on the same data. On a CUDA device twice: with its data in the
    /// cache as far as the run before has left it there, and with nothing of it there.
    pub fn measure<T>(
        &mut self,
        id: &str,
        work: Work,
        mut op: impl FnMut(&Stream) -> Result<T>,
    ) -> Result<()> {
        // What cannot run fails here.
        op(&self.stream())?;
        self.stream().synchronize()?;
        let modes: &[Mode] = if self.is_cpu() { &[Mode::Warm] } else { &[Mode::Warm, Mode::Cold] };
        for &mode in modes {
            self.sample(id, work, mode, |timer, runs| timer.time(mode, runs, &mut op))?;
        }
        Ok(())
    }

    /// Measures `op` on data that `setup` makes anew for every run, none of which is in the cache.
    pub fn measure_fresh<S, T>(
        &mut self,
        id: &str,
        work: Work,
        mut setup: impl FnMut(&Stream) -> Result<S>,
        mut op: impl FnMut(&mut S, &Stream) -> Result<T>,
    ) -> Result<()> {
        let mut state = setup(&self.stream())?;
        op(&mut state, &self.stream())?;
        self.stream().synchronize()?;
        let mode = if self.is_cpu() { Mode::Warm } else { Mode::Cold };
        self.sample(id, work, mode, |timer, runs| timer.time_fresh(runs, &mut setup, &mut op))
    }

    /// Measures runs back to back by the clock on the wall, the host's part included; `finish` waits for
    /// the last one.
    pub fn measure_wall(
        &mut self,
        id: &str,
        work: Work,
        mut op: impl FnMut(Run) -> Result<()>,
    ) -> Result<()> {
        self.sample(id, work, Mode::Wall, |_, runs| {
            let begin = std::time::Instant::now();
            for _ in 0..runs {
                op(Run::Next)?;
            }
            op(Run::Finish)?;
            Ok(begin.elapsed().as_secs_f64())
        })
    }

    /// Has criterion take samples of `seconds`, which tells how long so many runs take.
    fn sample(
        &mut self,
        id: &str,
        work: Work,
        mode: Mode,
        mut seconds: impl FnMut(&mut Timer, u64) -> Result<f64>,
    ) -> Result<()> {
        let device = self.stream().device();
        let (op, case) = id.split_once('/').unwrap_or((id, ""));
        let mut samples = Vec::new();
        let mut group = self.criterion.benchmark_group(op);
        group
            .sample_size(SAMPLES)
            .nresamples(2000)
            .sampling_mode(SamplingMode::Flat)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(300));
        if work.bytes > 0 {
            group.throughput(Throughput::Bytes(work.bytes as u64));
        }
        let timer = &mut self.timer;
        group.bench_function(format!("{case}/{device}/{mode}"), |bencher: &mut Bencher<'_, WallTime>| {
            bencher.iter_custom(|runs| {
                let seconds =
                    seconds(timer, runs).unwrap_or_else(|error| panic!("{id} on {device}: {error}"));
                samples.push(seconds / runs as f64);
                Duration::from_secs_f64(seconds)
            });
        });
        group.finish();
        // The first ones are criterion's warming up; none: it is filtered out.
        let samples = &samples[samples.len().saturating_sub(SAMPLES)..];
        if samples.is_empty() {
            return Ok(());
        }
        let baseline = match work.baseline {
            None if device != Device::Cpu && mode != Mode::Wall => self.timer.copy_baseline(mode, work.bytes),
            baseline => baseline.map(|baseline| (baseline.name, baseline.seconds(mode))),
        };
        let figures = work.figure.into_iter();
        let taken = work.memory.and_then(Memory::taken_since);
        let peak = taken.map(|bytes| ("peak_bytes", bytes as f64));
        Row::new(id, device, mode, work, samples, Some(self.copy_speed), baseline)
            .with(figures.chain(peak).collect())
            .tell(&self.name);
        Ok(())
    }
}

/// What a case that is measured by the wall clock is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Enqueue one more.
    Next,
    /// Wait for all.
    Finish,
}
