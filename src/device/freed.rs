//! Device memory that is free again, kept for whoever allocates next on the same stream: a step frees and
//! allocates dozens of arrays, and the driver takes a microsecond for each. Memory that another stream used last is
//! not kept: the stream that allocated it would have to wait for that one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaStream, result};

/// By the handle of a stream; only of those that [`open`] has been called for.
static FREED: OnceLock<Mutex<HashMap<usize, Freed>>> = OnceLock::new();

struct Freed {
    stream: Arc<CudaStream>,
    /// Blocks by size.
    blocks: HashMap<usize, Vec<CUdeviceptr>>,
}

/// The size of the block for an array: an eighth more at most, so that blocks fit again though batches differ.
pub fn block_size(bytes: usize) -> usize {
    const LEAST: usize = 256;
    let step = (bytes.next_power_of_two() / 16).max(LEAST);
    bytes.max(1).next_multiple_of(step)
}

/// From now on a stream's blocks are kept.
pub fn open(stream: &Arc<CudaStream>) {
    with(|freed| _ = freed.insert(key(stream), Freed { stream: stream.clone(), blocks: HashMap::new() }));
}

/// Gives a stream's blocks back to the driver, and keeps no more.
pub fn close(stream: &CudaStream) {
    if let Some(mut freed) = with(|freed| freed.remove(&key(stream))) {
        freed.give_back();
    }
}

/// A block of [`block_size`] bytes that the stream has freed.
pub fn take(bytes: usize, stream: &CudaStream) -> Option<CUdeviceptr> {
    with(|freed| freed.get_mut(&key(stream))?.blocks.get_mut(&bytes)?.pop())
}

/// Keeps a block, if the stream's are kept, which has ordered the work on it and its allocation. Whether it does.
pub fn keep(block: CUdeviceptr, bytes: usize, stream: &CudaStream) -> bool {
    with(|freed| {
        let Some(freed) = freed.get_mut(&key(stream)) else { return false };
        freed.blocks.entry(bytes).or_default().push(block);
        true
    })
}

/// Gives the blocks of all streams of a context back to the driver.
pub fn give_back(context: &cudarc::driver::CudaContext) {
    with(|freed| {
        let streams = freed.values_mut().filter(|freed| freed.stream.context().cu_ctx() == context.cu_ctx());
        streams.for_each(Freed::give_back);
    });
}

impl Freed {
    fn give_back(&mut self) {
        if self.stream.context().bind_to_thread().is_err() {
            return;
        }
        for block in self.blocks.drain().flat_map(|(_, blocks)| blocks) {
            // SAFETY: it was allocated so, and nothing uses it but what the stream was given before. An error is
            // that of work before, which is reported where its result is waited for.
            _ = unsafe { result::free_async(block, self.stream.cu_stream()) };
        }
    }
}

fn with<R>(run: impl FnOnce(&mut HashMap<usize, Freed>) -> R) -> R {
    run(&mut FREED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner))
}

fn key(stream: &CudaStream) -> usize {
    stream.cu_stream().addr()
}

#[cfg(test)]
mod tests {
    use super::block_size;

    #[test]
    fn blocks_are_at_most_an_eighth_larger_and_of_few_sizes() {
        let mut sizes = Vec::new();
        for bytes in (1..100_000).chain((1 << 30)..(1 << 30) + 1000) {
            let block = block_size(bytes);
            assert!(
                block >= bytes && (block - bytes < 256 || block - bytes <= bytes / 8),
                "{bytes}: {block}"
            );
            assert_eq!(block_size(block), block);
            sizes.push(block);
        }
        sizes.dedup();
        assert!(sizes.len() < 100, "{}", sizes.len());
    }
}
