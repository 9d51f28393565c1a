//! A small ORC writer: one struct of list columns (doubles, 64-bit integers or strings) without
//! nulls, in any number of stripes, with any codec. It writes no index and no statistics: readers
//! do without.
//!
//! A file is the magic, the stripes, the footer, the postscript and, in its last byte, the
//! postscript's length. A stripe is its streams, one after the other, and a footer that lists them.
//! See <https://orc.apache.org/specification/ORCv1/>.
#![allow(dead_code, reason = "every example and test that includes this file uses a part of it")]

#[path = "rle_v2.rs"] // also where this file is itself included by its path
mod rle_v2;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use orc_rust::proto;
use orc_rust::proto::column_encoding::Kind as Encoding;
use orc_rust::proto::stream::Kind as StreamKind;
use orc_rust::proto::r#type::Kind as TypeKind;
use prost::Message;

const MAGIC: &str = "ORC";
/// A block's length is stored in 23 bits.
const MAX_BLOCK_SIZE: usize = (1 << 23) - 1;

/// What the items of a column's lists are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    F64,
    I64,
    Str,
}

/// One column of a stripe: row `r` holds the next `lengths[r]` values.
pub enum Column<'a> {
    F64 { lengths: &'a [usize], values: &'a [f64] },
    I64 { lengths: &'a [usize], values: &'a [i64] },
    Str { lengths: &'a [usize], values: &'a [&'a str] },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    None,
    Zlib,
    Snappy,
    Zstd,
    Lz4,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub compression: Compression,
    /// Strings as indices into a dictionary of each stripe (DICTIONARY_V2) instead of in full
    /// (DIRECT_V2).
    pub dictionary: bool,
    /// Bytes that are compressed at a time, at most 8,388,607.
    pub block_size: usize,
}

impl Default for Options {
    /// What pyarrow writes by default.
    fn default() -> Self {
        Self { compression: Compression::None, dictionary: false, block_size: 64 << 10 }
    }
}

/// An ORC file that is being written.
pub struct Writer {
    file: BufWriter<File>,
    columns: Vec<(String, Type)>,
    options: Options,
    /// Where the next stripe begins.
    position: u64,
    stripes: Vec<proto::StripeInformation>,
}

impl Writer {
    /// Creates the file, or empties it.
    pub fn create(path: impl AsRef<Path>, columns: &[(&str, Type)], options: Options) -> io::Result<Self> {
        if !(1..=MAX_BLOCK_SIZE).contains(&options.block_size) {
            return Err(invalid(format!("block size {}: use 1 to {MAX_BLOCK_SIZE}", options.block_size)));
        }
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(MAGIC.as_bytes())?;
        let columns = columns.iter().map(|&(name, ty)| (name.into(), ty)).collect();
        Ok(Self { file, columns, options, position: MAGIC.len() as u64, stripes: vec![] })
    }

    /// Appends a stripe: the declared columns in their order, all with the same number of rows.
    pub fn write_stripe(&mut self, columns: &[Column<'_>]) -> io::Result<()> {
        let rows = self.check(columns)?;
        let mut stripe = Stripe::new(self.options);
        for (i, column) in columns.iter().enumerate() {
            stripe.column(list_id(i), column)?;
        }
        let data_length = stripe.bytes.len() as u64;
        let footer = compress(&stripe.footer.encode_to_vec(), self.options)?;
        self.file.write_all(&stripe.bytes)?;
        self.file.write_all(&footer)?;
        self.stripes.push(proto::StripeInformation {
            offset: Some(self.position),
            index_length: Some(0),
            data_length: Some(data_length),
            footer_length: Some(footer.len() as u64),
            number_of_rows: Some(rows as u64),
            ..Default::default()
        });
        self.position += data_length + footer.len() as u64;
        Ok(())
    }

    /// Writes what a reader looks for at the end of a file. Without it the file is not ORC.
    pub fn finish(mut self) -> io::Result<()> {
        let footer = compress(&self.footer().encode_to_vec(), self.options)?;
        let postscript = proto::PostScript {
            footer_length: Some(footer.len() as u64),
            compression: Some(self.options.compression.kind() as i32),
            compression_block_size: Some(self.options.block_size as u64),
            version: vec![0, 12],
            metadata_length: Some(0),
            writer_version: Some(6),
            magic: Some(MAGIC.into()),
            ..Default::default()
        }
        .encode_to_vec();
        self.file.write_all(&footer)?;
        self.file.write_all(&postscript)?;
        self.file.write_all(&[postscript.len() as u8])?;
        self.file.flush()
    }

    fn footer(&self) -> proto::Footer {
        let mut types = vec![proto::Type {
            kind: Some(TypeKind::Struct as i32),
            subtypes: (0..self.columns.len()).map(list_id).collect(),
            field_names: self.columns.iter().map(|(name, _)| name.clone()).collect(),
            ..Default::default()
        }];
        for (i, (_, ty)) in self.columns.iter().enumerate() {
            let list = TypeKind::List as i32;
            types.push(proto::Type {
                kind: Some(list),
                subtypes: vec![list_id(i) + 1],
                ..Default::default()
            });
            types.push(proto::Type { kind: Some(ty.kind() as i32), ..Default::default() });
        }
        proto::Footer {
            header_length: Some(MAGIC.len() as u64),
            content_length: Some(self.position),
            number_of_rows: Some(self.stripes.iter().map(|s| s.number_of_rows()).sum()),
            row_index_stride: Some(0),
            stripes: self.stripes.clone(),
            types,
            ..Default::default()
        }
    }

    /// The rows of a stripe, if its columns fit the declared ones and each other.
    fn check(&self, columns: &[Column<'_>]) -> io::Result<usize> {
        if columns.len() != self.columns.len() {
            return Err(invalid(format!("{} columns, {} declared", columns.len(), self.columns.len())));
        }
        let rows = columns.first().map_or(0, |c| c.lengths().len());
        for ((name, ty), column) in self.columns.iter().zip(columns) {
            let (lengths, values) = (column.lengths(), column.values());
            if column.ty() != *ty {
                return Err(invalid(format!("column {name}: {:?} items, declared as {ty:?}", column.ty())));
            }
            if lengths.len() != rows {
                return Err(invalid(format!("column {name}: {} rows, the first has {rows}", lengths.len())));
            }
            if lengths.iter().sum::<usize>() != values {
                return Err(invalid(format!("column {name}: {values} values, not the sum of its lengths")));
            }
        }
        Ok(rows)
    }
}

/// The streams of a stripe as they follow each other, and the footer that lists them.
struct Stripe {
    options: Options,
    bytes: Vec<u8>,
    footer: proto::StripeFooter,
}

impl Stripe {
    fn new(options: Options) -> Self {
        let mut stripe = Self { options, bytes: vec![], footer: proto::StripeFooter::default() };
        stripe.encoding(Encoding::Direct, None); // the struct
        stripe
    }

    fn column(&mut self, list: u32, column: &Column<'_>) -> io::Result<()> {
        self.encoding(Encoding::DirectV2, None);
        self.stream(StreamKind::Length, list, &rle_v2::encode(&signed(column.lengths()), false))?;
        let item = list + 1;
        match column {
            Column::F64 { values, .. } => {
                self.encoding(Encoding::Direct, None);
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                self.stream(StreamKind::Data, item, &bytes)
            }
            Column::I64 { values, .. } => {
                self.encoding(Encoding::DirectV2, None);
                self.stream(StreamKind::Data, item, &rle_v2::encode(values, true))
            }
            Column::Str { values, .. } if self.options.dictionary => self.dictionary(item, values),
            Column::Str { values, .. } => {
                self.encoding(Encoding::DirectV2, None);
                self.strings(StreamKind::Data, item, values)
            }
        }
    }

    fn dictionary(&mut self, column: u32, values: &[&str]) -> io::Result<()> {
        let mut index_of: BTreeMap<&str, i64> = values.iter().map(|&s| (s, 0)).collect();
        index_of.values_mut().zip(0..).for_each(|(index, i)| *index = i);
        let indices: Vec<i64> = values.iter().map(|s| index_of[s]).collect();
        let entries: Vec<&str> = index_of.into_keys().collect();
        self.encoding(Encoding::DictionaryV2, Some(entries.len() as u32));
        self.stream(StreamKind::Data, column, &rle_v2::encode(&indices, false))?;
        self.strings(StreamKind::DictionaryData, column, &entries)
    }

    fn strings(&mut self, kind: StreamKind, column: u32, values: &[&str]) -> io::Result<()> {
        let lengths: Vec<usize> = values.iter().map(|s| s.len()).collect();
        self.stream(kind, column, values.concat().as_bytes())?;
        self.stream(StreamKind::Length, column, &rle_v2::encode(&signed(&lengths), false))
    }

    fn encoding(&mut self, kind: Encoding, dictionary_size: Option<u32>) {
        let kind = Some(kind as i32);
        self.footer.columns.push(proto::ColumnEncoding { kind, dictionary_size, ..Default::default() });
    }

    fn stream(&mut self, kind: StreamKind, column: u32, bytes: &[u8]) -> io::Result<()> {
        let bytes = compress(bytes, self.options)?;
        let (kind, length) = (Some(kind as i32), Some(bytes.len() as u64));
        self.footer.streams.push(proto::Stream { kind, column: Some(column), length });
        self.bytes.extend(bytes);
        Ok(())
    }
}

/// The type id of column `i`'s list; its items have the next one, the struct has 0.
fn list_id(i: usize) -> u32 {
    1 + 2 * i as u32
}

fn signed(lengths: &[usize]) -> Vec<i64> {
    lengths.iter().map(|&n| n as i64).collect()
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

impl Type {
    fn kind(self) -> TypeKind {
        match self {
            Type::F64 => TypeKind::Double,
            Type::I64 => TypeKind::Long,
            Type::Str => TypeKind::String,
        }
    }
}

impl Column<'_> {
    fn ty(&self) -> Type {
        match self {
            Column::F64 { .. } => Type::F64,
            Column::I64 { .. } => Type::I64,
            Column::Str { .. } => Type::Str,
        }
    }

    fn lengths(&self) -> &[usize] {
        match self {
            Column::F64 { lengths, .. } | Column::I64 { lengths, .. } | Column::Str { lengths, .. } => {
                lengths
            }
        }
    }

    /// How many values there are.
    fn values(&self) -> usize {
        match self {
            Column::F64 { values, .. } => values.len(),
            Column::I64 { values, .. } => values.len(),
            Column::Str { values, .. } => values.len(),
        }
    }
}

impl Compression {
    fn kind(self) -> proto::CompressionKind {
        match self {
            Compression::None => proto::CompressionKind::None,
            Compression::Zlib => proto::CompressionKind::Zlib,
            Compression::Snappy => proto::CompressionKind::Snappy,
            Compression::Zstd => proto::CompressionKind::Zstd,
            Compression::Lz4 => proto::CompressionKind::Lz4,
        }
    }

    fn compress(self, block: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Compression::None => Ok(block.into()),
            Compression::Zlib => {
                let mut deflate = flate2::write::DeflateEncoder::new(vec![], flate2::Compression::default());
                deflate.write_all(block)?;
                deflate.finish()
            }
            Compression::Snappy => snap::raw::Encoder::new().compress_vec(block).map_err(io::Error::other),
            Compression::Zstd => zstd::bulk::compress(block, zstd::DEFAULT_COMPRESSION_LEVEL),
            Compression::Lz4 => Ok(lz4_flex::block::compress(block)),
        }
    }
}

/// A stream as it lies in the file: in blocks, each after three bytes that hold its length and
/// whether it did not shrink and is stored as it was.
fn compress(bytes: &[u8], options: Options) -> io::Result<Vec<u8>> {
    if options.compression == Compression::None {
        return Ok(bytes.into());
    }
    let mut out = vec![];
    for block in bytes.chunks(options.block_size) {
        let compressed = options.compression.compress(block)?;
        let original = compressed.len() >= block.len();
        let stored = if original { block } else { &compressed };
        let header = (stored.len() as u32) << 1 | u32::from(original);
        out.extend(&header.to_le_bytes()[..3]);
        out.extend(stored);
    }
    Ok(out)
}
