use recis::device::{Buffer, Stream};
use recis::ops::adamw::{Options, Parameter, step};

use crate::common::{each, floats, on, read, rng};

const OPTIONS: Options =
    Options { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 1, batches: 1 };

/// A step of one parameter.
fn step_one(
    value: &mut Buffer<f32>,
    exp_avg: &mut Buffer<f32>,
    exp_avg_sq: &mut Buffer<f32>,
    gradient: &Buffer<f32>,
    options: &Options,
    stream: &Stream,
) -> recis::Result<()> {
    step(&mut [Parameter { value, exp_avg, exp_avg_sq, gradient }], options, stream)
}

#[test]
fn follows_the_formula_over_more_elements_than_a_chunk() {
    each(|stream| {
        let n = 40_003;
        let mut rng = rng(1);
        let first = floats(&mut rng, n);
        let mut exact: Vec<[f64; 3]> = first.iter().map(|&p| [p.into(), 0.0, 0.0]).collect();
        let mut p = on(first, stream);
        let (mut m, mut v) = (Buffer::zeros(n, stream).unwrap(), Buffer::zeros(n, stream).unwrap());
        for t in 1..=3 {
            let g = floats(&mut rng, n);
            let options = Options { step: t, ..OPTIONS };
            step_one(&mut p, &mut m, &mut v, &on(g.clone(), stream), &options, stream).unwrap();
            let power = |beta: f64| 1.0 - beta.powi(t as i32);
            for ([p, m, v], g) in exact.iter_mut().zip(g) {
                let g = f64::from(g);
                *p *= 1.0 - OPTIONS.lr * OPTIONS.weight_decay;
                *m += (g - *m) * (1.0 - OPTIONS.beta1);
                *v = OPTIONS.beta2 * *v + (1.0 - OPTIONS.beta2) * g * g;
                *p -= OPTIONS.lr / power(OPTIONS.beta1) * *m
                    / (v.sqrt() / power(OPTIONS.beta2).sqrt() + OPTIONS.eps);
            }
        }
        let (p, m, v) = (read(&p, stream), read(&m, stream), read(&v, stream));
        for (i, exact) in exact.iter().enumerate() {
            for (got, exact, bound) in
                [(p[i], exact[0], 3e-7), (m[i], exact[1], 1e-7), (v[i], exact[2], 1e-9)]
            {
                assert!((f64::from(got) - exact).abs() < bound, "element {i}: {got}, expected {exact}");
            }
        }
    });
}

#[test]
fn many_parameters_move_as_each_would_alone() {
    each(|stream| {
        let mut rng = rng(2);
        // More than a launch does, some without elements.
        let sizes: Vec<usize> = (0..100).map(|i| [0, 1, 7, 1024, 1025][i % 5]).collect();
        let gradients: Vec<_> = sizes.iter().map(|&len| on(floats(&mut rng, len), stream)).collect();
        let arrays = sizes.iter().map(|&len| {
            let zeros = || Buffer::zeros(len, stream).unwrap();
            [on(floats(&mut rng, len), stream), zeros(), zeros()]
        });
        let mut together: Vec<[Buffer<f32>; 3]> = arrays.collect();
        let mut alone = together.clone();
        let parameters = together.iter_mut().zip(&gradients);
        let parameters = parameters.map(|([value, exp_avg, exp_avg_sq], gradient)| Parameter {
            value,
            exp_avg,
            exp_avg_sq,
            gradient,
        });
        step(&mut parameters.collect::<Vec<_>>(), &OPTIONS, stream).unwrap();
        for ([p, m, v], gradient) in alone.iter_mut().zip(&gradients) {
            step_one(p, m, v, gradient, &OPTIONS, stream).unwrap();
        }
        for (i, (together, alone)) in together.iter().zip(&alone).enumerate() {
            for (together, alone) in together.iter().zip(alone) {
                assert_eq!(read(together, stream), read(alone, stream), "parameter {i}");
            }
        }
    });
}

#[test]
fn a_sum_over_batches_moves_as_its_mean() {
    each(|stream| {
        let moved = |gradient: [f32; 3], batches| {
            let [mut p, mut m, mut v] =
                [[1.0, 2.0, 3.0], [0.0; 3], [0.0; 3]].map(|values| on(values, stream));
            let options = Options { batches, ..OPTIONS };
            step_one(&mut p, &mut m, &mut v, &on(gradient, stream), &options, stream).unwrap();
            [p, m, v].map(|array| read(&array, stream))
        };
        assert_eq!(moved([2.0, -4.0, 0.5], 4), moved([0.5, -1.0, 0.125], 1));
    });
}

#[test]
fn no_elements_are_fine_and_sizes_that_differ_are_refused() {
    each(|stream| {
        let b = |n| Buffer::zeros(n, stream).unwrap();
        step(&mut [], &OPTIONS, stream).unwrap();
        step_one(&mut b(0), &mut b(0), &mut b(0), &b(0), &OPTIONS, stream).unwrap();
        let error = step_one(&mut b(2), &mut b(2), &mut b(3), &b(2), &OPTIONS, stream).unwrap_err();
        assert_eq!(error.to_string(), "adamw: parameter, moments and gradient have [2, 2, 3, 2] elements");
        let first = Options { step: 0, ..OPTIONS };
        let error = step_one(&mut b(1), &mut b(1), &mut b(1), &b(1), &first, stream).unwrap_err();
        assert_eq!(error.to_string(), "adamw: steps count from 1");
        let none = Options { batches: 0, ..OPTIONS };
        let error = step_one(&mut b(1), &mut b(1), &mut b(1), &b(1), &none, stream).unwrap_err();
        assert_eq!(error.to_string(), "adamw: a step of no batches");
    });
}

#[test]
fn clones_keep_what_they_held() {
    each(|stream: &Stream| {
        let [mut p, mut m, mut v] = [1.0, 0.0, 0.0].map(|value: f32| on([value], stream));
        let before = p.clone();
        step_one(&mut p, &mut m, &mut v, &on([1.0], stream), &OPTIONS, stream).unwrap();
        assert_eq!(read(&before, stream), [1.0]);
        assert!(read(&p, stream)[0] < 1.0);
    });
}
