//! Ranks inside one process, each a thread: what a step computes is the same in every run.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::host::{Host, Request, Transport, answer};
use crate::{Error, Result};

/// A rank that meets others of its process.
pub type Local = Host<Seat>;

/// As many ranks as `world_size`, in order, each for a thread of its own. A rank that is dropped has
/// left: others that wait for it fail.
pub fn ranks(world_size: usize, timeout: Duration) -> Vec<Local> {
    let state = State {
        requests: (0..world_size).map(|_| None).collect(),
        answers: (0..world_size).map(|_| None).collect(),
        left: vec![false; world_size],
        failure: None,
    };
    let table = Arc::new(Table { state: Mutex::new(state), changed: Condvar::new(), timeout });
    (0..world_size).map(|rank| Host::new(Seat { rank, world_size, table: table.clone() })).collect()
}

/// A rank's place at the table where all of them meet.
pub struct Seat {
    rank: usize,
    world_size: usize,
    table: Arc<Table>,
}

struct Table {
    state: Mutex<State>,
    changed: Condvar,
    timeout: Duration,
}

struct State {
    requests: Vec<Option<Request>>,
    answers: Vec<Option<Vec<u8>>>,
    left: Vec<bool>,
    failure: Option<String>,
}

impl State {
    /// Why those who have not come will not, if so.
    fn missing(&self, deadline: Instant, timeout: Duration) -> Option<String> {
        let absent = || (0..self.left.len()).filter(|&rank| self.requests[rank].is_none());
        if let Some(rank) = absent().find(|&rank| self.left[rank]) {
            return Some(format!("rank {rank} has left"));
        }
        let rank = absent().next().filter(|_| Instant::now() >= deadline)?;
        Some(format!("rank {rank} has not come within {} s", timeout.as_secs_f64()))
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Seat {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn call(&self, request: Request) -> Result<Vec<u8>> {
        let (operation, step, deadline) =
            (request.operation.name(), request.step, Instant::now() + self.table.timeout);
        let failed = |what: String| Error::Rank { rank: self.rank, operation, step, what };
        let mut state = self.table.lock();
        if let Some(what) = &state.failure {
            return Err(failed(what.clone()));
        }
        state.requests[self.rank] = Some(request);
        if state.requests.iter().all(Option::is_some) {
            let requests = state.requests.iter_mut().filter_map(Option::take).collect();
            match answer(requests) {
                Ok(answers) => state.answers = answers.into_iter().map(Some).collect(),
                Err(what) => state.failure = Some(what),
            }
            self.table.changed.notify_all();
        }
        loop {
            if let Some(answer) = state.answers[self.rank].take() {
                return Ok(answer);
            }
            if state.failure.is_none() {
                state.failure = state.missing(deadline, self.table.timeout);
                self.table.changed.notify_all();
            }
            if let Some(what) = &state.failure {
                return Err(failed(what.clone()));
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            let waited = self.table.changed.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.table.lock().left[self.rank] = true;
        self.table.changed.notify_all();
    }
}
