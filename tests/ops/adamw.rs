use recis::device::{Buffer, Stream};
use recis::ops::adamw::{Options, step};

use crate::common::{each, floats, on, read, rng};

const OPTIONS: Options =
    Options { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 1 };

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
            step(&mut p, &mut m, &mut v, &on(g.clone(), stream), &options, stream).unwrap();
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
fn no_elements_are_fine_and_sizes_that_differ_are_refused() {
    each(|stream| {
        let b = |n| Buffer::zeros(n, stream).unwrap();
        step(&mut b(0), &mut b(0), &mut b(0), &b(0), &OPTIONS, stream).unwrap();
        let error = step(&mut b(2), &mut b(2), &mut b(3), &b(2), &OPTIONS, stream).unwrap_err();
        assert_eq!(error.to_string(), "adamw: parameter, moments and gradient have [2, 2, 3, 2] elements");
        let first = Options { step: 0, ..OPTIONS };
        let error = step(&mut b(1), &mut b(1), &mut b(1), &b(1), &first, stream).unwrap_err();
        assert_eq!(error.to_string(), "adamw: steps count from 1");
    });
}

#[test]
fn clones_keep_what_they_held() {
    each(|stream: &Stream| {
        let [mut p, mut m, mut v] = [1.0, 0.0, 0.0].map(|value: f32| on([value], stream));
        let before = p.clone();
        step(&mut p, &mut m, &mut v, &on([1.0], stream), &OPTIONS, stream).unwrap();
        assert_eq!(read(&before, stream), [1.0]);
        assert!(read(&p, stream)[0] < 1.0);
    });
}
