use recis::ffi::simt::{
    recis_combine_backward, recis_combine_backward_workspace_size, recis_combine_forward,
    recis_simt_allow_races,
};
use recis::ffi::{
    recis_combined, recis_combined_gradient, recis_denominator, recis_lookup, recis_occurrences,
};
use recis::ops::combine::{Denominator, Place};
use recis::ops::cpu;

use crate::common::*;

/// A feature of a step, before its ids are looked up.
pub struct Spec {
    pub table: u32,
    /// The number of ids in each segment.
    pub lengths: Vec<usize>,
    /// Ids are below this; 0: they are all different.
    pub ids: u64,
    /// Of 8 ids, so many are the id 0.
    pub hot: u64,
    /// Positions that hold no id.
    pub spare: usize,
}

/// The distinct ids of a step's features, as recis_partition_ids_forward gives them.
pub struct Batch {
    pub unique: usize,
    pub features: Vec<Feature>,
    positions: Guarded<u32>,
    starts: Guarded<u32>,
    table_offsets: Guarded<u32>,
    total: usize,
}

pub struct Feature {
    table: u32,
    first: usize,
    pub capacity: usize,
    pub offsets: Vec<i32>,
    /// For each id, its place among the distinct ids.
    pub places: Vec<u32>,
    device_offsets: Guarded<i32>,
    device_inverse: Guarded<u32>,
}

impl Batch {
    pub fn new(specs: &[Spec]) -> Self {
        Self::with_ids(specs, |spec, i, bits| match spec.ids {
            _ if bits >> 61 < spec.hot => 0,
            0 => i as u64 * 77 % 65_536 + (i as u64 / 65_536) * 65_536,
            ids => bits % ids,
        })
    }

    /// Of a feature's id its number says what it is, or some bits.
    pub fn with_ids(specs: &[Spec], id: impl Fn(&Spec, usize, u64) -> u64) -> Self {
        let mut first = 0;
        let mut keys = Vec::new();
        let mut features = Vec::new();
        for (seed, spec) in specs.iter().enumerate() {
            let mut offsets = vec![0i32];
            spec.lengths.iter().for_each(|n| offsets.push(offsets.last().unwrap() + *n as i32));
            let count = *offsets.last().unwrap() as usize;
            for (i, bits) in bits(seed as u64 + 9, count).enumerate() {
                keys.push((spec.table, id(spec, i, bits), (first + i) as u32));
            }
            features.push((spec, first, offsets, vec![0; count]));
            first += count + spec.spare;
        }
        let total = first;
        keys.sort_unstable();
        let tables = specs.iter().map(|spec| spec.table as usize + 1).max().unwrap_or(1);
        // What is behind must not be read: it would be found out.
        let (mut inverse, mut positions) = (vec![u32::MAX; total], vec![u32::MAX; total]);
        let mut starts = vec![u32::MAX; total + 1];
        let mut table_offsets = vec![0; tables + 1];
        let (mut unique, mut previous) = (0, None);
        for (i, &(table, id, position)) in keys.iter().enumerate() {
            if previous != Some((table, id)) {
                previous = Some((table, id));
                starts[unique] = i as u32;
                unique += 1;
                table_offsets[table as usize + 1..].fill(unique as u32);
            }
            positions[i] = position;
            inverse[position as usize] = unique as u32 - 1;
        }
        starts[unique] = keys.len() as u32;
        let features = features.into_iter().map(|(spec, first, offsets, mut places)| {
            let count: usize = places.len();
            places.copy_from_slice(&inverse[first..][..count]);
            let capacity = places.len() + spec.spare;
            Feature {
                table: spec.table,
                first,
                capacity,
                device_offsets: Guarded::new(&offsets),
                device_inverse: Guarded::new(&inverse[..first + capacity]),
                offsets,
                places,
            }
        });
        Self {
            unique,
            features: features.collect(),
            positions: Guarded::new(&positions),
            starts: Guarded::new(&starts),
            table_offsets: Guarded::new(&table_offsets),
            total,
        }
    }

