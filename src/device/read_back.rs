use super::pinned::Block;
use super::{Buffer, Element, Event, Stream, recording};
use crate::Result;

/// Elements on their way to the host: enqueued as any work, and there when that is done.
pub struct ReadBack<T> {
    state: State<T>,
}

enum State<T> {
    Ready(Vec<T>),
    Coming { block: Block, len: usize, done: Event },
}

impl<T: Element> ReadBack<T> {
    pub(super) fn ready(values: Vec<T>) -> Self {
        Self { state: State::Ready(values) }
    }

    pub(super) fn coming(block: Block, len: usize, done: Event) -> Self {
        Self { state: State::Coming { block, len, done } }
    }

    /// `len` elements that `write` enqueues a kernel for, which is given where they go: on a CUDA device the
    /// host's memory, so that nothing has to be copied.
    pub(crate) fn written(
        len: usize,
        stream: &Stream,
        write: impl FnOnce(*mut T) -> Result<()>,
    ) -> Result<Self> {
        if stream.cuda_stream().is_none() {
            let mut values = Buffer::unset(len, stream)?;
            write(values.on_mut(stream)?)?;
            return values.read_back(stream);
        }
        let block = Block::allocate(len * size_of::<T>(), stream)?;
        write(block.pointer())?;
        Ok(Self::coming(block, len, stream.mark()?))
    }

    /// Whether [`ReadBack::wait`] would return at once.
    pub fn is_ready(&self) -> bool {
        match &self.state {
            State::Ready(_) => true,
            State::Coming { done, .. } => done.is_complete(),
        }
    }

    /// The elements, as they were when the copy was enqueued. Waits for them.
    ///
    /// # Errors
    /// What went wrong on the device.
    pub fn wait(mut self) -> Result<Vec<T>> {
        if let State::Coming { done, .. } = &self.state {
            done.synchronize()?;
        }
        // So that there is nothing to wait for when it is dropped.
        match std::mem::replace(&mut self.state, State::Ready(Vec::new())) {
            State::Ready(values) => Ok(values),
            State::Coming { block, len, .. } => {
                // SAFETY: the copy or the kernel has written `len` elements.
                Ok(unsafe { std::slice::from_raw_parts(block.pointer::<T>(), len) }.to_vec())
            }
        }
    }
}

impl<T> Drop for ReadBack<T> {
    fn drop(&mut self) {
        if let State::Coming { block, done, .. } = std::mem::replace(&mut self.state, State::Ready(Vec::new()))
            // The block goes back to the pool, so nothing may write to it any more.
            && done.synchronize().is_err()
        {
            recording::keep_written(block);
        }
    }
}
