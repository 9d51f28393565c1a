//! Finds the files, gives every case to the check of its topic, and counts.

mod case;
mod dense;
mod embedding;
mod engine;
mod features;
mod hashes;
mod ids;
mod io;
mod metrics;
mod optim;
mod ragged;
#[path = "../common/root.rs"]
mod root;
#[allow(dead_code, reason = "not all of the writer is needed here")]
#[path = "../io/write.rs"]
mod write;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use case::{Outcome, Tolerance, parse};
use recis::device::Stream;
use serde_json::Value;

/// What came of a folder of vectors.
#[derive(Debug, Default)]
pub struct Report {
    /// A line for each topic, sorted.
    pub lines: Vec<String>,
    /// How many cases passed.
    pub passed: usize,
    /// What is wrong: topic, list and number of the case, field, expected and got.
    pub failures: Vec<String>,
}

/// Cases of a topic.
pub struct Topic {
    pub name: &'static str,
    lists: &'static [(&'static str, Check)],
    /// Fields that say where a case is from, or what another system does with it.
    informational: &'static [&'static str],
}

/// How a field of the file is checked.
enum Check {
    /// A list, or an object by name, of cases that stand alone.
    Each(fn(&Value, &Tolerance) -> Outcome),
    /// One case.
    Whole(fn(&Value, &Tolerance) -> Outcome),
}
use Check::{Each, Whole};

