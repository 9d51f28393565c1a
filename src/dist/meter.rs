//! Counts what is exchanged.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that a rank has handed over, by what they were for. Parts of an all-to-all that stay with
/// the rank do not count; of an all-reduce it is the array, whatever an algorithm makes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// In [`super::Communicator::all_to_all`].
    pub all_to_all: u64,
    /// In [`super::Communicator::exchange_counts`].
    pub counts: u64,
    /// In [`super::Communicator::all_reduce`].
    pub all_reduce: u64,
    /// In [`super::Communicator::all_gather`] and [`super::Communicator::broadcast`].
    pub other: u64,
}

#[derive(Debug, Default)]
pub(super) struct Meter {
    all_to_all: AtomicU64,
    counts: AtomicU64,
    all_reduce: AtomicU64,
    other: AtomicU64,
}

impl Meter {
    pub fn all_to_all(&self, bytes: usize) {
        self.all_to_all.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn counts(&self, bytes: usize) {
        self.counts.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn all_reduce(&self, bytes: usize) {
        self.all_reduce.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn other(&self, bytes: usize) {
        self.other.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn sent(&self) -> Sent {
        Sent {
            all_to_all: self.all_to_all.load(Ordering::Relaxed),
            counts: self.counts.load(Ordering::Relaxed),
            all_reduce: self.all_reduce.load(Ordering::Relaxed),
            other: self.other.load(Ordering::Relaxed),
        }
    }
}
