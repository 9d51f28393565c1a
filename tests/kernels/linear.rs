use recis::ffi::simt::{
    recis_linear_backward_bias, recis_linear_backward_input, recis_linear_backward_weight,
    recis_linear_forward, recis_linear_workspace_size,
};
use recis::ffi::{recis_linear_size, recis_precision};

use crate::common::*;

/// A matrix or its transpose: element (i, j) is `data[i * strides.0 + j * strides.1]`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub data: &'a [f32],
    pub strides: (usize, usize),
}

impl<'a> View<'a> {
    pub fn rows(data: &'a [f32], stride: usize) -> Self {
        View { data, strides: (stride, 1) }
    }

    pub fn t(self) -> Self {
        View { data: self.data, strides: (self.strides.1, self.strides.0) }
    }

    fn at(&self, i: usize, j: usize) -> f32 {
        self.data[i * self.strides.0 + j * self.strides.1]
    }
}

/// Errors in units of the last place of the sum of all magnitudes.
#[derive(Default)]
pub struct Errors {
    got: f64,
    plain: f64,
}

impl Errors {
    /// Compares `start + sum of terms` with the same in f64, and with what f32 makes of it term by term.
    pub fn add(&mut self, got: f32, start: f32, terms: impl Iterator<Item = (f32, f32)>) {
        let (mut exact, mut plain, mut magnitude) = (f64::from(start), 0.0f32, f64::from(start.abs()));
        for (a, b) in terms {
            let product = f64::from(a) * f64::from(b);
            exact += product;
            magnitude += product.abs();
            plain += a * b;
        }
        let unit = f64::from(f32::EPSILON) * magnitude + f64::from(f32::MIN_POSITIVE);
        assert!(got.is_finite(), "{got}, expected {exact}");
        self.got = self.got.max((f64::from(got) - exact).abs() / unit);
        self.plain = self.plain.max((f64::from(plain + start) - exact).abs() / unit);
    }

    /// The worst error is at most twice the worst of the plain formula, or what one rounding makes.
    pub fn check(&self, what: &str) {
        assert!(self.got <= 2.0 * self.plain.max(0.5), "{what}: {} units, plain {}", self.got, self.plain);
    }
}

/// Checks that `got` [rows, columns] is `a b + start`, in every `step`-th element.
pub fn check_product(
    got: &[f32],
    [rows, columns, depth]: [usize; 3],
    a: View,
    b: View,
    start: impl Fn(usize, usize) -> f32,
    what: &str,
) {
    assert_eq!(got.len(), rows * columns);
    let step = if rows * columns * depth > 20_000_000 { 13 } else { 1 };
    let mut errors = Errors::default();
    for i in (0..got.len()).step_by(step) {
        let (row, column) = (i / columns, i % columns);
        errors.add(got[i], start(row, column), (0..depth).map(|k| (a.at(row, k), b.at(k, column))));
    }
    errors.check(what);
}

fn run(rows: usize, inputs: usize, outputs: usize) {
    run_at(recis_precision::RECIS_FP32, |x| x, [rows, inputs, outputs]);
}

