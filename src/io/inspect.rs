use std::path::Path;
use std::sync::Arc;

use super::orc::{OrcFile, Stripe};
use crate::Result;

/// What an ORC file says about itself.
#[derive(Debug)]
pub struct OrcSummary {
    /// The number of rows.
    pub rows: u64,
    /// `none`, `zlib`, `snappy`, `lz4` or `zstd`.
    pub codec: &'static str,
    /// The columns, in the file's order.
    pub columns: Vec<OrcColumn>,
    /// The stripes, in order.
    pub stripes: Vec<OrcStripe>,
}

/// A column of an ORC file.
#[derive(Debug)]
pub struct OrcColumn {
    /// Its name.
    pub name: String,
    /// Its type: `list<bigint>`.
    pub ty: String,
}

/// A stripe of an ORC file.
#[derive(Debug)]
pub struct OrcStripe {
    /// Its rows.
    pub rows: u64,
    /// Where in the file it begins.
    pub offset: u64,
    /// The bytes of its index, data and footer.
    pub bytes: u64,
    /// For each column the encoding of its type and of the types inside it, outermost first.
    pub encodings: Vec<Vec<&'static str>>,
}

impl OrcSummary {
    /// Reads the tail of the file and the footers of its stripes.
    ///
    /// Errors: [`Error::Io`](crate::Error::Io), and [`Error::Data`](crate::Error::Data) for what is
    /// no ORC file or a damaged one.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let file = Arc::new(OrcFile::open(path.as_ref().into())?);
        let schema = file.schema();
        let stripe = |index| {
            let stripe = Stripe::new(file.clone(), index);
            let extent = stripe.extent();
            let encodings: Result<_> = schema.columns().map(|(_, id)| stripe.encodings(id)).collect();
            Ok(OrcStripe {
                rows: extent.rows,
                offset: extent.offset,
                bytes: extent.index_length + extent.data_length + extent.footer_length,
                encodings: encodings?,
            })
        };
        Ok(Self {
            rows: file.stripes().iter().map(|stripe| stripe.rows).sum(),
            codec: file.codec(),
            columns: schema
                .columns()
                .map(|(name, id)| OrcColumn { name: name.into(), ty: schema.describe(id) })
                .collect(),
            stripes: (0..file.stripes().len()).map(stripe).collect::<Result<_>>()?,
        })
    }
}
