//! Layers of the dense network.

use crate::device::{Buffer, Stream};
use crate::ops::initialize::Initializer;
use crate::ops::linear::Precision;
use crate::ops::{linear, relu, sigmoid};
use crate::{Error, Result};

use super::{Parameter, ParameterSpec};

/// A layer: what it computes, and how gradients pass through it. Implementations call operations,
/// which enqueue work on the stream, and keep no state of a batch.
pub trait Layer: Send {
    /// The layer as a summary shows it: `Linear(32064 -> 128)`.
    fn describe(&self) -> String;

    /// Values a row after the layer, given those before it.
    ///
    /// # Errors
    /// The layer cannot take rows of that width.
    fn outputs(&self, inputs: usize) -> Result<usize>;

    /// The parameters that the layer wants; it gets them in this order.
    fn parameters(&self) -> Vec<ParameterSpec> {
        Vec::new()
    }

    /// Computes `y` [rows, outputs] from `x` [rows, inputs].
    fn forward(
        &self,
        parameters: &[Parameter],
        x: &Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
        stream: &Stream,
    ) -> Result<()>;

    /// Computes the gradients of the parameters and, if asked, of the input.
    fn backward(&self, parameters: &mut [Parameter], pass: Backward<'_>, stream: &Stream) -> Result<()>;

    /// How exactly the layer computes its products from now on, if it has any.
    fn set_precision(&mut self, _: Precision) {}

    /// Whether this is exactly [`Linear`], parameters `[weight, bias]`: a plan may then gather the
    /// layer's input while it multiplies.
    fn is_linear(&self) -> bool {
        false
    }

    /// Which function of each value the layer exactly is, if it is one of these: a plan may then apply it
    /// while it computes what is around it.
    fn activation(&self) -> Option<Activation> {
        None
    }

    /// Whether what a training step calls only enqueues work, and never waits for the device (no): if so of all that
    /// a plan has, a step may be launched as one graph.
    fn only_enqueues(&self) -> bool {
        false
    }
}

/// What a layer's backward pass works on.
pub struct Backward<'a> {
    /// The layer's input, [rows, inputs].
    pub x: &'a Buffer<f32>,
    /// Its output, [rows, outputs].
    pub y: &'a Buffer<f32>,
    /// The gradient of the output.
    pub d_y: &'a Buffer<f32>,
    /// Where the gradient of the input goes, if anything needs it.
    pub d_x: Option<&'a mut Buffer<f32>>,
    /// Rows of the batch.
    pub rows: usize,
    /// Whether gradients of parameters are added to what is there.
    pub accumulate: bool,
}

/// `y = x Wᵀ + b`, initialised as torch's `nn.Linear`: weight and bias uniform in ±1/√inputs.
pub struct Linear {
    inputs: usize,
    outputs: usize,
    precision: Precision,
}

impl Linear {
    /// A layer from `inputs` to `outputs` values a row.
    pub fn new(inputs: usize, outputs: usize) -> Self {
        Self { inputs, outputs, precision: Precision::default() }
    }

    fn size(&self, rows: usize) -> linear::Size {
        linear::Size { rows, inputs: self.inputs, outputs: self.outputs, precision: self.precision }
    }
}

impl Layer for Linear {
    fn describe(&self) -> String {
        format!("Linear({} -> {})", self.inputs, self.outputs)
    }

    fn outputs(&self, inputs: usize) -> Result<usize> {
        if inputs != self.inputs || self.outputs == 0 {
            let what = format!("{} is given rows of {inputs} values", self.describe());
            return Err(Error::Model(what));
        }
        Ok(self.outputs)
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let bound = 1.0 / (self.inputs as f64).sqrt();
        let initializer = Initializer::Uniform { a: -bound, b: bound };
        let weight = ParameterSpec {
            name: "weight",
            shape: vec![self.outputs, self.inputs],
            initializer: initializer.clone(),
        };
        vec![weight, ParameterSpec { name: "bias", shape: vec![self.outputs], initializer }]
    }

    fn forward(
        &self,
        parameters: &[Parameter],
        x: &Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
        stream: &Stream,
    ) -> Result<()> {
        linear::forward(x, &parameters[0].value, &parameters[1].value, y, self.size(rows), stream)
    }

    fn backward(&self, parameters: &mut [Parameter], pass: Backward<'_>, stream: &Stream) -> Result<()> {
        let size = self.size(pass.rows);
        if let Some(d_x) = pass.d_x {
            linear::backward_input(pass.d_y, &parameters[0].value, d_x, size, stream)?;
        }
        let (weight, bias) = parameters.split_at_mut(1);
        let (d_weight, d_bias) = (&mut weight[0].grad, &mut bias[0].grad);
        linear::backward_weight(pass.x, pass.d_y, d_weight, d_bias, size, pass.accumulate, stream)
    }

    fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    fn is_linear(&self) -> bool {
        true
    }

    fn only_enqueues(&self) -> bool {
        true
    }
}

/// A function of each value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `y = max(x, 0)`.
    Relu,
    /// `y = 1 / (1 + exp(-x))`.
    Sigmoid,
}

impl Layer for Activation {
    fn describe(&self) -> String {
        format!("{self:?}")
    }

    fn outputs(&self, inputs: usize) -> Result<usize> {
        Ok(inputs)
    }

    fn forward(
        &self,
        _: &[Parameter],
        x: &Buffer<f32>,
        y: &mut Buffer<f32>,
        _: usize,
        stream: &Stream,
    ) -> Result<()> {
        match self {
            Self::Relu => relu::forward(x, y, stream),
            Self::Sigmoid => sigmoid::forward(x, y, stream),
        }
    }

    fn backward(&self, _: &mut [Parameter], pass: Backward<'_>, stream: &Stream) -> Result<()> {
        let Backward { y, d_y, d_x: Some(d_x), .. } = pass else { return Ok(()) };
        match self {
            Self::Relu => relu::backward(y, d_y, d_x, stream),
            Self::Sigmoid => sigmoid::backward(y, d_y, d_x, stream),
        }
    }

    fn activation(&self) -> Option<Activation> {
        Some(*self)
    }

    fn only_enqueues(&self) -> bool {
        true
    }
}

/// Layers one after the other; parameters are named by the layer's place, as torch does.
pub struct Sequential {
    pub(super) name: String,
    pub(super) layers: Vec<Box<dyn Layer>>,
}

impl Sequential {
    /// No layers yet; `name` begins the names of the parameters, `dense_arch.dnn`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), layers: Vec::new() }
    }

    /// Appends a layer.
    #[allow(clippy::should_implement_trait)]
    pub fn add(mut self, layer: impl Layer + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }
}
