use recis::device::{Buffer, Stream};
use recis::ops::adamw::{Options, step};

use crate::common::{floats, rng};

const OPTIONS: Options =
    Options { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 1 };

#[test]
fn follows_the_formula_over_more_elements_than_a_chunk() {
    let (stream, n) = (Stream::default(), 40_003);
    let mut rng = rng(1);
    let mut p = Buffer::from(floats(&mut rng, n));
    let (mut m, mut v) = (Buffer::zeros(n, &stream).unwrap(), Buffer::zeros(n, &stream).unwrap());
    let mut exact: Vec<[f64; 3]> = p.host().iter().map(|&p| [p.into(), 0.0, 0.0]).collect();
    for t in 1..=3 {
        let g = Buffer::from(floats(&mut rng, n));
        step(&mut p, &mut m, &mut v, &g, &Options { step: t, ..OPTIONS }, &stream).unwrap();
        let power = |beta: f64| 1.0 - beta.powi(t as i32);
        for ([p, m, v], &g) in exact.iter_mut().zip(g.host()) {
            let g = f64::from(g);
            *p *= 1.0 - OPTIONS.lr * OPTIONS.weight_decay;
            *m += (g - *m) * (1.0 - OPTIONS.beta1);
            *v = OPTIONS.beta2 * *v + (1.0 - OPTIONS.beta2) * g * g;
            *p -= OPTIONS.lr / power(OPTIONS.beta1) * *m
                / (v.sqrt() / power(OPTIONS.beta2).sqrt() + OPTIONS.eps);
        }
    }
    for (i, exact) in exact.iter().enumerate() {
        for (got, exact, bound) in
            [(p.host()[i], exact[0], 3e-7), (m.host()[i], exact[1], 1e-7), (v.host()[i], exact[2], 1e-9)]
        {
            assert!((f64::from(got) - exact).abs() < bound, "element {i}: {got}, expected {exact}");
        }
    }
}

#[test]
fn sizes_that_differ_are_refused() {
    let b = |n| Buffer::from(vec![0.0; n]);
    let error = step(&mut b(2), &mut b(2), &mut b(3), &b(2), &OPTIONS, &Stream::default()).unwrap_err();
    assert_eq!(error.to_string(), "adamw: parameter, moments and gradient have [2, 2, 3, 2] elements");
    let first = Options { step: 0, ..OPTIONS };
    assert!(step(&mut b(1), &mut b(1), &mut b(1), &b(1), &first, &Stream::default()).is_err());
}
