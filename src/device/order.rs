use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaEvent, CudaStream, DriverError};

use super::{cuda, recording};
use crate::Result;

/// The streams that a piece of a CUDA device's memory is used on: several may read it at once, one writes to it
/// when all others are done.
pub struct Order(Mutex<Users>);

/// So many streams at most are kept for a buffer that is never written to.
const MOST_READERS: usize = 8;

struct Users {
    /// Wrote to it last, or was given it first.
    writer: Arc<CudaStream>,
    /// Those that have read it since, the last one last; the writer is one of them only if it came behind another.
    readers: Vec<Arc<CudaStream>>,
}

impl Order {
    pub fn new(stream: &Arc<CudaStream>) -> Self {
        Self(Mutex::new(Users { writer: stream.clone(), readers: Vec::new() }))
    }

    /// From now on `stream` may read what these order. It waits, once each, for what their writers have been given
    /// so far.
    pub fn read<'a>(orders: impl IntoIterator<Item = &'a Self>, stream: &Arc<CudaStream>) -> Result<()> {
        let mut joined = Joined::new();
        let read = |order: &Self| {
            let (mut users, _held) = order.launched(Users::before_reading);
            users.read(stream, &mut joined)
        };
        orders.into_iter().try_for_each(read)
    }

    /// From now on `stream` may write to what these order. It waits, once each, for what all others have been given
    /// so far.
    pub fn write<'a>(orders: impl IntoIterator<Item = &'a Self>, stream: &Arc<CudaStream>) -> Result<()> {
        let mut joined = Joined::new();
        let write = |order: &Self| {
            let (mut users, _held) = order.launched(|users| users.all().collect());
            users.write(stream, &mut joined)
        };
        orders.into_iter().try_for_each(write)
    }

    /// From now on `stream` waits for what `other` has been given so far.
    #[cfg(feature = "trainer")]
    pub fn join(stream: &CudaStream, other: &CudaStream) -> Result<()> {
        let _held = recording::hold_launched(other);
        join(stream, other, &mut Joined::new())
    }

    /// The stream that used it last, which from now on waits for what all others have been given so far.
    pub fn gather(&self) -> Result<Arc<CudaStream>> {
        let (mut users, _held) = self.launched(|users| users.all().collect());
        let last = users.last().clone();
        users.write(&last, &mut Joined::new())?;
        Ok(last)
    }

    /// The address of the stream that used it last.
    pub fn last(&self) -> usize {
        self.users().last().cu_stream().addr()
    }

    /// What it says, leaving nothing to wait for.
    pub fn take(&self) -> Self {
        let mut users = self.users();
        let none = Users { writer: users.writer.clone(), readers: Vec::new() };
        Self(Mutex::new(std::mem::replace(&mut *users, none)))
    }

    /// Whether the graph that this thread records is behind all that is not part of it; so it is if there is none.
    pub fn is_settled(&self) -> bool {
        self.users().all().all(|user| recording::is_settled(user))
    }

    pub fn ordinal(&self) -> usize {
        self.users().writer.context().ordinal()
    }

    /// The users, when no other thread records those that are to be waited for: it may want to be here too.
    fn launched(
        &self,
        awaited: impl Fn(&Users) -> Vec<&Arc<CudaStream>>,
    ) -> (MutexGuard<'_, Users>, recording::Held) {
        loop {
            let users = self.users();
            // Looked up only while another thread records.
            let known = OnceCell::new();
            let is_awaited = |address| {
                let known = known.get_or_init(|| awaited(&users));
                known.iter().any(|stream| stream.cu_stream().addr() == address)
            };
            if let Some(held) = recording::hold(is_awaited) {
                return (users, held);
            }
            let awaited: Vec<_> = awaited(&users).into_iter().cloned().collect();
            drop(users);
            awaited.iter().for_each(|stream| drop(recording::hold_launched(stream)));
        }
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The streams that one has waited for already.
type Joined = Vec<cudarc::driver::sys::CUstream>;

impl Users {
    fn read(&mut self, stream: &Arc<CudaStream>, joined: &mut Joined) -> Result<()> {
        let is_writer = self.writer.cu_stream() == stream.cu_stream();
        match self.readers.iter().position(|reader| reader.cu_stream() == stream.cu_stream()) {
            Some(place) => self.readers[place..].rotate_left(1),
            None if is_writer && self.readers.is_empty() => {}
            None => {
                // A reader that the stream is behind has waited for the writer.
                if !self.has_one_before(stream) {
                    join(stream, &self.writer, joined)?;
                }
                if self.readers.len() >= MOST_READERS && !recording::is_recorded() {
                    // Who waits for this one then waits for that one too.
                    join(stream, &self.readers.remove(0), joined)?;
                }
                self.readers.push(stream.clone());
            }
        }
        Ok(())
    }

    /// Those that a new reader waits for.
    fn before_reading(&self) -> Vec<&Arc<CudaStream>> {
        let removed = (self.readers.len() >= MOST_READERS).then(|| &self.readers[0]);
        [&self.writer].into_iter().chain(removed).collect()
    }

    fn last(&self) -> &Arc<CudaStream> {
        self.readers.last().unwrap_or(&self.writer)
    }

    /// Whether the stream is recorded, and the graph is behind one of these.
    fn has_one_before(&self, stream: &CudaStream) -> bool {
        self.all().any(|user| recording::comes_behind(stream, user))
    }

    fn all(&self) -> impl Iterator<Item = &Arc<CudaStream>> {
        self.readers.iter().chain([&self.writer])
    }

    fn write(&mut self, stream: &Arc<CudaStream>, joined: &mut Joined) -> Result<()> {
        // One that has read it has waited for the writer already.
        let has_read = self.readers.iter().any(|reader| reader.cu_stream() == stream.cu_stream());
        if !has_read && !self.has_one_before(stream) {
            join(stream, &self.writer, joined)?;
        }
        for reader in self.readers.drain(..) {
            join(stream, &reader, joined)?;
        }
        if self.writer.cu_stream() != stream.cu_stream() {
            self.writer = stream.clone();
        }
        Ok(())
    }
}

fn join(stream: &CudaStream, other: &CudaStream, joined: &mut Joined) -> Result<()> {
    let is_known = stream.cu_stream() == other.cu_stream() || joined.contains(&other.cu_stream());
    if is_known || recording::is_behind(stream, other)? {
        return Ok(());
    }
    wait(stream, other).map_err(cuda::driver("order two streams"))?;
    joined.push(other.cu_stream());
    Ok(())
}

/// Makes `stream` wait for what `other` has been given so far.
fn wait(stream: &CudaStream, other: &CudaStream) -> Result<(), DriverError> {
    thread_local! {
        /// One for every context, recorded again and again: a stream waits for the record that it was told of.
        static MARKS: RefCell<HashMap<usize, CudaEvent>> = RefCell::default();
    }
    if stream.context().cu_ctx() != other.context().cu_ctx() {
        return stream.join(other);
    }
    let wait = |marks: &RefCell<HashMap<usize, CudaEvent>>| {
        let mut marks = marks.borrow_mut();
        let mark = match marks.entry(stream.context().cu_ctx().addr()) {
            Entry::Occupied(mark) => mark.into_mut(),
            Entry::Vacant(place) => place.insert(stream.context().new_event(None)?),
        };
        mark.record(other)?;
        stream.wait(mark)
    };
    // Where a thread ends, it may be gone.
    MARKS.try_with(wait).unwrap_or_else(|_| stream.join(other))
}
