use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use orc_rust::proto::{Footer, PostScript, StripeInformation};
use orc_rust::reader::metadata::{FileMetadata, read_metadata};
use prost::Message;

use super::Schema;
use super::compression::Compression;
use crate::{Error, Result};

/// Nobody writes more rows into a stripe; a damaged file easily claims it.
const MAX_STRIPE_ROWS: u64 = i32::MAX as u64;
/// A postscript and the byte that says how long it is.
const POSTSCRIPT: u64 = 256;

/// An open file whose tail has been read and checked.
#[derive(Debug)]
pub struct OrcFile {
    path: Arc<Path>,
    file: File,
    compression: Compression,
    schema: Schema,
    stripes: Vec<Extent>,
    metadata: FileMetadata,
}

/// Where a stripe is.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub offset: u64,
    pub index_length: u64,
    pub data_length: u64,
    pub footer_length: u64,
    pub rows: u64,
    /// The rows of the file before this stripe.
    pub first_row: u64,
}

impl OrcFile {
    /// Opens `path` and reads its tail.
    ///
    /// Errors: [`Error::Io`]; [`Error::Data`] when it is not an ORC file, when its tail is damaged,
    /// or when it is compressed in a way that cannot be read.
    pub fn open(path: Arc<Path>) -> Result<Self> {
        let file = File::open(&path).map_err(Error::io(&*path))?;
        let data = |what| Error::Data { place: path.display().to_string(), what };
        let damaged = |what| data(format!("damaged ORC file: {what}"));

        let length = file.metadata().map_err(Error::io(&*path))?.len();
        let header = read_at(&file, 0, length.min(3)).map_err(Error::io(&*path))?;
        if &header[..] != b"ORC" || length < 4 {
            return Err(data("not an ORC file".into()));
        }
        let (postscript, postscript_at) = read_postscript(&file, length).map_err(damaged)?;
        let compression = Compression::from_postscript(&postscript).map_err(damaged)?;
        let footer_length = postscript.footer_length();
        let Some(footer_at) = postscript_at.checked_sub(footer_length) else {
            let what = format!("the footer has {footer_length} bytes, before it are {postscript_at}");
            return Err(damaged(what));
        };
        let footer = read_footer(&file, footer_at, footer_length, compression).map_err(damaged)?;
        if footer.encryption.is_some() {
            return Err(data("encrypted, cannot be read".into()));
        }
        let stripes = extents(&footer, footer_at).map_err(damaged)?;
        let schema = Schema::new(footer.types).map_err(damaged)?;
        let metadata = plain_metadata(&schema).map_err(|e| damaged(e.to_string()))?;
        Ok(Self { path, file, compression, schema, stripes, metadata })
    }

    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    pub fn stripes(&self) -> &[Extent] {
        &self.stripes
    }

    /// The name of the codec.
    pub fn codec(&self) -> &'static str {
        self.compression.name()
    }

    /// What orc-rust is told about the file: its schema, and that nothing is compressed.
    pub(super) fn metadata(&self) -> &FileMetadata {
        &self.metadata
    }

    /// The bytes at `offset`, decompressed. The caller has checked that they lie inside the file.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Bytes, String> {
        self.compression.decompress(read_at(&self.file, offset, length).map_err(|e| e.to_string())?)
    }
}

/// Reads without a cursor, which threads would have to share.
fn read_at(file: &File, offset: u64, length: u64) -> std::io::Result<Bytes> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes.into())
}

/// The postscript, and where it begins. It is never compressed; the file's last byte is its length.
fn read_postscript(file: &File, length: u64) -> Result<(PostScript, u64), String> {
    let tail = read_at(file, length.saturating_sub(POSTSCRIPT), length.min(POSTSCRIPT))
        .map_err(|e| e.to_string())?;
    let Some((&postscript_length, before)) = tail.split_last().filter(|(_, before)| before.ends_with(b"ORC"))
    else {
        return Err("it does not end as an ORC file does; has it been written completely?".into());
    };
    let Some(start) = before.len().checked_sub(postscript_length.into()) else {
        return Err("the postscript is longer than the file".into());
    };
    let postscript =
        PostScript::decode(&before[start..]).map_err(|e| format!("the postscript cannot be read: {e}"))?;
    Ok((postscript, length - 1 - u64::from(postscript_length)))
}

fn read_footer(file: &File, offset: u64, length: u64, compression: Compression) -> Result<Footer, String> {
    let stored = read_at(file, offset, length).map_err(|e| e.to_string())?;
    let footer = compression.decompress(stored).map_err(|what| format!("the footer: {what}"))?;
    Footer::decode(footer).map_err(|e| format!("the footer cannot be read: {e}"))
}

/// The stripes, all of which must lie between the header and `end`, where the tail begins.
fn extents(footer: &Footer, end: u64) -> Result<Vec<Extent>, String> {
    let mut rows = 0;
    let mut stripes = Vec::with_capacity(footer.stripes.len());
    for (i, stripe) in footer.stripes.iter().enumerate() {
        let extent = Extent {
            offset: stripe.offset(),
            index_length: stripe.index_length(),
            data_length: stripe.data_length(),
            footer_length: stripe.footer_length(),
            rows: stripe.number_of_rows(),
            first_row: rows,
        };
        let lengths = [extent.index_length, extent.data_length, extent.footer_length];
        let stripe_end = lengths.iter().try_fold(extent.offset, |end, &length| end.checked_add(length));
        if stripe_end.is_none_or(|stripe_end| stripe_end > end) {
            return Err(format!("stripe {i} ends after the stripes do"));
        }
        if extent.rows > MAX_STRIPE_ROWS {
            return Err(format!("stripe {i} claims {} rows; {MAX_STRIPE_ROWS} is the limit", extent.rows));
        }
        rows += extent.rows;
        stripes.push(extent);
    }
    if rows != footer.number_of_rows() {
        return Err(format!("the stripes have {rows} rows, the file has {}", footer.number_of_rows()));
    }
    Ok(stripes)
}

/// orc-rust makes its metadata only from a file's bytes, so it is given the tail of an uncompressed
/// file with this schema and no stripes.
fn plain_metadata(schema: &Schema) -> orc_rust::error::Result<FileMetadata> {
    let footer = Footer { types: schema.types().to_vec(), ..Footer::default() }.encode_to_vec();
    let postscript = PostScript {
        footer_length: Some(footer.len() as u64),
        metadata_length: Some(0),
        magic: Some("ORC".into()),
        ..PostScript::default()
    }
    .encode_to_vec();
    let mut tail = footer;
    tail.extend_from_slice(&postscript);
    tail.push(postscript.len() as u8);
    read_metadata(&mut Bytes::from(tail))
}

/// What orc-rust is told about a stripe that consists of streams of `data_length` bytes and a footer.
pub(super) fn plain_stripe(data_length: u64, footer_length: u64, rows: u64) -> StripeInformation {
    StripeInformation {
        offset: Some(0),
        index_length: Some(0),
        data_length: Some(data_length),
        footer_length: Some(footer_length),
        number_of_rows: Some(rows),
        ..StripeInformation::default()
    }
}
