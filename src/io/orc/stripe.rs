use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, RecordBatch};
use bytes::{Buf, Bytes};
use orc_rust::array_decoder::NaiveStripeDecoder;
use orc_rust::projection::ProjectionMask;
use orc_rust::proto::column_encoding::Kind as EncodingKind;
use orc_rust::proto::stream::Kind as StreamKind;
use orc_rust::proto::r#type::Kind as TypeKind;
use orc_rust::proto::{ColumnEncoding, Stream, StripeFooter};
use orc_rust::reader::ChunkReader;
use orc_rust::stripe::StripeMetadata;
use prost::Message;

use super::file::plain_stripe;
use super::rle::{self, Version};
use super::{Extent, OrcFile};
use crate::{Error, Result};

/// One stripe of a file. Its columns can be decoded in parallel.
pub struct Stripe {
    file: Arc<OrcFile>,
    index: usize,
    /// Read by whoever decodes the first column.
    footer: OnceLock<Result<StripeFooter, String>>,
}

impl Stripe {
    pub fn new(file: Arc<OrcFile>, index: usize) -> Self {
        Self { file, index, footer: OnceLock::new() }
    }

    pub fn file(&self) -> &Arc<OrcFile> {
        &self.file
    }

    pub fn extent(&self) -> Extent {
        self.file.stripes()[self.index]
    }

    /// The column's encoding and those of the types below it, as ORC's tools write them.
    pub fn encodings(&self, column: usize) -> Result<Vec<&'static str>> {
        let footer = self.footer().map_err(self.damaged(column))?;
        let subtree = self.file.schema().subtree(column);
        Ok(subtree.into_iter().map(|id| footer.columns[id].kind().as_str_name()).collect())
    }

    /// Decodes the column of type id `column`, `chunk` rows at a time, and gives each array to
    /// `each` until that answers false.
    pub fn decode(
        &self,
        column: usize,
        chunk: usize,
        mut each: impl FnMut(ArrayRef) -> Result<bool>,
    ) -> Result<()> {
        let streams = self.streams(column).map_err(self.damaged(column))?;
        let stored = streams.check(&self.file, column).map_err(self.damaged(column))?;
        let rows = self.extent().rows;
        if rows > stored {
            return Err(self.damaged(column)(format!("{rows} rows, but only {stored} are stored")));
        }
        let mut batches = guarded(|| streams.decoder(self, column, chunk)).map_err(self.damaged(column))?;
        while let Some(batch) = guarded(|| batches.next().transpose()).map_err(self.damaged(column))? {
            if !each(batch.column(0).clone())? {
                break;
            }
        }
        Ok(())
    }

    /// Says where in the file something is wrong.
    fn damaged(&self, column: usize) -> impl FnOnce(String) -> Error {
        let (path, name) = (self.file.path().display(), self.file.schema().name(column));
        let (place, stripe) = (format!("{path}, column '{name}'"), self.index);
        move |what| Error::Data { place, what: format!("damaged ORC file: stripe {stripe}: {what}") }
    }

    fn footer(&self) -> Result<&StripeFooter, String> {
        let footer = self.footer.get_or_init(|| self.read_footer());
        footer.as_ref().map_err(Clone::clone)
    }

    /// Reads the footer and checks that it lists an encoding for every type and only streams that
    /// lie inside the stripe.
    fn read_footer(&self) -> Result<StripeFooter, String> {
        let extent = self.extent();
        let offset = extent.offset + extent.index_length + extent.data_length;
        let bytes = self.file.read(offset, extent.footer_length)?;
        let footer = StripeFooter::decode(bytes).map_err(|e| format!("the footer cannot be read: {e}"))?;
        let types = self.file.schema().types().len();
        if footer.columns.len() != types {
            return Err(format!("{} encodings for {types} types", footer.columns.len()));
        }
        let length = extent.index_length + extent.data_length;
        let streams = footer.streams.iter().try_fold(0u64, |end, stream| end.checked_add(stream.length()));
        match streams {
            Some(end) if end <= length => Ok(footer),
            _ => Err("its streams are longer than it is".into()),
        }
    }

    /// Reads and decompresses what belongs to a column.
    fn streams(&self, column: usize) -> Result<Streams, String> {
        let footer = self.footer()?;
        let subtree = self.file.schema().subtree(column);
        let mut found = BTreeMap::new();
        let mut offset = self.extent().offset;
        for stream in &footer.streams {
            let at = offset;
            offset += stream.length();
            let kind = stream.kind.unwrap_or_default();
            if !subtree.contains(&(stream.column() as usize)) || !Streams::KINDS.contains(&kind) {
                continue;
            }
            let bytes = self.file.read(at, stream.length())?;
            if found.insert((stream.column(), kind), bytes).is_some() {
                return Err(format!("type {} has two streams of one kind", stream.column()));
            }
        }
        Ok(Streams { found, encodings: footer.columns.clone() })
    }
}

/// The uncompressed streams of one column, by type id and kind of stream.
struct Streams {
    found: BTreeMap<(u32, i32), Bytes>,
    encodings: Vec<ColumnEncoding>,
}

impl Streams {
    /// The kinds that hold data, as numbers because a file may hold a number that is no kind.
    const KINDS: [i32; 4] = [
        StreamKind::Present as i32,
        StreamKind::Data as i32,
        StreamKind::Length as i32,
        StreamKind::DictionaryData as i32,
    ];

    fn get(&self, id: usize, kind: StreamKind) -> &[u8] {
        self.found.get(&(id as u32, kind as i32)).map_or(&[], |bytes| &bytes[..])
    }

