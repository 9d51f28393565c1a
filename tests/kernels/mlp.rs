use std::ptr::{null, null_mut};

use recis::ffi::recis_mlp_layer;
use recis::ffi::simt::{recis_mlp_finish, recis_mlp_train, recis_mlp_workspace_size};
use recis::ops::{cpu, mlp::fits};

use crate::common::*;

/// A layer's arrays.
struct Arrays {
    inputs: usize,
    outputs: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

fn network(widths: &[usize]) -> Vec<Arrays> {
    let layers = widths.windows(2).enumerate();
    layers
        .map(|(l, pair)| {
            let (inputs, outputs, seed) = (pair[0], pair[1], 10 + 2 * l as u64);
            let scaled = |seed, len| tame_floats(seed, len).iter().map(|v| v / inputs as f32).collect();
            Arrays {
                inputs,
                outputs,
                weight: scaled(seed, outputs * inputs),
                bias: scaled(seed + 1, outputs),
            }
        })
        .collect()
}

/// Layers that nothing reads.
fn sizes(widths: &[usize]) -> Vec<recis_mlp_layer> {
    let layer = |pair: &[usize]| recis_mlp_layer {
        weight: null(),
        bias: null(),
        d_weight: null_mut(),
        d_bias: null_mut(),
        inputs: pair[0] as i64,
        outputs: pair[1] as i64,
    };
    widths.windows(2).map(layer).collect()
}

/// Prediction, loss, gradient of x, and the parameters' gradients, layer by layer.
type Written = Vec<Vec<f32>>;

fn launch(widths: &[usize], rows: usize, accumulate: bool) -> (Written, u64) {
    let arrays = network(widths);
    let before = if accumulate { 0.5 } else { f32::NAN };
    let guarded: Vec<_> = arrays
        .iter()
        .map(|layer| {
            let gradient = |len| Guarded::new(&vec![before; len]);
            let (weight, bias) = (Guarded::new(&layer.weight), Guarded::new(&layer.bias));
            (weight, bias, gradient(layer.weight.len()), gradient(layer.bias.len()))
        })
        .collect();
    let layers: Vec<_> = (guarded.iter().zip(&arrays))
        .map(|((weight, bias, d_weight, d_bias), layer)| recis_mlp_layer {
            weight: weight.ptr(),
            bias: bias.ptr(),
            d_weight: d_weight.ptr(),
            d_bias: d_bias.ptr(),
            inputs: layer.inputs as i64,
            outputs: layer.outputs as i64,
        })
        .collect();
    let (layers, count) = (layers.as_ptr(), layers.len() as i64);
    let mut bytes = 0;
    ok(unsafe { recis_mlp_workspace_size(layers, count, rows as i64, &mut bytes) });
    let workspace = Guarded::new(&vec![0x55u8; bytes]);
    let (x, label) = (Guarded::new(&xs(widths, rows)), Guarded::new(&labels(rows)));
    let (prediction, loss) = (Guarded::new(&vec![f32::NAN; rows]), Guarded::new(&[f32::NAN]));
    let (d_x, unfit) = (Guarded::new(&vec![f32::NAN; rows * widths[0]]), Guarded::new(&[u64::MAX]));
    ok(unsafe {
        recis_mlp_train(
            x.ptr(),
            label.ptr(),
            layers,
            count,
            rows as i64,
            prediction.ptr(),
            d_x.ptr(),
            unfit.ptr(),
            workspace.ptr().cast(),
            bytes,
            STREAM,
        )
    });
    let (accumulate, memory) = (i32::from(accumulate), workspace.ptr().cast());
    ok(unsafe {
        recis_mlp_finish(layers, count, rows as i64, loss.ptr(), accumulate, memory, bytes, STREAM)
    });
    let mut written = vec![prediction.to_vec(), loss.to_vec(), d_x.to_vec()];
    guarded.iter().for_each(|(_, _, d_weight, d_bias)| written.extend([d_weight.to_vec(), d_bias.to_vec()]));
    (written, unfit.to_vec()[0])
}

fn xs(widths: &[usize], rows: usize) -> Vec<f32> {
    tame_floats(1, rows * widths[0])
}

fn labels(rows: usize) -> Vec<f32> {
    bits(2, rows).map(|bits| (bits % 2) as f32).collect()
}

fn expected(widths: &[usize], rows: usize, accumulate: bool) -> Written {
    let arrays = network(widths);
    let mut gradients: Vec<_> =
        arrays.iter().map(|layer| (vec![0.5; layer.weight.len()], vec![0.5; layer.bias.len()])).collect();
    let mut layers: Vec<_> = (arrays.iter().zip(&mut gradients))
        .map(|(layer, (d_weight, d_bias))| cpu::mlp::Layer {
            weight: &layer.weight,
            bias: &layer.bias,
            d_weight,
            d_bias,
            inputs: layer.inputs,
            outputs: layer.outputs,
        })
        .collect();
    let (mut prediction, mut d_x) = (vec![0.0; rows], vec![0.0; rows * widths[0]]);
    let (x, label) = (xs(widths, rows), labels(rows));
    let loss = cpu::mlp::train(&mut layers, &x, &label, &mut prediction, &mut d_x, accumulate);
    let mut written = vec![prediction, vec![loss], d_x];
    gradients.into_iter().for_each(|(d_weight, d_bias)| written.extend([d_weight, d_bias]));
    written
}

#[test]
fn train() {
    for rows in [1, 7, 8, 9, 33, 256] {
        for widths in [&[1, 1][..], &[31, 1], &[33, 32, 1], &[8, 65, 3, 1], &[64, 16, 16, 9, 1], &[256, 5, 1]]
        {
            check(widths, rows);
        }
    }
}

#[test]
fn the_documents_network() {
    check(&[128, 64, 32, 1], 100);
}

/// A block takes several tiles.
#[test]
fn more_tiles_than_blocks() {
    check(&[5, 3, 1], 8 * 256 * 2 + 11);
}

fn check(widths: &[usize], rows: usize) {
    for accumulate in [false, true] {
        let (written, unfit) = launch(widths, rows, accumulate);
        let expected = expected(widths, rows, accumulate);
        assert_eq!(unfit, u64::MAX);
        for (i, (written, expected)) in written.iter().zip(&expected).enumerate() {
            let scale = expected.iter().fold(0.0, |scale: f32, value| scale.max(value.abs()));
            assert_close(written, expected, 4.0 * scale, &format!("{rows} x {widths:?}: array {i}"));
        }
        let again = launch(widths, rows, accumulate).0;
        written.iter().zip(&again).for_each(|(first, second)| assert_same(second, first, "again"));
    }
}

#[test]
fn the_same_networks_fit_here_and_there() {
    let mut fitting = 0;
    for first in (1..=256).step_by(17) {
        for second in (1..=256).step_by(15) {
            for widths in
                [&[first, 1][..], &[first, second, 1], &[second, first, 33, 1], &[40, first, second, 9, 1]]
            {
                let (layers, mut bytes) = (sizes(widths), 0);
                let status =
                    unsafe { recis_mlp_workspace_size(layers.as_ptr(), layers.len() as i64, 8, &mut bytes) };
                assert_eq!(status == 0, fits(widths), "{widths:?}");
                fitting += usize::from(status == 0);
            }
        }
    }
    assert!(fitting > 100);
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let memory = Guarded::new(&[7.0f32; 64]);
    let (workspace, p) = (Guarded::new(&[7u8; 4096]), memory.ptr());
    let layer = recis_mlp_layer { weight: p, bias: p, d_weight: p, d_bias: p, inputs: 2, outputs: 1 };
    let train = |layers: &[recis_mlp_layer], rows, x, bytes| unsafe {
        let (count, unfit, work) = (layers.len() as i64, p.cast(), workspace.ptr().cast());
        recis_mlp_train(x, p, layers.as_ptr(), count, rows, p, p, unfit, work, bytes, STREAM)
    };
    let bad = |layers: &[recis_mlp_layer], rows, x, what: &str| {
        refused(train(layers, rows, x, 4096), &format!("mlp.train: {what}"));
    };
    bad(&[layer], 3, null(), "x is null");
    bad(&[layer], 3, memory.misaligned(), "x is not aligned to 16 bytes");
    bad(&[layer], 0, p, "rows is below 1");
    bad(&[layer], 1 << 33, p, "rows is above 2^32");
    bad(&[], 3, p, "layer_count is not 1 to 4");
    bad(&[layer; 5], 3, p, "layer_count is not 1 to 4");
    bad(&[layer; 2], 3, p, "outputs differs from the next layer's inputs");
    bad(&[recis_mlp_layer { outputs: 2, ..layer }], 3, p, "outputs of the last layer is not 1");
    bad(&[recis_mlp_layer { outputs: 257, ..layer }], 3, p, "outputs is not 1 to 256");
    bad(&[recis_mlp_layer { inputs: 0, ..layer }], 3, p, "inputs is not 1 to 256");
    bad(&[recis_mlp_layer { weight: null(), ..layer }], 3, p, "weight is null");
    bad(
        &[recis_mlp_layer { d_bias: memory.misaligned(), ..layer }],
        3,
        p,
        "d_bias is not aligned to 16 bytes",
    );
    bad(&sizes(&[256, 256, 1]), 3, p, "layers take more than 99 KiB of shared memory");
    let finish = |layers: &[recis_mlp_layer], rows, loss, what: &str| {
        let (count, work) = (layers.len() as i64, workspace.ptr().cast());
        let status = unsafe { recis_mlp_finish(layers.as_ptr(), count, rows, loss, 0, work, 4096, STREAM) };
        refused(status, &format!("mlp.finish: {what}"));
    };
    finish(&[layer], 3, null_mut(), "loss is null");
    finish(&[layer], 0, p, "rows is below 1");
    finish(&[recis_mlp_layer { d_weight: null_mut(), ..layer }], 3, p, "d_weight is null");
    assert_ne!(train(&[layer], 3, p, 8), 0);
    assert!(last_error().starts_with("mlp.train: workspace is too small ("), "{}", last_error());
    let mut bytes = 0;
    let none = unsafe { recis_mlp_workspace_size(null(), 1, 3, &mut bytes) };
    refused(none, "mlp.workspace_size: layers is null");
    let nowhere = unsafe { recis_mlp_workspace_size(&layer, 1, 3, null_mut()) };
    refused(nowhere, "mlp.workspace_size: bytes is null");
    assert!(memory.to_vec().iter().all(|&value| value == 7.0) && workspace.to_vec().iter().all(|&b| b == 7));
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    launch(&[3, 2, 1], 5, false);
}
