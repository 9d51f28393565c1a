use std::collections::BTreeMap;

use recis::Result;
use recis::device::{Buffer, Stream};
use recis::ops::combine::{
    self, Combined, CombinedGradient, Denominator, EmbeddingGradients, Lookup, Occurrences, Place, forward,
};

use crate::common::{
    Feature, LookedUp, each, each_with_kernels, embedding, floats, hostile_offsets, on, read, rng,
};

const PLACE: Place = Place { first_column: 2, stride: 7 };
const DIM: usize = 4;

/// The gradient of one feature.
fn backward(
    feature: &Combined<'_>,
    d_out: &Buffer<f32>,
    stride: usize,
    d_embeddings: &mut Buffer<f32>,
    stream: &Stream,
) -> Result<()> {
    let gradients = vec![CombinedGradient { feature: *feature, d_out, stride }];
    combine::backward(&mut [EmbeddingGradients { gradients, d_embeddings }], stream)
}

/// Combines random segments by f64 sums, and their gradients, and compares.
fn check(segments: usize, max_len: usize, weighted: bool, denominator: Denominator, stream: &Stream) {
    let mut rng = rng((segments + max_len) as u64);
    // Another feature of another table comes first; ids are the same.
    let features =
        vec![Feature::random(&mut rng, 1, 2, 3, 13), Feature::random(&mut rng, 0, segments, max_len, 13)];
    let looked_up = LookedUp::new(features, 2, DIM, stream);
    let (feature, lookup) = (&looked_up.features[1], looked_up.lookup(1));
    let weights: Vec<f32> = floats(&mut rng, feature.ids.len())
        .into_iter()
        .map(|w| if weighted { w + 1.0 } else { 1.0 })
        .collect();
    let d_out = floats(&mut rng, segments * PLACE.stride);
    let buffer = on(weights.clone(), stream);
    let given = weighted.then_some(&buffer);

    let mut out = on(vec![7.0; segments * PLACE.stride], stream);
    let combined = Combined { lookup, weights: given, denominator, first_column: PLACE.first_column };
    forward(&[combined], &mut out, PLACE.stride, stream).unwrap();
    let gradient = || {
        let mut d_embeddings = on(vec![1.0; looked_up.embeddings.len()], stream);
        let d_out = on(d_out.clone(), stream);
        backward(&combined, &d_out, PLACE.stride, &mut d_embeddings, stream).unwrap();
        looked_up.by_key(&d_embeddings, 1.0, stream)
    };
    let d_embeddings = gradient();
    assert_eq!(d_embeddings, gradient(), "a second run gives other bits");

    let out = read(&out, stream);
    let mut expected_d: BTreeMap<_, _> = looked_up.keys.iter().map(|&key| (key, [1.0f64; DIM])).collect();
    for s in 0..segments {
        let range = feature.range(s);
        let divisor = match denominator {
            Denominator::One => 1.0,
            Denominator::Weights => range.clone().map(|i| f64::from(weights[i])).sum(),
            Denominator::Count => range.len() as f64,
        };
        let row = &out[s * PLACE.stride..][..PLACE.stride];
        assert_eq!([row[0], row[1], row[6]], [7.0; 3], "columns of others");
        for k in 0..DIM {
            let mut sum = 0.0;
            for i in range.clone() {
                let key = (0, feature.ids[i]);
                let coefficient = f64::from(weights[i]) / divisor;
                sum += coefficient * f64::from(embedding(key, k));
                let d = coefficient * f64::from(d_out[s * PLACE.stride + 2 + k]);
                expected_d.get_mut(&key).unwrap()[k] += d;
            }
            assert!(
                (f64::from(row[2 + k]) - sum).abs() < 2e-6 * (1.0 + range.len() as f64).sqrt(),
                "{s}: {}, {sum}",
                row[2 + k]
            );
        }
    }
    for (key, expected) in expected_d {
        for (got, expected) in d_embeddings[&key].iter().zip(expected) {
            assert!(
                (f64::from(*got) - expected).abs() < 1e-5 * (1.0 + expected.abs()),
                "{key:?}: {got}, expected {expected}"
            );
        }
    }
}