const fn topic(name: &'static str, lists: &'static [(&'static str, Check)]) -> Topic {
    Topic { name, lists, informational: &[] }
}

/// What the crate is checked for.
pub const TOPICS: &[Topic] = &[
    Topic {
        name: "farmhash",
        lists: &[("cases", Each(hashes::farm))],
        informational: &[
            "kind",
            "google_hash64_portable_u64",
            "google_hash64_sse42_u64",
            "equal_fingerprint",
            "equal_hash64_portable",
            "rust_crate_farmhash_1_1_5_fingerprint64_u64",
            "rust_crate_equal",
        ],
    },
    Topic { name: "murmurhash", lists: &[("cases", Each(hashes::murmur))], informational: &["kind"] },
    topic("string_bytes", &[("cases", Each(hashes::string_bytes))]),
    topic(
        "feature_cross",
        &[("cases", Each(features::cross)), ("ragged_cases", Each(features::cross_ragged))],
    ),
    topic("cutoff2d", &[("cases", Each(features::cutoff2d))]),
    topic("cutoff3d", &[("cases", Each(features::cutoff3d))]),
    topic("bucketize", &[("cases", Each(features::bucketize))]),
    topic("mod", &[("cases", Each(features::modulo))]),
    topic("multi_hash", &[("cases", Each(features::multi_hash))]),
    topic("feature_engine", &[("cases", Each(features::engine))]),
    topic("ids_encode", &[("cases", Each(ids::encode))]),
    topic("ids_partition", &[("cases", Each(ids::partition)), ("slices", Each(ids::slices))]),
    topic("merge_offsets", &[("cases", Each(ids::merge_offsets))]),
    topic("segment_reduce", &[("cases", Each(embedding::segment_reduce))]),
    topic("ragged_tile", &[("cases", Each(embedding::ragged_tile))]),
    topic("embedding_engine", &[("cases", Each(engine::tables)), ("lookups", Each(engine::lookup))]),
    topic("grad_reduce_by", &[("cases", Each(ids::grad_reduce_by))]),
    Topic {
        name: "grad_accumulate",
        lists: &[("cases", Each(optim::grad_accumulate))],
        informational: &["recis_emits", "recis_test_coalesced"],
    },
    topic("sparse_adamw", &[("cases", Each(optim::sparse_adamw))]),
    topic("dense_adamw", &[("cases", Each(optim::dense_adamw))]),
    topic("mlp_bce", &[("cases", Each(dense::mlp)), ("bce_scalar_cases", Each(dense::bce))]),
    topic("trunc_normal", &[("cases", Each(dense::trunc_normal))]),
    topic(
        "auroc",
        &[
            ("cases", Each(metrics::auroc)),
            ("cumulative_stream", Whole(metrics::auroc_stream)),
            ("thresholds_200_f32", Whole(metrics::auroc_thresholds)),
        ],
    ),
    topic("ragged_dense", &[("cases", Each(ragged::dense))]),
    topic("fixedlen_default", &[("cases", Each(io::fixedlen_default))]),
    topic("dataset_batches", &[("cases", Each(io::dataset_batches))]),
];

/// What the crate does not have yet: topics, or topics and the optimizer of a case.
const LATER: &[&str] = &[
    "gauc",
    "checkpoint_layout",
    "sparse_adamw SparseAdamW",
    "sparse_adamw SparseAdam",
    "dense_adamw AdamWTF",
];

/// The vectors that come with the crate.
pub fn default_folder() -> PathBuf {
    root::root().join("tests/data/vectors")
}

/// Runs every `*.json` of a folder on the stream's device.
pub fn run(folder: &Path, stream: &Stream) -> Report {
    case::run_on(stream);
    let mut run = Run::default();
    match files(folder) {
        Ok(files) if files.is_empty() => run.fail(format!("{}: no *.json", folder.display())),
        Ok(files) => files.iter().for_each(|file| run.file(file)),
        Err(e) => run.fail(format!("{}: {e}", folder.display())),
    }
    run.report()
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = files.collect::<Result<Vec<_>, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

#[derive(Default)]
struct Run {
    /// Cases that passed, and all, by topic.
    counts: BTreeMap<String, [usize; 2]>,
    later: Vec<String>,
    failures: Vec<String>,
}

impl Run {
    fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    fn file(&mut self, path: &Path) {
        let parsed = std::fs::read_to_string(path).map_err(|e| e.to_string());
        let parsed = parsed.and_then(|text| {
            let json = serde_json::from_str::<Value>(&text);
            json.or_else(|_| serde_json::from_str(&quote_non_numbers(&text))).map_err(|e| e.to_string())
        });
        let file = match parsed {
            Ok(file) => file,
            Err(e) => return self.fail(format!("{}: {e}", path.display())),
        };
        let Some(name) = file["topic"].as_str() else {
            return self.fail(format!("{}: no topic", path.display()));
        };
        if LATER.contains(&name) {
            return self.put_off(name.into());
        }
        match TOPICS.iter().find(|topic| topic.name == name) {
            Some(topic) => self.topic(topic, &file),
            None => self.fail(format!("{}: unknown topic '{name}'", path.display())),
        }
    }

    fn topic(&mut self, topic: &Topic, file: &Value) {
        let name = topic.name;
        self.counts.entry(name.into()).or_default();
        let tolerance = match parse(file.get("tolerance").unwrap_or(&Value::Object(Default::default()))) {
            Ok(tolerance) => tolerance,
            Err(e) => return self.fail(format!("{name} tolerance: {e}")),
        };
        for (field, value) in file.as_object().into_iter().flatten() {
            match (topic.lists.iter().find(|(list, _)| list == field), value) {
                (Some((_, Each(check))), Value::Array(cases)) => {
                    for (i, case) in cases.iter().enumerate() {
                        self.case(topic, &format!("{field}[{i}]"), case, *check, &tolerance);
                    }
                }
                (Some((_, Each(check))), Value::Object(cases)) => {
                    for (key, case) in cases {
                        let case = serde_json::json!({"key": key, "value": case});
                        self.case(topic, &format!("{field}.{key}"), &case, *check, &tolerance);
                    }
                }
                (Some((_, Whole(check))), case) => self.case(topic, field, case, *check, &tolerance),
                (Some(_), _) => self.fail(format!("{name} {field}: neither a list nor an object")),
                // What cannot hold cases is about the file.
                (None, Value::Array(_) | Value::Object(_)) if field != "tolerance" => {
                    self.fail(format!("{name} {field}: not understood"));
                }
                (None, _) => {}
            }
        }
    }

    fn case(
        &mut self,
        topic: &Topic,
        place: &str,
        case: &Value,
        check: fn(&Value, &Tolerance) -> Outcome,
        tolerance: &Tolerance,
    ) {
        // `torch.AdamW` is AdamW.
        let optimizer =
            case.get("optimizer").and_then(Value::as_str).and_then(|name| name.rsplit('.').next());
        let later = optimizer.map(|optimizer| format!("{} {optimizer}", topic.name));
        if let Some(later) = later.filter(|later| LATER.contains(&later.as_str())) {
            return self.put_off(later);
        }
        let mut case = case.clone();
        if let Value::Object(fields) = &mut case {
            fields.retain(|field, _| {
                !["name", "note"].contains(&field.as_str()) && !topic.informational.contains(&field.as_str())
            });
        }
        // A case that panics fails like any other, and is named.
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&case, tolerance)));
        let outcome = outcome.unwrap_or_else(|_| Err("panicked".into()));
        let passed = outcome.is_ok();
        if let Err(e) = outcome {
            self.fail(format!("{} {place} {e}", topic.name));
        }
        let [good, all] = self.counts.entry(topic.name.into()).or_default();
        *good += usize::from(passed);
        *all += 1;
    }

    fn put_off(&mut self, what: String) {
        if !self.later.contains(&what) {
            self.later.push(what);
        }
    }

    fn report(mut self) -> Report {
        let mut lines: Vec<_> = self.later.iter().map(|what| format!("{what}: later")).collect();
        let mut passed = 0;
        for (topic, [good, all]) in &self.counts {
            lines.push(format!("{topic}: {good} of {all}"));
            passed += good;
            if *all == 0 {
                self.failures.push(format!("{topic}: no case was run"));
            }
        }
        lines.sort();
        Report { lines, passed, failures: self.failures }
    }
}

/// Python writes NaN and infinities bare, which is not JSON: as strings they are.
fn quote_non_numbers(text: &str) -> String {
    // Odd parts are inside quotes, where nothing changes.
    let mut parts: Vec<_> = text.split('"').map(String::from).collect();
    for part in parts.iter_mut().step_by(2) {
        *part = part.replace("NaN", "\"NaN\"").replace("Infinity", "\"Infinity\"");
        *part = part.replace("-\"Infinity\"", "\"-Infinity\"");
    }
    parts.join("\"")
}
