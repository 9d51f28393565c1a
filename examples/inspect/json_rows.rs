use recis::{Tensor, Values};
use serde_json::Value;

/// The rows of a column as JSON arrays, nested as its lists are. Bytes become strings, one array
/// less deep.
pub fn json_rows(column: &Tensor) -> Vec<Value> {
    match column {
        Tensor::Dense(t) => numbers(&t.values).chunks(t.width).map(|row| row.to_vec().into()).collect(),
        Tensor::Ragged(t) => {
            let mut levels: Vec<&[i32]> = t.offsets.iter().map(|level| level.host()).collect();
            let values = match (&t.values, levels.last()) {
                (Values::I8(bytes), Some(bounds)) => {
                    let strings = strings(bytes.host(), bounds);
                    levels.pop();
                    strings
                }
                (values, _) => numbers(values),
            };
            levels.into_iter().rev().fold(values, |values, level| {
                level.windows(2).map(|o| values[o[0] as usize..o[1] as usize].into()).collect()
            })
        }
    }
}

fn strings(bytes: &[i8], bounds: &[i32]) -> Vec<Value> {
    let string = |o: &[i32]| {
        let bytes: Vec<u8> = bytes[o[0] as usize..o[1] as usize].iter().map(|&byte| byte as u8).collect();
        String::from_utf8_lossy(&bytes).into()
    };
    bounds.windows(2).map(string).collect()
}

fn numbers(values: &Values) -> Vec<Value> {
    match values {
        Values::F32(values) => values.host().iter().map(|&value| value.into()).collect(),
        Values::F64(values) => values.host().iter().map(|&value| value.into()).collect(),
        Values::I64(values) => values.host().iter().map(|&value| value.into()).collect(),
        Values::I8(values) => values.host().iter().map(|&value| value.into()).collect(),
    }
}
