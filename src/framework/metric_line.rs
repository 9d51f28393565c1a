//! The metrics of a step, and the line that shows them.

use std::fmt;

use serde::{Serialize, Serializer};

/// Named numbers in the order in which they were first set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// No metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metric, or overwrites the one of that name in its place.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<f64>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some((_, place)) => *place = value,
            None => self.0.push((name, value)),
        }
    }

    /// The metric of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

/// ` <loss=0.6931471824645996> <auc=0.5>`, each with a space before it.
impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(name, value)| write!(f, " <{name}={}>", PythonFloat(value)))
    }
}

/// An object whose members keep the order.
impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// How fast the steps since the previous line were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Steps per second.
    pub qps: f64,
    /// Milliseconds per step.
    pub step_ms: f64,
    /// Rows per second.
    #[serde(rename = "samples/s")]
    pub samples_per_second: f64,
    /// The share of the time that was spent waiting for data, from 0 to 1.
    pub data_wait: f64,
}

/// One line of progress:
/// `<gstep=0> <lstep=0> <qps=1.2345> <epoch=0> <loss=0.6931471824645996> <step_ms=…> …`.
#[derive(Clone, Debug, Serialize)]
pub struct MetricLine<'a> {
    /// Steps finished before this one, restored ones included.
    pub gstep: u64,
    /// Steps finished before this one, in this process.
    pub lstep: u64,
    /// The pass over the data, from 0.
    pub epoch: u64,
    /// The metrics of the step.
    pub metrics: &'a Metrics,
    /// The speed since the previous line.
    #[serde(flatten)]
    pub rates: Rates,
}

impl fmt::Display for MetricLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gstep, lstep, epoch, metrics, rates } = self;
        write!(f, "<gstep={gstep}> <lstep={lstep}> <qps={:.4}> <epoch={epoch}>", rates.qps)?;
        write!(
            f,
            "{metrics} <step_ms={:.3}> <samples/s={:.0}> <data_wait={:.1}%>",
            rates.step_ms,
            rates.samples_per_second,
            rates.data_wait * 100.0
        )
    }
}

/// Shows a float as Python does, since people parse these lines: `0.0`, `1e-05`, `1e+16`, `nan`.
struct PythonFloat(f64);

impl fmt::Display for PythonFloat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Both languages print the shortest digits that read back the same, and take to exponents
        // below 1e-4 and from 1e16 on. They differ in how these, and NaN, are written.
        let text = format!("{:?}", self.0);
        match text.split_once('e') {
            _ if self.0.is_nan() => f.write_str("nan"),
            None => f.write_str(&text),
            Some((digits, exponent)) => {
                let digits = digits.strip_suffix(".0").unwrap_or(digits);
                let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
                write!(f, "{digits}e{sign}{exponent:0>2}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_that_of_recis() {
        let mut metrics = Metrics::new();
        metrics.set("loss", 0.0);
        metrics.set("auc", 0.5);
        metrics.set("loss", std::f32::consts::LN_2);
        let rates = Rates { qps: 1.23449, step_ms: 810.0512, samples_per_second: 1264.1, data_wait: 0.125 };
        let line = MetricLine { gstep: 7, lstep: 0, epoch: 0, metrics: &metrics, rates };
        assert_eq!(
            line.to_string(),
            "<gstep=7> <lstep=0> <qps=1.2345> <epoch=0> <loss=0.6931471824645996> <auc=0.5> \
             <step_ms=810.051> <samples/s=1264> <data_wait=12.5%>"
        );
    }

    #[test]
    fn floats_read_as_those_of_python() {
        let cases = [
            (0.0, "0.0"),
            (-3.0, "-3.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-1.25e-7, "-1.25e-07"),
            (9e15, "9000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in cases {
            assert_eq!(PythonFloat(value).to_string(), text);
        }
    }
}
