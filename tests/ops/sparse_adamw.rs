use recis::device::{Buffer, Stream};
use recis::ops::hash_table::NO_ROW;
use recis::ops::rows::{BLOCK_ROWS, Rows, gather, scatter};
use recis::ops::sparse_adamw::{Coefficients, Decay, step};

#[test]
fn only_touched_rows_move_and_each_as_the_formula_says() {
    let stream = Stream::default();
    let mut storage = Rows::new(2, 3).unwrap();
    storage.reserve(2 * BLOCK_ROWS, &stream).unwrap();
    let all: Buffer<u32> = vec![3, BLOCK_ROWS as u32, 7].into();
    scatter(&mut storage, 0, &all, &vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0].into(), &stream).unwrap();

    let mut powers = [1.0f32, 1.0];
    let [one, two] = &mut powers;
    let c = Coefficients::advance([one, two], 0.01, [0.9, 0.999], 1e-8, Decay::WithoutLr(0.1));
    assert_eq!(powers, [0.9, 0.999]);
    let rows: Buffer<u32> = vec![BLOCK_ROWS as u32, NO_ROW, 3].into();
    step(&mut storage, &rows, &vec![0.5, -0.5, 9.0, 9.0, 1.0, 0.0].into(), &c, &stream).unwrap();

    let mut slots = [0, 1, 2].map(|slot| {
        let mut values = Buffer::from(vec![0.0; 6]);
        gather(&storage, slot, &all, &mut values, &stream).unwrap();
        values.host().to_vec()
    });
    // In the first step m / sqrt(v) is ± sqrt(1 - β₂) / (1 - β₁) and alpha its inverse times lr.
    let expected = [0.9 - 0.01, 1.8, 2.7 - 0.01, 3.6 + 0.01, 5.0, 6.0];
    slots[0]
        .iter_mut()
        .zip(expected)
        .for_each(|(got, e)| assert!((*got - e as f32).abs() < 2e-6, "{got}, expected {e}"));
    assert_eq!(slots[1][4..], [0.0, 0.0]);
    assert!((slots[1][0] - 0.1).abs() < 1e-7 && (slots[2][2] - 0.25e-3).abs() < 1e-7);
}

#[test]
fn storage_without_moments_is_refused() {
    let stream = Stream::default();
    let mut storage = Rows::new(1, 1).unwrap();
    let c = Coefficients { alpha: 0.0, decay: 1.0, beta1: 0.9, beta2: 0.9, eps: 0.0 };
    let error = step(&mut storage, &vec![].into(), &vec![].into(), &c, &stream).unwrap_err().to_string();
    assert_eq!(error, "sparse_adamw: rows have 1 slots; the step needs embedding, exp_avg and exp_avg_sq");
}
