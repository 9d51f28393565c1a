//! Ends the process when the ranks have lost each other: a wait for the device would never return.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::library::{Comm, Library};
use crate::device::{Event, Stream};
use crate::dist::Communicator;
use crate::dist::process::Process;
use crate::{Error, Result};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(100);

pub(super) struct Watchdog {
    watch: Arc<Watch>,
    thread: Option<JoinHandle<()>>,
}

struct Watch {
    library: &'static Library,
    processes: Process,
    timeout: Duration,
    stopped: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    comm: Option<Comm>,
    /// In the order in which they were begun.
    operations: VecDeque<Operation>,
    begun: u64,
}

struct Operation {
    number: u64,
    name: &'static str,
    step: u64,
    since: Instant,
    /// Behind it on its stream, once it has been enqueued.
    done: Option<Event>,
}

impl Watchdog {
    pub fn start(library: &'static Library, processes: Process, timeout: Duration) -> Self {
        let (stopped, state) = (AtomicBool::new(false), Mutex::default());
        let watch = Arc::new(Watch { library, processes, timeout, stopped, state });
        let watched = watch.clone();
        Self { watch, thread: Some(std::thread::spawn(move || watched.run())) }
    }

    /// The communicator whose errors it asks for.
    pub fn watch(&self, comm: Comm) {
        self.watch.lock().comm = Some(comm);
    }

    /// An operation is about to be enqueued; its number is for [`Watchdog::end`].
    pub fn begin(&self, name: &'static str, step: u64) -> u64 {
        let mut state = self.watch.lock();
        state.begun += 1;
        let operation = Operation { number: state.begun, name, step, since: Instant::now(), done: None };
        state.operations.push_back(operation);
        state.begun
    }

    /// It has been enqueued.
    pub fn end(&self, number: u64, stream: &Stream) -> Result<()> {
        let done = stream.mark()?;
        let mut state = self.watch.lock();
        if let Some(operation) = state.operations.iter_mut().find(|o| o.number == number) {
            operation.done = Some(done);
        }
        Ok(())
    }

    /// Looks no more; whether it was looking.
    pub fn stop(&mut self) -> bool {
        self.watch.stopped.store(true, Ordering::Relaxed);
        self.thread.take().is_some_and(|thread| thread.join().is_ok())
    }
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while !self.stopped.load(Ordering::Relaxed) {
            if let Some(what) = self.look() {
                self.give_up(what);
            }
            std::thread::sleep(EVERY);
        }
    }

    /// What has gone wrong, if anything.
    fn look(&self) -> Option<String> {
        let mut state = self.lock();
        let done = |operation: &Operation| operation.done.as_ref().is_some_and(Event::is_complete);
        while state.operations.front().is_some_and(done) {
            state.operations.pop_front();
        }
        if let Some(what) = state.comm.and_then(|comm| self.library.async_error(comm)) {
            drop(state);
            // Which rank is gone says more than that a connection is.
            return Some(self.processes.find_lost().unwrap_or_else(|| format!("NCCL says '{what}'")));
        }
        // A rank that is finished leaves too: only who waits for it minds.
        let waiting = state.operations.front()?;
        if waiting.since.elapsed() > self.timeout {
            return Some(format!("not all ranks have come within {} s", self.timeout.as_secs_f64()));
        }
        drop(state);
        self.processes.find_lost()
    }

    fn give_up(&self, what: String) -> ! {
        self.processes.pass_on(&what);
        let state = self.lock();
        let (operation, step) = state.operations.front().map_or(("wait", 0), |o| (o.name, o.step));
        let error = Error::Rank { rank: self.processes.rank(), operation, step, what };
        eprintln!("{error}");
        if let Some(comm) = state.comm {
            // SAFETY: allowed at any time; nobody returns from here.
            _ = unsafe { (self.library.comm_abort)(comm) };
        }
        std::process::exit(1)
    }
}
