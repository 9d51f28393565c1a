use rand::Rng;
use recis::device::{Buffer, Stream};
use recis::ops::combine::{Denominator, Lookup, Place, backward, forward};

use crate::common::{buffer, floats, rng};

const PLACE: Place = Place { first_column: 2, stride: 7 };

/// Combines random segments by f64 sums, and their gradients, and compares.
fn check(segments: usize, max_len: usize, weighted: bool, denominator: Denominator) {
    let (stream, dim, unique) = (Stream::default(), 4, 13);
    let mut rng = rng((segments + max_len) as u64);
    let mut offsets = vec![0i32];
    (0..segments)
        .for_each(|_| offsets.push(offsets[offsets.len() - 1] + rng.random_range(0..=max_len) as i32));
    let ids = offsets[segments] as usize;
    let embeddings = buffer(&mut rng, unique * dim);
    // Three ids of another feature come first.
    let inverse: Buffer<u32> =
        (0..ids + 3).map(|_| rng.random_range(0..unique as u32)).collect::<Vec<_>>().into();
    let weights: Vec<f32> =
        floats(&mut rng, ids).into_iter().map(|w| if weighted { w + 1.0 } else { 1.0 }).collect();
    let d_out = buffer(&mut rng, segments * PLACE.stride);
    let offsets = Buffer::from(offsets);
    let lookup = Lookup { embeddings: &embeddings, inverse: &inverse, first_id: 3, offsets: &offsets, dim };
    let buffer = Buffer::from(weights.clone());
    let given = weighted.then_some(&buffer);

    let mut out = Buffer::from(vec![7.0; segments * PLACE.stride]);
    forward(&lookup, given, denominator, &mut out, PLACE, &stream).unwrap();
    let mut d_embeddings = Buffer::from(vec![1.0; unique * dim]);
    backward(&lookup, given, denominator, &d_out, PLACE, &mut d_embeddings, &stream).unwrap();

    let mut expected_d = vec![1.0f64; unique * dim];
    for s in 0..segments {
        let range = offsets.host()[s] as usize..offsets.host()[s + 1] as usize;
        let divisor = match denominator {
            Denominator::One => 1.0,
            Denominator::Weights => range.clone().map(|i| f64::from(weights[i])).sum(),
            Denominator::Count => range.len() as f64,
        };
        let row = &out.host()[s * PLACE.stride..][..PLACE.stride];
        assert_eq!([row[0], row[1], row[6]], [7.0; 3], "columns of others");
        for k in 0..dim {
            let mut sum = 0.0;
            for i in range.clone() {
                let place = inverse.host()[i + 3] as usize * dim + k;
                let coefficient = f64::from(weights[i]) / divisor;
                sum += coefficient * f64::from(embeddings.host()[place]);
                expected_d[place] += coefficient * f64::from(d_out.host()[s * PLACE.stride + 2 + k]);
            }
            assert!(
                (f64::from(row[2 + k]) - sum).abs() < 2e-6 * (1.0 + range.len() as f64).sqrt(),
                "{s}: {}, {sum}",
                row[2 + k]
            );
        }
    }
    for (got, expected) in d_embeddings.host().iter().zip(&expected_d) {
        assert!(
            (f64::from(*got) - expected).abs() < 1e-5 * (1.0 + expected.abs()),
            "{got}, expected {expected}"
        );
    }
}

#[test]
fn sums_and_means_of_all_shapes() {
    for denominator in [Denominator::One, Denominator::Weights, Denominator::Count] {
        for weighted in [false, true] {
            // None, one, all empty, short, more ids than are summed in one part.
            for (segments, max_len) in [(0, 1), (1, 1), (5, 0), (33, 9), (300, 40)] {
                check(segments, max_len, weighted, denominator);
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let stream = Stream::default();
    let (embeddings, inverse, offsets) = (vec![0.0; 4].into(), vec![0, 1].into(), vec![0, 2].into());
    let lookup =
        Lookup { embeddings: &embeddings, inverse: &inverse, first_id: 0, offsets: &offsets, dim: 2 };
    let run = |lookup: &Lookup<'_>, weights: Option<&Buffer<f32>>, place| {
        forward(lookup, weights, Denominator::One, &mut vec![0.0; 2].into(), place, &stream)
            .unwrap_err()
            .to_string()
    };
    let place = Place { first_column: 0, stride: 2 };
    assert_eq!(run(&lookup, Some(&vec![1.0].into()), place), "combine: 1 weights for 2 ids");
    assert!(
        run(&lookup, None, Place { first_column: 1, stride: 2 })
            .contains("1 rows of 2 values do not fit 2 values")
    );
    let wide = Lookup { dim: 4, ..lookup };
    assert_eq!(run(&wide, None, place), "combine: an id points outside the 1 embeddings");
}
