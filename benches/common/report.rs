//! What a bench says: a line, and with `RECIS_BENCH_JSON=FILE` a row of that file.

use std::fmt;
use std::path::Path;

use cudarc::driver::CudaContext;
use recis::device::Device;
use serde_json::{Value, json};

use super::memory::Memory;
use super::timer::{Mode, median};

/// What one run of an operation does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Bytes that the algorithm must read and write: inputs once, outputs once.
    pub bytes: usize,
    /// What else its speed is counted in, and how many of them it does.
    pub counted: Option<(f64, Unit)>,
    /// What it is compared with instead of a copy.
    pub baseline: Option<Baseline>,
    /// What else is to be said of it, by name.
    pub figure: Option<(&'static str, f64)>,
    /// What was free before; the row says how much it took.
    pub memory: Option<Memory>,
}

/// What speed is counted in.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// Ids looked up.
    Keys,
    /// Ids that a growing table moves.
    MovedKeys,
    /// Pieces of 32 bytes at random addresses.
    Sectors,
    /// Operations on floats.
    Flop,
    /// Rows trained on.
    Samples,
}

/// Something else that does the same work.
#[derive(Clone, Copy, Debug)]
pub struct Baseline {
    pub name: &'static str,
    pub warm: f64,
    pub cold: f64,
}

impl Work {
    /// Work that is nothing but moving bytes.
    pub fn moving(bytes: usize) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Its speed is also counted in this unit.
    pub fn counting(self, count: usize, unit: Unit) -> Self {
        Self { counted: Some((count as f64, unit)), ..self }
    }

    /// It is compared with this, if it is there.
    pub fn against(self, baseline: Option<Baseline>) -> Self {
        Self { baseline, ..self }
    }

    /// This is said of it too.
    pub fn saying(self, name: &'static str, figure: f64) -> Self {
        Self { figure: Some((name, figure)), ..self }
    }

    /// The device memory that it takes is said too.
    pub fn taking(self, memory: Option<Memory>) -> Self {
        Self { memory, ..self }
    }
}

impl Baseline {
    pub fn seconds(self, mode: Mode) -> f64 {
        if mode == Mode::Cold { self.cold } else { self.warm }
    }
}