    pub fn lookup(&self, feature: usize, dim: usize, embeddings: &Guarded<f32>) -> recis_lookup {
        let Feature { first, capacity, offsets, device_offsets, device_inverse, .. } =
            &self.features[feature];
        recis_lookup {
            embeddings: embeddings.ptr(),
            inverse: device_inverse.ptr(),
            offsets: device_offsets.ptr(),
            unique: self.unique as i64,
            dim: dim as i64,
            first_id: *first as i64,
            capacity: *capacity as i64,
            segments: offsets.len() as i64 - 1,
        }
    }

    pub fn occurrences(&self, feature: usize) -> recis_occurrences {
        recis_occurrences {
            positions: self.positions.ptr(),
            starts: self.starts.ptr(),
            table_offsets: self.table_offsets.ptr(),
            total: self.total as i64,
            table: self.features[feature].table,
        }
    }

    pub fn host<'a>(&'a self, feature: usize, dim: usize, embeddings: &'a [f32]) -> cpu::lookup::Lookup<'a> {
        let Feature { offsets, places, .. } = &self.features[feature];
        cpu::lookup::Lookup { embeddings, inverse: places, offsets, dim }
    }
}

/// Batches with one feature of interest each, the first: what goes wrong first with segments and ids.
pub fn batches() -> Vec<Batch> {
    batches_with_room(0)
}

/// The same, with room for so many more ids in the feature of interest.
pub fn batches_with_room(room: usize) -> Vec<Batch> {
    let spec =
        |table, lengths: &[usize], ids, hot| Spec { table, lengths: lengths.to_vec(), ids, hot, spare: 0 };
    let batch = |mut specs: Vec<Spec>| {
        specs[0].spare += room;
        Batch::new(&specs)
    };
    let mixed: Vec<usize> = (0..60).map(|i| [0, 1, 3, 0, 40, 2, 9][i % 7]).collect();
    vec![
        batch(vec![spec(0, &[], 0, 0)]),
        batch(vec![spec(0, &[0, 0, 0], 0, 0)]),
        batch(vec![Spec { spare: 5, ..spec(0, &[0], 0, 0) }]),
        batch(vec![spec(0, &[1], 0, 0)]),
        batch(vec![Spec { spare: 3, ..spec(1, &[1, 0, 2, 0], 2, 0) }]),
        // All ids different, few, one that is most, one only.
        batch(vec![spec(0, &mixed, 0, 0)]),
        batch(vec![Spec { spare: 100, ..spec(0, &mixed, 7, 0) }]),
        batch(vec![spec(0, &mixed, 50, 6)]),
        batch(vec![spec(0, &[700, 0, 1, 600], 1, 0)]),
        // Between features of the same table and of others.
        batch(vec![
            Spec { spare: 11, ..spec(1, &mixed, 30, 2) },
            spec(1, &[100, 0, 5], 40, 2),
            spec(0, &[50, 8], 10, 0),
            spec(2, &mixed, 1, 0),
        ]),
        // The last of its table, which the others begin.
        batch(vec![spec(3, &[9; 20], 25, 1), spec(0, &[33, 1], 0, 0), spec(3, &[7; 40], 50, 3)]),
    ]
}

/// Ids enough for many blocks, most of them at one place, some alone.
pub fn large_batch() -> Batch {
    let lengths: Vec<usize> = (0..90).map(|i| 300 + 13 * i).collect();
    let other = Spec { table: 0, lengths: vec![0, 500], ids: 3, hot: 2, spare: 0 };
    Batch::new(&[Spec { table: 0, lengths, ids: 4000, hot: 6, spare: 9 }, other])
}

/// The sums over the ids that share an embedding in f64, and what magnitudes went into them.
pub struct Reference {
    pub sums: Vec<f64>,
    pub magnitudes: Vec<f64>,
}

impl Reference {
    pub fn new(start: &[f32]) -> Self {
        let sums: Vec<f64> = start.iter().map(|&x| f64::from(x)).collect();
        Self { magnitudes: sums.iter().map(|x| x.abs()).collect(), sums }
    }

