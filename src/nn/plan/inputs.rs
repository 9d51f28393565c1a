//! The first layer's input: where each feature's columns are, and how they get there.

use std::fmt;
use std::sync::Arc;

use crate::device::{Buffer, Stream};
use crate::nn::Model;
use crate::nn::embedding::{Combiner, EmbeddingEngine};
use crate::ops::copy_column;
use crate::ops::linear_tile::{Dense, Tile};
use crate::ops::lookup::Place;
use crate::ops::unfit::{Unfit, Word};
use crate::tensor::{Batch, Tensor, Values};
use crate::{Error, Result};

/// The concatenation, as runs of columns that are written and tiles that may be gathered later.
pub(super) struct Inputs {
    columns: Vec<Column>,
    runs: Vec<Run>,
    width: usize,
    label: String,
    /// The columns whose values must be finite: those used as they are, and behind them the label.
    finite: Arc<[String]>,
}

struct Column {
    name: String,
    first_column: usize,
    width: usize,
    source: Source,
}

enum Source {
    /// A dense column of the batch, used as it is, and which of the finite ones it is.
    Batch(usize),
    /// A feature, embedded and combined into a run.
    Combined,
    /// A feature whose tile the first layer gathers as it multiplies.
    Gathered,
}

/// Neighbouring columns that are written side by side.
struct Run {
    first_column: usize,
    width: usize,
    /// Whether some of it are embeddings: only those learn from its gradient.
    needs_gradient: bool,
    x: Buffer<f32>,
    d_x: Buffer<f32>,
}

impl Run {
    fn holds(&self, column: &Column) -> bool {
        let own = self.first_column..self.first_column + self.width;
        !matches!(column.source, Source::Gathered) && own.contains(&column.first_column)
    }

    fn place(&self, column: &Column) -> Place {
        Place { first_column: column.first_column - self.first_column, stride: self.width }
    }
}

impl Inputs {
    /// Lays out the inputs of a model; with `fuse`, tiles are left to the first layer.
    pub fn new(model: &Model, fuse: bool, stream: &Stream) -> Result<Self> {
        let (mut columns, mut finite) = (Vec::new(), Vec::new());
        let mut width = 0;
        for (i, name) in model.inputs.iter().enumerate() {
            if model.inputs[..i].contains(name) {
                return Err(Error::Model(format!("'{name}' is concatenated twice")));
            }
            let option = model.embeddings.iter().find(|(feature, _)| feature == name);
            let (source, columns_of) = match option {
                Some((_, option)) => {
                    let tiled = matches!(option.combiner, Combiner::Tile { .. });
                    let source = if tiled && fuse { Source::Gathered } else { Source::Combined };
                    (source, option.combiner.width(option.embedding_dim))
                }
                None => {
                    finite.push(name.clone());
                    (Source::Batch(finite.len() - 1), dense_width(model, name)?)
                }
            };
            columns.push(Column { name: name.clone(), first_column: width, width: columns_of, source });
            width += columns_of;
        }
        for (name, _) in &model.embeddings {
            if !model.inputs.contains(name) {
                return Err(Error::Model(format!(
                    "'{name}' has an embedding option but is not concatenated"
                )));
            }
        }
        finite.push(model.label.clone());
        let (label, finite) = (model.label.clone(), finite.into());
        let mut inputs = Self { columns, runs: Vec::new(), width, label, finite };
        inputs.lay_out_runs(stream)?;
        Ok(inputs)
    }

    fn lay_out_runs(&mut self, stream: &Stream) -> Result<()> {
        for column in self.columns.iter().filter(|c| !matches!(c.source, Source::Gathered)) {
            let needs_gradient = matches!(column.source, Source::Combined);
            match self.runs.last_mut() {
                Some(run) if run.first_column + run.width == column.first_column => {
                    run.width += column.width;
                    run.needs_gradient |= needs_gradient;
                }
                _ => self.runs.push(Run {
                    first_column: column.first_column,
                    width: column.width,
                    needs_gradient,
                    x: Buffer::zeros(0, stream)?,
                    d_x: Buffer::zeros(0, stream)?,
                }),
            }
        }
        Ok(())
    }

    /// Values a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The whole input, when nothing is left to the first layer, and its gradient if it needs one.
    pub fn whole(&mut self) -> Option<(&Buffer<f32>, Option<&mut Buffer<f32>>)> {
        match &mut self.runs[..] {
            [run] if run.width == self.width => Some((&run.x, run.needs_gradient.then_some(&mut run.d_x))),
            _ => None,
        }
    }

    /// Whether the first layer gathers some of the input.
    pub fn is_fused(&self) -> bool {
        self.columns.iter().any(|column| matches!(column.source, Source::Gathered))
    }