#[test]
fn sums_and_means_of_all_shapes() {
    each(|stream| {
        for denominator in [Denominator::One, Denominator::Weights, Denominator::Count] {
            for weighted in [false, true] {
                // None, one, all empty, short, more ids than are summed in one part.
                for (segments, max_len) in [(0, 1), (1, 1), (5, 0), (33, 9), (300, 40)] {
                    check(segments, max_len, weighted, denominator, stream);
                }
            }
        }
    });
}

/// Two embeddings of two values, and one segment of two ids.
struct Small {
    embeddings: Buffer<f32>,
    inverse: Buffer<u32>,
    offsets: Buffer<i32>,
}

impl Small {
    fn new(stream: &Stream) -> Self {
        Self { embeddings: on([0.0; 4], stream), inverse: on([0, 1], stream), offsets: on([0, 2], stream) }
    }

    fn lookup(&self) -> Lookup<'_> {
        let Self { embeddings, inverse, offsets } = self;
        Lookup { embeddings, inverse, first_id: 0, offsets, ids: 2, dim: 2, occurrences: None, range: None }
    }
}

fn sum_of(lookup: Lookup<'_>) -> Combined<'_> {
    Combined { lookup, weights: None, denominator: Denominator::One, first_column: 0 }
}

/// More of them than a launch takes, of all widths, beside each other and with columns of others between them: to the
/// bit as one by one.
#[test]
fn features_combined_at_once_are_as_one_by_one() {
    each(|stream| {
        let mut rng = rng(3);
        for (dim, gap) in [(4, 4), (3, 1), (130, 0)] {
            let features: Vec<_> =
                (0..40).map(|i| Feature::random(&mut rng, 0, 21, i * i % 60, 30)).collect();
            let looked_up = LookedUp::new(features, 1, dim, stream);
            let stride = 40 * (dim + gap);
            let denominators = [Denominator::One, Denominator::Count, Denominator::Weights];
            let features: Vec<_> = (0..40)
                .map(|i| Combined {
                    lookup: looked_up.lookup(i),
                    weights: None,
                    denominator: denominators[i % 3],
                    // Not all can be moved four at a time.
                    first_column: (39 - i) * (dim + gap) + i % 2 * (gap / 2),
                })
                .collect();
            let [mut at_once, mut one_by_one] = [0, 1].map(|_| on(vec![7.0; 21 * stride], stream));
            forward(&features, &mut at_once, stride, stream).unwrap();
            for feature in &features {
                forward(&[*feature], &mut one_by_one, stride, stream).unwrap();
            }
            let [at_once, one_by_one] = [&at_once, &one_by_one].map(|out| read(out, stream));
            assert_eq!(at_once, one_by_one);
            assert_eq!(at_once.iter().filter(|&&value| value == 7.0).count(), 21 * 40 * gap);
        }
        forward(&[], &mut on([0.0; 2], stream), 2, stream).unwrap();
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    each(|stream| {
        let small = Small::new(stream);
        let run = |features: &[Combined<'_>]| {
            forward(features, &mut on([0.0; 2], stream), 2, stream).unwrap_err().to_string()
        };
        let (combined, weights) = (sum_of(small.lookup()), on([1.0], stream));
        assert_eq!(run(&[Combined { weights: Some(&weights), ..combined }]), "combine: 1 weights for 2 ids");
        assert!(
            run(&[Combined { first_column: 1, ..combined }])
                .contains("1 rows of 2 values do not fit 2 values")
        );
        let lookup = combined.lookup;
        let of_dim_3 = sum_of(Lookup { dim: 3, ..lookup });
        assert_eq!(run(&[combined, of_dim_3]), "combine: 4 embedding values for dim 3");
        let beyond = sum_of(Lookup { first_id: 1, ..lookup });
        assert_eq!(run(&[beyond]), "combine: ids 1.. (2 of them) of 2");
        assert_eq!(run(&[combined; 2]), "combine: columns (first, count) [(0, 2), (0, 2)] overlap");
    });
    let stream = &Stream::default();
    let small = Small::new(stream);
    let wide = sum_of(Lookup { dim: 4, ..small.lookup() });
    let error = forward(&[wide], &mut on([0.0; 4], stream), 4, stream).unwrap_err();
    assert_eq!(error.to_string(), "combine: an id points outside the 1 embeddings");
}

#[test]
fn gradients_on_a_device_need_occurrences() {
    each_with_kernels(|stream| {
        let small = Small::new(stream);
        let (d_out, mut d) = (on([0.0; 2], stream), on([0.0; 4], stream));
        let error = backward(&sum_of(small.lookup()), &d_out, 2, &mut d, stream).unwrap_err();
        assert_eq!(error.to_string(), "combine: the backward pass on a device needs the ids' occurrences");
    });
}

#[test]
fn indices_that_lead_nowhere_do_no_harm() {
    each_with_kernels(|stream| {
        let (rows, ids) = (9, 20);
        let wild: Vec<u32> = (0..=ids as u32).map(|i| i.wrapping_mul(0x6000_0001).rotate_left(i)).collect();
        let [positions, inverse] = [0, 1].map(|first| on(&wild[first..][..ids], stream));
        let (starts, table_offsets) = (on(&wild[..], stream), on([7, u32::MAX, 3], stream));
        let (embeddings, offsets) = (on([1.0; 5 * DIM], stream), on(hostile_offsets(rows), stream));
        for table in 0..2 {
            let occurrences = Occurrences {
                positions: &positions,
                starts: &starts,
                listed: ids,
                table_offsets: &table_offsets,
                table,
            };
            let lookup = Lookup {
                embeddings: &embeddings,
                inverse: &inverse,
                first_id: 3,
                offsets: &offsets,
                ids: ids - 3,
                dim: DIM,
                occurrences: Some(occurrences),
                range: None,
            };
            let (mut out, mut d) = (on(vec![0.0; rows * 7], stream), on([0.0; 5 * DIM], stream));
            let weights = on(vec![1.0; ids], stream);
            for denominator in [Denominator::One, Denominator::Weights, Denominator::Count] {
                let Place { first_column, stride } = PLACE;
                let combined = Combined { lookup, weights: Some(&weights), denominator, first_column };
                forward(&[combined], &mut out, stride, stream).unwrap();
                backward(&combined, &out, stride, &mut d, stream).unwrap();
            }
            stream.synchronize().unwrap();
        }
    });
}

/// Ids of two tables in one lookup: each table's are summed in a call of their own, as between ranks.
#[test]
fn only_ids_of_the_table_are_summed() {
    each_with_kernels(|stream| {
        for segments in [20, 3000] {
            let mut rng = rng(segments as u64);
            let mut features =
                Vec::from([0, 1].map(|table| Feature::random(&mut rng, table, segments, 3, 13)));
            // Without room for more.
            features.iter_mut().for_each(|feature| feature.ids.truncate(feature.range(segments - 1).end));
            let looked_up = LookedUp::new(features, 2, DIM, stream);
            let ids: usize = looked_up.features.iter().map(|feature| feature.ids.len()).sum();
            let (offsets, d_out) =
                (on((0..=ids as i32).collect::<Vec<_>>(), stream), floats(&mut rng, ids * DIM));
            let mut d_embeddings = on(vec![0.0; looked_up.embeddings.len()], stream);
            let mut expected: BTreeMap<_, _> =
                looked_up.keys.iter().map(|&key| (key, [0.0f64; DIM])).collect();
            let mut first = 0;
            for (table, feature) in looked_up.features.iter().enumerate() {
                let lookup = Lookup { first_id: 0, ids, offsets: &offsets, ..looked_up.lookup(table) };
                let gradient = on(d_out.clone(), stream);
                backward(&sum_of(lookup), &gradient, DIM, &mut d_embeddings, stream).unwrap();
                for (i, &id) in feature.ids.iter().enumerate() {
                    let sum = expected.get_mut(&(table, id)).unwrap();
                    (0..DIM).for_each(|k| sum[k] += f64::from(d_out[(first + i) * DIM + k]));
                }
                first += feature.ids.len();
            }
            let got = looked_up.by_key(&d_embeddings, 0.0, stream);
            for (key, expected) in expected {
                for (got, expected) in got[&key].iter().zip(expected) {
                    assert!(
                        (f64::from(*got) - expected).abs() < 1e-3,
                        "{segments} {key:?}: {got}, {expected}"
                    );
                }
            }
        }
    });
}