    pub fn add(&mut self, row: usize, gradient: &[f32], factor: f64) {
        let at = row * gradient.len();
        for (i, g) in gradient.iter().enumerate() {
            self.sums[at + i] += f64::from(*g) * factor;
            self.magnitudes[at + i] += (f64::from(*g) * factor).abs();
        }
    }

    /// The largest error relative to the magnitudes.
    pub fn error(&self, got: &[f32]) -> f64 {
        assert_eq!(got.len(), self.sums.len());
        let errors = got.iter().zip(&self.sums).zip(&self.magnitudes);
        errors.fold(0.0, |most, ((&got, sum), magnitude)| {
            assert!(got.is_finite());
            most.max((f64::from(got) - sum).abs() / magnitude.max(1e-30))
        })
    }

    /// Checks that `got` is at most twice as wrong as `plain`.
    pub fn check(&self, got: &[f32], plain: &[f32], what: &str) {
        let (error, allowed) = (self.error(got), 2.0 * self.error(plain) + f64::from(f32::EPSILON));
        assert!(error <= allowed, "{what}: error {error:e}, allowed {allowed:e}");
    }
}

pub const DENOMINATORS: [(Denominator, recis_denominator); 3] = [
    (Denominator::One, recis_denominator::RECIS_ONE),
    (Denominator::Weights, recis_denominator::RECIS_WEIGHTS),
    (Denominator::Count, recis_denominator::RECIS_COUNT),
];

/// Positive: a mean over weights that cancel is as wrong as one likes.
fn weights_of(feature: &Feature) -> Vec<f32> {
    tame_floats(3, feature.capacity).into_iter().map(|x| x.abs() + 0.125).collect()
}

/// The factor of each id of a segment, in f64.
fn factors(weights: Option<&[f32]>, denominator: Denominator, ids: std::ops::Range<usize>) -> Vec<f64> {
    let weight = |i: usize| weights.map_or(1.0, |weights| f64::from(weights[i]));
    let scale = match denominator {
        Denominator::One => 1.0,
        Denominator::Weights => ids.clone().map(weight).sum(),
        Denominator::Count => ids.len() as f64,
    };
    ids.map(|i| weight(i) / scale).collect()
}

/// The gradients of embeddings, in memory that holds something else.
pub fn backward(gradients: &[recis_combined_gradient]) {
    let (first, count) = (gradients.as_ptr(), gradients.len() as i64);
    let mut bytes = 0;
    ok(unsafe { recis_combine_backward_workspace_size(first, count, &mut bytes) });
    let workspace = Guarded::new(&vec![0xa5u8; bytes]);
    ok(unsafe { recis_combine_backward(first, count, workspace.ptr().cast(), bytes, STREAM) });
}

