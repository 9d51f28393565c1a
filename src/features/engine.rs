use std::collections::{HashMap, HashSet};
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, PoisonError};

use super::call::Call;
use super::feature::Feature;
use super::op::{Bucketize, Op};
use super::run::{self, Input};
use crate::device::{Buffer, Device, Stream};
use crate::tensor::{Batch, Tensor};
use crate::{Error, Result};

/// Streams on which features run beside a call's own.
const STREAMS_BESIDE: usize = 2;

/// Runs features. Operators of one kind at one position run as one call, on each stream that there is for them.
#[derive(Debug)]
pub struct FeatureEngine {
    features: Vec<Feature>,
    /// What each runs, in order.
    calls: Vec<Vec<Call>>,
    /// Position by position: the features of each kind of operator, kinds by first appearance.
    steps: Vec<Vec<Vec<usize>>>,
    /// For features that run beside the others.
    beside: Vec<Stream>,
    /// What `Bucketize` compares with, by feature, position and stream.
    boundaries: Mutex<HashMap<(usize, usize, usize), Buffer<f32>>>,
}

impl FeatureEngine {
    /// Puts the operators of all features in order.
    ///
    /// # Errors
    /// Two features of one name, and operators that cannot follow each other.
    pub fn new(features: Vec<Feature>) -> Result<Self> {
        let mut names = HashSet::new();
        for feature in &features {
            feature.validate()?;
            if !names.insert(feature.name()) {
                return Err(Error::Model(format!("two features are named '{}'", feature.name())));
            }
        }
        let calls: Vec<_> = features.iter().map(|feature| Call::all(feature.ops())).collect();
        let positions = calls.iter().map(Vec::len).max().unwrap_or(0);
        let steps = (0..positions).map(|position| groups(&features, &calls, position)).collect();
        Ok(Self { features, calls, steps, beside: Vec::new(), boundaries: Mutex::default() })
    }

    /// From now on runs features on streams of its own too, beside those on the stream that calls are given: most are
    /// too little work for a device. Results are ordered as all buffers are.
    ///
    /// # Errors
    /// A device that has no stream left.
    pub fn run_beside(&mut self, stream: &Stream) -> Result<()> {
        // A host that works by itself does one thing after another.
        let streams = if stream.device() == Device::Cpu { 0 } else { STREAMS_BESIDE };
        self.beside = (0..streams).map(|_| Stream::new(stream.device())).collect::<Result<_>>()?;
        Ok(())
    }

    /// Waits for what runs on streams of its own.
    ///
    /// # Errors
    /// What went wrong on the device.
    pub fn synchronize(&self) -> Result<()> {
        self.beside.iter().try_for_each(Stream::synchronize)
    }

