use recis::ops::initialize::{Initializer, Source};

fn row(initializer: &Initializer, seed: u64, name: &str, id: i64, len: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; len];
    Source::new(initializer, seed, name).fill(id, &mut out);
    out
}

#[test]
fn a_value_depends_on_its_seed_name_id_and_column_alone() {
    let normal = Initializer::Normal { mean: 0.0, std: 1.0 };
    let long = row(&normal, 42, "table", -7, 19);
    for len in [1, 3, 4, 7, 16] {
        assert_eq!(row(&normal, 42, "table", -7, len), long[..len]);
    }
    for other in [
        row(&normal, 43, "table", -7, 19),
        row(&normal, 42, "tablf", -7, 19),
        row(&normal, 42, "table", 7, 19),
    ] {
        assert!(other.iter().zip(&long).all(|(a, b)| a != b));
    }
}

#[test]
fn samples_have_the_distributions_moments() {
    let cases = [
        (Initializer::Constant(3.0), 3.0, 0.0),
        (Initializer::Uniform { a: -1.0, b: 3.0 }, 1.0, 4.0 / 12f64.sqrt()),
        (Initializer::Normal { mean: 2.0, std: 0.5 }, 2.0, 0.5),
        (Initializer::trunc_normal(0.0, 0.01), 0.0, 0.01),
        // Cut at one standard deviation: from tables, 0.5396.
        (Initializer::TruncNormal { mean: 0.0, std: 1.0, a: -1.0, b: 1.0 }, 0.0, 0.5396),
    ];
    for (initializer, mean, std) in cases {
        let values: Vec<f64> =
            (0..2000).flat_map(|id| row(&initializer, 1, "t", id, 50)).map(f64::from).collect();
        let n = values.len() as f64;
        let m = values.iter().sum::<f64>() / n;
        let s = (values.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / n).sqrt();
        assert!(
            (m - mean).abs() < 0.015 * std + 1e-9 && (s - std).abs() < 0.01 * std + 1e-9,
            "{initializer}: {m}, {s}"
        );
    }
}

#[test]
fn truncated_values_never_reach_the_bounds_unless_asked_for() {
    let initializer = Initializer::trunc_normal(0.0, 0.01);
    assert_eq!((initializer.quantile(0.0), initializer.quantile(1.0)), (-2.0, 2.0));
    assert!((0..5000).flat_map(|id| row(&initializer, 1, "t", id, 16)).all(|v| v.abs() < 0.07));
}

#[test]
fn distributions_that_do_not_exist_are_refused() {
    for initializer in [
        Initializer::Constant(f64::NAN),
        Initializer::Uniform { a: 1.0, b: 0.0 },
        Initializer::Normal { mean: 0.0, std: -1.0 },
        Initializer::trunc_normal(0.0, 0.0),
        Initializer::TruncNormal { mean: 0.0, std: 1.0, a: 2.0, b: -2.0 },
        Initializer::TruncNormal { mean: 0.0, std: 1e-9, a: 1.0, b: 2.0 },
    ] {
        assert!(
            initializer.validate().unwrap_err().to_string().ends_with("is no distribution"),
            "{initializer}"
        );
    }
}
