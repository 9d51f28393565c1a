use std::collections::{BTreeMap, BTreeSet};

use recis::device::{Buffer, Device, Stream};
use recis::ops::linear;
use recis::ops::linear_tile::{
    Dense, Lookup, Precision, Prepared, Reduction, Size, TableRange, Tile, backward_tiles, backward_weight,
    forward,
};

use crate::common::{each, each_with_kernels, hostile_offsets, on, ulps};

mod case;

use case::Case;

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

/// Compares with the plain layer, on the CPU, over the written input.
fn check(case: &Case<'_>) {
    let (size, input, rows, cpu) = (case.size, case.materialised(), case.size.rows, &Stream::default());
    let bound = 4.0 * (size.inputs.max(rows) as f64).sqrt() + 8.0;
    let (weight, d_y) = (on(&case.weight[..], cpu), on(&case.d_y[..], cpu));
    let zeros = |n| Buffer::<f32>::zeros(n, cpu).unwrap();
    let mut y = zeros(rows * size.outputs);
    linear::forward(&input, &weight, &on(&case.bias[..], cpu), &mut y, size, cpu).unwrap();
    assert!(ulps(&case.forward(), &f64s(y.host()), 1.0) < bound, "{size:?} y");

    let (mut d_weight, mut d_bias) = (zeros(weight.len()), zeros(size.outputs));
    for accumulate in [false, true] {
        linear::backward_weight(&input, &d_y, &mut d_weight, &mut d_bias, size, accumulate, cpu).unwrap();
        let got = case.backward_weight(accumulate);
        assert!(ulps(&got, &f64s(d_weight.host()), 1.0) < bound, "{size:?} dw");
    }

    let mut d_input = zeros(rows * size.inputs);
    linear::backward_input(&d_y, &weight, &mut d_input, size, cpu).unwrap();
    let mut expected: BTreeMap<_, _> =
        case.looked_up.keys.iter().map(|&key| (key, vec![1.0; case.dim])).collect();
    case.each_tiled(|row, column, key, k| {
        expected.get_mut(&key).unwrap()[k] += f64::from(d_input.host()[row * size.inputs + column]);
    });
    let scale = expected.values().flatten().fold(1.0, |max: f64, e| max.max(e.abs()));
    for reduction in [Reduction::Repeatable, Reduction::Unordered] {
        for (key, got) in case.sum_tiles(1.0, reduction, true) {
            assert!(ulps(&got, &expected[&key], scale) < bound, "{size:?} de of {key:?}, {reduction:?}");
        }
    }

    let at_once = case.sum_tiles(1.0, Reduction::Repeatable, true);
    assert_eq!(case.sum_tiles(1.0, Reduction::Repeatable, false), at_once, "{size:?} de, one by one");

    let first = case.dense()[0].first_column;
    let d_x = case.backward_dense();
    for (d_x, d_input) in d_x.chunks(case.dense_width).zip(d_input.host().chunks(size.inputs)) {
        assert!(ulps(d_x, &f64s(&d_input[first..][..case.dense_width]), 1.0) < bound, "{size:?} dx");
    }
}

#[test]
fn equals_the_layer_on_the_written_input() {
    each(|stream| {
        for (rows, dim, tile_len, max_len) in [
            (0, 4, 2, 1),
            (1, 1, 1, 1),
            (3, 3, 4, 9),
            (40, 7, 5, 5),
            (131, 16, 40, 60),
            (200, 8, 70, 69),
            (5, 17, 3, 0),
            (260, 300, 2, 3),
        ] {
            check(&Case::new(rows, dim, tile_len, max_len, stream));
        }
    });
}

/// On a device that prepares factors.
#[test]
fn wide_layers_equal_the_layer_on_the_written_input() {
    each(|stream| {
        for second_table in [0, 1] {
            check(&Case::of_widths([24, 72], second_table, [150, 8, 25, 40], stream));
        }
        // As wide as devices want it.
        if !matches!(stream.device(), Device::Cpu | Device::Simt) {
            check(&Case::of_widths([40, 128], 0, [300, 16, 300, 400], stream));
            check(&Case::of_widths([8, 88], 1, [1024, 24, 200, 250], stream));
        }
    });
}

