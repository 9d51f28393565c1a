//! Remainders that are taken with the operator before or behind them.

use recis::device::Stream;
use recis::features::{
    Feature, FeatureEngine, Hash, HashType, Mod, Op, SelectField, SequenceTruncate, TruncateSide,
};
use recis::ops::string_hash::{farm, murmur};
use recis::{Batch, RaggedTensor, Tensor, Values};

use crate::common::{each, on, ragged};

const IDS: [i64; 9] = [7, -1, i64::MIN, 123, 10, 11, 12, 1 << 40, 0];
const WORDS: [&str; 9] = ["a", "", "recis", "0123456789", "x", "yy", "zzz", "kernel", "row"];
const ROWS: [i32; 4] = [0, 4, 4, 9];

/// What operators make of rows of ids, or of strings.
fn run(values: Values, offsets: Vec<Vec<i32>>, ops: &[Op], stream: &Stream) -> recis::Result<Vec<i64>> {
    let offsets = offsets.into_iter().map(|offsets| on(offsets, stream)).collect();
    let mut batch = Batch::new(ROWS.len() - 1);
    batch.insert("x", Tensor::Ragged(RaggedTensor::new(values, offsets, None)));
    let feature = Feature::new("x").add_op(SelectField::new("x"));
    let feature = ops.iter().cloned().fold(feature, Feature::add_op);
    let out = FeatureEngine::new(vec![feature])?.forward(&batch, stream)?;
    match out.get("x")?.as_ref() {
        Tensor::Ragged(RaggedTensor { values: Values::I64(ids), offsets, .. }) => {
            Ok(ragged(ids, &offsets[0], stream))
        }
        other => panic!("{}", other.describe()),
    }
}

fn of_ids(ops: &[Op], stream: &Stream) -> recis::Result<Vec<i64>> {
    run(Values::I64(on(IDS, stream)), vec![ROWS.to_vec()], ops, stream)
}

fn of_words(ops: &[Op], stream: &Stream) -> recis::Result<Vec<i64>> {
    let bytes: Vec<i8> = WORDS.iter().flat_map(|word| word.bytes()).map(|byte| byte as i8).collect();
    let ends = WORDS.iter().scan(0, |end, word| {
        *end += word.len() as i32;
        Some(*end)
    });
    let ends = std::iter::once(0).chain(ends).collect();
    run(Values::I8(on(bytes, stream)), vec![ROWS.to_vec(), ends], ops, stream)
}

fn cut(keep: usize) -> Op {
    SequenceTruncate { seq_len: keep, ..SequenceTruncate::default() }.into()
}

/// The last two of each row.
fn kept<T: Copy>(all: &[T]) -> Vec<T> {
    [2, 3, 7, 8].map(|i| all[i]).to_vec()
}

#[test]
fn remainders_come_with_what_is_beside_them() {
    each(|stream| {
        let (modulo, hash) = (Op::from(Mod(1000)), Op::from(Hash(HashType::Farm)));
        let rest = |id: i64| (id as u64 % 1000) as i64;
        let ids = IDS.map(rest);
        let hashes = WORDS.map(|word| rest(farm(word.as_bytes()) as i64));
        assert_eq!(of_ids(std::slice::from_ref(&modulo), stream).unwrap(), ids);
        assert_eq!(of_ids(&[modulo.clone(), cut(2)], stream).unwrap(), kept(&ids));
        assert_eq!(of_ids(&[cut(2), modulo.clone()], stream).unwrap(), kept(&ids));
        assert_eq!(of_ids(&[cut(2)], stream).unwrap(), kept(&IDS));
        let twice = [Op::from(Mod(7)), modulo.clone(), cut(2)];
        assert_eq!(of_ids(&twice, stream).unwrap(), kept(&IDS.map(|id| (id as u64 % 7) as i64)));
        assert_eq!(of_words(&[hash.clone(), modulo.clone()], stream).unwrap(), hashes);
        assert_eq!(of_words(&[hash.clone(), modulo.clone(), cut(2)], stream).unwrap(), kept(&hashes));
        let both = [hash.clone(), modulo, Mod(10).into(), cut(2)];
        assert_eq!(of_words(&both, stream).unwrap(), kept(&hashes.map(|id| id % 10)));
        let whole = WORDS.map(|word| farm(word.as_bytes()) as i64);
        assert_eq!(of_words(&[hash, cut(2)], stream).unwrap(), kept(&whole));
    });
}

