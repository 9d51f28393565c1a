//! The threads that decode and pack.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::{Error, Result};

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads that work off a queue. Dropping the pool drops the jobs that have not
/// begun and waits for those that have.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    stopped: bool,
}

impl Pool {
    /// Starts `threads` threads.
    pub fn new(threads: usize) -> Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new() });
        let mut pool = Self { shared, threads: Vec::with_capacity(threads) };
        for i in 0..threads {
            let shared = pool.shared.clone();
            let thread = std::thread::Builder::new().name(format!("recis-read-{i}"));
            let started = thread.spawn(move || shared.work()).map_err(|e| Error::Option {
                option: "pack_threads_num".into(),
                what: format!("only {i} of {threads} threads could be started: {e}"),
            })?;
            pool.threads.push(started);
        }
        Ok(pool)
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Queues a job behind all others; drops it if the pool has been stopped.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.queue(|jobs| jobs.push_back(Box::new(job)));
    }

    /// Queues a job before all others and answers where its result will arrive.
    pub fn submit_first<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
        let (sender, receiver) = channel();
        // Nobody waits for the result any more: nothing to do.
        self.queue(|jobs| jobs.push_front(Box::new(move || _ = sender.send(job()))));
        receiver
    }

    /// Changes the queue, unless no thread would ever come to it: who waits for the result of a job
    /// that is dropped is told so.
    fn queue(&self, push: impl FnOnce(&mut VecDeque<Job>)) {
        let mut queue = self.shared.lock();
        if !queue.stopped {
            push(&mut queue.jobs);
            self.shared.changed.notify_one();
        }
    }

    /// What stops the pool's threads from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.shared.clone())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stopper().stop();
        for thread in self.threads.drain(..) {
            _ = thread.join();
        }
    }
}

/// Stops a pool.
#[derive(Clone)]
pub struct Stopper(Arc<Shared>);

impl Stopper {
    /// Drops the jobs that have not begun. Who waits for one of them is told that it is gone.
    pub fn stop(&self) {
        let mut queue = self.0.lock();
        queue.stopped = true;
        queue.jobs.clear();
        self.0.changed.notify_all();
    }

    /// Whether the pool has been stopped.
    pub fn stopped(&self) -> bool {
        self.0.lock().stopped
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole at every moment at which a thread could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let mut queue = self.lock();
            let job = loop {
                if queue.stopped {
                    return;
                }
                match queue.jobs.pop_front() {
                    Some(job) => break job,
                    None => queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(queue);
            // Whoever waits for the result of a job that panics finds its sender gone; the thread is
            // still there for the others.
            _ = catch_unwind(AssertUnwindSafe(job));
        }
    }
}
