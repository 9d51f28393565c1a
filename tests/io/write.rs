//! Writes ORC files of any shape, whole or tampered with. Only the simplest encodings, uncompressed.

use std::path::Path;

use orc_rust::proto::column_encoding::Kind as EncodingKind;
use orc_rust::proto::stream::Kind as StreamKind;
use orc_rust::proto::r#type::Kind as TypeKind;
use orc_rust::proto::{ColumnEncoding, Footer, PostScript, Stream, StripeFooter, StripeInformation, Type};
use prost::Message;
use serde_json::Value;

/// The streams of a stripe: type id, kind, bytes.
pub type Streams = Vec<(u32, StreamKind, Vec<u8>)>;

/// Columns as (name, type, rows), the type as in `list<bigint>`.
pub struct Orc {
    pub columns: Vec<(String, String, Vec<Value>)>,
    /// The rows of each stripe.
    pub stripes: Vec<usize>,
    pub tamper_streams: fn(&mut Streams),
    pub tamper_stripe: fn(&mut StripeFooter),
    pub tamper_footer: fn(&mut Footer),
    pub tamper_postscript: fn(&mut PostScript),
}

impl Orc {
    /// A table of one stripe.
    pub fn new(columns: &[(&str, &str, Value)]) -> Self {
        let rows = |rows: &Value| rows.as_array().unwrap().clone();
        let columns: Vec<_> = columns
            .iter()
            .map(|(name, ty, values)| (name.to_string(), ty.to_string(), rows(values)))
            .collect();
        let stripes = vec![columns[0].2.len()];
        Self {
            columns,
            stripes,
            tamper_streams: |_| {},
            tamper_stripe: |_| {},
            tamper_footer: |_| {},
            tamper_postscript: |_| {},
        }
    }

    pub fn write(&self, path: impl AsRef<Path>) {
        std::fs::write(path, self.bytes()).unwrap();
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut types = vec![Type { kind: Some(TypeKind::Struct as i32), ..Type::default() }];
        for (name, ty, _) in &self.columns {
            let id = add_type(&mut types, ty);
            types[0].field_names.push(name.clone());
            types[0].subtypes.push(id);
        }
        let mut out = b"ORC".to_vec();
        let mut footer = Footer { types, ..Footer::default() };
        let mut first = 0;
        for &rows in &self.stripes {
            let mut streams = Streams::new();
            for ((_, _, values), &id) in self.columns.iter().zip(&footer.types[0].subtypes) {
                encode(&footer.types, id, values[first..first + rows].iter().collect(), &mut streams);
            }
            first += rows;
            (self.tamper_streams)(&mut streams);
            let info = self.stripe(&mut out, rows, streams, footer.types.len());
            footer.stripes.push(info);
        }
        footer.number_of_rows = Some(first as u64);
        (self.tamper_footer)(&mut footer);
        let footer = footer.encode_to_vec();
        let mut postscript = PostScript {
            footer_length: Some(footer.len() as u64),
            metadata_length: Some(0),
            magic: Some("ORC".into()),
            ..PostScript::default()
        };
        (self.tamper_postscript)(&mut postscript);
        let postscript = postscript.encode_to_vec();
        out.extend(footer);
        out.extend(&postscript);
        out.push(postscript.len() as u8);
        out
    }

    fn stripe(&self, out: &mut Vec<u8>, rows: usize, streams: Streams, types: usize) -> StripeInformation {
        let offset = out.len() as u64;
        let encoding =
            ColumnEncoding { kind: Some(EncodingKind::DirectV2 as i32), ..ColumnEncoding::default() };
        let mut footer = StripeFooter { columns: vec![encoding; types], ..StripeFooter::default() };
        for (id, kind, bytes) in streams {
            let length = Some(bytes.len() as u64);
            footer.streams.push(Stream { kind: Some(kind as i32), column: Some(id), length });
            out.extend(bytes);
        }
        let data_length = out.len() as u64 - offset;
        (self.tamper_stripe)(&mut footer);
        let footer = footer.encode_to_vec();
        out.extend(&footer);
        StripeInformation {
            offset: Some(offset),
            index_length: Some(0),
            data_length: Some(data_length),
            footer_length: Some(footer.len() as u64),
            number_of_rows: Some(rows as u64),
            ..StripeInformation::default()
        }
    }
}

