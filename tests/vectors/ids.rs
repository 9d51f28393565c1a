//! Keys, distinct ids and their owners, and merged offsets.

use recis::device::{Buffer, Device};
use recis::nn::embedding::{GradReduceBy, reduce_gradients};
use recis::ops::encode_ids::{self, Overflow};
use recis::ops::{merge_offsets as merge, partition_ids};
use serde::Deserialize;
use serde_json::Value;

use super::case::{Elements, Outcome, Tolerance, on, parse, same, same_all, stream};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encode {
    ids: Vec<Vec<i64>>,
    table_index: Vec<u32>,
    out: Vec<i64>,
}

pub fn encode(case: &Value, _: &Tolerance) -> Outcome {
    let case: Encode = parse(case)?;
    same("the length of table_index", case.ids.len(), case.table_index.len())?;
    let ids: Vec<Buffer<i64>> = case.ids.into_iter().map(on).collect();
    let mut keys = Vec::new();
    for (ids, table) in ids.iter().zip(case.table_index) {
        let column = encode_ids::Column { table, ids };
        keys.extend(encode_ids::forward(&[column], Overflow::Cut, &stream())?.elements());
    }
    same_all("out", &case.out, &keys)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Partition {
    ids: Vec<i64>,
    num_parts: usize,
    unique_ids: Vec<i64>,
    segment_size: Vec<i64>,
    reverse_index: Vec<u32>,
}

pub fn partition(case: &Value, _: &Tolerance) -> Outcome {
    let case: Partition = parse(case)?;
    let column = partition_ids::Column { table: 0, ids: &on(case.ids), offsets: None, listed: true };
    let partition = partition_ids::forward(&[column], 1, &stream())?;
    // There may be room behind the distinct ids.
    let unique_ids = partition.ids.elements()[..partition.count.elements()[0] as usize].to_vec();
    same_all("unique_ids", &case.unique_ids, &unique_ids)?;
    same_all("reverse_index", &case.reverse_index, &partition.inverse.elements())?;
    let mut sizes = vec![0; case.num_parts];
    for id in unique_ids {
        let owner = partition_ids::owner(id, case.num_parts);
        *sizes.get_mut(owner).ok_or_else(|| format!("id {id}: owner {owner} of {}", case.num_parts))? += 1;
    }
    same_all("segment_size", &case.segment_size, &sizes)
}

/// The slices of the residues for one number of parts.
#[derive(Deserialize)]
struct Slices {
    key: String,
    value: Vec<[i64; 2]>,
}

pub fn slices(case: &Value, _: &Tolerance) -> Outcome {
    let case: Slices = parse(case)?;
    let parts: usize = case.key.parse()?;
    same("the number of slices", parts, case.value.len())?;
    let residues = case.value.iter().map(|[first, end]| end - first).sum::<i64>();
    same("the number of residues", 65_536, residues)?;
    for (owner, &[first, end]) in case.value.iter().enumerate() {
        for residue in first..end {
            same(&format!("the owner of {residue}"), owner, partition_ids::owner(residue, parts))?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Merge {
    offsets: Vec<Vec<i32>>,
    num_values: Vec<usize>,
    merged: Vec<i32>,
    segment_ids: Option<Vec<i32>>,
}

pub fn merge_offsets(case: &Value, _: &Tolerance) -> Outcome {
    let case: Merge = parse(case)?;
    if stream().device() != Device::Cpu {
        return Ok(()); // it has only a CPU form
    }
    same("the length of num_values", case.offsets.len(), case.num_values.len())?;
    let offsets: Vec<Buffer<i32>> = case.offsets.into_iter().map(Buffer::from).collect();
    let columns: Vec<_> = offsets.iter().zip(case.num_values).collect();
    let merged = merge::forward(&columns, &stream())?;
    same_all("merged", &case.merged, merged.host())?;
    let Some(segment_ids) = case.segment_ids else { return Ok(()) };
    let rows = merged.host().windows(2).zip(0..);
    let ids = rows.flat_map(|(ends, row)| std::iter::repeat_n(row, (ends[1] - ends[0]) as usize));
    same_all("segment_ids", &segment_ids, &ids.collect::<Vec<i32>>())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reduction {
    world_size: usize,
    received: Vec<Received>,
    ids: Vec<i64>,
    grad_worker: Vec<Vec<f64>>,
    grad_id: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Received {
    ids: Vec<i64>,
    grad: Vec<Vec<f32>>,
}

pub fn grad_reduce_by(case: &Value, tolerance: &Tolerance) -> Outcome {
    let case: Reduction = parse(case)?;
    same("world_size", case.world_size, case.received.len())?;
    let ids: Vec<i64> = case.received.iter().flat_map(|received| received.ids.clone()).collect();
    let gradients: Vec<f32> = case.received.iter().flat_map(|received| received.grad.concat()).collect();
    let dim = if ids.is_empty() { 1 } else { gradients.len() / ids.len() };
    let column = partition_ids::Column { table: 0, ids: &on(ids), offsets: None, listed: true };
    let owned = partition_ids::forward(&[column], 1, &stream())?;
    // There may be room behind the distinct ids.
    same_all("ids", &case.ids, &owned.ids.elements()[..case.ids.len()])?;
    same("the number of ids", case.ids.len(), owned.count.elements()[0] as usize)?;
    for (field, reduce_by, ranks, expected) in [
        ("grad_worker", GradReduceBy::Worker, case.world_size as f32, case.grad_worker.concat()),
        ("grad_id", GradReduceBy::Id, 1.0, case.grad_id.concat()),
    ] {
        let reduced = reduce_gradients(&owned, &on(gradients.clone()), dim, reduce_by, &stream())?;
        let reduced = reduced.elements().into_iter().take(expected.len()).map(|sum| sum / ranks);
        tolerance.close_all(field, &expected, &reduced.collect::<Vec<_>>())?;
    }
    Ok(())
}
