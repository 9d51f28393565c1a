//! safetensors files: written from and read into the arrays themselves, without a copy of the file.

use std::collections::HashMap;
use std::path::PathBuf;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::file::{Reader, Seal, Writer};
use crate::snapshot::ArrayData;
use crate::{Error, Result};

// Arrays go to disk as they lie in memory, and the format is little-endian.
const _: () = assert!(cfg!(target_endian = "little"));

/// The format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// An array to be written.
pub(super) struct Block<'a> {
    pub key: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: &'a [u8],
}

/// An array that was read.
pub(super) struct Array {
    pub shape: Vec<usize>,
    pub data: ArrayData,
}

/// Writes a file. Keys must differ.
pub(super) fn write(path: PathBuf, mut blocks: Vec<Block<'_>>) -> Result<Seal> {
    // The crate's own order: wide types first, so that every array is aligned in the file.
    blocks.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.key.cmp(&b.key)));
    let header = header(&blocks).map_err(|e| Error::checkpoint(&path, format!("cannot be written ({e})")))?;
    let mut writer = Writer::create(path)?;
    writer.write(&(header.len() as u64).to_le_bytes())?;
    writer.write(&header)?;
    for block in &blocks {
        writer.write(block.bytes)?;
    }
    writer.finish()
}

fn header(blocks: &[Block<'_>]) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let mut end = 0;
    let tensors = blocks.iter().map(|block| {
        let begin = end;
        end += block.bytes.len();
        let info = TensorInfo { dtype: block.dtype, shape: block.shape.clone(), data_offsets: (begin, end) };
        (block.key.clone(), info)
    });
    let mut header = serde_json::to_vec(&Metadata::new(None, tensors.collect())?)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// Reads all arrays of a file.
pub(super) fn read(path: PathBuf, seal: Seal) -> Result<HashMap<String, Array>> {
    let mut reader = Reader::open(path, seal)?;
    let metadata = read_header(&mut reader)?;
    let mut infos: Vec<_> = metadata.tensors().into_iter().collect();
    infos.sort_by_key(|(_, info)| info.data_offsets);

    let mut arrays = HashMap::with_capacity(infos.len());
    for (key, info) in infos {
        let data = read_data(&mut reader, &key, info)?;
        arrays.insert(key, Array { shape: info.shape.clone(), data });
    }
    reader.finish()?;
    Ok(arrays)
}

/// Reads a header. Its arrays lie end to end and fill the file exactly, so that none of them can
/// claim more memory than the file has bytes.
fn read_header(reader: &mut Reader) -> Result<Metadata> {
    if reader.bytes() < 8 {
        return Err(reader.damaged("no safetensors header"));
    }
    let mut length = [0; 8];
    reader.read(&mut length)?;
    let length = u64::from_le_bytes(length);
    let room = reader.bytes() - 8;
    if length > room.min(MAX_HEADER) {
        return Err(reader.damaged(format!("a header of {length} bytes")));
    }
    let mut header = vec![0; length as usize];
    reader.read(&mut header)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|e| reader.damaged(format!("header: {e}")))?;
    if metadata.data_len() as u64 != room - length {
        return Err(reader.damaged("the header speaks of more or fewer bytes than there are"));
    }
    Ok(metadata)
}

fn read_data(reader: &mut Reader, key: &str, info: &TensorInfo) -> Result<ArrayData> {
    let bytes = info.data_offsets.1 - info.data_offsets.0;
    match info.dtype {
        Dtype::F32 => read_values(reader, bytes).map(ArrayData::F32),
        Dtype::F64 => read_values(reader, bytes).map(ArrayData::F64),
        Dtype::I64 => read_values(reader, bytes).map(ArrayData::I64),
        other => Err(reader.damaged(format!("'{key}' is {other}; expected F32, F64 or I64"))),
    }
}

fn read_values<T: bytemuck::Pod>(reader: &mut Reader, bytes: usize) -> Result<Vec<T>> {
    let mut values = vec![T::zeroed(); bytes / size_of::<T>()];
    reader.read(bytemuck::cast_slice_mut(&mut values))?;
    Ok(values)
}
