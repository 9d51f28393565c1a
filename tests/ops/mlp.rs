use recis::device::{Buffer, Stream};
use recis::ops::mlp::{Batch, Layer, fits, train};
use recis::ops::unfit::{Found, Unfit};

use crate::common::{each, floats, on, read, rng, ulps};

/// A network and a batch, in the host's memory.
struct Case {
    widths: Vec<usize>,
    x: Vec<f32>,
    label: Vec<f32>,
    /// Weight and bias of each layer.
    parameters: Vec<(Vec<f32>, Vec<f32>)>,
}

/// What a step writes: prediction, loss, d_x, and weight and bias gradient of each layer.
#[derive(Debug, PartialEq)]
struct Written<T>(Vec<Vec<T>>);

impl Case {
    fn random(seed: u64, rows: usize, widths: &[usize]) -> Self {
        let mut rng = rng(seed);
        let mut scaled =
            |n: usize, by: f32| floats(&mut rng, n).into_iter().map(|v| v * by).collect::<Vec<_>>();
        let x = scaled(rows * widths[0], 4.0);
        let parameters = widths
            .windows(2)
            .map(|pair| (scaled(pair[1] * pair[0], 6.0 / (pair[0] as f32).sqrt()), scaled(pair[1], 1.0)))
            .collect();
        let label = (0..rows).map(|row| [0.0, 1.0, 0.25][row * 7 % 3]).collect();
        Self { widths: widths.to_vec(), x, label, parameters }
    }

    /// Runs the operation; gradients of parameters are `before` it.
    fn run(&self, before: f32, accumulate: bool, stream: &Stream) -> (Written<f32>, Option<Found>) {
        let filled = |n: usize| on(vec![before; n], stream);
        let given: Vec<_> =
            self.parameters.iter().map(|(w, b)| (on(w.clone(), stream), on(b.clone(), stream))).collect();
        let mut gradients: Vec<_> =
            self.parameters.iter().map(|(w, b)| (filled(w.len()), filled(b.len()))).collect();
        let mut layers: Vec<_> = (given.iter().zip(&mut gradients).zip(self.widths.windows(2)))
            .map(|(((weight, bias), (d_weight, d_bias)), widths)| Layer {
                weight,
                bias,
                d_weight,
                d_bias,
                inputs: widths[0],
                outputs: widths[1],
            })
            .collect();
        let (x, label) = (on(self.x.clone(), stream), on(self.label.clone(), stream));
        let mut prediction = Buffer::zeros(self.label.len(), stream).unwrap();
        let (mut loss, mut d_x) = (on([f32::NAN], stream), on(vec![f32::NAN; self.x.len()], stream));
        let mut unfit = Unfit::new(1, stream).unwrap();
        let batch = Batch {
            x: &x,
            label: &label,
            prediction: &mut prediction,
            loss: &mut loss,
            d_x: &mut d_x,
            unfit: unfit.word(0),
        };
        train(&mut layers, batch, accumulate, stream, &Stream::new(stream.device()).unwrap()).unwrap();
        let mut written = vec![read(&prediction, stream), read(&loss, stream), read(&d_x, stream)];
        written.extend(gradients.iter().flat_map(|(w, b)| [read(w, stream), read(b, stream)]));
        (Written(written), Unfit::found(unfit.read_back(stream).unwrap()).unwrap()[0])
    }

