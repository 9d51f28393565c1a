//! Every operation, called with what is on another device than its stream.

use recis::device::{Buffer, Stream};
use recis::ops::combine::{Combined, CombinedGradient, Denominator, EmbeddingGradients, Lookup, Place};
use recis::ops::hash_table::HashTable;
use recis::ops::initialize::{Initializer, Sources};
use recis::ops::linear::{Precision, Size};
use recis::ops::merge_gradients::Gradients;
use recis::ops::rows::Rows;
use recis::ops::sparse_adamw::{Coefficients, Decay};
use recis::ops::string_hash::HashType;
use recis::ops::unfit::Unfit;
use recis::ops::*;
use recis::{Error, Result};

use crate::common::{on, read, streams};

/// Calls `test` with every pair of a stream and one on another device.
fn each_pair(test: impl Fn(&Stream, &Stream)) {
    let streams = streams();
    for here in &streams {
        for there in streams.iter().filter(|there| there.device() != here.device()) {
            test(here, there);
        }
    }
}

fn assert_refused(calls: Vec<(&str, Result<()>)>, here: &Stream, there: &Stream) {
    for (call, result) in calls {
        let error = result.expect_err(call);
        assert!(matches!(error, Error::Device { .. }), "{call} on {here:?}, data of {there:?}: {error}");
    }
}

fn floats(there: &Stream) -> Buffer<f32> {
    on([0.5; 4], there)
}

fn ids(there: &Stream) -> Buffer<i64> {
    on([1; 4], there)
}

fn offsets(there: &Stream) -> Buffer<i32> {
    on([0, 1, 4], there)
}

fn lookup<'a>(embeddings: &'a Buffer<f32>, inverse: &'a Buffer<u32>, offsets: &'a Buffer<i32>) -> Lookup<'a> {
    let (first_id, ids, dim) = (0, 4, 2);
    Lookup { embeddings, inverse, first_id, offsets, ids, dim, occurrences: None, range: None }
}

#[test]
fn elementwise_operations_refuse_other_devices() {
    each_pair(|s, there| {
        let (x, values) = (floats(there), ids(there));
        let [mut y, mut m, mut v] = [x.clone(), x.clone(), x.clone()];
        let (mut loss, mut unfit) = (on([0.0], there), Unfit::new(1, there).unwrap());
        let (mut out, mut counts) = (values.clone(), on([0; 12], there));
        let thresholds = on([0.0, 0.5, 1.0], there);
        let (bytes, place) = (on([1i8; 4], there), Place { first_column: 0, stride: 1 });
        let options = adamw::Options {
            lr: 0.1,
            beta1: 0.9,
            beta2: 0.9,
            eps: 1e-8,
            weight_decay: 0.0,
            step: 1,
            batches: 1,
        };
        let hash = multi_hash::Hash::new(0, 7).unwrap();
        let calls = vec![
            ("adamw", {
                let (value, exp_avg, exp_avg_sq, gradient) = (&mut y, &mut m, &mut v, &x);
                adamw::step(&mut [adamw::Parameter { value, exp_avg, exp_avg_sq, gradient }], &options, s)
            }),
            ("auroc", auroc::update(&x, &x, &thresholds, &mut counts, s)),
            ("bce", bce::forward(&x, &x, &mut loss, Some(&mut y), unfit.word(0), s)),
            ("bucketize", {
                let column = bucketize::Column { values: &x, boundaries: &thresholds, out: &mut out };
                bucketize::forward(&mut [column], s)
            }),
            ("copy_column", {
                copy_column::forward(copy_column::Column::F32(&x), 1, &mut y, place, unfit.word(0), s)
            }),
            ("encode_ids", {
                let columns = [encode_ids::Column { table: 1, ids: &values }];
                encode_ids::forward(&columns, encode_ids::Overflow::Cut, s).map(drop)
            }),
            ("fill", fill::forward(&mut y, 1, None, 1.0, s)),
            ("modulo", {
                let column = modulo::Column { values: &values, modulus: 3, out: &mut out };
                modulo::forward(&mut [column], s)
            }),
            ("multi_hash", {
                let column = multi_hash::Column { values: &values, hash, out: &mut out };
                multi_hash::forward(&mut [column], s)
            }),
            ("relu.forward", relu::forward(&x, &mut y, s)),
            ("relu.backward", relu::backward(&x, &x, &mut y, s)),
            ("scale", scale::forward(&mut y, 2.0, s)),
            ("sigmoid.forward", sigmoid::forward(&x, &mut y, s)),
            ("sigmoid.backward", sigmoid::backward(&x, &x, &mut y, s)),
            ("string_hash", {
                let (hash_type, out) = (HashType::Farm, &mut on([0; 2], there));
                let column = string_hash::Column {
                    bytes: &bytes,
                    offsets: &offsets(there),
                    hash_type,
                    modulus: None,
                    out,
                };
                string_hash::forward(&mut [column], s)
            }),
        ];
        assert_refused(calls, s, there);
        assert_eq!((read(&y, there), read(&out, there)), (vec![0.5; 4], vec![1; 4]), "something was written");
    });
}

