//! The embedding engine: which tables share storage, and a step with given tables.

use std::collections::{BTreeMap, BTreeSet};

use recis::device::Stream;
use recis::nn::embedding::{GradReduceBy, coalesce};
use recis::nn::{ArrayData, Combiner, EmbeddingEngine, EmbeddingOption, Initializer, TableSnapshot};
use recis::ops::combine::Place;
use recis::ops::merge_gradients::Gradients;
use recis::ops::rows::{Rows, scatter};
use recis::optim::{SparseOptimizer, SparseState};
use recis::{Batch, RaggedTensor, Tensor, Values};
use serde::Deserialize;
use serde_json::Value;

use super::case::{Elements, Outcome, Tolerance, offsets, on, parse, same, same_all, stream};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    options: Vec<Options>,
    physical_tables: Option<Vec<Physical>>,
    error: Option<String>,
}

/// The options of RecIS. What the crate does not have may only be there with the value that changes
/// nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    feature: String,
    #[serde(alias = "embedding_dim")]
    dim: usize,
    shared_name: String,
    combiner: String,
    tile_len: Option<usize>,
    combiner_kwargs: Option<Value>,
    initializer: Option<String>,
    use_weight: Option<bool>,
    grad_reduce_by: Option<String>,
    device: Option<String>,
    dtype: Option<String>,
    trainable: Option<bool>,
    fp16_enabled: Option<bool>,
    coalesced: Option<bool>,
    children: Option<Vec<Value>>,
    pg: Option<Value>,
    filter_hook: Option<Value>,
    admit_hook: Option<Value>,
    /// RecIS's engine always takes 10240.
    #[serde(rename = "block_size")]
    _block_size: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Physical {
    dim: usize,
    initializer: String,
    grad_reduce_by: Option<String>,
    children: Vec<String>,
    features: BTreeMap<String, usize>,
    runtime_groups: BTreeMap<String, Vec<String>>,
}

pub fn tables(case: &Value, _: &Tolerance) -> Outcome {
    let case: Tables = parse(case)?;
    // An engine lives on one device, so all its tables do.
    let devices: BTreeSet<_> = case.options.iter().map(|option| &option.device).collect();
    if devices.len() > 1 {
        return Err(format!("options: one device is expected, got {devices:?}").into());
    }
    let options = case.options.into_iter().map(option).collect::<Outcome<Vec<_>>>()?;
    let engine = EmbeddingEngine::new(&options, 0, &stream());
    let (tables, expected) = match (engine.and_then(|_| coalesce(&options)), case.error, case.physical_tables)
    {
        (Err(_), Some(_), _) => return Ok(()),
        (Ok(_), Some(expected), _) => return Err(format!("error: expected '{expected}', got none").into()),
        (tables, None, Some(expected)) => (tables?, expected),
        (_, None, None) => return Err("either physical_tables or error is expected".into()),
    };
    same("the number of physical_tables", expected.len(), tables.len())?;
    for (i, (expected, got)) in expected.into_iter().zip(tables).enumerate() {
        let named = |field: &str| format!("physical_tables[{i}].{field}");
        same(&named("dim"), expected.dim, got.option.embedding_dim)?;
        same(&named("initializer"), initializer(&expected.initializer)?, got.option.initializer)?;
        if let Some(expected) = &expected.grad_reduce_by {
            same(&named("grad_reduce_by"), grad_reduce_by(expected)?, got.option.grad_reduce_by)?;
        }
        same_all(&named("children"), &expected.children, &got.children)?;
        same(&named("features"), expected.features, got.features.into_iter().collect())?;
        let mut groups: Vec<_> = (got.runtime_groups.into_iter())
            .map(|(combiner, _, features)| (combiner_name(combiner).to_string(), features))
            .collect();
        groups.sort();
        same_all(
            &named("runtime_groups"),
            &expected.runtime_groups.into_iter().collect::<Vec<_>>(),
            &groups,
        )?;
    }
    Ok(())
}

