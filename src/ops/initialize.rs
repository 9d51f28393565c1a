//! Initial values of rows and parameters (SPEC 0.3, 3.7): each is a pure function of (seed, name, id,
//! column), the same on every device and for any number of ranks.
//!
//! The key of a name is `murmur(name) ^ seed`; the element of (id, column) takes word `column % 4` of
//! the Philox4x32-10 block at counter (id, column / 4), as `p = (word + 0.5) / 2^32`, which lies
//! strictly between 0 and 1.

use std::fmt;

use crate::device::{Buffer, Stream};
use crate::ffi::{recis_distribution, recis_initializer};
use crate::ops::cpu::initialize::{RowRng, normal_cdf, probit};
use crate::ops::string_hash::murmur;
use crate::{Error, Result};

/// The distribution of initial values.
#[derive(Clone, Debug, PartialEq)]
pub enum Initializer {
    /// Always this value.
    Constant(f64),
    /// Evenly between `a` and `b`.
    Uniform {
        /// The lower end.
        a: f64,
        /// The upper end.
        b: f64,
    },
    /// Normal.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation, at least 0.
        std: f64,
    },
    /// Normal between the bounds `a` and `b`, which are values, not multiples of `std`.
    TruncNormal {
        /// The mean of the normal distribution that is cut.
        mean: f64,
        /// Its standard deviation, above 0.
        std: f64,
        /// The lower bound.
        a: f64,
        /// The upper bound.
        b: f64,
    },
}

impl Initializer {
    /// [`Initializer::TruncNormal`] between RecIS's default bounds, -2 and 2.
    pub fn trunc_normal(mean: f64, std: f64) -> Self {
        Self::TruncNormal { mean, std, a: -2.0, b: 2.0 }
    }

    /// Fails with [`Error::Option`] if the distribution does not exist.
    pub fn validate(&self) -> Result<()> {
        let exists = match *self {
            Self::Constant(value) => value.is_finite(),
            Self::Uniform { a, b } => a.is_finite() && b.is_finite() && a <= b,
            Self::Normal { mean, std } => mean.is_finite() && std.is_finite() && std >= 0.0,
            Self::TruncNormal { mean, std, a, b } => {
                let [l, u] = [a, b].map(|bound| normal_cdf((bound - mean) / std));
                mean.is_finite() && std.is_finite() && std > 0.0 && a < b && l < u
            }
        };
        if exists {
            return Ok(());
        }
        Err(Error::Option { option: "initializer".into(), what: format!("{self} is no distribution") })
    }

    /// The value below which a share `q` of all values lies; `q` in [0, 1].
    pub fn quantile(&self, q: f64) -> f32 {
        self.quantiles()(q)
    }

    /// [`Initializer::quantile`], with what does not depend on `q` computed once.
    fn quantiles(&self) -> impl Fn(f64) -> f32 + use<> {
        let this = self.clone();
        let [l, u] = match this {
            Self::TruncNormal { mean, std, a, b } => [a, b].map(|bound| normal_cdf((bound - mean) / std)),
            _ => [0.0, 1.0],
        };
        move |q| match this {
            Self::Constant(value) => value as f32,
            Self::Uniform { a, b } => (a + (b - a) * q) as f32,
            Self::Normal { mean, std } => (mean + std * probit(q)) as f32,
            Self::TruncNormal { mean, std, a, b } => {
                (mean + std * probit(l + q * (u - l))).clamp(a, b) as f32
            }
        }
    }
}

/// Shows what distinguishes distributions; tables whose texts are equal can share storage.
impl fmt::Display for Initializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(value) => write!(f, "constant({value})"),
            Self::Uniform { a, b } => write!(f, "uniform({a}, {b})"),
            Self::Normal { mean, std } => write!(f, "normal({mean}, {std})"),
            Self::TruncNormal { mean, std, a, b } => write!(f, "trunc_normal({mean}, {std}, {a}, {b})"),
        }
    }
}

/// The key of a name's initial values.
fn key(seed: u64, name: &str) -> u64 {
    murmur(name.as_bytes()) ^ seed
}

/// Initial values of the rows of one name, ready to be computed.
pub struct Source {
    key: u64,
    quantile: Box<dyn Fn(f64) -> f32 + Send + Sync>,
}

impl Source {
    /// The values that `initializer` gives the rows of `name`.
    pub fn new(initializer: &Initializer, seed: u64, name: &str) -> Self {
        Self { key: key(seed, name), quantile: Box::new(initializer.quantiles()) }
    }

    /// Writes the row `id`, one value a column.
    pub fn fill(&self, id: i64, out: &mut [f32]) {
        RowRng::new(self.key, id).fill(out, &self.quantile);
    }
}

/// Initial values of the rows of several logical tables under one initializer.
pub struct Sources {
    initializer: Initializer,
    tables: Vec<Source>,
    keys: Buffer<u64>,
}

impl Sources {
    /// The values that `initializer` gives the rows of the tables of these names.
    pub fn new(initializer: &Initializer, seed: u64, names: &[String], stream: &Stream) -> Result<Self> {
        let keys = names.iter().map(|name| key(seed, name)).collect();
        Ok(Self {
            initializer: initializer.clone(),
            tables: names.iter().map(|name| Source::new(initializer, seed, name)).collect(),
            keys: Buffer::from_vec(keys, stream)?,
        })
    }

    /// The number of tables.
    pub fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Writes the row `id` of a table.
    pub(crate) fn fill(&self, table: usize, id: i64, out: &mut [f32]) {
        self.tables[table].fill(id, out);
    }

    pub(crate) fn keys_on(&self, stream: &Stream) -> Result<*const u64> {
        self.keys.on(stream)
    }

    /// The initializer as kernels take it.
    pub(crate) fn raw(&self) -> recis_initializer {
        let plain = |distribution, a, b| recis_initializer {
            distribution,
            a,
            b,
            lower_q: 0.0,
            upper_q: 1.0,
            lower: f64::NEG_INFINITY,
            upper: f64::INFINITY,
        };
        match self.initializer {
            Initializer::Constant(value) => plain(recis_distribution::RECIS_CONSTANT, value, 0.0),
            Initializer::Uniform { a, b } => plain(recis_distribution::RECIS_UNIFORM, a, b),
            Initializer::Normal { mean, std } => plain(recis_distribution::RECIS_NORMAL, mean, std),
            Initializer::TruncNormal { mean, std, a, b } => {
                let [lower_q, upper_q] = [a, b].map(|bound| normal_cdf((bound - mean) / std));
                let normal = plain(recis_distribution::RECIS_TRUNC_NORMAL, mean, std);
                recis_initializer { lower_q, upper_q, lower: a, upper: b, ..normal }
            }
        }
    }
}
