//! The model against an independent implementation: numpy in f64, written from the specification
//! (`tests/reference/deepctr.py`, which made `tests/data/trace.json`).

use recis::Batch;
use recis::device::Device;
use recis::nn::{ArrayData, ModelSnapshot};
use serde_json::Value;

use crate::devices::devices;
use crate::model::{dense, ids, plan_on, strings, train};
use crate::root::root;

fn trace() -> Value {
    let path = root().join("tests/data/trace.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn rows<T>(column: &Value, value: impl Fn(&Value) -> Option<T>) -> Vec<Vec<T>> {
    let row = |row: &Value| row.as_array().unwrap().iter().map(|v| value(v).unwrap()).collect();
    column.as_array().unwrap().iter().map(row).collect()
}

/// The numbers of any nesting, in order.
fn floats(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(floats).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

fn batch(columns: &Value) -> Batch {
    let mut batch = Batch::new(columns["label"].as_array().unwrap().len());
    for (name, width) in [("label", 1), ("dense1", 8), ("dense2", 1)] {
        batch.insert(name, dense(floats(&columns[name]).into_iter().map(|v| v as f32).collect(), width));
    }
    for name in ["sparse1", "sparse2", "sparse3", "sparse4"] {
        batch.insert(name, ids(&rows(&columns[name], Value::as_i64)));
    }
    batch.insert("sparse5", strings(&rows(&columns["sparse5"], |v| v.as_str().map(String::from))));
    batch
}

#[track_caller]
fn assert_close(what: &str, got: &[f32], expected: &[f64], relative: f64, absolute: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(got) - expected).abs();
        assert!(error <= relative * expected.abs() + absolute, "{what} {i}: {got}, expected {expected}");
    }
}

#[test]
fn twenty_steps_follow_the_reference() {
    let trace = trace();
    for device in devices() {
        let snapshot = follow(&trace, device);
        check_state(&snapshot, &trace);
        // Once more: the same bits.
        assert_eq!(follow(&trace, device), snapshot, "{device}");
    }
}

/// Trains on the trace's batches, and compares what each step says.
fn follow(trace: &Value, device: Device) -> ModelSnapshot {
    let mut plan = plan_on(device);
    let steps = trace["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 20);
    for (i, step) in steps.iter().enumerate() {
        let output = train(&mut plan, &batch(&step["columns"])).unwrap();
        plan.apply_gradients().unwrap();
        let predictions = plan.predictions().unwrap();
        assert_close(&format!("{device}, step {i}: loss"), &[output.loss], &floats(&step["loss"]), 1e-4, 0.0);
        assert_close(
            &format!("{device}, step {i}: prediction"),
            &predictions,
            &floats(&step["predictions"]),
            1e-4,
            0.0,
        );
        let auc = step["auc"].as_f64().unwrap();
        assert!(
            (output.metrics[0].1 - auc).abs() < 1e-4,
            "{device}, step {i}: auc {:?}, expected {auc}",
            output.metrics
        );
    }
    plan.snapshot().unwrap()
}

fn check_state(snapshot: &ModelSnapshot, trace: &Value) {
    assert_eq!(snapshot.tables.len(), trace["tables"].as_object().unwrap().len());
    for table in &snapshot.tables {
        let expected = &trace["tables"][&table.name];
        let ids: Vec<i64> =
            expected["ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        assert_eq!(table.ids, ids, "{}", table.name);
        for (slot, values) in &table.slots {
            // Adam moves a value by about the learning rate however small its gradient is, so the
            // rounding of gradients near zero shows in the weights.
            let (name, absolute) = match slot.strip_prefix("sparse_adamw_tf_") {
                Some(moment) => (moment, 1e-7),
                None => (slot.as_str(), 1e-5),
            };
            assert_close(&format!("{}.{slot}", table.name), values, &floats(&expected[name]), 1e-4, absolute);
        }
    }
    for (name, expected) in trace["dense"].as_object().unwrap() {
        let array = snapshot.arrays.iter().find(|array| array.name == *name).unwrap();
        let ArrayData::F32(values) = &array.data else { panic!("{name} is not f32") };
        assert_close(name, values, &floats(expected), 1e-4, 1e-5);
    }
}