/// How far sums of products are off, of what they are.
fn relative(got: &[f32], expected: &[f64]) -> f64 {
    let off: f64 = got.iter().zip(expected).map(|(&v, e)| (f64::from(v) - e).powi(2)).sum();
    f64::sqrt(off / expected.iter().map(|e| e * e).sum::<f64>())
}

/// Also with factors that are far from half floats' range.
#[test]
fn wide_layers_are_as_exact_as_asked() {
    each(|stream| {
        let precisions =
            [(Precision::Fp32, 4.5e-7), (Precision::Tf32, 1.0 / 1024.0), (Precision::Bf16, 1.0 / 128.0)];
        for (precision, allowed) in precisions {
            if stream.device() == Device::Cpu && precision != Precision::Fp32 {
                continue;
            }
            for scales in [(1.0, 1.0), (f32::powi(2.0, -70), f32::powi(2.0, 60)), (1e20, 1e-25), (1e-30, 1.0)]
            {
                // On a device, as wide as it wants it.
                let tile_len = if matches!(stream.device(), Device::Cpu | Device::Simt) { 20 } else { 600 };
                is_as_exact_as_asked(precision, allowed, scales, [8, tile_len], stream);
            }
        }
    });
}

/// Embeddings of several sizes; the last ones are more than a block adds up by itself.
#[test]
fn wide_layers_of_any_dim_are_as_exact_as_asked() {
    each_with_kernels(|stream| {
        let wide = if stream.device() == Device::Simt { 1 } else { 30 };
        for [dim, tile_len] in
            [[16, 10 * wide], [24, 7 * wide], [32, 5 * wide], [72, 2 * wide], [256 * wide, 2]]
        {
            for (precision, allowed) in [(Precision::Fp32, 4.5e-7), (Precision::Tf32, 1.0 / 1024.0)] {
                is_as_exact_as_asked(precision, allowed, (1.0, 1.0), [dim, tile_len], stream);
            }
        }
    });
}

/// With a weight and a gradient of these scales.
fn is_as_exact_as_asked(
    precision: Precision,
    allowed: f64,
    (of_weight, of_gradient): (f32, f32),
    [dim, tile_len]: [usize; 2],
    stream: &Stream,
) {
    let mut case = Case::of_widths([24, 72], 1, [130, dim, tile_len, 40], stream);
    case.size.precision = precision;
    case.weight.iter_mut().for_each(|w| *w *= of_weight);
    case.d_y.iter_mut().for_each(|d| *d *= of_gradient);
    case.weight_there = on(&case.weight[..], stream);
    let (x, Size { rows, inputs, outputs, .. }) = (case.materialised(), case.size);
    let (x, w, d) = (f64s(x.host()), f64s(&case.weight), f64s(&case.d_y));
    let mut y = vec![0.0; rows * outputs];
    let mut d_weight = vec![0.0; outputs * inputs];
    for (row, output) in (0..rows).flat_map(|row| (0..outputs).map(move |output| (row, output))) {
        let (x, d) = (&x[row * inputs..][..inputs], d[row * outputs + output]);
        let w = &w[output * inputs..][..inputs];
        y[row * outputs + output] =
            f64::from(case.bias[output]) + x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
        let d_weight = &mut d_weight[output * inputs..][..inputs];
        d_weight.iter_mut().zip(x).for_each(|(d_weight, x)| *d_weight += d * x);
    }
    let d_embeddings = case.exact_backward_tiles();
    let check = |got: &[f32], expected: &[f64], what: &str| {
        let off = relative(got, expected);
        assert!(off < allowed, "{what}, {precision:?}, {of_weight:e}, {of_gradient:e}, dim {dim}: {off:e}");
    };
    check(&case.forward(), &y, "y");
    check(&case.backward_weight(false), &d_weight, "dw");
    let got: Vec<f32> = case.backward_tiles_from(0.0).into_values().flatten().collect();
    check(&got, &d_embeddings.into_values().flatten().collect::<Vec<_>>(), "de");
}