/// All passes of a layer, each twice; products are those of factors that `round` has passed.
fn run_at(precision: recis_precision, round: fn(f32) -> f32, [rows, inputs, outputs]: [usize; 3]) {
    let size =
        recis_linear_size { rows: rows as i64, inputs: inputs as i64, outputs: outputs as i64, precision };
    let mut bytes = 0;
    ok(unsafe { recis_linear_workspace_size(&size, &mut bytes) });
    let workspace = Guarded::new(&vec![0x55u8; bytes]);
    let w = workspace.ptr().cast();
    let what = |pass| format!("{pass} {rows} x {inputs} -> {outputs}");
    let (x, weight) = (tame_floats(1, rows * inputs), tame_floats(2, inputs * outputs));
    let (bias, d_y) = (tame_floats(3, outputs), tame_floats(4, rows * outputs));
    let rounded = |values: &[f32]| values.iter().map(|&x| round(x)).collect::<Vec<_>>();
    let (factors, weights, gradients) = (rounded(&x), rounded(&weight), rounded(&d_y));
    let (on_x, on_weight) = (Guarded::new(&x), Guarded::new(&weight));
    let (on_bias, on_d_y) = (Guarded::new(&bias), Guarded::new(&d_y));

    let forward = || {
        let y = Guarded::new(&vec![f32::NAN; rows * outputs]);
        let (x, weight, bias) = (on_x.ptr(), on_weight.ptr(), on_bias.ptr());
        ok(unsafe { recis_linear_forward(x, weight, bias, y.ptr(), &size, w, bytes, STREAM) });
        y.to_vec()
    };
    let y = forward();
    let (a, b) = (View::rows(&factors, inputs), View::rows(&weights, inputs).t());
    check_product(&y, [rows, outputs, inputs], a, b, |_, column| bias[column], &what("forward"));
    assert_same(&forward(), &y, &what("forward again"));

    let backward_input = || {
        let d_x = Guarded::new(&vec![f32::NAN; rows * inputs]);
        let (d_y, weight) = (on_d_y.ptr(), on_weight.ptr());
        ok(unsafe { recis_linear_backward_input(d_y, weight, d_x.ptr(), &size, w, bytes, STREAM) });
        d_x.to_vec()
    };
    let d_x = backward_input();
    let (a, b) = (View::rows(&gradients, outputs), View::rows(&weights, inputs));
    check_product(&d_x, [rows, inputs, outputs], a, b, |_, _| 0.0, &what("backward_input"));
    assert_same(&backward_input(), &d_x, &what("backward_input again"));

    for accumulate in [0, 1] {
        // What is there must not matter unless it is added to.
        let kept = |old: f32| if accumulate == 1 { old } else { f32::NAN };
        let old: Vec<f32> = weight.iter().map(|&old| kept(old)).collect();
        let old_bias: Vec<f32> = bias.iter().map(|&old| kept(old)).collect();
        let backward_weight = || {
            let (d_weight, d_bias) = (Guarded::new(&old), Guarded::new(&old_bias));
            let (x, d_y) = (on_x.ptr(), on_d_y.ptr());
            ok(unsafe {
                recis_linear_backward_weight(
                    x,
                    d_y,
                    d_weight.ptr(),
                    d_bias.ptr(),
                    &size,
                    accumulate,
                    w,
                    bytes,
                    STREAM,
                )
            });
            (d_weight.to_vec(), d_bias.to_vec())
        };
        let (d_weight, d_bias) = backward_weight();
        let (a, b) = (View::rows(&gradients, outputs).t(), View::rows(&factors, inputs));
        let before = |old: f32| if accumulate == 1 { old } else { 0.0 };
        let start = |row: usize, column: usize| before(old[row * inputs + column]);
        check_product(&d_weight, [outputs, inputs, rows], a, b, start, &what("backward_weight"));
        let ones = [1.0; 1];
        let ones = View { data: &ones, strides: (0, 0) };
        let start = |row: usize, _| before(old_bias[row]);
        let a = View::rows(&d_y, outputs).t();
        check_product(&d_bias, [outputs, 1, rows], a, ones, start, &what("backward_bias"));
        let alone = Guarded::new(&old_bias);
        ok(unsafe { recis_linear_backward_bias(on_d_y.ptr(), alone.ptr(), &size, accumulate, STREAM) });
        assert_same(&alone.to_vec(), &d_bias, &what("backward_bias alone"));
        let again = backward_weight();
        assert_same(&again.0, &d_weight, &what("backward_weight again"));
        assert_same(&again.1, &d_bias, &what("backward_bias again"));
    }
}

#[test]
fn small_tiles() {
    const SIZES: [usize; 12] = [1, 3, 4, 17, 31, 32, 33, 63, 64, 65, 127, 129];
    const DEPTHS: [usize; 10] = [1, 7, 8, 9, 16, 33, 64, 255, 256, 257];
    for (i, &rows) in SIZES.iter().enumerate() {
        for (j, &inputs) in DEPTHS.iter().enumerate() {
            run(rows, inputs, SIZES[(i * 5 + j * 7) % SIZES.len()]);
        }
    }
    for inputs in [1, 4, 65, 300] {
        run(0, inputs, 3);
    }
    // Rows are what the gradient of the weight is split over.
    for rows in [255, 256, 257, 640] {
        run(rows, 33, 4);
    }
}