    /// The plain formula, in f64 or f32; gradients of parameters are added to `before`.
    fn plain<T: Float>(&self, before: f32) -> Written<T> {
        let convert = |values: &[f32]| values.iter().map(|&v| T::from(v)).collect::<Vec<T>>();
        let relu = |z: &[T]| z.iter().map(|&z| if z < T::from(0.0) { T::from(0.0) } else { z }).collect();
        let rows = self.label.len();
        let mut inputs: Vec<Vec<T>> = vec![relu(&convert(&self.x))];
        let mut z: Vec<T> = Vec::new();
        for ((w, b), widths) in self.parameters.iter().zip(self.widths.windows(2)) {
            let (w, b, x, depth) = (convert(w), convert(b), &inputs[inputs.len() - 1], widths[0]);
            let sum = |row, o| (0..depth).map(|k| x[row * depth + k] * w[o * depth + k]).sum::<T>() + b[o];
            z = (0..rows * widths[1]).map(|i| sum(i / widths[1], i % widths[1])).collect();
            inputs.push(relu(&z));
        }
        let one = T::from(1.0);
        let prediction: Vec<T> = z.iter().map(|&z| one / (one + (-z).exp())).collect();
        let label = convert(&self.label);
        let losses = prediction.iter().zip(&label).map(|(&p, &y)| -(y * p.ln() + (one - y) * (-p).ln_1p()));
        let count = T::from(rows as f32);
        let loss = losses.sum::<T>() / count;
        let d_prediction = |p: T, y: T| (p - y) / (p * (one - p)) / count;
        let back = prediction.iter().zip(&label).map(|(&p, &y)| d_prediction(p, y) * (p * (one - p)));
        let mut d_z: Vec<T> = back.collect();
        let (before, mut gradients) = (T::from(before), Vec::new());
        for (l, (w, _)) in self.parameters.iter().enumerate().rev() {
            let (n, o) = (self.widths[l], self.widths[l + 1]);
            let (w, x) = (convert(w), &inputs[l]);
            let d_w = |i: usize| {
                (0..rows).map(|row| d_z[row * o + i / n] * x[row * n + i % n]).fold(before, T::add)
            };
            let d_b = |i: usize| (0..rows).map(|row| d_z[row * o + i]).fold(before, T::add);
            gradients.push([(0..n * o).map(d_w).collect(), (0..o).map(d_b).collect()]);
            let d_x = |i: usize| {
                let d = (0..o).map(|k| d_z[i / n * o + k] * w[k * n + i % n]).sum();
                if x[i] > T::from(0.0) { d } else { T::from(0.0) }
            };
            d_z = (0..rows * n).map(d_x).collect();
        }
        let gradients = gradients.into_iter().rev().flatten();
        Written([prediction, vec![loss], d_z].into_iter().chain(gradients).collect())
    }

    /// The largest error of the predictions and the loss, and that of the gradients, in units of f32's
    /// precision at the magnitude of an array, or of a gradient's terms where they cancel.
    fn errors(&self, written: &Written<f32>, exact: &Written<f64>) -> [f64; 2] {
        let terms = exact.0[0].iter().zip(&self.label).map(|(p, &y)| (p - f64::from(y)).abs());
        let terms = terms.sum::<f64>() / self.label.len() as f64;
        let mut worst = [0.0f64; 2];
        for (i, (written, exact)) in written.0.iter().zip(&exact.0).enumerate() {
            let least = if i < 2 { 0.0 } else { terms };
            let scale = exact.iter().fold(least, |scale, value| scale.max(value.abs()));
            let kind = &mut worst[usize::from(i >= 2)];
            *kind = kind.max(ulps(written, exact, scale));
        }
        worst
    }
}

/// What the plain formula needs of f32 and f64.
trait Float:
    Copy
    + From<f32>
    + PartialOrd
    + std::iter::Sum
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
{
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn ln_1p(self) -> Self;
}

macro_rules! float {
    ($($float:ident)*) => {$(
        impl Float for $float {
            fn exp(self) -> Self { <$float>::exp(self) }
            fn ln(self) -> Self { <$float>::ln(self) }
            fn ln_1p(self) -> Self { <$float>::ln_1p(self) }
        }
    )*};
}
float!(f32 f64);

const DOCUMENT: [usize; 4] = [128, 64, 32, 1];

#[test]
fn as_exact_as_the_plain_formula() {
    each(|stream| {
        let cases: [(usize, &[usize]); 9] = [
            (1, &[1, 1]),
            (3, &[5, 1]),
            (8, &[16, 8, 4, 1]),
            (9, &[33, 31, 1]),
            (130, &DOCUMENT),
            (17, &[256, 65, 1]),
            (20, &[2, 256, 64, 3, 1]),
            (2060, &[3, 4, 1]), // more tiles than blocks
            (16, &[100, 96, 96, 1]),
        ];
        for (rows, widths) in cases {
            let case = Case::random(rows as u64, rows, widths);
            for (before, accumulate) in [(0.0, false), (0.5, true)] {
                let (exact, plain) = (case.plain::<f64>(before), case.plain::<f32>(before));
                let (written, found) =
                    case.run(if accumulate { before } else { f32::NAN }, accumulate, stream);
                assert_eq!(found, None);
                let (errors, plain) = (case.errors(&written, &exact), case.errors(&plain, &exact));
                let within = errors.iter().zip(&plain).all(|(error, plain)| *error <= 2.0 * plain.max(1.0));
                assert!(within, "{rows} rows, {widths:?}: {errors:?}, plain {plain:?}");
            }
        }
    });
}