/// All rows but the first have a gradient a million times smaller: ids that only they have learn as exactly.
#[test]
fn gradients_of_rows_beside_much_larger_ones_are_as_exact() {
    each_with_kernels(|stream| {
        let tile_len = if stream.device() == Device::Simt { 20 } else { 600 };
        for (precision, allowed) in [(Precision::Tf32, 1.0 / 1024.0), (Precision::Bf16, 1.0 / 128.0)] {
            let mut case = Case::of_widths([24, 72], 1, [130, 8, tile_len, 3], stream);
            case.size.precision = precision;
            let outputs = case.size.outputs;
            case.d_y[outputs..].iter_mut().for_each(|d| *d *= f32::powi(2.0, -20));
            let mut of_first = BTreeSet::new();
            case.each_tiled(|row, _, key, _| {
                if row == 0 {
                    of_first.insert(key);
                }
            });
            let expected = case.exact_backward_tiles();
            for (key, got) in case.backward_tiles_from(0.0) {
                if !of_first.contains(&key) {
                    let off = relative(&got, &expected[&key]);
                    assert!(off < allowed, "{key:?}, {precision:?}: {off:e}");
                }
            }
        }
    });
}

/// One row of the batch has such a gradient: whoever has an id of it learns so, nobody else.
#[test]
fn gradients_that_are_not_finite_stay_so() {
    each(|stream| {
        // On a device, as wide as it wants it, and not.
        let wide = if matches!(stream.device(), Device::Cpu | Device::Simt) { 20 } else { 600 };
        for (widths, tile_len) in [([24, 72], wide), ([3, 5], 6)] {
            for (bad, reduction) in [
                (f32::INFINITY, Reduction::Repeatable),
                (f32::NAN, Reduction::Repeatable),
                (f32::NEG_INFINITY, Reduction::Unordered),
            ] {
                let mut case = Case::of_widths(widths, 1, [130, 8, tile_len, 3], stream);
                let (row, outputs) = (101, case.size.outputs);
                case.d_y[row * outputs + 2] = bad;
                let mut of_row = BTreeSet::new();
                case.each_tiled(|r, _, key, _| {
                    if r == row {
                        of_row.insert(key);
                    }
                });
                assert!(!of_row.is_empty());
                for (key, gradient) in case.sum_tiles(0.0, reduction, true) {
                    let all = |finite: bool| gradient.iter().all(|value| value.is_finite() == finite);
                    assert!(
                        all(!of_row.contains(&key)),
                        "{key:?} of {of_row:?}, {bad} {reduction:?}: {gradient:?}"
                    );
                }
            }
        }
    });
}

#[test]
fn neither_threads_nor_a_second_run_change_a_bit() {
    each(|stream| {
        let case = Case::new(300, 16, 50, 80, stream);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| (case.forward(), case.backward_tiles(), case.backward_weight(true)))
        };
        let one = run(1);
        assert!(one == run(2) && one == run(5));
    });
}