/// What was measured of a case.
pub struct Row<'a> {
    id: &'a str,
    device: Device,
    mode: Mode,
    work: Work,
    /// Seconds: the median, the least and the most.
    seconds: [f64; 3],
    /// Bytes a second of a large copy, if it is to be compared with one.
    copy_speed: Option<f64>,
    baseline: Option<(&'static str, f64)>,
    /// What else there is to say, by name.
    figures: Vec<(&'static str, f64)>,
}

impl<'a> Row<'a> {
    pub fn new(
        id: &'a str,
        device: Device,
        mode: Mode,
        work: Work,
        samples: &[f64],
        copy_speed: Option<f64>,
        baseline: Option<(&'static str, f64)>,
    ) -> Self {
        let mut samples = samples.to_vec();
        let median = median(&mut samples);
        let seconds = [median, samples[0], samples[samples.len() - 1]];
        Self { id, device, mode, work, seconds, copy_speed, baseline, figures: Vec::new() }
    }

    /// Says these figures too.
    pub fn with(self, figures: Vec<(&'static str, f64)>) -> Self {
        Self { figures, ..self }
    }

    /// Prints the line, and writes the row to the file if one is asked for.
    pub fn tell(&self, device_name: &str) {
        println!("{self}");
        if let Some(file) = std::env::var_os("RECIS_BENCH_JSON") {
            let file = Path::new(&file);
            if let Err(error) = self.write(file, device_name) {
                println!("{}: {error}", file.display());
            }
        }
    }

    /// Replaces the row of this case in the file, or adds it.
    fn write(&self, file: &Path, device_name: &str) -> std::io::Result<()> {
        let mut document = match std::fs::read(file) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                json!({"device": device_name, "rows": []})
            }
            Err(error) => return Err(error),
        };
        // The file is that of the CUDA device, beside which the CPU is measured.
        if self.device != Device::Cpu {
            document["device"] = device_name.into();
        }
        let row = self.json();
        let same = |other: &Value| ["id", "device", "mode"].iter().all(|key| other[key] == row[key]);
        let Some(rows) = document["rows"].as_array_mut() else {
            return Err(std::io::Error::other("there are no rows in it"));
        };
        match rows.iter().position(same) {
            Some(place) => rows[place] = row,
            None => rows.push(row),
        }
        std::fs::write(file, serde_json::to_string_pretty(&document)? + "\n")
    }

    fn json(&self) -> Value {
        let microseconds = |seconds: f64| (seconds * 1e9).round() / 1e3;
        let [median, least, most] = self.seconds.map(microseconds);
        let floor =
            self.copy_speed.filter(|_| self.work.bytes > 0).map(|speed| self.work.bytes as f64 / speed);
        let mut row = json!({
            "id": self.id,
            "device": self.device.to_string(),
            "mode": self.mode.to_string(),
            "us": median,
            "min_us": least,
            "max_us": most,
            "bytes": self.work.bytes,
            "floor_us": floor.map(microseconds),
            "baseline": self.baseline.map(|(name, seconds)| json!({"name": name, "us": microseconds(seconds)})),
        });
        if let Some((count, unit)) = self.work.counted {
            let speed = (count / self.seconds[0]).round();
            match unit {
                Unit::Keys => row["keys_s"] = speed.into(),
                Unit::MovedKeys => row["ns_key"] = ((self.seconds[0] / count * 1e12).round() / 1e3).into(),
                Unit::Sectors => row["sectors_s"] = speed.into(),
                Unit::Flop => row["flop_s"] = speed.into(),
                Unit::Samples => row["samples_s"] = speed.into(),
            }
        }
        for (name, figure) in &self.figures {
            row[name] = ((figure * 1e4).round() / 1e4).into();
        }
        row
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, least, most] = self.seconds;
        let (scale, unit) = if median < 0.01 { (1e6, "us") } else { (1e3, "ms") };
        let [shown, low, high] = self.seconds.map(|seconds| seconds * scale);
        debug_assert!(least <= median && median <= most);
        write!(
            f,
            "{} {} {}: {shown:.1} {unit} (min {low:.1}, max {high:.1})",
            self.id, self.device, self.mode
        )?;
        if let Some((count, unit)) = self.work.counted {
            let speed = count / median;
            match unit {
                Unit::Keys => write!(f, " | {:.3} G keys/s", speed / 1e9)?,
                Unit::MovedKeys => write!(f, " | {:.3} ns a key", 1e9 / speed)?,
                Unit::Sectors => write!(f, " | {:.3} G sectors/s", speed / 1e9)?,
                Unit::Flop => write!(f, " | {:.3} TFLOP/s", speed / 1e12)?,
                Unit::Samples => write!(f, " | {speed:.0} samples/s")?,
            }
        }
        if self.work.bytes > 0 {
            let speed = self.work.bytes as f64 / median;
            let (bytes, unit) = match self.work.bytes as f64 {
                bytes if bytes < 1e5 => (bytes / 1e3, "kB"),
                bytes => (bytes / 1e6, "MB"),
            };
            let digits = if speed < 1e11 { 1 } else { 0 };
            write!(f, " | {bytes:.1} {unit} | {:.digits$} GB/s", speed / 1e9)?;
            if let Some(copy_speed) = self.copy_speed {
                write!(f, " | {:.0} % of copy", 100.0 * speed / copy_speed)?;
            }
        }
        if let Some((name, seconds)) = self.baseline {
            write!(f, " | {:.2}x {name}", seconds / median)?;
        }
        for (name, figure) in &self.figures {
            let digits = if *figure < 100.0 { 3 } else { 0 };
            write!(f, " | {name} {figure:.digits$}")?;
        }
        Ok(())
    }
}

/// The name that its maker gives a device.
pub fn device_name(device: Device) -> String {
    let name = match device {
        Device::Cuda(ordinal) => CudaContext::new(ordinal).and_then(|context| context.name()).ok(),
        _ => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            let model = info.lines().find(|line| line.starts_with("model name"));
            let model = model.and_then(|line| line.split_once(": ")).map(|(_, model)| model);
            model.map(|model| format!("{model}, {cores} threads"))
        }
    };
    name.unwrap_or_else(|| device.to_string())
}