#[test]
fn a_second_run_gives_the_same_bits() {
    each(|stream| {
        let case = Case::random(3, 77, &DOCUMENT);
        assert_eq!(case.run(0.25, true, stream), case.run(0.25, true, stream));
    });
}

#[test]
fn what_is_not_finite_stays_in_its_row() {
    each(|stream| {
        let mut case = Case::random(4, 21, &[6, 5, 1]);
        // All weights count, so that no relu hides it.
        case.parameters.iter_mut().for_each(|(w, b)| w.iter_mut().chain(b).for_each(|v| *v = v.abs() + 0.1));
        let (tame, found) = case.run(0.0, false, stream);
        assert_eq!(found, None);
        case.x[11 * 6 + 2] = f32::NAN;
        case.x[13 * 6 + 1] = f32::NAN;
        let (written, found) = case.run(0.0, false, stream);
        let found = found.unwrap();
        assert!(found.row == 11 && found.value.is_nan());
        for row in 0..21 {
            let nan = row == 11 || row == 13;
            assert_eq!(written.0[0][row].is_nan(), nan);
            assert!(nan || written.0[0][row] == tame.0[0][row]);
            assert!(nan || written.0[2][row * 6..][..6] == tame.0[2][row * 6..][..6]);
        }
    });
}

#[test]
fn saturated_predictions_have_a_loss_and_no_gradient() {
    each(|stream| {
        let mut case = Case::random(5, 2, &[1, 1]);
        (case.x, case.label) = (vec![200.0, 200.0], vec![0.0, 1.0]);
        case.parameters = vec![(vec![1.0], vec![0.0])];
        let (Written(written), found) = case.run(0.0, false, stream);
        assert_eq!(found, None);
        assert_eq!(written, [vec![1.0, 1.0], vec![50.0], vec![0.0, 0.0], vec![0.0], vec![0.0]]);
    });
}

#[test]
fn which_networks_fit() {
    assert!(fits(&DOCUMENT) && fits(&[256, 1]) && fits(&[1, 1]) && fits(&[256, 64, 1]));
    let too_large: [&[usize]; 7] =
        [&[4], &[4, 2], &[4, 0, 1], &[257, 1], &[4, 4, 4, 4, 4, 1], &[256, 128, 1], &[]];
    too_large.into_iter().for_each(|widths| assert!(!fits(widths), "{widths:?}"));
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    each(|stream| {
        let zeros = |n| Buffer::<f32>::zeros(n, stream).unwrap();
        let run = |[inputs, outputs]: [usize; 2], weight: usize, rows: usize| {
            let (weight, bias, x, label) = (zeros(weight), zeros(1), zeros(6), zeros(rows));
            let (mut d_weight, mut d_bias, mut loss) = (weight.clone(), zeros(1), zeros(1));
            let (mut d_x, mut prediction) = (x.clone(), label.clone());
            let mut unfit = Unfit::new(1, stream).unwrap();
            let (d_weight, d_bias) = (&mut d_weight, &mut d_bias);
            let layer = Layer { weight: &weight, bias: &bias, d_weight, d_bias, inputs, outputs };
            let (prediction, loss, d_x) = (&mut prediction, &mut loss, &mut d_x);
            let batch = Batch { x: &x, label: &label, prediction, loss, d_x, unfit: unfit.word(0) };
            train(&mut [layer], batch, false, stream, stream).map_err(|error| error.to_string())
        };
        assert_eq!(run([3, 1], 3, 2), Ok(()));
        assert_eq!(run([3, 2], 3, 2).unwrap_err(), "mlp: layers 3 -> 2 cannot run as one");
        assert_eq!(run([300, 1], 3, 2).unwrap_err(), "mlp: layers 300 -> 1 cannot run as one");
        assert_eq!(
            run([3, 1], 4, 2).unwrap_err(),
            "mlp: a layer 3 -> 1 needs (weight, bias, d_weight, d_bias) of [3, 1, 3, 1] elements, got [4, 1, 4, 1]"
        );
        assert_eq!(
            run([3, 1], 3, 3).unwrap_err(),
            "mlp: 3 rows of 3 values, but (x, prediction, loss, d_x) of [6, 3, 1, 6] elements"
        );
        assert!(run([3, 1], 3, 0).is_err());
    });
}