    /// The streams of their own that features have.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.beside.iter()
    }

    /// The features of a batch, in order, and behind them the columns that none has taken the name
    /// of.
    ///
    /// # Errors
    /// A column that is missing or is not what an operator needs.
    pub fn forward(&self, batch: &Batch, stream: &Stream) -> Result<Batch> {
        let mut values: Vec<Vec<Arc<Tensor>>> = vec![Vec::new(); self.features.len()];
        let dealt = self.deal(batch);
        for (position, groups) in self.steps.iter().enumerate() {
            for group in groups {
                for (number, stream) in [stream].into_iter().chain(&self.beside).enumerate() {
                    let group: Vec<_> = group.iter().copied().filter(|&i| dealt[i] == number).collect();
                    if !group.is_empty() {
                        self.run(&group, position, batch, &mut values, stream)?;
                    }
                }
            }
        }
        let mut out = Batch::new(batch.rows);
        out.sources.clone_from(&batch.sources);
        for (feature, mut value) in self.features.iter().zip(values) {
            out.insert(feature.name(), value.swap_remove(0));
        }
        for (name, tensor) in batch.columns() {
            if !self.features.iter().any(|feature| feature.name() == name) {
                out.insert(name, tensor.clone());
            }
        }
        Ok(out)
    }

    /// Which stream each feature runs on, counted from the call's: by and by, the one with most work left is given
    /// to the stream that has least.
    fn deal(&self, batch: &Batch) -> Vec<usize> {
        let values = |name: &str| batch.get(name).map_or(0, |column| column.values().len());
        let work = |(feature, calls): (&Feature, &Vec<Call>)| {
            let columns: usize = feature.columns().map(values).sum();
            columns * calls.len().saturating_sub(1) // the first selects
        };
        let work: Vec<_> = self.features.iter().zip(&self.calls).map(work).collect();
        let mut order: Vec<_> = (0..work.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(work[i]));
        let (mut given, mut dealt) = (vec![0; 1 + self.beside.len()], vec![0; work.len()]);
        for i in order {
            let least = (0..given.len()).min_by_key(|&number| given[number]).unwrap_or(0);
            given[least] += work[i];
            dealt[i] = least;
        }
        dealt
    }

    /// Runs the operators at `position` of some features, all of one kind.
    fn run(
        &self,
        group: &[usize],
        position: usize,
        batch: &Batch,
        values: &mut [Vec<Arc<Tensor>>],
        stream: &Stream,
    ) -> Result<()> {
        macro_rules! inputs {
            ($kind:ident) => {
                (group.iter())
                    .filter_map(|&i| match self.op(i, position) {
                        Op::$kind(op) => {
                            let (feature, tensor) = (self.features[i].name(), values[i][0].clone());
                            Some(Input { feature, op, modulus: self.calls[i][position].modulus, tensor })
                        }
                        _ => None,
                    })
                    .collect::<Vec<_>>()
            };
        }
        let results = match self.op(group[0], position) {
            Op::Bucketize(_) => {
                let inputs = inputs!(Bucketize);
                let boundaries = self.boundaries(group, position, &inputs, stream)?;
                run::bucketize(&inputs, boundaries, stream)?
            }
            Op::Mod(_) => run::modulo(&inputs!(Mod), stream)?,
            Op::Hash(_) => run::hash(&inputs!(Hash), stream)?,
            Op::SequenceTruncate(_) => run::truncate(&inputs!(SequenceTruncate), batch, stream)?,
            Op::FeatureCross(_) => {
                let cross =
                    |&i: &usize| run::cross(self.features[i].name(), &values[i][0], &values[i][1], stream);
                group.iter().map(cross).collect::<Result<_>>()?
            }
            Op::SelectField(_) | Op::SelectFields(_) => return self.select(group, position, batch, values),
        };
        for (&i, result) in group.iter().zip(results) {
            values[i] = vec![Arc::new(result)];
        }
        Ok(())
    }

    /// The operator that a feature runs at a position.
    fn op(&self, feature: usize, position: usize) -> &Op {
        &self.features[feature].ops()[self.calls[feature][position].op]
    }

    /// The boundaries of some features' `Bucketize` on the stream's device, where they stay. Those of one stream
    /// are not another one's, so that no thread waits for another.
    fn boundaries(
        &self,
        group: &[usize],
        position: usize,
        inputs: &[Input<'_, Bucketize>],
        stream: &Stream,
    ) -> Result<Vec<Buffer<f32>>> {
        let mut kept = self.boundaries.lock().unwrap_or_else(PoisonError::into_inner);
        let of = group.iter().zip(inputs).map(|(&feature, input)| {
            let key = (feature, position, stream.cuda_stream().map_or(0, |stream| stream.cu_stream().addr()));
            if let Some(there) = kept.get(&key).filter(|there| there.device() == stream.device()) {
                return Ok(there.clone());
            }
            let made = Buffer::from_vec(input.op.0.clone(), stream)?;
            kept.insert(key, made.clone());
            Ok(made)
        });
        of.collect()
    }

    fn select(
        &self,
        group: &[usize],
        position: usize,
        batch: &Batch,
        values: &mut [Vec<Arc<Tensor>>],
    ) -> Result<()> {
        for &i in group {
            let feature = &self.features[i];
            let select = |field| run::select(feature.name(), field, batch);
            values[i] = self.op(i, position).fields().iter().map(select).collect::<Result<_>>()?;
        }
        Ok(())
    }
}

fn groups(features: &[Feature], calls: &[Vec<Call>], position: usize) -> Vec<Vec<usize>> {
    let mut groups: Vec<(Discriminant<Op>, Vec<usize>)> = Vec::new();
    for (i, (feature, calls)) in features.iter().zip(calls).enumerate() {
        let Some(kind) = calls.get(position).map(|call| discriminant(&feature.ops()[call.op])) else {
            continue;
        };
        match groups.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, group)) => group.push(i),
            None => groups.push((kind, vec![i])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// What runs at each position: one group of brackets for each call.
impl fmt::Display for FeatureEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, groups) in self.steps.iter().enumerate() {
            write!(f, "  {position}:")?;
            for group in groups {
                let ops = group.iter().map(|&i| {
                    let feature = &self.features[i];
                    let ops = feature.ops()[self.calls[i][position].ops.clone()].iter().map(Op::to_string);
                    format!("{} {}", feature.name(), ops.collect::<Vec<_>>().join(" "))
                });
                write!(f, " [{}]", ops.collect::<Vec<_>>().join(", "))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