/// The depth is split in forward and for the weight; there are enough tiles to do without for the input.
const LARGE: [usize; 3] = [1028, 1028, 68];

#[test]
fn large_tiles() {
    let [rows, inputs, outputs] = LARGE;
    run(rows, inputs, outputs);
    // Too narrow for loads of 16 bytes: small tiles.
    run(1025, 1027, 65);
}

/// Ties go away from zero.
fn to_tf32(x: f32) -> f32 {
    f32::from_bits((x.to_bits() + 0x1000) & !0x1fff)
}

/// Ties go to the even one.
fn to_bf16(x: f32) -> f32 {
    f32::from_bits((x.to_bits() + 0x7fff + (x.to_bits() >> 16 & 1)) & !0xffff)
}

#[test]
fn factors_of_large_tiles_are_rounded_as_asked() {
    run_at(recis_precision::RECIS_TF32, to_tf32, LARGE);
    run_at(recis_precision::RECIS_BF16, to_bf16, LARGE);
    // Small products are not.
    run_at(recis_precision::RECIS_BF16, |x| x, [65, 33, 17]);
}

#[test]
fn what_is_not_finite_stays_in_its_row_of_large_tiles() {
    for precision in [recis_precision::RECIS_FP32, recis_precision::RECIS_TF32, recis_precision::RECIS_BF16] {
        let [rows, inputs, outputs] = LARGE;
        let [rows_, inputs_, outputs_] = LARGE.map(|size| size as i64);
        let size = recis_linear_size { rows: rows_, inputs: inputs_, outputs: outputs_, precision };
        let mut bytes = 0;
        ok(unsafe { recis_linear_workspace_size(&size, &mut bytes) });
        let workspace = Guarded::new(&vec![0u8; bytes]);
        let mut x = vec![1.0f32; rows * inputs];
        // As a device makes it: all bits but the sign's.
        x[5 * inputs + 7] = f32::from_bits(0x7fff_ffff);
        x[600 * inputs + 1000] = f32::NEG_INFINITY;
        let (x, weight) = (Guarded::new(&x), Guarded::new(&vec![1.0f32; outputs * inputs]));
        let (bias, y) = (Guarded::new(&vec![0.0f32; outputs]), Guarded::new(&vec![7.0f32; rows * outputs]));
        let (x, weight, bias, to) = (x.ptr(), weight.ptr(), bias.ptr(), y.ptr());
        let w = workspace.ptr().cast();
        ok(unsafe { recis_linear_forward(x, weight, bias, to, &size, w, bytes, STREAM) });
        for (i, y) in y.to_vec().into_iter().enumerate() {
            match i / outputs {
                5 => assert!(y.is_nan(), "{precision:?}: {y}"),
                600 => assert!(!y.is_finite(), "{precision:?}: {y}"),
                _ => assert_eq!(y, inputs as f32, "{precision:?}"),
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_where_it_belongs() {
    let size =
        recis_linear_size { rows: 33, inputs: 33, outputs: 33, precision: recis_precision::RECIS_FP32 };
    let mut x = vec![1.0f32; 33 * 33];
    x[5 * 33 + 7] = f32::NAN;
    x[6 * 33 + 7] = f32::INFINITY;
    let (x, weight) = (Guarded::new(&x), Guarded::new(&[1.0f32; 33 * 33]));
    let (bias, y) = (Guarded::new(&[0.0f32; 33]), Guarded::new(&[7.0f32; 33 * 33]));
    let (w, none) = (weight.ptr(), std::ptr::null_mut());
    ok(unsafe { recis_linear_forward(x.ptr(), w, bias.ptr(), y.ptr(), &size, none, 0, STREAM) });
    for (i, y) in y.to_vec().into_iter().enumerate() {
        match i / 33 {
            5 => assert!(y.is_nan()),
            6 => assert_eq!(y, f32::INFINITY),
            _ => assert_eq!(y, 33.0),
        }
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let size = recis_linear_size { rows: 2, inputs: 3, outputs: 4, precision: recis_precision::RECIS_FP32 };
    let null: *mut f32 = std::ptr::null_mut();
    let (six, twelve) = (Guarded::new(&[7.0f32; 6]), Guarded::new(&[7.0f32; 12]));
    let (four, eight) = (Guarded::new(&[7.0f32; 4]), Guarded::new(&[7.0f32; 8]));
    let (x, w, b, y) = (six.ptr(), twelve.ptr(), four.ptr(), eight.ptr());
    let forward = |x, w, b, y, size: *const recis_linear_size, what: &str| {
        let status = unsafe { recis_linear_forward(x, w, b, y, size, null.cast(), 0, STREAM) };
        refused(status, &format!("linear.forward: {what}"));
    };
    forward(null, w, b, y, &size, "x is null");
    forward(x, null, b, y, &size, "weight is null");
    forward(x, w, null, y, &size, "bias is null");
    forward(x, w, b, null, &size, "y is null");
    forward(x, w, b, eight.misaligned(), &size, "y is not aligned to 16 bytes");
    forward(x, w, b, y, std::ptr::null(), "size is null");
    let sized = |rows, inputs, outputs, what| {
        forward(
            x,
            w,
            b,
            y,
            &recis_linear_size { rows, inputs, outputs, precision: recis_precision::RECIS_FP32 },
            what,
        );
    };
    sized(-1, 3, 4, "size has negative rows");
    sized(2, 0, 4, "size has no inputs");
    sized(2, 3, -1, "size has no outputs");
    sized(1 << 31, 3, 4, "size is too large");
    sized(1 << 30, 1 << 20, 4, "size is too large");

    let backward = |x, d_y, d_w, d_b, what| {
        let status =
            unsafe { recis_linear_backward_weight(x, d_y, d_w, d_b, &size, 0, null.cast(), 0, STREAM) };
        refused(status, &format!("linear.backward_weight: {what}"));
    };
    backward(null, y, w, b, "x is null");
    backward(x, null, w, b, "d_y is null");
    backward(x, y, null, b, "d_weight is null");
    backward(x, y, w, null, "d_bias is null");
    let backward = |d_y, d_b, what| {
        let status = unsafe { recis_linear_backward_bias(d_y, d_b, &size, 0, STREAM) };
        refused(status, &format!("linear.backward_bias: {what}"));
    };
    backward(null, b, "d_y is null");
    backward(y, null, "d_bias is null");
    let backward = |d_y, w, d_x, what| {
        let status = unsafe { recis_linear_backward_input(d_y, w, d_x, &size, null.cast(), 0, STREAM) };
        refused(status, &format!("linear.backward_input: {what}"));
    };
    backward(null, w, x, "d_y is null");
    backward(y, null, x, "weight is null");
    backward(y, w, null, "d_x is null");
    let mut bytes = 0;
    refused(
        unsafe { recis_linear_workspace_size(&size, std::ptr::null_mut()) },
        "linear.workspace_size: bytes is null",
    );
    refused(
        unsafe { recis_linear_workspace_size(std::ptr::null(), &mut bytes) },
        "linear.workspace_size: size is null",
    );
    for array in [six, twelve, four, eight] {
        assert!(array.to_vec().iter().all(|&value| value == 7.0));
    }
}

#[test]
fn a_workspace_that_is_too_small_is_refused() {
    let size =
        recis_linear_size { rows: 1, inputs: 1024, outputs: 1, precision: recis_precision::RECIS_FP32 };
    let mut bytes = 0;
    ok(unsafe { recis_linear_workspace_size(&size, &mut bytes) });
    assert!(bytes > 0);
    let (x, y) = (Guarded::new(&[1.0f32; 1024]), Guarded::new(&[7.0f32]));
    let workspace = Guarded::new(&vec![0u8; bytes]);
    let forward = |memory: *mut u8, bytes| unsafe {
        recis_linear_forward(x.ptr(), x.ptr(), x.ptr(), y.ptr(), &size, memory.cast(), bytes, STREAM)
    };
    assert_ne!(forward(workspace.ptr(), bytes - 1), 0);
    assert!(last_error().starts_with("linear.forward: workspace is too small ("), "{}", last_error());
    refused(forward(std::ptr::null_mut(), bytes), "linear.forward: workspace is null");
    assert_eq!(y.to_vec(), [7.0]);
    ok(forward(workspace.ptr(), bytes));
    assert_eq!(y.to_vec(), [1025.0]);
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    run(3, 5, 2);
}
