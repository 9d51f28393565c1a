use std::collections::BTreeMap;

use recis::device::{Buffer, Stream};
use recis::ops::combine_tile::{Lookup, Occurrences, Place, backward, forward};

use crate::common::{
    Feature, LookedUp, each, each_with_kernels, embedding, floats, hostile_offsets, on, read, rng,
};

#[test]
fn rows_are_filled_cut_and_padded() {
    each(|stream| {
        // Another feature of the table comes first, with an id of its own.
        let features = vec![
            Feature { table: 0, ids: vec![9], offsets: vec![0, 1] },
            Feature { table: 0, ids: vec![4, 6, 5, 6], offsets: vec![0, 1, 1, 4] },
        ];
        let looked_up = LookedUp::new(features, 1, 2, stream);
        let lookup = looked_up.lookup(1);
        let place = Place { first_column: 1, stride: 5 };
        let mut out = on([-1.0; 15], stream);
        forward(&lookup, 2, &mut out, place, stream).unwrap();
        let e = |id, column| embedding((0, id), column);
        let expected = [
            [-1.0, e(4, 0), e(4, 1), 0.0, 0.0],
            [-1.0, 0.0, 0.0, 0.0, 0.0],
            [-1.0, e(6, 0), e(6, 1), e(5, 0), e(5, 1)],
        ];
        assert_eq!(read(&out, stream), expected.concat());

        let d_out = on((0..15).map(|i| i as f32).collect::<Vec<_>>(), stream);
        let mut d_embeddings = on(vec![100.0; looked_up.embeddings.len()], stream);
        backward(&lookup, 2, &d_out, place, &mut d_embeddings, stream).unwrap();
        // The third id of the last row is cut off and gets nothing.
        let expected = [(4, [101.0, 102.0]), (5, [113.0, 114.0]), (6, [111.0, 112.0]), (9, [100.0; 2])];
        let expected = BTreeMap::from(expected.map(|(id, d)| ((0, id), d.to_vec())));
        assert_eq!(looked_up.by_key(&d_embeddings, 100.0, stream), expected);
    });
}

#[test]
fn all_shapes_are_those_of_a_plain_loop() {
    each(|stream| {
        for (segments, max_len, tile_len, dim) in [
            (0, 1, 1, 4),
            (1, 1, 1, 1),
            (7, 0, 3, 8),
            (40, 9, 5, 3),
            (33, 6, 6, 16),
            (200, 50, 49, 8),
            (5, 4, 0, 2),
        ] {
            let mut rng = rng((segments + dim) as u64);
            let features = vec![
                Feature::random(&mut rng, 0, 3, 3, 20),
                Feature::random(&mut rng, 1, segments, max_len, 20),
            ];
            let looked_up = LookedUp::new(features, 2, dim, stream);
            let (feature, lookup) = (&looked_up.features[1], looked_up.lookup(1));
            let place = Place { first_column: 4, stride: 4 + tile_len * dim };
            let d_out = floats(&mut rng, segments * place.stride);

            let mut expected = vec![3.0; segments * place.stride];
            let mut expected_d: BTreeMap<_, _> =
                looked_up.keys.iter().map(|&key| (key, vec![1.0f64; dim])).collect();
            for segment in 0..segments {
                let row = segment * place.stride + place.first_column;
                expected[row..row + tile_len * dim].fill(0.0);
                for (position, i) in feature.range(segment).take(tile_len).enumerate() {
                    let key = (1, feature.ids[i]);
                    for k in 0..dim {
                        let element = row + position * dim + k;
                        expected[element] = embedding(key, k);
                        expected_d.get_mut(&key).unwrap()[k] += f64::from(d_out[element]);
                    }
                }
            }
            let mut out = on(vec![3.0; segments * place.stride], stream);
            forward(&lookup, tile_len, &mut out, place, stream).unwrap();
            assert_eq!(read(&out, stream), expected);

            let gradient = || {
                let mut d_embeddings = on(vec![1.0; looked_up.embeddings.len()], stream);
                backward(&lookup, tile_len, &on(d_out.clone(), stream), place, &mut d_embeddings, stream)
                    .unwrap();
                looked_up.by_key(&d_embeddings, 1.0, stream)
            };
            let d_embeddings = gradient();
            assert_eq!(d_embeddings, gradient(), "a second run gives other bits");
            for (key, expected) in expected_d {
                for (&got, expected) in d_embeddings[&key].iter().zip(expected) {
                    let bound = 1e-5 * (1.0 + expected.abs());
                    assert!((f64::from(got) - expected).abs() < bound, "{key:?}: {got}, expected {expected}");
                }
            }
        }
    });
}

#[test]
fn threads_do_not_change_a_bit() {
    let (rows, len, unique, dim) = (200, 50, 30u32, 8);
    let embeddings = Buffer::from(vec![0.0; unique as usize * dim]);
    let inverse: Buffer<u32> =
        (0..rows * len).map(|i| (i as u32).wrapping_mul(2_654_435_761) % unique).collect::<Vec<_>>().into();
    let offsets: Buffer<i32> = (0..=rows).map(|row| (row * len) as i32).collect::<Vec<_>>().into();
    let d_out: Buffer<f32> = (0..rows * len * dim).map(|i| (i as f32).sin()).collect::<Vec<_>>().into();
    let lookup = Lookup {
        embeddings: &embeddings,
        inverse: &inverse,
        first_id: 0,
        offsets: &offsets,
        ids: rows * len,
        dim,
        occurrences: None,
        range: None,
    };
    let run = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let mut d_embeddings = Buffer::from(vec![0.0; embeddings.len()]);
            let place = Place { first_column: 0, stride: len * dim };
            backward(&lookup, len, &d_out, place, &mut d_embeddings, &Stream::default()).unwrap();
            d_embeddings
        })
    };
    assert!(run(1) == run(2) && run(1) == run(5));
}

#[test]
fn indices_that_lead_nowhere_do_no_harm() {
    each_with_kernels(|stream| {
        let (rows, ids, dim, tile_len) = (9, 20, 4, 3);
        let wild: Vec<u32> = (0..=ids as u32).map(|i| i.wrapping_mul(0x6000_0001).rotate_left(i)).collect();
        let [positions, inverse] = [0, 1].map(|first| on(&wild[first..][..ids], stream));
        let (starts, table_offsets) = (on(&wild[..], stream), on([2, u32::MAX], stream));
        let (embeddings, offsets) = (on([1.0; 20], stream), on(hostile_offsets(rows), stream));
        let occurrences = Occurrences {
            positions: &positions,
            starts: &starts,
            listed: ids,
            table_offsets: &table_offsets,
            table: 0,
        };
        let lookup = Lookup {
            embeddings: &embeddings,
            inverse: &inverse,
            first_id: 3,
            offsets: &offsets,
            ids: ids - 3,
            dim,
            occurrences: Some(occurrences),
            range: None,
        };
        let place = Place { first_column: 1, stride: 1 + tile_len * dim };
        let (mut out, mut d) = (on(vec![0.0; rows * place.stride], stream), on([0.0; 20], stream));
        forward(&lookup, tile_len, &mut out, place, stream).unwrap();
        backward(&lookup, tile_len, &out, place, &mut d, stream).unwrap();
        stream.synchronize().unwrap();
    });
}