/// Combines the first feature, and its gradients, and compares.
pub fn run(batch: &Batch, dim: usize, weighted: bool, which: usize, place: Place) {
    let (denominator, raw) = DENOMINATORS[which];
    let feature = &batch.features[0];
    let segments = feature.offsets.len() - 1;
    let what = format!("dim {dim}, {segments} segments, {} ids, {denominator:?}", feature.places.len());
    let values = tame_floats(1, batch.unique * dim);
    let weights = weighted.then(|| weights_of(feature));
    let host = batch.host(0, dim, &values);
    let (embeddings, device_weights) = (Guarded::new(&values), weights.as_deref().map(Guarded::new));
    let lookup = batch.lookup(0, dim, &embeddings);
    let device_weights = device_weights.as_ref().map_or(std::ptr::null_mut(), Guarded::ptr);
    let Place { first_column, stride } = place;
    let columns = stride as i64;
    let combined = recis_combined {
        lookup,
        weights: device_weights,
        denominator: raw,
        first_column: first_column as i64,
    };

    let mut plain = vec![7.0f32; segments * stride];
    let mut reference = Reference::new(&plain);
    let out = Guarded::new(&plain);
    cpu::combine::forward(&host, weights.as_deref(), denominator, &mut plain, place);
    for segment in 0..segments {
        let [begin, end] = [0, 1].map(|i| feature.offsets[segment + i] as usize);
        let at = segment * stride + first_column;
        reference.sums[at..at + dim].fill(0.0);
        reference.magnitudes[at..at + dim].fill(0.0);
        for (i, factor) in (begin..end).zip(factors(weights.as_deref(), denominator, begin..end)) {
            for c in 0..dim {
                let term = factor * f64::from(host.embedding(feature.places[i])[c]);
                reference.sums[at + c] += term;
                reference.magnitudes[at + c] += term.abs();
            }
        }
    }
    let mut before = None;
    for _ in 0..2 {
        ok(unsafe { recis_combine_forward(&combined, 1, out.ptr(), columns, STREAM) });
        reference.check(&out.to_vec(), &plain, &what);
        let bits: Vec<u32> = out.to_vec().iter().map(|x| x.to_bits()).collect();
        assert_eq!(*before.get_or_insert_with(|| bits.clone()), bits, "{what}: a second run");
    }

    let gradients = tame_floats(5, segments * stride);
    let start = tame_floats(6, batch.unique * dim);
    let mut plain = start.clone();
    cpu::combine::backward(&host, weights.as_deref(), denominator, &gradients, place, &mut plain);
    let mut reference = Reference::new(&start);
    for segment in 0..segments {
        let [begin, end] = [0, 1].map(|i| feature.offsets[segment + i] as usize);
        let gradient = &gradients[segment * stride + first_column..][..dim];
        for (i, factor) in (begin..end).zip(factors(weights.as_deref(), denominator, begin..end)) {
            reference.add(feature.places[i] as usize, gradient, factor);
        }
    }
    let d_out = Guarded::new(&gradients);
    let mut before = None;
    for _ in 0..2 {
        let d_embeddings = Guarded::new(&start);
        backward(&[recis_combined_gradient {
            feature: combined,
            occurrences: batch.occurrences(0),
            d_out: d_out.ptr(),
            out_stride: columns,
            d_embeddings: d_embeddings.ptr(),
        }]);
        reference.check(&d_embeddings.to_vec(), &plain, &what);
        let bits: Vec<u32> = d_embeddings.to_vec().iter().map(|x| x.to_bits()).collect();
        assert_eq!(*before.get_or_insert_with(|| bits.clone()), bits, "{what}: a second run");
    }
}

#[test]
fn dims() {
    for (i, batch) in batches().iter().enumerate() {
        for (j, dim) in [1usize, 3, 7, 8, 16, 17, 64, 128, 132].into_iter().enumerate() {
            let place = Place { first_column: i % 3 * 4, stride: dim.next_multiple_of(4) + i % 3 * 8 };
            run(batch, dim, (i + j) % 2 == 0, (i + j) % 3, place);
        }
    }
}

#[test]
fn denominators_and_columns() {
    for batch in &batches()[5..] {
        for which in 0..3 {
            for weighted in [false, true] {
                run(batch, 16, weighted, which, Place { first_column: 4, stride: 20 });
                // Columns that are not aligned.
                run(batch, 8, weighted, which, Place { first_column: 3, stride: 12 });
                run(batch, 4, weighted, which, Place { first_column: 0, stride: 5 });
            }
        }
    }
}

#[test]
fn many_positions() {
    let batch = large_batch();
    run(&batch, 16, true, 1, Place { first_column: 0, stride: 16 });
    run(&batch, 3, false, 0, Place { first_column: 1, stride: 4 });
    // One id only, and all different.
    for ids in [1, 0] {
        let spec = Spec { table: 0, lengths: vec![1000; 70], ids, hot: 0, spare: 0 };
        run(&Batch::new(&[spec]), 4, true, 2, Place { first_column: 0, stride: 4 });
    }
    // More segments than a grid has warps.
    let spec = Spec { table: 0, lengths: vec![1; 132 * 16 * 8 + 9], ids: 5, hot: 0, spare: 0 };
    run(&Batch::new(&[spec]), 128, true, 1, Place { first_column: 0, stride: 128 });
}

