use super::pinned::Block;
use super::{Element, Event};
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
        match &mut self.state {
            State::Ready(values) => Ok(std::mem::take(values)),
            State::Coming { block, len, done } => {
                done.synchronize()?;
                // SAFETY: the copy has written `len` elements.
                Ok(unsafe { std::slice::from_raw_parts(block.pointer::<T>(), *len) }.to_vec())
            }
        }
    }
}

impl<T> Drop for ReadBack<T> {
    fn drop(&mut self) {
        if let State::Coming { done, .. } = &self.state {
            // The block goes back to the pool, so nothing may write to it any more.
            _ = done.synchronize();
        }
    }
}
