//! Gradients put together, and steps of the optimizers.

use recis::nn::{ArrayData, Parameter};
use recis::ops::merge_gradients::{self, Gradients};
use recis::ops::rows::{self, Rows};
use recis::ops::sparse_adamw::{Coefficients, Decay};
use recis::optim::{AdamW, DenseOptimizer, SparseAdamWTF, SparseOptimizer, SparseState};
use serde::Deserialize;
use serde_json::Value;

use super::case::{Elements, Outcome, Tolerance, on, parse, same, same_all, stream};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accumulate {
    acc_steps: usize,
    calls: Vec<Call>,
    correct_rows: Vec<u32>,
    correct_grad: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    rows: Vec<u32>,
    grad: Vec<Vec<f32>>,
}

fn gradients(rows: Vec<u32>, values: &[Vec<f32>]) -> Gradients {
    Gradients { rows: on(rows), values: on(values.concat()), count: None }
}

pub fn grad_accumulate(case: &Value, tolerance: &Tolerance) -> Outcome {
    let case: Accumulate = parse(case)?;
    let dim = case.calls.iter().flat_map(|call| &call.grad).next().map_or(1, Vec::len);
    let lists: Vec<_> = (case.calls.into_iter()).map(|call| gradients(call.rows, &call.grad)).collect();
    let merged = merge_gradients::forward(&lists, dim, case.acc_steps, &stream())?;
    let count = merged.count.map_or(merged.rows.len(), |count| count.elements()[0] as usize);
    same_all("correct_rows", &case.correct_rows, &merged.rows.elements()[..count])?;
    let values = &merged.values.elements()[..count * dim];
    tolerance.close_all("correct_grad", &case.correct_grad.concat(), values)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sparse {
    optimizer: String,
    lr: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    decay_factor: f64,
    init_param: Vec<Vec<f32>>,
    steps: Vec<SparseStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SparseStep {
    /// The learning rate from here on, if it changes.
    lr: Option<f64>,
    rows: Vec<u32>,
    grad: Vec<Vec<f32>>,
    beta1_power: f64,
    beta2_power: f64,
    alpha: f64,
    param: Vec<Vec<f64>>,
    exp_avg: Vec<Vec<f64>>,
    exp_avg_sq: Vec<Vec<f64>>,
}

pub fn sparse_adamw(case: &Value, tolerance: &Tolerance) -> Outcome {
    let case: Sparse = parse(case)?;
    same("optimizer", "SparseAdamWTF", case.optimizer.as_str())?;
    let (beta1, beta2, eps, weight_decay) = (case.beta1, case.beta2, case.eps, case.weight_decay);
    let mut optimizer = SparseAdamWTF { lr: case.lr, beta1, beta2, eps, weight_decay };
    optimizer.check()?;

    let (count, stream) = (case.init_param.len(), stream());
    let dim = case.init_param.first().map_or(0, Vec::len);
    let mut storage = Rows::new(dim, 1 + optimizer.slots().len(), &stream)?;
    storage.reserve(count)?;
    let all = on((0..count as u32).collect());
    rows::scatter(&mut storage, 0, &all, &on(case.init_param.concat()), &stream)?;
    let mut state = SparseState::default();
    for (i, step) in case.steps.into_iter().enumerate() {
        let named = |field: &str| format!("steps[{i}].{field}");
        optimizer.lr = step.lr.unwrap_or(optimizer.lr);
        let mut powers = [state.beta1_power, state.beta2_power];
        optimizer.step(&mut state, &mut storage, &gradients(step.rows, &step.grad), &stream)?;
        tolerance.close(&named("beta1_power"), step.beta1_power, state.beta1_power)?;
        tolerance.close(&named("beta2_power"), step.beta2_power, state.beta2_power)?;
        let [power1, power2] = &mut powers;
        let decay = Decay::WithoutLr(weight_decay);
        let used = Coefficients::advance([power1, power2], optimizer.lr, [beta1, beta2], eps, decay);
        tolerance.close(&named("alpha"), step.alpha, used.alpha)?;
        tolerance.close("decay_factor", case.decay_factor, used.decay)?;
        for (slot, field, expected) in
            [(0, "param", step.param), (1, "exp_avg", step.exp_avg), (2, "exp_avg_sq", step.exp_avg_sq)]
        {
            let mut got = on(vec![0.0; count * dim]);
            rows::gather(&storage, slot, &all, None, &mut got, &stream)?;
            tolerance.close_all(&named(field), &expected.concat(), &got.elements())?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dense {
    optimizer: String,
    lr: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    init_param: Vec<f32>,
    steps: Vec<DenseStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DenseStep {
    lr: Option<f64>,
    grad: Vec<f32>,
    param: Vec<f64>,
    exp_avg: Vec<f64>,
    exp_avg_sq: Vec<f64>,
}

pub fn dense_adamw(case: &Value, tolerance: &Tolerance) -> Outcome {
    let case: Dense = parse(case)?;
    same("optimizer", "torch.AdamW", case.optimizer.as_str())?;
    let mut optimizer = AdamW::new(case.lr);
    (optimizer.beta1, optimizer.beta2) = (case.beta1, case.beta2);
    (optimizer.eps, optimizer.weight_decay) = (case.eps, case.weight_decay);

    let (count, stream) = (case.init_param.len(), stream());
    let (value, grad) = (on(case.init_param), on(vec![0.0; count]));
    let mut parameters = [Parameter { name: "p".into(), shape: vec![count], value, grad }];
    optimizer.attach(&parameters, &stream)?;
    for (i, step) in case.steps.into_iter().enumerate() {
        let named = |field: &str| format!("steps[{i}].{field}");
        optimizer.lr = step.lr.unwrap_or(optimizer.lr);
        parameters[0].grad = on(step.grad);
        same(&named("grad: the length"), count, parameters[0].grad.len())?;
        optimizer.step(&mut parameters, 1, &stream)?;
        tolerance.close_all(&named("param"), &step.param, &parameters[0].value.elements())?;
        let state = optimizer.snapshot(&parameters, &stream)?;
        for (field, expected) in [("exp_avg", step.exp_avg), ("exp_avg_sq", step.exp_avg_sq)] {
            let moment = state.iter().find(|array| array.name == format!("p.{field}"));
            match moment.map(|array| &array.data) {
                Some(ArrayData::F32(got)) => tolerance.close_all(&named(field), &expected, got)?,
                _ => return Err(format!("{}: not in the optimizer's state", named(field)).into()),
            }
        }
    }
    Ok(())
}
