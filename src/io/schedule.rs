//! The order in which a worker reads the rows of its files.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::feature::{Feature, Nature};
use super::orc::{OrcFile, Stripe};
use crate::{Error, Position, Result};

/// Rows that are read in one go, as RecIS does: they never cross a stripe's border.
pub const CHUNK: usize = 1024;

/// A run of at most [`CHUNK`] rows of one stripe.
#[derive(Clone)]
pub struct Chunk {
    pub stripe: Arc<OpenStripe>,
    /// The first row, counted within the stripe; a multiple of [`CHUNK`].
    pub first: u64,
    pub rows: usize,
    /// How many of the rows have been consumed before.
    pub skip: usize,
}

impl Chunk {
    /// The first row, counted within the file.
    pub fn first_row(&self) -> u64 {
        self.stripe.stripe.extent().first_row + self.first
    }

    /// Whether this chunk ends its stripe.
    pub fn is_last(&self) -> bool {
        self.first + self.rows as u64 == self.stripe.stripe.extent().rows
    }
}

/// A stripe on its way.
pub struct OpenStripe {
    /// Its place in the order in which stripes are come to.
    pub number: u64,
    pub stripe: Stripe,
    /// The type ids of the selected columns.
    pub columns: Arc<[usize]>,
}

/// The chunks of a worker's files: round robin over the open files, a chunk of each in turn.
///
/// The order depends only on how many rows the stripes have. A file is opened when it is its turn,
/// and its place is taken by the next file when it has ended.
pub struct Schedule {
    features: Arc<[Feature]>,
    unread: std::vec::IntoIter<Arc<Path>>,
    /// The places for open files; the one whose turn it is comes first.
    places: VecDeque<Option<Cursor>>,
    /// How many stripes have been come to.
    stripes: u64,
    /// The first file that was opened, and of each selected column its nature and description there.
    first: Option<(Arc<Path>, Natures)>,
}

/// The nature of each selected column of a file, and its description.
type Natures = Vec<(Nature, String)>;

/// Where the reading of an open file has come to.
struct Cursor {
    file: Arc<OrcFile>,
    columns: Arc<[usize]>,
    stripe: usize,
    current: Option<Arc<OpenStripe>>,
    /// The rows of the current stripe that have been passed.
    row: u64,
}

impl Schedule {
    /// The order of `files` with `width` of them open at a time.
    pub fn new(files: Vec<Arc<Path>>, width: usize, features: Arc<[Feature]>) -> Self {
        let places = std::iter::repeat_with(|| None).take(width).collect();
        Self { features, unread: files.into_iter(), places, stripes: 0, first: None }
    }

    /// Passes over the rows up to `after`, reading nothing but the tails of files, and answers the
    /// chunk in which the next row is, unless it begins one.
    pub fn pass(&mut self, after: &Position) -> Result<Option<Chunk>> {
        let mut passed = 0;
        while passed < after.rows {
            let Some(mut chunk) = self.next().transpose()? else {
                return Err(misfit(after, format!("the data has only {passed} rows")));
            };
            let skip = (after.rows - passed).min(chunk.rows as u64);
            passed += skip;
            if passed < after.rows {
                continue;
            }
            let (file, row) = (file_name(chunk.stripe.stripe.file().path()), chunk.first_row() + skip - 1);
            if file != after.file || row != after.row {
                return Err(misfit(after, format!("that row is now row {row} of {file}")));
            }
            chunk.skip = skip as usize;
            return Ok((chunk.skip < chunk.rows).then_some(chunk));
        }
        Ok(None)
    }

    /// The next file that has rows.
    fn open_next(&mut self) -> Option<Result<Cursor>> {
        loop {
            let file = match OrcFile::open(self.unread.next()?) {
                Ok(file) => file,
                Err(e) => return Some(Err(e)),
            };
            match self.locate(&file) {
                Err(e) => return Some(Err(e)),
                Ok(columns) if file.stripes().iter().any(|stripe| stripe.rows > 0) => {
                    return Some(Ok(Cursor {
                        file: Arc::new(file),
                        columns,
                        stripe: 0,
                        current: None,
                        row: 0,
                    }));
                }
                Ok(_) => {}
            }
        }
    }
}

impl Schedule {
    /// The type ids of the selected columns in a file, which must be as they are in the first file:
    /// batches are cut across the borders of files.
    fn locate(&mut self, file: &OrcFile) -> Result<Arc<[usize]>> {
        let columns: Arc<[usize]> =
            self.features.iter().map(|feature| locate(feature, file)).collect::<Result<_>>()?;
        let natures = self.features.iter().zip(&columns[..]).map(|(feature, &id)| {
            (feature.nature(file.schema(), id), file.schema().describe(id).to_string())
        });
        let natures: Natures = natures.collect();
        let (first, expected) = self.first.get_or_insert_with(|| (file.path().clone(), natures.clone()));
        for ((feature, expected), nature) in self.features.iter().zip(expected).zip(&natures) {
            if expected.0 != nature.0 {
                let place = format!("{}, column '{}'", file.path().display(), feature.name);
                let what = format!(
                    "is {}, but {} in {}; all files must agree",
                    nature.1,
                    expected.1,
                    first.display()
                );
                return Err(Error::Data { place, what });
            }
        }
        Ok(columns)
    }
}

impl Iterator for Schedule {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Result<Chunk>> {
        while let Some(place) = self.places.pop_front() {
            let mut cursor = match place {
                Some(cursor) => cursor,
                None => match self.open_next() {
                    Some(Ok(cursor)) => cursor,
                    Some(Err(e)) => return Some(Err(e)),
                    // No file is left for this place.
                    None => continue,
                },
            };
            let chunk = cursor.next(&mut self.stripes);
            self.places.push_back(chunk.is_some().then_some(cursor));
            if chunk.is_some() {
                return chunk.map(Ok);
            }
            // The file has ended; its place is looked at again, before any other.
            self.places.rotate_right(1);
        }
        None
    }
}

impl Cursor {
    fn next(&mut self, stripes: &mut u64) -> Option<Chunk> {
        let mut extent = self.file.stripes().get(self.stripe)?;
        while self.row == extent.rows {
            (self.stripe, self.row, self.current) = (self.stripe + 1, 0, None);
            extent = self.file.stripes().get(self.stripe)?;
        }
        let stripe = self.current.get_or_insert_with(|| {
            *stripes += 1;
            let stripe = Stripe::new(self.file.clone(), self.stripe);
            Arc::new(OpenStripe { number: *stripes, stripe, columns: self.columns.clone() })
        });
        let first = self.row;
        let rows = (extent.rows - first).min(CHUNK as u64) as usize;
        self.row += rows as u64;
        Some(Chunk { stripe: stripe.clone(), first, rows, skip: 0 })
    }
}

fn locate(feature: &Feature, file: &OrcFile) -> Result<usize> {
    feature.locate(file.schema()).map_err(|what| Error::Data {
        place: format!("{}, column '{}'", file.path().display(), feature.name),
        what,
    })
}

fn misfit(position: &Position, what: String) -> Error {
    Error::Data {
        place: "resuming the data".into(),
        what: format!(
            "row {} of the stream was row {} of {} when the position was stored, but {what}; \
             have the files, worker_num or read_threads_num changed?",
            position.rows, position.row, position.file
        ),
    }
}

/// The last part of a path: what is left of it when data moves to another directory.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