    /// The runs, for the first layer.
    pub fn dense(&self) -> Vec<Dense<'_>> {
        let dense = self.runs.iter();
        dense.map(|run| Dense { x: &run.x, width: run.width, first_column: run.first_column }).collect()
    }

    /// Calls `backward(d_x, width, first_column)` for every run that needs its gradient.
    pub fn each_gradient(
        &mut self,
        rows: usize,
        stream: &Stream,
        mut backward: impl FnMut(&mut Buffer<f32>, usize, usize) -> Result<()>,
    ) -> Result<()> {
        for run in self.runs.iter_mut().filter(|run| run.needs_gradient) {
            run.d_x.resize(rows * run.width, stream)?;
            backward(&mut run.d_x, run.width, run.first_column)?;
        }
        Ok(())
    }

    /// The features that the first layer gathers, and where their columns begin.
    pub fn gathered(&self) -> impl Iterator<Item = (&str, usize)> {
        let gathered = self.columns.iter().filter(|column| matches!(column.source, Source::Gathered));
        gathered.map(|column| (column.name.as_str(), column.first_column))
    }

    /// The tiles that the first layer gathers.
    pub fn tiles<'a>(&self, embeddings: &'a EmbeddingEngine) -> Result<Vec<Tile<'a>>> {
        self.gathered().map(|(name, first_column)| embeddings.tile(name, first_column)).collect()
    }

    /// Copies the label of each row. `unfit` has a word for each of the finite columns.
    ///
    /// # Errors
    /// A label that is missing or has another width than 1.
    pub fn read_label(
        &self,
        batch: &Batch,
        label: &mut Buffer<f32>,
        unfit: &mut Unfit,
        stream: &Stream,
    ) -> Result<()> {
        label.resize(batch.rows, stream)?;
        let (place, unfit) = (Place { first_column: 0, stride: 1 }, unfit.word(self.finite.len() - 1));
        copy_column(batch, &self.label, 1, label, place, unfit, stream)
    }

    /// The columns whose values must be finite.
    pub fn finite(&self) -> &Arc<[String]> {
        &self.finite
    }

    /// Writes the dense columns of the runs, as they are. `unfit` has a word for each of the finite columns.
    pub fn copy_columns(&mut self, batch: &Batch, unfit: &mut Unfit, stream: &Stream) -> Result<()> {
        for run in &mut self.runs {
            // Not what the last batch's backward pass has read: it would have to be waited for.
            run.x = Buffer::unset(batch.rows * run.width, stream)?;
        }
        for column in &self.columns {
            let Source::Batch(finite) = column.source else { continue };
            let Some(run) = run_of(&mut self.runs, column) else { continue };
            let (place, unfit) = (run.place(column), unfit.word(finite));
            copy_column(batch, &column.name, column.width, &mut run.x, place, unfit, stream)?;
        }
        Ok(())
    }

    /// Writes the rest of the runs: features, combined. Those of the first run on `stream`, the others `beside`, where
    /// they wait for all that `stream` has been given.
    pub fn combine(&mut self, embeddings: &EmbeddingEngine, stream: &Stream, beside: &Stream) -> Result<()> {
        for (i, run) in self.runs.iter_mut().enumerate().rev() {
            let combined = self.columns.iter().filter(|column| matches!(column.source, Source::Combined));
            let features = combined.filter(|column| run.holds(column));
            let features = features.map(|column| (column.name.as_str(), run.place(column).first_column));
            let stream = if i == 0 { stream } else { beside };
            embeddings.combine(&features.collect::<Vec<_>>(), &mut run.x, run.width, stream)?;
        }
        Ok(())
    }

    /// Passes the runs' gradients on to the embeddings.
    pub fn scatter_gradients(&self, embeddings: &mut EmbeddingEngine, stream: &Stream) -> Result<()> {
        let combined = self.columns.iter().filter(|column| matches!(column.source, Source::Combined));
        let gradients = combined.filter_map(|column| {
            let run = self.runs.iter().find(|run| run.holds(column))?;
            Some((column.name.as_str(), &run.d_x, run.place(column)))
        });
        embeddings.combine_backward(&gradients.collect::<Vec<_>>(), stream)
    }
}

fn run_of<'a>(runs: &'a mut [Run], column: &Column) -> Option<&'a mut Run> {
    runs.iter_mut().find(|run| run.holds(column))
}

/// The width of a column that is used as it is.
fn dense_width(model: &Model, name: &str) -> Result<usize> {
    let feature = model.features.iter().find(|feature| feature.name() == name);
    let feature = feature
        .ok_or_else(|| Error::Model(format!("'{name}' is concatenated, but no feature has that name")))?;
    feature.width().ok_or_else(|| {
        let what = "is concatenated without an embedding option: say its width with SelectField's dim";
        Error::Model(format!("'{name}' {what}"))
    })
}

/// Copies a dense column into `out`.
fn copy_column(
    batch: &Batch,
    name: &str,
    width: usize,
    out: &mut Buffer<f32>,
    place: Place,
    unfit: Word<'_>,
    stream: &Stream,
) -> Result<()> {
    let tensor = batch.get(name)?;
    let refuse = |what: String| Err(Error::Data { place: format!("column '{name}'"), what });
    let Tensor::Dense(dense) = tensor.as_ref() else {
        return refuse(format!("the network needs a dense column, this is {}", tensor.describe()));
    };
    if dense.width != width {
        return refuse(format!("the network needs [{}, {width}], this is {}", batch.rows, tensor.describe()));
    }
    let column = match &dense.values {
        Values::F32(values) => copy_column::Column::F32(values),
        Values::F64(values) => copy_column::Column::F64(values),
        Values::I64(values) => copy_column::Column::I64(values),
        Values::I8(_) => return refuse("bytes cannot be used as numbers".into()),
    };
    copy_column::forward(column, width, out, place, unfit, stream)
}

impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Column { name, first_column, width, source } in &self.columns {
            let how = match source {
                Source::Batch(_) => "as it is",
                Source::Combined => "combined",
                Source::Gathered => "gathered by the first layer",
            };
            writeln!(f, "  columns {first_column}..{}: {name}, {how}", first_column + width)?;
        }
        Ok(())
    }
}
