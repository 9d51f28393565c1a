use recis::ffi::simt::recis_adamw_step;
use recis::ops::adamw::Options;
use recis::ops::cpu;

use crate::common::*;

const OPTIONS: Options =
    Options { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 1 };

/// Calls the launcher with what a step needs, computed as the header says.
fn launch(p: *mut f32, m: *mut f32, v: *mut f32, g: *const f32, count: i64, options: &Options) -> i32 {
    let Options { lr, beta1, beta2, eps, weight_decay, step } = *options;
    let power = |beta: f64| 1.0 - beta.powf(step as f64);
    let numbers = [
        1.0 - lr * weight_decay,
        lr / power(beta1),
        1.0 - beta1,
        beta2,
        1.0 - beta2,
        power(beta2).sqrt().recip(),
        eps,
    ];
    let [decay, step_size, rest1, beta2, rest2, correction, eps] = numbers.map(|x| x as f32);
    unsafe {
        recis_adamw_step(p, m, v, g, count, decay, step_size, rest1, beta2, rest2, correction, eps, STREAM)
    }
}

#[test]
fn step() {
    for len in SIZES {
        let arrays = [tame_floats(1, len), vec![0.0; len], vec![0.0; len]];
        let [p, m, v] = arrays.each_ref().map(|values| Guarded::new(values));
        let [mut cpu_p, mut cpu_m, mut cpu_v] = arrays;
        for step in 1..=3 {
            let (g, options) = (tame_floats(1 + step, len), Options { step, ..OPTIONS });
            cpu::adamw::step(&mut cpu_p, &mut cpu_m, &mut cpu_v, &g, &options.coefficients());
            let g = Guarded::new(&g);
            ok(launch(p.ptr(), m.ptr(), v.ptr(), g.ptr(), len as i64, &options));
            assert_close(&p.to_vec(), &cpu_p, 1.0, "parameter");
            assert_close(&m.to_vec(), &cpu_m, 1.0, "exp_avg");
            assert_close(&v.to_vec(), &cpu_v, 0.0, "exp_avg_sq");
        }
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let names = ["parameter", "exp_avg", "exp_avg_sq", "gradient"];
    let arrays = names.map(|_| Guarded::new(&[1.0f32, 2.0]));
    let refuse = |pointers: [*mut f32; 4], count, what: &str| {
        let [p, m, v, g] = pointers;
        refused(launch(p, m, v, g, count, &OPTIONS), &format!("adamw.step: {what}"));
    };
    let pointers = arrays.each_ref().map(Guarded::ptr);
    refuse(pointers, -1, "parameter has a negative size");
    for (i, name) in names.into_iter().enumerate() {
        let mut bad = pointers;
        bad[i] = std::ptr::null_mut();
        refuse(bad, 2, &format!("{name} is null"));
        bad[i] = arrays[i].misaligned();
        refuse(bad, 1, &format!("{name} is not aligned to 16 bytes"));
    }
    for array in arrays {
        assert_eq!(array.to_vec(), [1.0, 2.0]);
    }
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    step();
}