#[test]
fn ragged_operations_refuse_other_devices() {
    each_pair(|s, there| {
        let (values, offsets, weights) = (ids(there), offsets(there), floats(there));
        let lists = on([0, 1, 2], there);
        let side =
            feature_cross::Side { values: &values, offsets: &offsets, weights: None, longest: Some(3) };
        let dense = ragged_dense::Dense { values: values.clone(), shape: vec![2, 2] };
        let cut = on([0, 1], there);
        let (drop_side, pad_side) = (truncate::Side::Left, truncate::Side::Left);
        let cutoff =
            ragged_dense::Cutoff { offsets: &offsets, drop_num: &cut, drop_side, pad_num: &cut, pad_side };
        let calls = vec![
            ("feature_cross", feature_cross::forward(side, side, s).map(drop)),
            ("merge_offsets", merge_offsets::forward(&[(&offsets, 4)], s).map(drop)),
            ("partition_ids.forward", {
                let column =
                    partition_ids::Column { table: 0, ids: &values, offsets: Some(&offsets), listed: true };
                partition_ids::forward(&[column], 1, s).map(drop)
            }),
            ("partition_ids.owners", {
                partition_ids::owners(&values, 2, partition_ids::Owner::Balanced, s).map(drop)
            }),
            ("ragged_dense.to_dense", ragged_dense::to_dense(&values, &[&offsets], 0, s).map(drop)),
            ("ragged_dense.from_dense", ragged_dense::from_dense(&dense, None, s).map(drop)),
            ("ragged_dense.topk_index", {
                ragged_dense::topk_index(&cutoff, &on([0i64; 2], there), 1, &on([0i64; 2], there), s)
                    .map(drop)
            }),
            ("truncate.forward", {
                let (side, weights) = (truncate::Side::Left, Some(&weights));
                let column = truncate::Column {
                    values: &values,
                    offsets: &offsets,
                    weights,
                    keep: 1,
                    side,
                    modulus: None,
                };
                truncate::forward(&[column], s).map(drop)
            }),
            ("truncate.lists", {
                let (side, row_offsets) = (truncate::Side::Left, &lists);
                let (values, offsets) = (&values, &offsets);
                let column = truncate::Lists { values, offsets, row_offsets, weights: None, keep: 1, side };
                truncate::lists(&[column], s).map(drop)
            }),
        ];
        assert_refused(calls, s, there);
    });
}