fn option(from: Options) -> Outcome<(String, EmbeddingOption)> {
    let none = |value: &Option<Value>| value.as_ref().is_none_or(|value| value.is_null());
    let unused = [
        ("dtype", from.dtype.is_none_or(|dtype| dtype.ends_with("float32"))),
        ("trainable", from.trainable != Some(false)),
        ("fp16_enabled", from.fp16_enabled != Some(true)),
        ("coalesced", from.coalesced != Some(true)),
        ("children", from.children.is_none_or(|children| children.is_empty())),
        ("pg", none(&from.pg)),
        ("filter_hook", none(&from.filter_hook)),
        ("admit_hook", none(&from.admit_hook)),
    ];
    for (field, as_default) in unused {
        if !as_default {
            return Err(format!("{field} of feature '{}': only the default is there", from.feature).into());
        }
    }
    let tile_len = match &from.combiner_kwargs {
        Some(kwargs) if !kwargs.is_null() => {
            let kwargs: BTreeMap<String, usize> = parse(kwargs)?;
            same("combiner_kwargs", Some("tile_len"), kwargs.keys().next().map(String::as_str))?;
            kwargs.values().next().copied()
        }
        _ => from.tile_len,
    };
    let combiner = match from.combiner.as_str() {
        "sum" => Combiner::Sum,
        "mean" => Combiner::Mean,
        // The document's length, where the case leaves it open.
        "tile" => Combiner::Tile { tile_len: tile_len.unwrap_or(1000) },
        other => return Err(format!("combiner: no '{other}'").into()),
    };
    let default = EmbeddingOption::default();
    let option = EmbeddingOption {
        embedding_dim: from.dim,
        shared_name: from.shared_name,
        combiner,
        initializer: from.initializer.map_or(Ok(default.initializer), |text| initializer(&text))?,
        use_weight: from.use_weight.unwrap_or(default.use_weight),
        grad_reduce_by: from
            .grad_reduce_by
            .map_or(Ok(default.grad_reduce_by), |text| grad_reduce_by(&text))?,
    };
    Ok((from.feature, option))
}

fn grad_reduce_by(text: &str) -> Outcome<GradReduceBy> {
    match text {
        "worker" => Ok(GradReduceBy::Worker),
        "id" => Ok(GradReduceBy::Id),
        other => Err(format!("grad_reduce_by: no '{other}'").into()),
    }
}

fn combiner_name(combiner: Combiner) -> &'static str {
    match combiner {
        Combiner::Sum => "sum",
        Combiner::Mean => "mean",
        Combiner::Tile { .. } => "tile",
    }
}

/// Reads `const0`, `constant(1)`, `uniform(0,1)`, `normal(0,1)`, `trunc_normal(0,0.01)` and
/// `trunc_normal(0,0.01,-2,2)`.
fn initializer(text: &str) -> Outcome<Initializer> {
    let unknown = || format!("initializer: no '{text}'");
    let (name, arguments) = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        Some(parts) => parts,
        None => ("const", text.trim_start_matches("constant").trim_start_matches("const")),
    };
    let arguments = arguments.split(',').map(|argument| argument.trim().parse::<f64>());
    let arguments = arguments.collect::<Result<Vec<_>, _>>().map_err(|_| unknown())?;
    match (name, arguments[..].as_ref()) {
        ("const" | "constant", &[value]) => Ok(Initializer::Constant(value)),
        ("uniform", &[a, b]) => Ok(Initializer::Uniform { a, b }),
        ("normal", &[mean, std]) => Ok(Initializer::Normal { mean, std }),
        ("trunc_normal", &[mean, std]) => Ok(Initializer::trunc_normal(mean, std)),
        ("trunc_normal", &[mean, std, a, b]) => Ok(Initializer::TruncNormal { mean, std, a, b }),
        _ => Err(unknown().into()),
    }
}

/// Rows of numbers by feature or table.
type Named<T> = BTreeMap<String, Vec<Vec<T>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    world_size: usize,
    tile_len: usize,
    ids: Named<i64>,
    #[serde(alias = "weight")]
    weights: Option<Named<f32>>,
    tables: Named<f32>,
    out: Named<f64>,
    grad_out: Named<f32>,
    grad_table: Named<f64>,
}

