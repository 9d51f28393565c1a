//! The parameters of the dense network.

use crate::Result;
use crate::device::{Buffer, Stream};
use crate::ops::initialize::{Initializer, Source};

/// A parameter as a layer declares it.
#[derive(Clone, Debug)]
pub struct ParameterSpec {
    /// Its name within the layer, `weight`.
    pub name: &'static str,
    /// Its shape, outermost first.
    pub shape: Vec<usize>,
    /// The distribution of its initial values.
    pub initializer: Initializer,
}

/// A parameter and its gradient, f32.
#[derive(Debug)]
pub struct Parameter {
    /// Its full name, as in torch's state dict: `dense_arch.dnn.0.weight`.
    pub name: String,
    /// Its shape, outermost first.
    pub shape: Vec<usize>,
    /// Row after row.
    pub value: Buffer<f32>,
    /// Shaped like `value`.
    pub grad: Buffer<f32>,
}

impl Parameter {
    /// A parameter with initial values that depend only on (`seed`, `name`) and the place of each.
    pub fn new(name: String, spec: &ParameterSpec, seed: u64, stream: &Stream) -> Result<Self> {
        let len = spec.shape.iter().product();
        let width = spec.shape.last().copied().unwrap_or(1);
        let mut value = vec![0.0; len];
        let source = Source::new(&spec.initializer, seed, &name);
        for (row, value) in value.chunks_mut(width.max(1)).enumerate() {
            source.fill(row as i64, value);
        }
        Ok(Self {
            shape: spec.shape.clone(),
            value: Buffer::from_vec(value, stream)?,
            grad: Buffer::zeros(len, stream)?,
            name,
        })
    }
}