#[test]
fn layers_and_combiners_refuse_other_devices() {
    each_pair(|s, there| {
        let (x, offsets, inverse) = (floats(there), offsets(there), on([0u32; 4], there));
        let starts = on([0u32, 4, 4, 4, 4], there);
        let positions = on([0u32, 1, 2, 3], there);
        let table_offsets = on([0u32, 1], there);
        let occurrences = lookup::Occurrences {
            positions: &positions,
            starts: &starts,
            listed: 4,
            table_offsets: &table_offsets,
            table: 0,
        };
        let lookup = Lookup { occurrences: Some(occurrences), ..lookup(&x, &inverse, &offsets) };
        let (mut y, place) = (x.clone(), Place { first_column: 0, stride: 2 });
        let combined = Combined { lookup, weights: None, denominator: Denominator::One, first_column: 0 };
        let (bias, mut d_bias, mut d_x) = (on([0.5; 2], there), on([0.5; 2], there), x.clone());
        let size = Size { rows: 2, inputs: 2, outputs: 2, precision: Precision::Fp32 };
        let dense = [linear_tile::Dense { x: &bias, width: 1, first_column: 0 }];
        let tile = linear_tile::Tile { lookup, tile_len: 1, first_column: 0 };
        let prepared = &mut linear_tile::Prepared::nothing(s).unwrap();
        let calls = vec![
            ("combine.forward", combine::forward(&[combined], &mut y, 2, s)),
            ("combine.backward", {
                let gradients = vec![CombinedGradient { feature: combined, d_out: &x, stride: 2 }];
                combine::backward(&mut [EmbeddingGradients { gradients, d_embeddings: &mut y }], s)
            }),
            ("combine_tile.forward", combine_tile::forward(&lookup, 1, &mut y, place, s)),
            ("combine_tile.backward", combine_tile::backward(&lookup, 1, &x, place, &mut y, s)),
            ("linear.forward", linear::forward(&x, &x, &bias, &mut y, size, s)),
            ("linear.backward_weight", {
                linear::backward_weight(&x, &x, &mut y, &mut d_bias, size, false, s)
            }),
            ("linear.backward_bias", linear::backward_bias(&x, &mut d_bias, size, false, s)),
            ("linear.backward_input", linear::backward_input(&x, &x, &mut d_x, size, s)),
            ("linear_tile.forward", linear_tile::forward(&dense, &[], &x, &bias, &mut y, size, prepared, s)),
            ("linear_tile.backward_weight", {
                linear_tile::backward_weight(&dense, &[], &x, &mut y, size, false, prepared, s)
            }),
            ("linear_tile.backward_dense", {
                linear_tile::backward_dense(&x, &x, &mut d_bias, 1, 0, size, s)
            }),
            (
                "linear_tile.backward_tiles",
                linear_tile::backward_tiles(
                    &[tile],
                    &x,
                    &x,
                    &mut d_x,
                    size,
                    linear_tile::Reduction::Repeatable,
                    prepared,
                    s,
                    s,
                ),
            ),
            ("mlp", {
                let (mut d_weight, mut d_bias, mut loss) = (bias.clone(), on([0.0], there), on([0.0], there));
                let (d_weight, d_bias, loss) = (&mut d_weight, &mut d_bias, &mut loss);
                let (one, prediction) = (d_bias.clone(), &mut bias.clone());
                let layer = mlp::Layer { weight: &bias, bias: &one, d_weight, d_bias, inputs: 2, outputs: 1 };
                let (x, label, mut unfit) = (&x, &bias, Unfit::new(1, there).unwrap());
                let batch = mlp::Batch { x, label, prediction, loss, d_x: &mut d_x, unfit: unfit.word(0) };
                mlp::train(&mut [layer], batch, false, s, s)
            }),
        ];
        assert_refused(calls, s, there);
    });
}