pub fn lookup(case: &Value, tolerance: &Tolerance) -> Outcome {
    let case: Step = parse(case)?;
    same("world_size: there is one rank", 1, case.world_size)?;
    let options = case.ids.keys().map(|feature| lookup_option(feature, &case));
    let options = options.collect::<Outcome<Vec<_>>>()?;
    let stream = stream();
    let mut engine = EmbeddingEngine::new(&options, 0, &stream)?;
    engine.attach(&KeepGradients, &stream)?;
    fill(&mut engine, &case.tables, &stream)?;

    engine.lookup(&batch(&case)?.copy_to(&stream)?, true, &stream)?;
    for (feature, option) in &options {
        let field = |field: &str| format!("{field}.{feature}");
        let expected = case.out.get(feature).ok_or_else(|| format!("{}: missing", field("out")))?;
        let stride = option.combiner.width(option.embedding_dim);
        let place = Place { first_column: 0, stride };
        let mut out = on(vec![0.0; case.ids[feature].len() * stride]);
        engine.combine(&[(feature, 0)], &mut out, stride, &stream)?;
        tolerance.close_all(&field("out"), &expected.concat(), &out.elements())?;
        let grad = case.grad_out.get(feature).ok_or_else(|| format!("{}: missing", field("grad_out")))?;
        engine.combine_backward(&[(feature, &on(grad.concat()), place)], &stream)?;
    }
    engine.finish_backward(&stream)?;
    engine.step(&KeepGradients, 1, &stream)?;

    let (tables, _) = engine.snapshot(&stream)?;
    same("the number of tables in grad_table", case.grad_table.len(), tables.len())?;
    for table in tables {
        let field = format!("grad_table.{}", table.name);
        let expected = case.grad_table.get(&table.name).ok_or_else(|| format!("{field}: missing"))?;
        let (_, grad) = table.slots.iter().find(|(slot, _)| slot == GRADIENT).ok_or("no gradients")?;
        tolerance.close_all(&field, &expected.concat(), grad)?;
    }
    Ok(())
}

/// Which table a feature of the lookups uses and how, as the file's `about` says.
fn lookup_option(feature: &str, case: &Step) -> Outcome<(String, EmbeddingOption)> {
    let (table, combiner) = match feature {
        "f_sum" | "g_sum" => ("A", Combiner::Sum),
        "h_mean" => ("H", Combiner::Mean),
        "t_tile" => ("T", Combiner::Tile { tile_len: case.tile_len }),
        other => return Err(format!("ids.{other}: no such feature").into()),
    };
    let rows = case.tables.get(table).ok_or_else(|| format!("tables.{table}: missing"))?;
    let option = EmbeddingOption {
        embedding_dim: rows.first().map_or(0, Vec::len),
        shared_name: table.into(),
        combiner,
        ..Default::default()
    };
    Ok((feature.into(), option))
}

/// Puts the rows of the case into the tables: row k is that of id k.
fn fill(engine: &mut EmbeddingEngine, tables: &Named<f32>, stream: &Stream) -> Outcome {
    let table = |(name, rows): (&String, &Vec<Vec<f32>>)| {
        let values = rows.concat();
        let zeros = vec![0.0; values.len()];
        TableSnapshot {
            name: name.clone(),
            dim: rows.first().map_or(0, Vec::len),
            ids: (0..rows.len() as i64).collect(),
            slots: vec![("embedding".into(), values), (GRADIENT.into(), zeros)],
        }
    };
    let mut snapshots: Vec<_> = tables.iter().map(table).collect();
    let mut powers = |_: &str, _: &[usize]| Ok(ArrayData::F32(vec![1.0]));
    engine.restore(&mut snapshots, &mut powers, stream)?;
    same_all("tables that no feature uses", &[], &snapshots)
}

fn batch(case: &Step) -> Outcome<Batch> {
    let rows = case.ids.values().next().map_or(0, Vec::len);
    let mut batch = Batch::new(rows);
    for (feature, ids) in &case.ids {
        same(&format!("ids.{feature}: rows"), rows, ids.len())?;
        let weights = case.weights.as_ref().and_then(|weights| weights.get(feature));
        batch.insert(
            feature,
            Tensor::Ragged(RaggedTensor::new(
                Values::I64(ids.concat().into()),
                vec![offsets(ids).into()],
                weights.map(|weights| weights.concat().into()),
            )),
        );
    }
    Ok(batch)
}

/// An optimizer whose step shows the gradients: it stores them beside the rows.
struct KeepGradients;

const GRADIENT: &str = "keep_gradient";

impl SparseOptimizer for KeepGradients {
    fn prefix(&self) -> &'static str {
        "keep"
    }

    fn slots(&self) -> &'static [&'static str] {
        &["gradient"]
    }

    fn check(&self) -> recis::Result<()> {
        Ok(())
    }

    fn step(
        &self,
        _: &mut SparseState,
        rows: &mut Rows,
        gradients: &Gradients,
        stream: &Stream,
    ) -> recis::Result<()> {
        // Behind the rows that have gradients there may be room.
        let count = gradients.count.as_ref().map(|count| count.to_vec(stream)).transpose()?;
        let count = count.map_or(gradients.rows.len(), |count| count[0] as usize);
        let (mut touched, mut values) = (gradients.rows.clone(), gradients.values.clone());
        touched.resize(count, stream)?;
        values.resize(count * rows.dim(), stream)?;
        scatter(rows, 1, &touched, &values, stream)
    }
}
