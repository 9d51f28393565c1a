use std::ptr;

use recis::ffi::recis_adamw_parameter;
use recis::ffi::simt::recis_adamw_step;
use recis::ops::adamw::Options;
use recis::ops::cpu;

use crate::common::*;

const OPTIONS: Options =
    Options { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 1, batches: 3 };

/// Calls the launcher with what a step needs, computed as the header says.
fn launch(parameters: &[recis_adamw_parameter], options: &Options) -> i32 {
    let Options { lr, beta1, beta2, eps, weight_decay, step, batches } = *options;
    let power = |beta: f64| 1.0 - beta.powf(step as f64);
    let numbers = [
        1.0 / batches as f64,
        1.0 - lr * weight_decay,
        lr / power(beta1),
        1.0 - beta1,
        beta2,
        1.0 - beta2,
        power(beta2).sqrt().recip(),
        eps,
    ];
    let [scale, decay, step_size, rest1, beta2, rest2, correction, eps] = numbers.map(|x| x as f32);
    let (array, count) = (parameters.as_ptr(), parameters.len() as i64);
    unsafe {
        recis_adamw_step(array, count, scale, decay, step_size, rest1, beta2, rest2, correction, eps, STREAM)
    }
}

/// A parameter of the device's, and the same on the host.
struct Parameter {
    arrays: [Guarded<f32>; 4],
    host: [Vec<f32>; 4],
}

impl Parameter {
    fn new(seed: u64, len: usize) -> Self {
        let host = [tame_floats(seed, len), vec![0.0; len], vec![0.0; len], tame_floats(seed + 1, len)];
        Self { arrays: host.each_ref().map(|values| Guarded::new(values)), host }
    }

    fn raw(&self) -> recis_adamw_parameter {
        let [value, exp_avg, exp_avg_sq, gradient] = self.arrays.each_ref().map(Guarded::ptr);
        let count = self.host[0].len() as i64;
        recis_adamw_parameter { value, exp_avg, exp_avg_sq, gradient, count }
    }

    fn step_on_host(&mut self, options: &Options) {
        let [p, m, v, g] = &mut self.host;
        cpu::adamw::step(p, m, v, g, &options.coefficients());
    }

    fn assert_close(&self) {
        let names = [("value", 1.0), ("exp_avg", 1.0), ("exp_avg_sq", 0.0), ("gradient", 0.0)];
        for ((name, scale), (array, host)) in names.into_iter().zip(self.arrays.iter().zip(&self.host)) {
            assert_close(&array.to_vec(), host, scale, name);
        }
    }
}

/// Steps of parameters of these sizes, in one call each.
fn steps(sizes: &[usize]) {
    let parameters = sizes.iter().zip(0..).map(|(&len, i)| Parameter::new(2 * i, len));
    let mut parameters: Vec<Parameter> = parameters.collect();
    for step in 1..=3 {
        let options = Options { step, ..OPTIONS };
        ok(launch(&parameters.iter().map(Parameter::raw).collect::<Vec<_>>(), &options));
        for parameter in &mut parameters {
            parameter.step_on_host(&options);
            parameter.assert_close();
        }
    }
}

#[test]
fn step() {
    SIZES.into_iter().for_each(|len| steps(&[len]));
}

#[test]
fn more_parameters_than_a_launch_does() {
    steps(&[]);
    steps(&[0, 0]);
    let sizes: Vec<usize> = (0..100).map(|i| [0, 1, 2, 1023, 1024, 1025, 5000][i % 7]).collect();
    steps(&sizes);
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let parameters = [1, 2].map(|seed| Parameter::new(seed, 2));
    let good = parameters.each_ref().map(Parameter::raw);
    let refuse = |second: recis_adamw_parameter, what: &str| {
        let status = launch(&[good[0], second], &OPTIONS);
        refused(status, &format!("adamw.step: parameters[1].{what}"));
    };
    refuse(recis_adamw_parameter { count: -1, ..good[1] }, "value has a negative size");
    let with = |i: usize, pointer: *mut f32| {
        let mut bad = good[1];
        match i {
            0 => bad.value = pointer,
            1 => bad.exp_avg = pointer,
            2 => bad.exp_avg_sq = pointer,
            _ => bad.gradient = pointer,
        }
        bad
    };
    for (i, name) in ["value", "exp_avg", "exp_avg_sq", "gradient"].into_iter().enumerate() {
        refuse(with(i, ptr::null_mut()), &format!("{name} is null"));
        refuse(with(i, parameters[1].arrays[i].misaligned()), &format!("{name} is not aligned to 16 bytes"));
    }
    let none = ptr::null();
    let call =
        |count| unsafe { recis_adamw_step(none, count, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, STREAM) };
    refused(call(1), "adamw.step: parameters is null");
    refused(call(-1), "adamw.step: parameter_count is negative");
    parameters.iter().for_each(Parameter::assert_close);
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    step();
}
