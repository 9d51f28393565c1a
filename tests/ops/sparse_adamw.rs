use recis::device::{Buffer, Stream};
use recis::ops::hash_table::NO_ROW;
use recis::ops::merge_gradients::Gradients;
use recis::ops::rows::{Rows, gather, scatter};
use recis::ops::sparse_adamw::{Coefficients, Decay, step};

use crate::common::{each, each_with_kernels, floats, on, read, rng};

/// The three slots of some rows.
fn slots(storage: &Rows, rows: &Buffer<u32>, stream: &Stream) -> [Vec<f32>; 3] {
    [0, 1, 2].map(|slot| {
        let mut values = on(vec![0.0; rows.len() * storage.dim()], stream);
        gather(storage, slot, rows, None, &mut values, stream).unwrap();
        read(&values, stream)
    })
}

/// Storage of three slots with room for 1025 rows, the slots of `rows` set: memory of a device holds
/// anything at first.
fn storage(dim: usize, rows: &Buffer<u32>, embeddings: &[f32], stream: &Stream) -> Rows {
    let mut storage = Rows::new(dim, 3, stream).unwrap();
    storage.reserve(1025).unwrap();
    scatter(&mut storage, 0, rows, &on(embeddings, stream), stream).unwrap();
    for slot in [1, 2] {
        scatter(&mut storage, slot, rows, &on(vec![0.0; embeddings.len()], stream), stream).unwrap();
    }
    storage
}

#[test]
fn only_touched_rows_move_and_each_as_the_formula_says() {
    each(|stream| {
        let all = on([3, 1024, 7], stream);
        let mut storage = storage(2, &all, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], stream);
        let mut powers = [1.0f32, 1.0];
        let [one, two] = &mut powers;
        let c = Coefficients::advance([one, two], 0.01, [0.9, 0.999], 1e-8, Decay::WithoutLr(0.1));
        assert_eq!(powers, [0.9, 0.999]);
        // The last one is behind the count.
        let gradients = Gradients {
            rows: on([1024, NO_ROW, 3, 7], stream),
            values: on([0.5, -0.5, 9.0, 9.0, 1.0, 0.0, 9.0, 9.0], stream),
            count: Some(on([3], stream)),
        };
        step(&mut storage, &gradients, &c, stream).unwrap();

        let slots = slots(&storage, &all, stream);
        // In the first step m / sqrt(v) is ± sqrt(1 - β₂) / (1 - β₁) and alpha its inverse times lr.
        let expected = [0.9 - 0.01, 1.8, 2.7 - 0.01, 3.6 + 0.01, 5.0, 6.0];
        let pairs = slots[0].iter().zip(expected);
        pairs.for_each(|(got, e)| assert!((*got - e as f32).abs() < 2e-6, "{got}, expected {e}"));
        assert_eq!(slots[1][4..], [0.0, 0.0]);
        assert!((slots[1][0] - 0.1).abs() < 1e-7 && (slots[2][2] - 0.25e-3).abs() < 1e-7);
    });
}

#[test]
fn several_steps_at_all_widths_follow_the_formula() {
    each(|stream| {
        for dim in [1, 3, 4, 8, 17, 64] {
            let mut rng = rng(dim as u64);
            let rows: Vec<u32> = (0..100).map(|i| i * 7 % 100).collect();
            let (there, first) = (on(&rows[..], stream), floats(&mut rng, rows.len() * dim));
            let mut storage = storage(dim, &there, &first, stream);
            let mut exact: Vec<[f64; 3]> = first.iter().map(|&e| [e.into(), 0.0, 0.0]).collect();
            let mut powers = [1.0f32, 1.0];
            for _ in 0..3 {
                let [one, two] = &mut powers;
                let c = Coefficients::advance([one, two], 0.01, [0.9, 0.99], 1e-8, Decay::WithoutLr(0.01));
                let values = floats(&mut rng, rows.len() * dim);
                for ([e, m, v], &g) in exact.iter_mut().zip(&values) {
                    let [g, beta1, beta2] = [g, c.beta1, c.beta2].map(f64::from);
                    *m = *m * beta1 + g * (1.0 - beta1);
                    *v = *v * beta2 + g * g * (1.0 - beta2);
                    *e = *e * f64::from(c.decay) + f64::from(c.alpha) * *m / (v.sqrt() + f64::from(c.eps));
                }
                let gradients = Gradients { rows: there.clone(), values: on(values, stream), count: None };
                step(&mut storage, &gradients, &c, stream).unwrap();
            }
            for (slot, (got, bound)) in
                slots(&storage, &there, stream).iter().zip([1e-6, 2e-7, 2e-7]).enumerate()
            {
                for (got, exact) in got.iter().zip(&exact) {
                    let error = (f64::from(*got) - exact[slot]).abs();
                    assert!(error < bound, "dim {dim}, slot {slot}: {got}, expected {}", exact[slot]);
                }
            }
        }
    });
}

#[test]
fn storage_without_moments_is_refused() {
    each(|stream| {
        let mut storage = Rows::new(1, 1, stream).unwrap();
        let c = Coefficients { alpha: 0.0, decay: 1.0, beta1: 0.9, beta2: 0.9, eps: 0.0 };
        let none = Gradients { rows: on([], stream), values: on([], stream), count: None };
        let error = step(&mut storage, &none, &c, stream).unwrap_err().to_string();
        assert_eq!(
            error,
            "sparse_adamw: rows have 1 slots; the step needs embedding, exp_avg and exp_avg_sq"
        );
        step(&mut Rows::new(1, 3, stream).unwrap(), &none, &c, stream).unwrap();
    });
}

#[test]
fn rows_without_memory_are_passed_over() {
    each_with_kernels(|stream| {
        let there = on([5], stream);
        let mut storage = storage(1, &there, &[1.0], stream);
        let c = Coefficients { alpha: 0.0, decay: 0.5, beta1: 0.9, beta2: 0.9, eps: 1.0 };
        let gradients = Gradients {
            rows: on([1 << 30, 5, NO_ROW - 1], stream),
            values: on([1.0; 3], stream),
            count: Some(on([u32::MAX], stream)),
        };
        step(&mut storage, &gradients, &c, stream).unwrap();
        assert_eq!(slots(&storage, &there, stream)[0], [0.5]);
    });
}
