//! The gradients of combine and combine_tile where their sums take another way: at the borders between few
//! ids and many, of warps, chunks and blocks, and where features share a table.

use recis::ffi::{recis_combined, recis_combined_gradient, recis_denominator};
use recis::ops::combine::Place;

use crate::combine::{self, Batch, Spec, batches_with_room};
use crate::combine_tile;
use crate::common::*;

/// Room that makes a feature one of many ids.
const MANY: usize = 4097;
/// Positions that a block adds up.
const BLOCK: usize = 2048;

fn place(columns: usize) -> Place {
    Place { first_column: 0, stride: columns.max(1) }
}

/// Segments of ten ids, and what is left.
fn tens(count: usize) -> Vec<usize> {
    let mut lengths = vec![10; count / 10];
    lengths.push(count % 10);
    lengths
}

fn feature(table: u32, count: usize, ids: u64, hot: u64) -> Spec {
    Spec { table, lengths: tens(count), ids, hot, spare: 0 }
}

/// Both operations; of the tile's ids some are beyond its length.
fn run(batch: &Batch, dim: usize) {
    combine::run(batch, dim, true, 1, place(dim));
    combine_tile::run(batch, dim, 7, place(7 * dim));
}

/// What the tests of the operations try with few ids.
#[test]
fn many_of_all_shapes() {
    for (i, batch) in batches_with_room(MANY).iter().enumerate() {
        for (j, dim) in [1usize, 3, 7, 8, 16, 17, 64, 128, 132].into_iter().enumerate() {
            combine::run(batch, dim, (i + j) % 2 == 0, (i + j) % 3, place(dim));
            if (i + j) % 3 == 0 {
                combine_tile::run(batch, dim, 9, place(9 * dim));
            }
        }
    }
}

#[test]
fn the_most_few_and_the_fewest_many() {
    for count in [4095, 4096, 4097] {
        run(&Batch::new(&[feature(0, count, 600, 3)]), 16);
        // One id a row.
        let spec = Spec { table: 0, lengths: vec![1; count], ids: 3000, hot: 0, spare: 0 };
        combine::run(&Batch::new(&[spec]), 8, false, 0, place(8));
    }
}

/// Of few ids: around what a group of lanes, a warp and a block add up at once.
#[test]
fn few_ids_repeat() {
    for count in [2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 255, 256, 257, 2049] {
        let mut specs = vec![feature(0, count, 1, 0)];
        combine::run(&Batch::new(&specs), 16, true, 1, place(16));
        combine::run(&Batch::new(&specs), 128, false, 2, place(128));
        combine::run(&Batch::new(&specs), 1, false, 0, place(1));
        // Several such runs, of which a block leads more than one.
        specs[0].ids = 5;
        run(&Batch::new(&specs), 8);
    }
}

/// Of many: runs as long as a chunk, as a block, as several blocks, and one more or less.
#[test]
fn runs_end_at_the_borders_of_chunks_and_blocks() {
    for length in [8, 31, 32, 33, 256, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
        let by_length = |_: &Spec, i: usize, _| (i / length) as u64;
        let batch = Batch::with_ids(&[feature(0, 3 * BLOCK + 40, 0, 0)], by_length);
        for dim in [1, 16, 128] {
            combine::run(&batch, dim, true, 1, place(dim));
        }
        combine_tile::run(&batch, 8, 10, place(80));
        // In a table that begins in the middle of a block.
        let specs = [feature(1, 3 * BLOCK + 40, 0, 0), feature(0, 700, 0, 0)];
        combine::run(&Batch::with_ids(&specs, by_length), 8, false, 0, place(8));
    }
}

/// Features whose ids are side by side in the runs of one table: few and many, before and behind.
#[test]
fn features_share_a_table() {
    let specs = [
        feature(1, 900, 40, 2),
        feature(1, 5 * BLOCK, 60, 4),
        feature(0, 300, 40, 0),
        feature(1, 1500, 50, 3),
        feature(1, 2 * BLOCK + 900, 3, 0),
        feature(1, 100, 50, 0),
    ];
    for which in 0..specs.len() {
        let mut batch = Batch::new(&specs);
        batch.features.swap(0, which);
        run(&batch, 16);
        run(&batch, 3);
    }
}

