use super::Parameter;
use crate::device::{Buffer, Stream};
use crate::ops::adamw;
use crate::snapshot::{ArrayData, ArraySnapshot};
use crate::{Error, Result};

/// Updates dense parameters from their gradients.
pub trait DenseOptimizer: Send {
    /// Checks the options and makes room for the state of these parameters.
    fn attach(&mut self, parameters: &[Parameter], stream: &Stream) -> Result<()>;

    /// One step by the mean gradient over `batches`, of which the parameters' gradients are the sum. The
    /// parameters are those it was attached to.
    fn step(&mut self, parameters: &mut [Parameter], batches: usize, stream: &Stream) -> Result<()>;

    /// The state, named after the parameters.
    fn snapshot(&self, parameters: &[Parameter], stream: &Stream) -> Result<Vec<ArraySnapshot>>;

    /// Takes a state back; `take` removes an array by name, with its shape checked.
    fn restore(&mut self, parameters: &[Parameter], take: &mut Take<'_>, stream: &Stream) -> Result<()>;

    /// Whether what a training step calls only enqueues work, and never waits for the device (no): if so of all that
    /// a plan has, a step may be launched as one graph.
    fn only_enqueues(&self) -> bool {
        false
    }
}

/// Removes the array of a name and shape from a snapshot that is being restored.
pub type Take<'a> = dyn FnMut(&str, &[usize]) -> Result<ArrayData> + 'a;

/// torch's `AdamW` (SPEC 5.4).
#[derive(Debug)]
pub struct AdamW {
    /// Learning rate (1e-3).
    pub lr: f64,
    /// Decay of the first moment (0.9).
    pub beta1: f64,
    /// Decay of the second moment (0.999).
    pub beta2: f64,
    /// Added to the denominator (1e-8).
    pub eps: f64,
    /// Parameters shrink by `lr * weight_decay` a step (1e-2).
    pub weight_decay: f64,
    step: i64,
    moments: Vec<[Buffer<f32>; 2]>,
}

const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];

impl AdamW {
    /// The defaults with this learning rate.
    pub fn new(lr: f64) -> Self {
        Self { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2, step: 0, moments: Vec::new() }
    }
}

impl DenseOptimizer for AdamW {
    fn attach(&mut self, parameters: &[Parameter], stream: &Stream) -> Result<()> {
        check_adam("AdamW", self.lr, [self.beta1, self.beta2], self.eps, self.weight_decay)?;
        let zeros = |p: &Parameter| Buffer::zeros(p.value.len(), stream);
        self.moments = parameters.iter().map(|p| Ok([zeros(p)?, zeros(p)?])).collect::<Result<_>>()?;
        self.step = 0;
        Ok(())
    }

    fn step(&mut self, parameters: &mut [Parameter], batches: usize, stream: &Stream) -> Result<()> {
        self.step += 1;
        let options = adamw::Options {
            lr: self.lr,
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            weight_decay: self.weight_decay,
            step: self.step as u64,
            batches,
        };
        let parameters = parameters.iter_mut().zip(&mut self.moments);
        let parameters = parameters.map(|(Parameter { value, grad, .. }, [exp_avg, exp_avg_sq])| {
            adamw::Parameter { value, exp_avg, exp_avg_sq, gradient: grad }
        });
        adamw::step(&mut parameters.collect::<Vec<_>>(), &options, stream)
    }

    fn snapshot(&self, parameters: &[Parameter], stream: &Stream) -> Result<Vec<ArraySnapshot>> {
        let step = ArrayData::I64(vec![self.step]);
        let mut arrays = vec![ArraySnapshot { name: "adamw.step".into(), shape: vec![1], data: step }];
        for (parameter, moments) in parameters.iter().zip(&self.moments) {
            for (slot, moment) in MOMENTS.iter().zip(moments) {
                arrays.push(ArraySnapshot {
                    name: format!("{}.{slot}", parameter.name),
                    shape: parameter.shape.clone(),
                    data: ArrayData::F32(moment.to_vec(stream)?),
                });
            }
        }
        Ok(arrays)
    }

    fn restore(&mut self, parameters: &[Parameter], take: &mut Take<'_>, stream: &Stream) -> Result<()> {
        match take("adamw.step", &[1])? {
            ArrayData::I64(step) => self.step = step[0],
            _ => return Err(Error::Model("array 'adamw.step' is not i64".into())),
        }
        for (parameter, moments) in parameters.iter().zip(&mut self.moments) {
            for (slot, moment) in MOMENTS.iter().zip(moments) {
                let values = take(&format!("{}.{slot}", parameter.name), &parameter.shape)?;
                *moment = Buffer::from_vec(values.into_f32(&parameter.name)?, stream)?;
            }
        }
        Ok(())
    }

    fn only_enqueues(&self) -> bool {
        true
    }
}

/// Refuses values with which an Adam step is undefined.
pub(super) fn check_adam(name: &str, lr: f64, betas: [f64; 2], eps: f64, weight_decay: f64) -> Result<()> {
    let refuse = |option: &str, value: f64, what: &str| {
        Err(Error::Option { option: format!("{name} {option}"), what: format!("{value}; it must be {what}") })
    };
    if !(lr.is_finite() && lr >= 0.0) {
        return refuse("lr", lr, "finite and at least 0");
    }
    for beta in betas {
        if !(0.0..1.0).contains(&beta) {
            return refuse("betas", beta, "at least 0 and below 1");
        }
    }
    // With 0, an element whose gradient has always been 0 would become 0 / 0.
    if !(eps.is_finite() && eps > 0.0) {
        return refuse("eps", eps, "finite and above 0");
    }
    if !(weight_decay.is_finite() && weight_decay >= 0.0) {
        return refuse("weight_decay", weight_decay, "finite and at least 0");
    }
    Ok(())
}
