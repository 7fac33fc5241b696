//! The threads that read, so that no caller's thread waits for a disk. Needs no runtime.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed, mpsc},
    thread::{self, JoinHandle},
};

use tokio::sync::{Semaphore, oneshot};

use super::{
    super::{
        StoreError, StoreFuture,
        limits::{READ_THREADS, READS_QUEUED_MAX},
    },
    counters::Counters,
    queries::Rows,
};

type Job = Box<dyn FnOnce(&Rows) + Send>;

/// The threads and what waits for them.
pub(super) struct Readers {
    /// Each `None` ends one thread.
    jobs: mpsc::Sender<Option<Job>>,
    places: Arc<Semaphore>,
    counters: Arc<Counters>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts the threads.
    pub(super) fn start(rows: &Rows, counters: Arc<Counters>) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut readers = Self {
            jobs,
            places: Arc::new(Semaphore::new(READS_QUEUED_MAX)),
            counters,
            threads: Vec::new(),
        };
        for _ in 0..READ_THREADS {
            let (waiting, rows) = (Arc::clone(&waiting), rows.clone());
            let thread = thread::Builder::new()
                .name("log-read".to_owned())
                .spawn(move || run(&waiting, &rows))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Runs a query on one of the threads. A query whose future is dropped may not run.
    pub(super) fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Rows) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<T> {
        let places = Arc::clone(&self.places);
        let jobs = self.jobs.clone();
        self.counters.reads.fetch_add(1, Relaxed);
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(|_| closed())?;
            let (reply, result) = oneshot::channel();
            let job: Job = Box::new(move |rows| {
                if !reply.is_closed() {
                    reply.send(query(rows)).ok();
                }
                drop(place);
            });
            jobs.send(Some(job)).map_err(|_| closed())?;
            result.await.unwrap_or_else(|_| {
                Err(StoreError::Damaged(
                    "a read did not come to an end".to_owned(),
                ))
            })
        })
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.places.close();
        for _ in &self.threads {
            self.jobs.send(None).ok();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            thread.join().ok();
        }
    }
}

fn run(waiting: &Mutex<mpsc::Receiver<Option<Job>>>, rows: &Rows) {
    loop {
        let job = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(Some(job)) = job else {
            return;
        };
        // The engine may panic on a damaged file; that must not take the thread away.
        catch_unwind(AssertUnwindSafe(|| job(rows))).ok();
    }
}

fn closed() -> StoreError {
    StoreError::Failed("the log store was closed".to_owned())
}