/// Features in one call: of few ids and of many, of one table and of several, of one dim and of two, as wide as can be
/// and not; more than a launch takes. Each adds what it adds alone, in the same order.
#[test]
fn features_of_one_call() {
    let few = |i: usize| feature(i as u32 % 3, 40 + 70 * (i % 5), 30, 2);
    let mut specs: Vec<_> = (0..20).map(few).collect();
    specs.insert(7, feature(1, 5000, 50, 3));
    specs.push(feature(2, 10, 1, 0));
    let batch = Batch::new(&specs);
    let weights = Guarded::new(&tame_floats(3, 5000).iter().map(|x| x.abs() + 0.1).collect::<Vec<_>>());
    let dims = [16usize, 8, 3];
    let embeddings = dims.map(|dim| Guarded::new(&tame_floats(1, batch.unique * dim)));
    let d_outs = dims.map(|dim| Guarded::new(&tame_floats(2, 5000 * dim)));
    let sums = |at_once: bool| {
        let d_embeddings = dims.map(|dim| Guarded::new(&tame_floats(4, batch.unique * dim)));
        let gradients: Vec<_> = (0..specs.len())
            .map(|i| {
                let table = i % dims.len();
                let (lookup, occurrences) =
                    (batch.lookup(i, dims[table], &embeddings[table]), batch.occurrences(i));
                let weights = if i % 4 == 0 { weights.ptr().cast_const() } else { std::ptr::null() };
                let (_, denominator) = combine::DENOMINATORS[i % 3];
                recis_combined_gradient {
                    feature: recis_combined { lookup, weights, denominator, first_column: 0 },
                    occurrences,
                    d_out: d_outs[table].ptr(),
                    out_stride: dims[table] as i64,
                    d_embeddings: d_embeddings[table].ptr(),
                }
            })
            .collect();
        gradients.chunks(if at_once { gradients.len() } else { 1 }).for_each(combine::backward);
        d_embeddings.map(|values| values.to_vec().iter().map(|x| x.to_bits()).collect::<Vec<_>>())
    };
    assert_eq!(sums(true), sums(false));
    combine::backward(&[]);
}

/// A run of a whole block's positions of another feature, between this one's.
#[test]
fn blocks_of_other_features() {
    let specs = [feature(0, 5000, 2, 0), feature(0, 6 * BLOCK, 2, 0), feature(0, 4500, 2, 0)];
    for which in 0..specs.len() {
        let mut batch = Batch::new(&specs);
        batch.features.swap(0, which);
        combine::run(&batch, 16, true, 1, place(16));
    }
}

/// More segments than a block knows the offsets of.
#[test]
fn many_segments() {
    for segments in [1023, 1024, 1025, 5000] {
        let lengths: Vec<usize> = (0..segments).map(|i| [0, 9, 1, 30, 0, 2][i % 6]).collect();
        let batch = Batch::new(&[Spec { table: 0, lengths, ids: 900, hot: 2, spare: MANY }]);
        combine::run(&batch, 4, true, 2, place(4));
        combine_tile::run(&batch, 4, 12, place(48));
    }
}

/// Places at and above `unique` are passed over, whatever the others get.
#[test]
fn places_beyond_the_embeddings_get_nothing() {
    for spare in [0, MANY] {
        let batch = Batch::new(&[Spec { spare, ..feature(0, 3000, 50, 2) }]);
        let (dim, segments) = (8, batch.features[0].offsets.len() - 1);
        let d_out = Guarded::new(&tame_floats(1, segments * dim));
        let sums = |unique: usize| {
            let (embeddings, d_embeddings) =
                (Guarded::new(&vec![0f32; unique * dim]), Guarded::new(&vec![0f32; unique * dim]));
            let (mut lookup, occurrences) = (batch.lookup(0, dim, &embeddings), batch.occurrences(0));
            lookup.unique = unique as i64;
            let (weights, denominator) = (std::ptr::null(), recis_denominator::RECIS_ONE);
            let feature = recis_combined { lookup, weights, denominator, first_column: 0 };
            let (d_out, out_stride, d_embeddings_at) =
                (d_out.ptr().cast_const(), dim as i64, d_embeddings.ptr());
            combine::backward(&[recis_combined_gradient {
                feature,
                occurrences,
                d_out,
                out_stride,
                d_embeddings: d_embeddings_at,
            }]);
            d_embeddings.to_vec()
        };
        let all = sums(batch.unique);
        for unique in [1, 20, batch.unique - 1] {
            assert_close(&sums(unique), &all[..unique * dim], 100.0, &format!("{unique} places"));
        }
    }
}