#[test]
fn what_is_prepared_for_another_layer_or_without_its_gradient_is_refused() {
    each_with_kernels(|stream| {
        // As wide as devices want it.
        let tile_len = if stream.device() == Device::Simt { 4 } else { 600 };
        let [case, other] = [70, 71].map(|rows| Case::of_widths([24, 72], 0, [rows, 8, tile_len, 4], stream));
        let (bias, d_y) = (on(&case.bias[..], stream), on(&case.d_y[..], stream));
        let (dense, tiles, weight, size) = (case.dense(), case.tiles(), &case.weight_there, case.size);
        let mut prepared = Prepared::nothing(stream).unwrap();
        prepared.prepare(&other.dense(), &other.tiles(), &other.weight_there, other.size, stream).unwrap();
        let mut y = on(vec![0.0; case.d_y.len()], stream);
        let run = forward(&dense, &tiles, weight, &bias, &mut y, size, &mut prepared, stream);
        let for_another = "linear_tile: the factors were prepared for another layer";
        // Where nothing is prepared, nothing can be wrong.
        let Err(error) = run else { return };
        assert_eq!(error.to_string(), for_another);
        assert_eq!(prepared.add_gradient(&d_y, size, stream).unwrap_err().to_string(), for_another);
        prepared.prepare(&dense, &tiles, weight, size, stream).unwrap();
        let run = forward(&dense, &tiles, weight, &bias, &mut y, size, &mut prepared, stream);
        assert_eq!(
            run.unwrap_err().to_string(),
            "linear_tile: the inputs were not added to the prepared factors"
        );
        let mut d = on(vec![0.0; case.looked_up.embeddings.len()], stream);
        let error = backward_tiles(
            &tiles[..1],
            &d_y,
            weight,
            &mut d,
            size,
            Reduction::Repeatable,
            &mut prepared,
            stream,
            stream,
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "linear_tile: the gradient was not added to the prepared factors");
    });
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    each(|stream| {
        let case = Case::new(4, 2, 3, 3, stream);
        let bias = on(&case.bias[..], stream);
        let mut y = on(vec![0.0; 4 * case.size.outputs], stream);
        let mut run = |dense: &[Dense<'_>], tiles: &[Tile<'_>]| {
            let prepared = &mut Prepared::nothing(stream).unwrap();
            forward(dense, tiles, &case.weight_there, &bias, &mut y, case.size, prepared, stream)
                .unwrap_err()
                .to_string()
        };
        let [mut dense] = case.dense();
        dense.first_column -= 1;
        assert_eq!(
            run(&[dense], &case.tiles()),
            "linear_tile: input columns [(0, 6), (5, 10), (11, 17)] overlap or exceed 17"
        );
        let [mut tile, _] = case.tiles();
        let short = on([0, 1], stream);
        tile.lookup.offsets = &short;
        assert_eq!(run(&[], &[tile]), "linear_tile: a tile of 1 segments for 4 rows");
    });
    let stream = &Stream::default();
    let case = Case::new(4, 2, 3, 3, stream);
    let mut y = on(vec![0.0; 4 * case.size.outputs], stream);
    let mut run = |tile| {
        let bias = on(&case.bias[..], stream);
        let prepared = &mut Prepared::nothing(stream).unwrap();
        forward(&[], &[tile], &case.weight_there, &bias, &mut y, case.size, prepared, stream)
            .unwrap_err()
            .to_string()
    };
    let [mut tile, _] = case.tiles();
    let unique = tile.lookup.embeddings.len() / 2;
    let outside = on(vec![unique as u32; tile.lookup.inverse.len()], stream);
    tile.lookup.inverse = &outside;
    assert_eq!(run(tile), format!("linear_tile: an id points outside the {unique} embeddings"));
    let [mut tile, _] = case.tiles();
    let descending = on([0, 2, 1, 3, 4], stream);
    tile.lookup.offsets = &descending;
    assert_eq!(run(tile), "linear_tile: offsets do not ascend from 0");
}

#[test]
fn indices_that_lead_nowhere_do_no_harm() {
    each_with_kernels(|stream| {
        let (rows, ids, dim, tile_len, outputs) = (9, 20, 4, 3, 5);
        let wild: Vec<u32> = (0..=ids as u32).map(|i| i.wrapping_mul(0x6000_0001).rotate_left(i)).collect();
        let (inverse, table_offsets) = (on(&wild[1..][..ids], stream), on([2, u32::MAX], stream));
        let (embeddings, offsets) = (on([1.0; 20], stream), on(hostile_offsets(rows), stream));
        let lookup = Lookup {
            embeddings: &embeddings,
            inverse: &inverse,
            first_id: 3,
            offsets: &offsets,
            ids: ids - 3,
            dim,
            occurrences: None,
            range: Some(TableRange { table_offsets: &table_offsets, table: 0 }),
        };
        let tile = Tile { lookup, tile_len, first_column: 0 };
        let size = Size { rows, inputs: dim * tile_len, outputs, precision: Precision::Fp32 };
        let [weight, mut d_weight] = [0, 1].map(|_| on(vec![0.5; outputs * dim * tile_len], stream));
        let bias = on(vec![0.5; outputs], stream);
        let (mut y, mut d) = (on(vec![0.0; rows * outputs], stream), on([0.0; 20], stream));
        let p = &mut Prepared::nothing(stream).unwrap();
        p.prepare(&[], &[tile], &weight, size, stream).unwrap();
        forward(&[], &[tile], &weight, &bias, &mut y, size, p, stream).unwrap();
        p.add_gradient(&y, size, stream).unwrap();
        backward_weight(&[], &[tile], &y, &mut d_weight, size, false, p, stream).unwrap();
        for reduction in [Reduction::Repeatable, Reduction::Unordered] {
            backward_tiles(&[tile], &y, &weight, &mut d, size, reduction, p, stream, stream).unwrap();
        }
        stream.synchronize().unwrap();
    });
}
