//! The one thread that writes: it takes all writes that wait, makes one batch of them, syncs once,
//! and only then answers.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use fjall::{Database, Keyspace, PersistMode};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    super::{
        StoreError,
        limits::{GROUP_BYTES_MAX, WATERMARK_INTERVAL},
    },
    batches,
    counters::Counters,
    device::Device,
    failure::Failure,
    group::{Change, Group},
    watermark::Watermark,
};

/// A write that waits.
pub(super) struct Write {
    pub(super) changes: Vec<Change>,
    /// What it costs, in bytes.
    pub(super) weight: u32,
    /// Its place in the queue, given back when it was answered.
    pub(super) place: OwnedSemaphorePermit,
    pub(super) reply: oneshot::Sender<Result<(), StoreError>>,
}

/// What the writer is sent.
pub(super) enum Order {
    Write(Write),
    /// Write what came before, then end.
    Stop,
}

/// The state of the thread.
pub(super) struct Writer {
    pub(super) db: Database,
    pub(super) rows: Keyspace,
    pub(super) device: Box<dyn Device>,
    /// Free bytes below which nothing is written.
    pub(super) free_bytes_min: u64,
    pub(super) watermark: Watermark,
    /// The number of the last batch. All batches up to it are durable.
    pub(super) last_batch: u64,
    pub(super) counters: Arc<Counters>,
    pub(super) failure: Failure,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("last_batch", &self.last_batch)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Writes until it is told to stop or nobody is left to tell it.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let mut last_look = Instant::now();
        loop {
            let wait = WATERMARK_INTERVAL.saturating_sub(last_look.elapsed());
            let stop = match orders.recv_timeout(wait.max(Duration::from_millis(1))) {
                Ok(Order::Write(first)) => self.write_waiting(first, orders),
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => true,
                Err(RecvTimeoutError::Timeout) => false,
            };
            if stop || last_look.elapsed() >= WATERMARK_INTERVAL {
                self.look_after();
                last_look = Instant::now();
            }
            if stop {
                return;
            }
        }
    }

    /// Writes this and what waits behind it. True if the end was among it.
    fn write_waiting(&mut self, first: Write, orders: &Receiver<Order>) -> bool {
        let mut weight = first.weight;
        let mut writes = vec![first];
        let mut stop = false;
        while weight < GROUP_BYTES_MAX {
            match orders.try_recv() {
                Ok(Order::Write(write)) => {
                    weight = weight.saturating_add(write.weight);
                    writes.push(write);
                }
                Ok(Order::Stop) => {
                    stop = true;
                    break;
                }
                Err(_) => break,
            }
        }
        let result = self.write_group(&mut writes);
        let count = writes.len() as u64;
        if result.is_ok() {
            self.counters.writes.fetch_add(count, Relaxed);
        } else if matches!(result, Err(StoreError::Full { .. })) {
            self.counters.refused_full.fetch_add(count, Relaxed);
        }
        self.counters.queued.fetch_sub(count, Relaxed);
        for write in writes {
            drop(write.place);
            // Whoever dropped the future does not want to know.
            write.reply.send(result.clone()).ok();
        }
        stop
    }

    /// Makes the changes of all these writes durable.
    fn write_group(&mut self, writes: &mut [Write]) -> Result<(), StoreError> {
        if let Some(error) = self.failure.get() {
            return Err(error);
        }
        let free_bytes = self.device.free_bytes().map_err(|error| {
            self.failure
                .set(format!("asking for free space failed: {error}"))
        })?;
        if free_bytes < self.free_bytes_min {
            return Err(StoreError::Full {
                free_bytes,
                needed_bytes: self.free_bytes_min,
            });
        }

        let mut group = Group::new(&self.rows);
        let mut rows = 0;
        for write in writes {
            rows += write.changes.len() as u64;
            for change in write.changes.drain(..) {
                group.add(change).map_err(|error| self.give_up(error))?;
            }
        }
        let changes = group.into_changes();
        let bytes = changes
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
            .sum::<usize>();
        self.commit(changes)?;
        self.counters.rows.fetch_add(rows, Relaxed);
        self.counters.bytes.fetch_add(bytes as u64, Relaxed);
        Ok(())
    }

    /// Writes one batch and syncs it. The engine shows rows to readers only after the sync.
    pub(super) fn commit(
        &mut self,
        changes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<(), StoreError> {
        let number = self.last_batch + 1;
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.rows, key, value),
                None => batch.remove(&self.rows, key),
            }
        }
        let (key, value) = batches::row(number);
        batch.insert(&self.rows, key, value);

        self.device
            .before_sync()
            .map_err(|error| self.give_up(error))?;
        batch.commit().map_err(|error| self.give_up(error))?;
        self.counters.fsyncs.fetch_add(1, Relaxed);
        self.last_batch = number;
        Ok(())
    }

    /// What is due once a second: the watermark, and a look at the engine's own threads.
    fn look_after(&mut self) {
        if self.failure.get().is_some() {
            return;
        }
        // Handing nothing over to the system is free, and fails once a flush or a compaction did.
        if let Err(error) = self.db.persist(PersistMode::Buffer) {
            self.give_up(error);
            return;
        }
        self.note_watermark().ok();
    }

    /// Brings the watermark up to what is durable.
    pub(super) fn note_watermark(&mut self) -> Result<(), StoreError> {
        if self.watermark.count() == self.last_batch {
            return Ok(());
        }
        self.watermark
            .advance(self.last_batch)
            .map_err(|error| self.give_up(error))
    }

    /// After an error nobody knows what is on the disk, so nothing is tried again.
    fn give_up(&self, error: impl fmt::Display) -> StoreError {
        self.failure.set(format!("writing failed: {error}"))
    }
}