/// What a caller must not pass may give nonsense, but must not be followed out of the arrays.
#[test]
fn indices_out_of_bounds_are_passed_over() {
    pass_over_out_of_bounds(5);
    // Embeddings that several blocks think to be theirs alone.
    unsafe { recis_simt_allow_races(1) };
    pass_over_out_of_bounds(125);
    unsafe { recis_simt_allow_races(0) };
}

fn pass_over_out_of_bounds(len: usize) {
    let total = 40 * len;
    let mut batch = Batch::new(&[Spec { table: 0, lengths: vec![len; 40], ids: 20, hot: 1, spare: 0 }]);
    let wild = |seed, len: usize| -> Vec<u32> {
        bits(seed, len).map(|bits| if bits % 2 == 0 { bits as u32 } else { bits as u32 % 50 }).collect()
    };
    let feature = &mut batch.features[0];
    feature.device_inverse = Guarded::new(&wild(1, total));
    feature.device_offsets = Guarded::new(&wild(2, 41).iter().map(|&x| x as i32).collect::<Vec<_>>());
    (batch.positions, batch.starts) = (Guarded::new(&wild(3, total)), Guarded::new(&wild(4, total + 1)));
    let embeddings = Guarded::new(&tame_floats(1, batch.unique * 8));
    let (lookup, out) = (batch.lookup(0, 8, &embeddings), Guarded::new(&tame_floats(2, 40 * 8)));
    let weights = Guarded::new(&tame_floats(3, total));
    for tables in [[0, 20], [20, 0], [u32::MAX, 3], [7, u32::MAX]] {
        batch.table_offsets = Guarded::new(&tables);
        let (occurrences, d) = (batch.occurrences(0), Guarded::new(&vec![0f32; batch.unique * 8]));
        for (_, denominator) in DENOMINATORS {
            let feature = recis_combined { lookup, weights: weights.ptr(), denominator, first_column: 0 };
            ok(unsafe { recis_combine_forward(&feature, 1, out.ptr(), 8, STREAM) });
            let (d_out, d_embeddings) = (out.ptr().cast_const(), d.ptr());
            backward(&[recis_combined_gradient { feature, occurrences, d_out, out_stride: 8, d_embeddings }]);
        }
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let batch = Batch::new(&[Spec { table: 0, lengths: vec![1, 2], ids: 2, hot: 0, spare: 0 }]);
    let embeddings = Guarded::new(&vec![1f32; batch.unique * 4]);
    let (lookup, occurrences) = (batch.lookup(0, 4, &embeddings), batch.occurrences(0));
    let out = Guarded::new(&[7f32; 8]);
    let one = recis_denominator::RECIS_ONE;
    let forward = |features: &[recis_combined], out, columns, what: &str| {
        let count = features.len() as i64;
        let status = unsafe { recis_combine_forward(features.as_ptr(), count, out, columns, STREAM) };
        refused(status, &format!("combine.forward: {what}"));
    };
    let (o, none) = (out.ptr(), std::ptr::null());
    let combined = recis_combined { lookup, weights: none, denominator: one, first_column: 0 };
    refused(
        unsafe { recis_combine_forward(std::ptr::null(), 1, o, 4, STREAM) },
        "combine.forward: features is null",
    );
    refused(
        unsafe { recis_combine_forward(&combined, -1, o, 4, STREAM) },
        "combine.forward: feature_count is negative",
    );
    let bad = |change: fn(&mut recis_lookup), what: &str| {
        let mut bad = combined;
        change(&mut bad.lookup);
        forward(&[combined, bad], o, 4, what);
    };
    bad(|l| l.embeddings = std::ptr::null(), "embeddings is null");
    bad(|l| l.inverse = std::ptr::null(), "inverse is null");
    bad(|l| l.offsets = std::ptr::null(), "offsets is null");
    bad(|l| l.offsets = l.offsets.wrapping_byte_add(4), "offsets is not aligned to 16 bytes");
    bad(|l| l.unique = -1, "embeddings has a negative size");
    bad(|l| l.dim = 0, "dim is below 1");
    bad(|l| l.dim = (1 << 20) + 1, "dim is above 2^20");
    bad(|l| l.first_id = -1, "first_id is negative");
    bad(|l| l.capacity = -1, "inverse has a negative size");
    bad(|l| l.capacity = i64::from(i32::MAX), "capacity is too large");
    bad(|l| l.segments = -1, "segments is negative or too large");
    bad(|_| (), "the features overlap");
    let misaligned = embeddings.misaligned().cast_const();
    forward(
        &[recis_combined { weights: misaligned, ..combined }],
        o,
        4,
        "weights is not aligned to 16 bytes",
    );
    let unknown = recis_combined { denominator: recis_denominator(3), ..combined };
    forward(&[unknown], o, 4, "denominator is unknown");
    forward(&[combined], std::ptr::null_mut(), 4, "out is null");
    forward(&[recis_combined { first_column: -1, ..combined }], o, 4, "first_column is negative");
    let beyond = recis_combined { first_column: 1, ..combined };
    forward(&[beyond], o, 4, "out_stride is below what the columns need");
    forward(&[combined], o, 3, "out_stride is below what the columns need");
    assert_eq!(out.to_vec(), [7.0; 8]);

    let d = Guarded::new(&vec![7f32; batch.unique * 4]);
    let (d_out, d_embeddings) = (o.cast_const(), d.ptr());
    let gradient =
        recis_combined_gradient { feature: combined, occurrences, d_out, out_stride: 4, d_embeddings };
    let mut bytes = 0;
    ok(unsafe { recis_combine_backward_workspace_size(&gradient, 1, &mut bytes) });
    let sized = |gradients, count, bytes, what: &str| {
        let status = unsafe { recis_combine_backward_workspace_size(gradients, count, bytes) };
        refused(status, &format!("combine.backward_workspace_size: {what}"));
    };
    sized(&gradient, 1, std::ptr::null_mut(), "bytes is null");
    sized(&gradient, -1, &mut 0, "gradient_count is negative");
    sized(std::ptr::null(), 1, &mut 0, "gradients is null");
    let workspace = Guarded::new(&vec![0u8; bytes]);
    let w = workspace.ptr().cast();
    let refuse = |gradients, count, w, what: &str| {
        let status = unsafe { recis_combine_backward(gradients, count, w, bytes, STREAM) };
        refused(status, &format!("combine.backward: {what}"));
    };
    refuse(std::ptr::null(), 1, w, "gradients is null");
    refuse(&gradient, -1, w, "gradient_count is negative");
    refuse(&gradient, 1, std::ptr::null_mut(), "workspace is null");
    // The second one.
    let bad = |change: fn(&mut recis_combined_gradient), what: &str| {
        let mut both = [gradient; 2];
        change(&mut both[1]);
        refuse(both.as_ptr(), 2, w, what);
    };
    bad(|g| g.occurrences.total = 2, "total is below first_id + capacity or too large");
    bad(|g| g.occurrences.table = 4096, "table is 4096 or more");
    bad(|g| g.occurrences.positions = std::ptr::null(), "positions is null");
    bad(|g| g.occurrences.starts = std::ptr::null(), "starts is null");
    bad(|g| g.occurrences.table_offsets = std::ptr::null(), "table_offsets is null");
    bad(|g| g.feature.lookup.dim = 0, "dim is below 1");
    bad(|g| g.d_out = std::ptr::null(), "d_out is null");
    bad(|g| g.out_stride = 3, "out_stride is below what the columns need");
    bad(|g| g.d_embeddings = std::ptr::null_mut(), "d_embeddings is null");
    let short = unsafe { recis_combine_backward(&gradient, 1, w, bytes - 1, STREAM) };
    assert_eq!(short, 2, "{}", last_error());
    assert_eq!(d.to_vec(), vec![7.0; batch.unique * 4]);
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    run(&batches()[9], 8, true, 1, Place { first_column: 0, stride: 8 });
}
