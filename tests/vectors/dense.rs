//! The dense network: layers, loss and initial values.

use recis::device::Buffer;
use recis::nn::{Backward, BceLoss, Initializer, Layer, Linear, Loss, Parameter, Relu, Sigmoid};
use serde::Deserialize;
use serde_json::Value;

use recis::ops::unfit::Unfit;

use super::case::{Elements, Outcome, Tolerance, on, parse, same, stream};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mlp {
    x: Vec<Vec<f32>>,
    labels: Vec<f32>,
    weights: Vec<Vec<Vec<f32>>>,
    biases: Vec<Vec<f32>>,
    prob: Vec<f64>,
    loss: f64,
    grad_weights: Vec<Vec<Vec<f64>>>,
    grad_biases: Vec<Vec<f64>>,
    grad_x: Vec<Vec<f64>>,
}

/// A layer, its parameters, its output, and the gradient of its input.
struct Step {
    layer: Box<dyn Layer>,
    parameters: Vec<Parameter>,
    y: Buffer<f32>,
    d_x: Buffer<f32>,
}

pub fn mlp(case: &Value, tolerance: &Tolerance) -> Outcome {
    let case: Mlp = parse(case)?;
    let (rows, stream) = (case.x.len(), stream());
    let x = on(case.x.concat());
    let mut steps = network(&case, rows)?;

    let mut input = &x;
    for step in &mut steps {
        step.layer.forward(&step.parameters, input, &mut step.y, rows, &stream)?;
        step.d_x = on(vec![0.0; input.len()]);
        input = &step.y;
    }
    tolerance.close_all("prob", &case.prob, &input.elements())?;
    let (mut loss, mut d_y, mut unfit) = (on(vec![0.0]), on(vec![0.0; rows]), Unfit::new(1, &stream)?);
    BceLoss.forward(input, &on(case.labels), &mut loss, Some(&mut d_y), unfit.word(0), &stream)?;
    tolerance.close("loss", case.loss, loss.elements()[0])?;

    for i in (0..steps.len()).rev() {
        let (before, after) = steps.split_at_mut(i);
        let step = &mut after[0];
        let pass = Backward {
            x: before.last().map_or(&x, |before| &before.y),
            y: &step.y,
            d_y: &d_y,
            d_x: Some(&mut step.d_x),
            rows,
            accumulate: false,
        };
        step.layer.backward(&mut step.parameters, pass, &stream)?;
        d_y = step.d_x.clone();
    }
    let linear = steps.iter().filter(|step| step.layer.is_linear());
    for (i, step) in linear.enumerate() {
        let [weight, bias] = &step.parameters[..] else { return Err("a layer without parameters".into()) };
        let expected = case.grad_weights.get(i).ok_or_else(|| format!("grad_weights[{i}]: missing"))?;
        tolerance.close_all(&format!("grad_weights[{i}]"), &expected.concat(), &weight.grad.elements())?;
        let expected = case.grad_biases.get(i).ok_or_else(|| format!("grad_biases[{i}]: missing"))?;
        tolerance.close_all(&format!("grad_biases[{i}]"), expected, &bias.grad.elements())?;
    }
    tolerance.close_all("grad_x", &case.grad_x.concat(), &d_y.elements())
}

/// Linear layers with ReLU between them and a sigmoid at the end.
fn network(case: &Mlp, rows: usize) -> Outcome<Vec<Step>> {
    same("the number of biases", case.weights.len(), case.biases.len())?;
    let mut steps = Vec::new();
    for (weight, bias) in case.weights.iter().zip(&case.biases) {
        let (outputs, inputs) = (weight.len(), weight.first().map_or(0, Vec::len));
        let step = |layer: Box<dyn Layer>, parameters| Step {
            layer,
            parameters,
            y: on(vec![0.0; rows * outputs]),
            d_x: Buffer::default(),
        };
        let parameter = |name: &str, value: Vec<f32>, shape: Vec<usize>| {
            let grad = on(vec![0.0; value.len()]);
            Parameter { name: name.into(), shape, value: on(value), grad }
        };
        let parameters = vec![
            parameter("weight", weight.concat(), vec![outputs, inputs]),
            parameter("bias", bias.clone(), vec![outputs]),
        ];
        steps.push(step(Box::new(Linear::new(inputs, outputs)), parameters));
        let last = steps.len() == 2 * case.weights.len() - 1;
        steps.push(step(if last { Box::new(Sigmoid) } else { Box::new(Relu) }, Vec::new()));
    }
    Ok(steps)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bce {
    prob: f32,
    label: f32,
    loss: f64,
    grad_prob: f64,
}

pub fn bce(case: &Value, tolerance: &Tolerance) -> Outcome {
    let case: Bce = parse(case)?;
    let (mut loss, mut grad, mut unfit) = (on(vec![0.0]), on(vec![0.0]), Unfit::new(1, &stream())?);
    let (prob, label) = (on(vec![case.prob]), on(vec![case.label]));
    BceLoss.forward(&prob, &label, &mut loss, Some(&mut grad), unfit.word(0), &stream())?;
    tolerance.close("loss", case.loss, loss.elements()[0])?;
    tolerance.close("grad_prob", case.grad_prob, grad.elements()[0])
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TruncNormal {
    mean: f64,
    std: f64,
    a: f64,
    b: f64,
    uniform_low: f64,
    uniform_high: f64,
    points: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    q: f64,
    uniform: f64,
    value: f64,
}

pub fn trunc_normal(case: &Value, tolerance: &Tolerance) -> Outcome {
    let case: TruncNormal = parse(case)?;
    let initializer = Initializer::TruncNormal { mean: case.mean, std: case.std, a: case.a, b: case.b };
    initializer.validate()?;
    let (low, high) = (case.uniform_low, case.uniform_high);
    for (i, point) in case.points.iter().enumerate() {
        let named = |field: &str| format!("points[{i}].{field}");
        tolerance.close(&named("uniform"), point.uniform, low + point.q * (high - low))?;
        tolerance.close(&named("value"), point.value, initializer.quantile(point.q))?;
    }
    Ok(())
}
