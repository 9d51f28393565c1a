use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::batches::{Batches, Prefetch};
use super::decoder::Decoder;
use super::feature::{Feature, Form};
use super::options::MapFn;
use super::pool::Pool;
use super::schedule::Schedule;
use super::{BatchIter, Dataset, OrcDatasetOptions, Varlen, paths};
use crate::device::Stream;
use crate::{Batch, Error, Position, Result};

/// Reads batches from ORC files.
///
/// ```no_run
/// use recis::io::{Dataset, OrcDataset, OrcDatasetOptions, Varlen};
///
/// # fn main() -> recis::Result<()> {
/// let options = OrcDatasetOptions { batch_size: 1024, ..Default::default() };
/// let mut dataset = OrcDataset::new(options)?;
/// dataset.add_path("./fake_data/")?;
/// dataset.fixedlen_feature("label", &[0.0])?;
/// dataset.varlen_feature("sparse1", Varlen::default())?;
/// for batch in dataset.iterate(None)? {
///     println!("{} rows", batch?.rows);
/// }
/// # Ok(())
/// # }
/// ```
///
/// The files of all paths, in the order in which they were added, are dealt out to the workers. Of
/// this worker's files, `read_threads_num` are open at a time, and at most 1024 rows are taken of
/// each in turn, never across the border of a stripe. Batches are cut from that stream of rows
/// across the borders of files. So the order is the same in every run, and a pass can be resumed
/// at any row.
pub struct OrcDataset {
    options: OrcDatasetOptions,
    files: Vec<Arc<Path>>,
    /// By name, so that batches have their columns in alphabetical order.
    features: BTreeMap<String, Form>,
    maps: Vec<MapFn>,
    transforms: Vec<MapFn>,
}

impl OrcDataset {
    /// A dataset without files and columns.
    ///
    /// Errors: [`Error::Option`] for an option that cannot be.
    pub fn new(mut options: OrcDatasetOptions) -> Result<Self> {
        options.check()?;
        let transforms = options.transform_fn.drain(..).map(Arc::from).collect();
        Ok(Self { options, files: Vec::new(), features: BTreeMap::new(), maps: Vec::new(), transforms })
    }

    /// Adds a file, a directory with every file below it that ends in `.orc` (sorted by name), or
    /// several of them separated by commas.
    ///
    /// Errors: [`Error::Io`] where there is nothing or it cannot be listed; [`Error::Data`] for a
    /// directory without such files.
    pub fn add_path(&mut self, path: impl AsRef<Path>) -> Result<&mut Self> {
        self.files.extend(paths::find(path.as_ref())?);
        Ok(self)
    }

    /// Adds several paths; see [`add_path`](Self::add_path).
    pub fn add_paths<P: AsRef<Path>>(&mut self, paths: impl IntoIterator<Item = P>) -> Result<&mut Self> {
        for path in paths {
            self.add_path(path)?;
        }
        Ok(self)
    }

    /// Selects a column of lists of numbers, each as long as `default`, as a dense tensor
    /// `[rows, default.len()]`. An empty or null row becomes `default`; a row of another length, or
    /// with a null in it, is an error when it is read. Floats are cast to `dtype`, integers stay i64.
    ///
    /// Errors: [`Error::Option`] for an empty default, or a column that is selected already.
    pub fn fixedlen_feature(&mut self, name: impl Into<String>, default: &[f64]) -> Result<&mut Self> {
        let name = name.into();
        if default.is_empty() {
            let option = format!("fixedlen_feature '{name}'");
            return Err(Error::Option { option, what: "its default has to have a value at least".into() });
        }
        self.select(name, Form::Fixed { default: default.to_vec() })
    }

    /// Selects a column of lists of numbers or strings as a ragged tensor. A null row is an empty
    /// one; a null in a row is an error when it is read. Floats are cast to `dtype`, integers are
    /// widened to i64, strings become ids or bytes as `varlen` says. Lists in lists make one more
    /// level of offsets; structs of two numbers make a value and its weight.
    ///
    /// Errors: [`Error::Option`] for a contradictory `varlen`, or a column that is selected already.
    pub fn varlen_feature(&mut self, name: impl Into<String>, varlen: Varlen) -> Result<&mut Self> {
        let name = name.into();
        varlen.check(&name)?;
        self.select(name, Form::Varlen(varlen))
    }

    fn select(&mut self, name: String, form: Form) -> Result<&mut Self> {
        if self.features.contains_key(&name) {
            return Err(Error::Option { option: format!("column '{name}'"), what: "selected twice".into() });
        }
        self.features.insert(name, form);
        Ok(self)
    }

    /// Applies `function` to each batch, after those added before and before `transform_fn`.
    pub fn map(&mut self, function: impl Fn(Batch) -> Result<Batch> + Send + Sync + 'static) -> &mut Self {
        self.maps.push(Arc::new(function));
        self
    }

    /// This worker's files, in the order in which they are read.
    fn worker_files(&self) -> Vec<Arc<Path>> {
        let (worker, workers) = (self.options.worker_idx, self.options.worker_num);
        let mut files: Vec<_> = self.files.iter().skip(worker).step_by(workers).cloned().collect();
        if self.options.shuffle {
            shuffle(&mut files);
        }
        files
    }

    fn threads(&self) -> usize {
        let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        self.options.pack_threads_num.unwrap_or_else(cpus)
    }
}

impl Dataset for OrcDataset {
    fn iterate(&self, after: Option<&Position>) -> Result<BatchIter> {
        let refuse = |what: &str| Err(Error::Option { option: "OrcDataset".into(), what: what.into() });
        if self.files.is_empty() {
            return refuse("no files; call add_path");
        }
        if self.features.is_empty() {
            return refuse("no columns; call fixedlen_feature or varlen_feature");
        }
        let dtype = self.options.dtype;
        let features = self.features.iter().map(|(name, form)| (name.clone(), form.clone()));
        let features: Arc<[_]> = features.map(|(name, form)| Feature { name, form, dtype }).collect();

        let mut schedule =
            Schedule::new(self.worker_files(), self.options.read_threads_num, features.clone());
        let first = after.map(|after| schedule.pass(after)).transpose()?.flatten();
        let pool = Arc::new(Pool::new(self.threads())?);
        let batches = Batches {
            decoder: Decoder::new(schedule, first, features.clone(), pool.clone()),
            pool,
            features,
            batch_size: self.options.batch_size,
            drop_remainder: self.options.drop_remainder,
            functions: self.maps.iter().chain(&self.transforms).cloned().collect(),
            consumed: after.map_or(0, |after| after.rows),
            pending: VecDeque::new(),
            stream: Stream::new(self.options.device)?,
            ended: false,
        };
        Prefetch::start(batches, self.options.prefetch)
    }
}

/// Fisher and Yates's shuffle with a generator (SplitMix64) that always starts from the same seed,
/// so that every pass has the same order.
fn shuffle<T>(items: &mut [T]) {
    let mut state = 10u64;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        items.swap(last, ((bits ^ bits >> 31) % (last as u64 + 1)) as usize);
    }
}