#[test]
fn whatever_the_modulus_and_the_side() {
    each(|stream| {
        let whole = SequenceTruncate { truncate: false, check_length: false, ..SequenceTruncate::default() };
        let right = SequenceTruncate { seq_len: 1, truncate_side: TruncateSide::Right, ..whole };
        let right = SequenceTruncate { truncate: true, ..right };
        for modulus in [1, 2, 10_000, 1 << 63, (1 << 63) + 1, u64::MAX] {
            let rest = |id: i64| (id as u64 % modulus) as i64;
            let (modulo, ids) = (Op::from(Mod(modulus)), IDS.map(rest));
            assert_eq!(of_ids(&[modulo.clone(), whole.into()], stream).unwrap(), ids);
            assert_eq!(of_ids(&[modulo.clone(), right.into()], stream).unwrap(), [ids[0], ids[4]]);
            let hashes = WORDS.map(|word| rest(murmur(word.as_bytes()) as i64));
            let murmur = Op::from(Hash(HashType::Murmur));
            assert_eq!(of_words(&[murmur, modulo, cut(2)], stream).unwrap(), kept(&hashes));
        }
    });
}

/// Neighbours whose chains differ, one of them with weights.
#[test]
fn features_side_by_side() {
    each(|stream| {
        let ids = || Values::I64(on(IDS, stream));
        let weights: Vec<f32> = (0..9).map(|i| i as f32).collect();
        let mut batch = Batch::new(ROWS.len() - 1);
        for (name, weights) in [("plain", None), ("weighted", Some(on(weights.clone(), stream)))] {
            batch.insert(name, Tensor::Ragged(RaggedTensor::new(ids(), vec![on(ROWS, stream)], weights)));
        }
        let feature = |name: &str, ops: &[Op]| {
            let selected = Feature::new(name).add_op(SelectField::new(name));
            ops.iter().cloned().fold(selected, Feature::add_op)
        };
        let features = vec![
            feature("plain", &[cut(2), Mod(5).into()]),
            feature("weighted", &[Mod(1000).into(), cut(2), Mod(7).into()]),
        ];
        let out = FeatureEngine::new(features).unwrap().forward(&batch, stream).unwrap();
        let ragged_of = |name: &str| match out.get(name).unwrap().as_ref() {
            Tensor::Ragged(ragged) => ragged.clone(),
            other => panic!("{}", other.describe()),
        };
        let values_of = |tensor: &RaggedTensor| match &tensor.values {
            Values::I64(ids) => ragged(ids, &tensor.offsets[0], stream),
            _ => panic!("no ids"),
        };
        let (plain, weighted) = (ragged_of("plain"), ragged_of("weighted"));
        assert_eq!(values_of(&plain), kept(&IDS.map(|id| (id as u64 % 5) as i64)));
        assert_eq!(values_of(&weighted), kept(&IDS.map(|id| (id as u64 % 1000 % 7) as i64)));
        assert!(plain.weights.is_none());
        let cut = ragged(weighted.weights.as_ref().unwrap(), &weighted.offsets[0], stream);
        assert_eq!(cut, kept(&weights));
    });
}

#[test]
fn columns_that_do_not_fit_are_named_by_the_first_operator() {
    each(|stream| {
        let error = of_words(&[Mod(3).into(), cut(2)], stream).unwrap_err().to_string();
        assert!(error.contains("feature 'x'") && error.contains("Mod needs ids"), "{error}");
        let error = of_words(&[cut(2)], stream).unwrap_err().to_string();
        assert!(error.contains("SequenceTruncate needs rows of ids"), "{error}");
    });
}

#[test]
fn a_model_says_what_runs_at_once() {
    let feature = Feature::new("x").add_op(SelectField::new("x")).add_op(Hash(HashType::Farm));
    let feature = feature.add_op(Mod(10)).add_op(Mod(5)).add_op(cut(2));
    let shown = FeatureEngine::new(vec![feature]).unwrap().to_string();
    let lines: Vec<_> = shown.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        ["0: [x SelectField(x)]", "1: [x Hash(Farm) Mod(10)]", "2: [x Mod(5) SequenceTruncate(2, Left)]"]
    );
}