    /// Checks that lists and strings are no longer than what is stored for them, because orc-rust
    /// allocates by their lengths. Answers how many values of type `id` are stored.
    fn check(&self, file: &OrcFile, id: usize) -> Result<u64, String> {
        let schema = file.schema();
        let of_type = |what: &str| format!("type {id} ({}): {what}", schema.describe(id));
        let version = match self.encodings[id].kind() {
            EncodingKind::Direct | EncodingKind::Dictionary => Version::V1,
            EncodingKind::DirectV2 | EncodingKind::DictionaryV2 => Version::V2,
        };
        let data = self.get(id, StreamKind::Data);
        let lengths = || rle::lengths(self.get(id, StreamKind::Length), version).map_err(of_type);
        let fits = |claimed: u128, stored: u64, unit: &str| match claimed <= u128::from(stored) {
            true => Ok(()),
            false => {
                Err(of_type(&format!("its lengths add up to {claimed}, but {stored} {unit} are stored")))
            }
        };
        let stored = match schema.kind(id) {
            TypeKind::List => {
                let lists = lengths()?;
                let mut elements = 0;
                for child in schema.children(id) {
                    elements = self.check(file, child)?;
                }
                fits(lists.sum, elements, "elements")?;
                lists.count
            }
            TypeKind::Struct => {
                let mut rows = u64::MAX;
                for child in schema.children(id) {
                    rows = rows.min(self.check(file, child)?);
                }
                rows
            }
            TypeKind::String | TypeKind::Varchar | TypeKind::Char => {
                let strings = lengths()?;
                match self.encodings[id].kind() {
                    EncodingKind::Direct | EncodingKind::DirectV2 => {
                        fits(strings.sum, data.len() as u64, "bytes")?;
                        strings.count
                    }
                    EncodingKind::Dictionary | EncodingKind::DictionaryV2 => {
                        let bytes = self.get(id, StreamKind::DictionaryData).len() as u64;
                        fits(strings.sum, bytes, "bytes")?;
                        let size = u64::from(self.encodings[id].dictionary_size());
                        if size > strings.count {
                            return Err(of_type(&format!(
                                "a dictionary of {size}, but {} are stored",
                                strings.count
                            )));
                        }
                        rle::count(data, version).map_err(of_type)?
                    }
                }
            }
            TypeKind::Byte => rle::count_bytes(data).map_err(of_type)?,
            TypeKind::Float => data.len() as u64 / 4,
            TypeKind::Double => data.len() as u64 / 8,
            _ => rle::count(data, version).map_err(of_type)?,
        };
        // Values that are null are not stored: then there are as many as bits that say so.
        match self.found.get(&(id as u32, StreamKind::Present as i32)) {
            Some(present) => Ok(8 * rle::count_bytes(present).map_err(of_type)?),
            None => Ok(stored),
        }
    }

    /// orc-rust's decoder of a stripe that holds these streams and nothing else.
    fn decoder(
        &self,
        stripe: &Stripe,
        column: usize,
        chunk: usize,
    ) -> orc_rust::error::Result<impl Iterator<Item = orc_rust::error::Result<RecordBatch>> + use<>> {
        let mut reader = PlainStripe::default();
        let mut footer = StripeFooter { columns: self.encodings.clone(), ..StripeFooter::default() };
        for (&(id, kind), bytes) in &self.found {
            let length = Some(bytes.len() as u64);
            footer.streams.push(Stream { kind: Some(kind), column: Some(id), length });
            reader.push(bytes.clone());
        }
        let data_length = reader.length;
        let footer = Bytes::from(footer.encode_to_vec());
        let info = plain_stripe(data_length, footer.len() as u64, stripe.extent().rows);
        reader.push(footer);

        let metadata = stripe.file.metadata();
        let mask = ProjectionMask::roots(metadata.root_data_type(), [column]);
        let projected = metadata.root_data_type().project(&mask);
        let schema = Arc::new(projected.create_arrow_schema(&Default::default()));
        let plain = orc_rust::stripe::Stripe::new(
            &mut reader,
            metadata,
            &projected,
            &StripeMetadata::try_from(&info)?,
        )?;
        NaiveStripeDecoder::new(plain, schema, chunk)
    }
}

/// Bytes that lie one after the other, read as orc-rust reads a file.
#[derive(Default)]
struct PlainStripe {
    parts: BTreeMap<u64, Bytes>,
    length: u64,
}

impl PlainStripe {
    fn push(&mut self, bytes: Bytes) {
        // Empty parts take no place, and would hide the part that follows.
        if !bytes.is_empty() {
            self.length += bytes.len() as u64;
            self.parts.insert(self.length - bytes.len() as u64, bytes);
        }
    }
}

impl ChunkReader for PlainStripe {
    type T = bytes::buf::Reader<Bytes>;

    fn len(&self) -> u64 {
        self.length
    }

    fn get_read(&self, offset: u64) -> std::io::Result<Self::T> {
        let part = self.parts.range(..=offset).next_back();
        let rest = part.and_then(|(&start, bytes)| {
            let skip = (offset - start) as usize;
            (skip <= bytes.len()).then(|| bytes.slice(skip..))
        });
        rest.map(Bytes::reader).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }

    fn get_bytes(&self, offset: u64, length: u64) -> std::io::Result<Bytes> {
        // Streams are asked for one by one, so each is handed over as it is, without a copy.
        match self.parts.get(&offset) {
            Some(part) if part.len() as u64 == length => Ok(part.clone()),
            _ if length == 0 => Ok(Bytes::new()),
            _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Turns a panic in orc-rust, which some damaged runs cause, into an error.
fn guarded<T>(work: impl FnOnce() -> orc_rust::error::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("orc-rust gave up: {}", text.unwrap_or("no reason given")))
        }
    }
}