/// Adds a type and the types inside it, and answers its id.
fn add_type(types: &mut Vec<Type>, name: &str) -> u32 {
    let id = types.len() as u32;
    let (kind, inner) = name.strip_suffix('>').and_then(|name| name.split_once('<')).unwrap_or((name, ""));
    let kind = match kind {
        "list" => TypeKind::List,
        "struct" => TypeKind::Struct,
        "tinyint" => TypeKind::Byte,
        "smallint" => TypeKind::Short,
        "int" => TypeKind::Int,
        "bigint" => TypeKind::Long,
        "float" => TypeKind::Float,
        "double" => TypeKind::Double,
        "string" => TypeKind::String,
        "date" => TypeKind::Date,
        other => panic!("no type {other}"),
    };
    types.push(Type { kind: Some(kind as i32), ..Type::default() });
    if kind == TypeKind::List {
        let child = add_type(types, inner);
        types[id as usize].subtypes.push(child);
    } else if kind == TypeKind::Struct {
        for (name, ty) in inner.split(',').map(|field| field.split_once(':').unwrap()) {
            let child = add_type(types, ty);
            types[id as usize].subtypes.push(child);
            types[id as usize].field_names.push(name.into());
        }
    }
    id
}

fn encode(types: &[Type], id: u32, values: Vec<&Value>, streams: &mut Streams) {
    let present: Vec<&Value> = values.iter().copied().filter(|value| !value.is_null()).collect();
    if present.len() < values.len() {
        let bits: Vec<_> = values.iter().map(|value| !value.is_null()).collect();
        let byte = |bits: &[bool]| bits.iter().enumerate().map(|(i, &bit)| u8::from(bit) << (7 - i)).sum();
        streams.push((id, StreamKind::Present, byte_runs(&bits.chunks(8).map(byte).collect::<Vec<u8>>())));
    }
    let ty = &types[id as usize];
    let data = match ty.kind() {
        TypeKind::List => {
            let lists: Vec<_> = present.iter().map(|list| list.as_array().unwrap()).collect();
            streams.push((id, StreamKind::Length, int_runs(lists.iter().map(|list| list.len() as u64))));
            return encode(types, ty.subtypes[0], lists.into_iter().flatten().collect(), streams);
        }
        TypeKind::Struct => {
            for (name, &child) in ty.field_names.iter().zip(&ty.subtypes) {
                encode(types, child, present.iter().map(|value| &value[name]).collect(), streams);
            }
            return;
        }
        TypeKind::String => {
            let strings: Vec<_> = present.iter().map(|string| string.as_str().unwrap().as_bytes()).collect();
            streams.push((
                id,
                StreamKind::Length,
                int_runs(strings.iter().map(|string| string.len() as u64)),
            ));
            strings.concat()
        }
        TypeKind::Byte => byte_runs(&present.iter().map(|v| v.as_i64().unwrap() as u8).collect::<Vec<_>>()),
        TypeKind::Float => present.iter().flat_map(|v| (v.as_f64().unwrap() as f32).to_le_bytes()).collect(),
        TypeKind::Double => present.iter().flat_map(|v| v.as_f64().unwrap().to_le_bytes()).collect(),
        _ => int_runs(present.iter().map(|v| zigzag(v.as_i64().unwrap()))),
    };
    streams.push((id, StreamKind::Data, data));
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// Runs of the second version that store each value in as many bits as the widest needs, rounded
/// up to 8, 16, 32 or 64.
pub fn int_runs(values: impl Iterator<Item = u64>) -> Vec<u8> {
    let values: Vec<_> = values.collect();
    let mut out = Vec::new();
    for run in values.chunks(512) {
        let widest = run.iter().max().unwrap();
        let (code, bytes) = match widest {
            0..=0xff => (7, 1),
            0x100..=0xffff => (15, 2),
            0x1_0000..=0xffff_ffff => (27, 4),
            _ => (31, 8),
        };
        let count = run.len() - 1;
        out.extend([0x40 | code << 1 | (count >> 8) as u8, count as u8]);
        run.iter().for_each(|value| out.extend(&value.to_be_bytes()[8 - bytes..]));
    }
    out
}

/// Literal runs.
pub fn byte_runs(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(128).flat_map(|run| [&[(run.len() as u8).wrapping_neg()], run].concat()).collect()
}