#[test]
fn streams_of_other_devices_to_work_beside_are_refused() {
    each_pair(|s, there| {
        let (x, mut d_x, mut unfit) = (floats(s), floats(s), Unfit::new(1, s).unwrap());
        let (offsets, inverse, halves) = (offsets(s), on([0u32; 4], s), on([0.5; 2], s));
        let lookup = lookup(&x, &inverse, &offsets);
        let size = Size { rows: 2, inputs: 2, outputs: 2, precision: Precision::Fp32 };
        let tile = linear_tile::Tile { lookup, tile_len: 1, first_column: 0 };
        let prepared = &mut linear_tile::Prepared::nothing(s).unwrap();
        let repeatable = linear_tile::Reduction::Repeatable;
        let [mut d_weight, mut prediction] = [halves.clone(), halves.clone()];
        let [bias, mut d_bias, mut loss] = [0.0; 3].map(|value| on([value], s));
        let mut train = |beside: &Stream| {
            let (d_weight, d_bias) = (&mut d_weight, &mut d_bias);
            let layer = mlp::Layer { weight: &halves, bias: &bias, d_weight, d_bias, inputs: 2, outputs: 1 };
            let (prediction, loss, unfit) = (&mut prediction, &mut loss, unfit.word(0));
            let batch = mlp::Batch { x: &x, label: &halves, prediction, loss, d_x: &mut d_x, unfit };
            mlp::train(&mut [layer], batch, false, s, beside)
        };
        train(s).unwrap();
        let refused = train(there);
        let mut backward_tiles = |beside: &Stream| {
            linear_tile::backward_tiles(&[tile], &x, &x, &mut d_x, size, repeatable, prepared, s, beside)
        };
        backward_tiles(s).unwrap();
        assert_refused(
            vec![("mlp", refused), ("linear_tile.backward_tiles", backward_tiles(there))],
            s,
            there,
        );
    });
}

#[test]
fn tables_and_rows_refuse_other_devices() {
    each_pair(|s, there| {
        let (values, table_offsets, mut rows) = (ids(there), on([0u32, 4], there), on([0u32; 4], there));
        let mut table = HashTable::create(1, there).unwrap();
        let new = table.find_or_insert(&values, &table_offsets, &mut rows, there).unwrap();
        let mut storage = Rows::new(2, 3, there).unwrap();
        storage.reserve(table.row_bound()).unwrap();
        let names = ["t".to_string()];
        let sources = Sources::new(&Initializer::Constant(1.0), 0, &names, there).unwrap();
        let mut out = on([0.5; 8], there);
        let gradients = Gradients { rows: rows.clone(), values: out.clone(), count: None };
        let (mut power1, mut power2) = (1.0, 1.0);
        let powers = [&mut power1, &mut power2];
        let step = Coefficients::advance(powers, 0.1, [0.9, 0.9], 1e-8, Decay::WithoutLr(0.0));

        // The table is there and its arguments are here, or both are there.
        let (values_here, offsets_here) = (ids(s), on([0u32, 4], s));
        let (mut rows_here, mut out_here) = (on([0u32; 4], s), on([0.5; 8], s));
        let calls = vec![
            ("find", table.find(&values, &table_offsets, &mut rows, s)),
            ("find here", table.find(&values_here, &offsets_here, &mut rows_here, s)),
            ("find_or_insert here", {
                table.find_or_insert(&values_here, &offsets_here, &mut rows_here, s).map(drop)
            }),
            ("erase here", table.erase(&values_here, &offsets_here, s)),
            ("gather", rows::gather(&storage, 0, &rows, None, &mut out, s)),
            ("gather here", rows::gather(&storage, 0, &rows_here, None, &mut out_here, s)),
            ("scatter here", rows::scatter(&mut storage, 0, &rows_here, &out_here, s)),
            ("initialize", {
                rows::initialize(&mut storage, &sources, &values, &table_offsets, &rows, &new, s)
            }),
            ("sparse_adamw", sparse_adamw::step(&mut storage, &gradients, &step, s)),
            ("merge_gradients", merge_gradients::forward(&[gradients], 2, 1, s).map(drop)),
        ];
        assert_refused(calls, s, there);

        // The arguments are there and the table is here.
        let mut table = HashTable::create(1, s).unwrap();
        let mut storage = Rows::new(2, 3, s).unwrap();
        storage.reserve(4).unwrap();
        let calls = vec![
            ("find there", table.find(&values, &table_offsets, &mut rows, s)),
            ("find_or_insert there", table.find_or_insert(&values, &table_offsets, &mut rows, s).map(drop)),
            ("erase there", table.erase(&values, &table_offsets, s)),
            ("gather there", rows::gather(&storage, 0, &rows, None, &mut out, s)),
            ("scatter there", rows::scatter(&mut storage, 0, &rows, &out, s)),
        ];
        assert_refused(calls, s, there);
        assert_eq!(table.sizes(s).unwrap(), [0]);
    });
}
