//! The vectors' runner must fail where it should: on a wrong value, an unknown topic, and a topic of
//! which nothing was run.

#[path = "vectors/runner.rs"]
mod runner;

use recis::device::Stream;
use runner::Report;
use serde_json::{Value, json};

/// Runs the runner on a copy of one file that `alter` has changed.
fn run(topic: &str, alter: impl FnOnce(&mut Value)) -> Report {
    let text = std::fs::read(runner::default_folder().join(topic).with_extension("json")).unwrap();
    let mut file = serde_json::from_slice(&text).unwrap();
    alter(&mut file);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("altered.json"), file.to_string()).unwrap();
    runner::run(folder.path(), &Stream::default())
}

fn only_failure(report: &Report) -> &str {
    assert_eq!(report.failures.len(), 1, "{:?}", report.failures);
    &report.failures[0]
}

#[test]
fn a_wrong_value_is_named() {
    let report = run("mod", |file| file["cases"][2]["out"][4] = json!(7));
    assert_eq!(only_failure(&report), "mod cases[2] out[4]: expected 7, got 1");
    assert_eq!((report.lines, report.passed), (vec!["mod: 15 of 16".into()], 15));

    let report = run("segment_reduce", |file| file["cases"][0]["grad_emb"][1][0] = json!(0.50001));
    assert_eq!(only_failure(&report), "segment_reduce cases[0] grad_emb[2]: expected 0.50001, got 0.5");

    // One more than a float can tell apart.
    let report = run("ids_encode", |file| {
        let out = &mut file["cases"][0]["out"][4];
        *out = json!(out.as_i64().unwrap() + 1);
    });
    assert!(only_failure(&report).starts_with("ids_encode cases[0] out[4]: expected 4503599627985793"));

    let report = run("fixedlen_default", |file| file["cases"][3]["error"] = json!(null));
    assert!(only_failure(&report).starts_with("fixedlen_default cases[3] "));
}

#[test]
fn every_list_of_a_topic_is_checked() {
    for (topic, list, field) in [
        ("feature_cross", "ragged_cases", "out_weight"),
        ("embedding_engine", "lookups", "grad_table"),
        ("mlp_bce", "bce_scalar_cases", "grad_prob"),
        ("ids_partition", "slices", "7"),
        ("auroc", "cumulative_stream", "batch_auc"),
    ] {
        let report = run(topic, |file| {
            let list = &mut file[list];
            let place = match list {
                Value::Array(_) => &mut list[1][field],
                _ => &mut list[field],
            };
            spoil(place);
        });
        assert!(only_failure(&report).starts_with(&format!("{topic} {list}")), "{:?}", report.failures);
    }
}

/// Changes the first number inside a value.
fn spoil(value: &mut Value) {
    match value {
        Value::Array(values) => spoil(&mut values[0]),
        Value::Object(fields) => spoil(fields.values_mut().next().unwrap()),
        number if number.is_i64() => *number = json!(number.as_i64().unwrap() + 1),
        number => *number = json!(number.as_f64().unwrap() * 1.5 + 0.125),
    }
}

#[test]
fn what_is_not_understood_fails() {
    let report = run("mod", |file| file["topic"] = json!("modulo"));
    assert!(only_failure(&report).ends_with("unknown topic 'modulo'"));
    let report = run("mod", |file| file["more_cases"] = json!([]));
    assert_eq!(only_failure(&report), "mod more_cases: not understood");
    let report = run("mod", |file| file["cases"][1]["signed"] = json!(true));
    assert!(only_failure(&report).starts_with("mod cases[1] not understood: unknown field `signed`"));
    let report = run("embedding_engine", |file| file["cases"][0]["options"][1]["trainable"] = json!(false));
    let refused = "embedding_engine cases[0] trainable of feature 'sparse1': only the default is there";
    assert_eq!(only_failure(&report), refused);
}

#[test]
fn every_topic_has_vectors() {
    let report = runner::run(&runner::default_folder(), &Stream::default());
    let found: Vec<_> = report.lines.iter().filter_map(|line| line.split(':').next()).collect();
    let missing: Vec<_> =
        runner::TOPICS.iter().map(|topic| topic.name).filter(|topic| !found.contains(topic)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn a_topic_without_cases_fails() {
    let report = run("mod", |file| file["cases"] = json!([]));
    assert_eq!(only_failure(&report), "mod: no case was run");
    let report = run("sparse_adamw", |file| {
        let cases = file["cases"].as_array_mut().unwrap();
        cases.retain(|case| case["optimizer"] == "SparseAdam");
    });
    assert_eq!(report.lines, ["sparse_adamw SparseAdam: later", "sparse_adamw: 0 of 0"]);
    assert_eq!(only_failure(&report), "sparse_adamw: no case was run");
    let nothing = runner::run(tempfile::tempdir().unwrap().path(), &Stream::default());
    assert!(only_failure(&nothing).ends_with("no *.json"));
}
