use recis::device::Stream;
use recis::ops::hash_table::{HashTable, NO_ROW, New};
use recis::ops::initialize::{Initializer, Source, Sources};
use recis::ops::rows::{self, Rows};

use crate::common::{each, each_with_kernels, on, read};

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

#[test]
fn every_device_gives_rows_the_same_bits() {
    each(|stream| {
        let names = ["first".to_string(), "second".to_string()];
        for (initializer, dim) in [
            (Initializer::Constant(3.0), 4),
            (Initializer::Uniform { a: -1.0, b: 3.0 }, 16),
            (Initializer::Normal { mean: 2.0, std: 0.5 }, 7),
            (Initializer::trunc_normal(0.0, 0.01), 8),
            (Initializer::TruncNormal { mean: 0.0, std: 1.0, a: -1.0, b: 1.0 }, 1),
        ] {
            let ids: Vec<i64> = [0, -1, i64::MIN, i64::MAX].into_iter().chain(10..200).collect();
            let (split, count) = (3, ids.len());
            let there = on(ids.clone(), stream);
            let offsets = on([0, split as u32, count as u32], stream);
            let sources = Sources::new(&initializer, 42, &names, stream).unwrap();
            let mut table = HashTable::create(2, stream).unwrap();
            let mut rows = on(vec![0; count], stream);
            let new = table.find_or_insert(&there, &offsets, &mut rows, stream).unwrap();
            let mut storage = Rows::new(dim, 2, stream).unwrap();
            storage.reserve(table.row_bound()).unwrap();
            // The slots behind the first become zeros, whatever they held.
            let ones = on(vec![1.0; count * dim], stream);
            rows::scatter(&mut storage, 1, &rows, &ones, stream).unwrap();
            rows::initialize(&mut storage, &sources, &there, &offsets, &rows, &new, stream).unwrap();

            let mut values = on(vec![9.0; count * dim], stream);
            rows::gather(&storage, 0, &rows, None, &mut values, stream).unwrap();
            for (i, values) in read(&values, stream).chunks(dim).enumerate() {
                let expected = row(&initializer, 42, &names[usize::from(i >= split)], ids[i], dim);
                assert_eq!(values, expected, "{initializer}, id {}", ids[i]);
            }
            rows::gather(&storage, 1, &rows, None, &mut values, stream).unwrap();
            assert!(read(&values, stream).iter().all(|&value| value == 0.0));
        }
    });
}

#[test]
fn only_new_rows_get_initial_values() {
    each(|stream| {
        let (ids, offsets) = (on([5, 6, 7, 8], stream), on([0, 3], stream));
        let names = ["table".to_string()];
        let sources = Sources::new(&Initializer::Constant(2.0), 0, &names, stream).unwrap();
        let mut storage = Rows::new(2, 1, stream).unwrap();
        storage.reserve(10).unwrap();
        let rows = on([4, 2, 9, NO_ROW], stream);
        rows::scatter(&mut storage, 0, &rows, &on([1.0; 8], stream), stream).unwrap();
        // There is room for more places than there are.
        let new = New { places: on([2, 0, 1], stream), count: on([1], stream) };
        rows::initialize(&mut storage, &sources, &ids, &offsets, &rows, &new, stream).unwrap();
        let mut values = on([0.0; 8], stream);
        rows::gather(&storage, 0, &rows, None, &mut values, stream).unwrap();
        assert_eq!(read(&values, stream), [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 0.0, 0.0]);
    });
}

#[test]
fn places_and_rows_that_lead_nowhere_do_no_harm() {
    each_with_kernels(|stream| {
        let (ids, offsets) = (on([5, 6, 7, 8], stream), on([9, 3, u32::MAX], stream));
        let names = ["a".to_string(), "b".to_string()];
        let sources = Sources::new(&Initializer::Constant(2.0), 0, &names, stream).unwrap();
        let mut storage = Rows::new(2, 1, stream).unwrap();
        storage.reserve(10).unwrap();
        let rows = on([NO_ROW - 1, 2, u32::MAX / 2, NO_ROW], stream);
        let new = New { places: on([2, 100, u32::MAX], stream), count: on([77], stream) };
        rows::initialize(&mut storage, &sources, &ids, &offsets, &rows, &new, stream).unwrap();
        stream.synchronize().unwrap();
    });
}

#[test]
fn new_places_that_are_not_among_the_ids_are_refused() {
    let stream = &Stream::default();
    let sources = Sources::new(&Initializer::Constant(2.0), 0, &["t".to_string()], stream).unwrap();
    let mut storage = Rows::new(2, 1, stream).unwrap();
    storage.reserve(10).unwrap();
    let (ids, rows) = (on([5i64, 6], stream), on([0u32, 1], stream));
    for (offsets, place) in [([0, 2], 2), ([0, 1], 1), ([1, 2], 0), ([2, 0], 0)] {
        let new = New { places: on([place], stream), count: on([1], stream) };
        let offsets = on(offsets, stream);
        let error =
            rows::initialize(&mut storage, &sources, &ids, &offsets, &rows, &new, stream).unwrap_err();
        assert!(error.to_string().starts_with("rows: new places ["), "{error}");
    }
}
