//! The log store of a single node, on fjall: one directory, one process, one writing thread, one
//! sync for all writes that wait. Knows nothing of what the rows mean.

mod batches;
mod counters;
mod device;
mod directory;
mod error;
mod failure;
mod group;
mod journals;
mod queries;
mod readers;
mod start;
mod watermark;
mod writer;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use magpie_core::{
    ids::{Epoch, MessageId, Partition, RoomId, Seq, Slot, UserId},
    rows::{Boundary, Hint, Marks, MemberRow, Pointer, Row, Span, StoredEntry},
};
use tokio::sync::{Semaphore, oneshot};

use self::{
    counters::Counters,
    device::{Device, Disk},
    directory::Directory,
    failure::Failure,
    group::Change,
    queries::Rows,
    readers::Readers,
    writer::{Order, Write, Writer},
};
pub use self::{counters::CountersSnapshot, directory::new_generation, error::OpenError};
use super::{LogStore, StoreError, StoreFuture, limits};

/// Settings of the embedded log store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Free bytes of the file system below which writes are refused; at least three memtables,
    /// whatever is set. Default 1 GiB.
    pub free_bytes_min: u64,
    /// Bytes of memory for blocks read from disk. Default 64 MiB.
    pub cache_bytes: u64,
    /// Bytes of memory after which new rows are moved from the journal into sorted files. Up to three
    /// times as much is in use. Default 64 MiB, at least 1 MiB.
    pub memtable_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            free_bytes_min: limits::FREE_BYTES_MIN,
            cache_bytes: limits::CACHE_BYTES,
            memtable_bytes: limits::MEMTABLE_BYTES,
        }
    }
}

/// The log store of a single node. Dropping it writes what waits, then closes the directory; that
/// blocks the thread for as long as the disk takes.
///
/// A write begins when [`LogStore::write`] is called, or, if [`limits::WRITES_QUEUED_BYTES_MAX`] wait
/// already, when its future is first polled and there is room.
/// Writes become durable in the order in which they begin.
pub struct Embedded {
    epoch: Epoch,
    generation: u64,
    orders: mpsc::Sender<Order>,
    /// One permit for each byte that may wait.
    places: Arc<Semaphore>,
    counters: Arc<Counters>,
    failure: Failure,
    readers: Option<Readers>,
    writer: Option<JoinHandle<()>>,
    /// The last field, so that the directory is unlocked when nothing uses it any more.
    directory: Directory,
}

impl Embedded {
    /// Opens the log store in this directory, which belongs to it alone; creates it if it is missing.
    /// Blocks: reading the journal takes up to some seconds per GiB.
    ///
    /// When it returns, the new epoch is durable.
    ///
    /// # Errors
    /// [`OpenError`] says what to do. Trying again is safe.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let device = Box::new(Disk {
            dir: dir.to_owned(),
        });
        Self::open_on(dir, &options, device)
    }

    fn open_on(dir: &Path, options: &Options, device: Box<dyn Device>) -> Result<Self, OpenError> {
        let (directory, watermark) = Directory::open(dir)?;
        journals::mend(&directory, watermark.count())?;
        // What the engine finds damaged may also make it panic.
        let opened = catch_unwind(AssertUnwindSafe(|| start::open_engine(&directory, options)));
        let (db, rows) = opened.unwrap_or_else(|_| {
            Err(directory.damaged("the storage engine could not make sense of its files"))
        })?;
        let last_batch = start::check(&directory, &rows, &watermark)?;

        let failure = Failure::none();
        let counters = Arc::new(Counters::default());
        let mut writer = Writer {
            db,
            rows: rows.clone(),
            device,
            free_bytes_min: options
                .free_bytes_min
                .max(limits::MEMTABLES_FREE_MIN * options.memtable_bytes),
            watermark,
            last_batch,
            counters: Arc::clone(&counters),
            failure: failure.clone(),
        };
        let epoch = start::take_epoch(&directory, &mut writer)?;

        let cannot_start = OpenError::io("start the threads for", dir);
        let reads = Rows {
            rows,
            failure: failure.clone(),
        };
        let (orders, waiting) = mpsc::channel();
        let threads = Readers::start(&reads, Arc::clone(&counters)).and_then(|readers| {
            let failure = failure.clone();
            let writer = thread::Builder::new()
                .name("log-write".to_owned())
                .spawn(move || {
                    if catch_unwind(AssertUnwindSafe(|| writer.run(&waiting))).is_err() {
                        failure.set("the writing thread panicked".to_owned());
                    }
                })?;
            Ok((readers, writer))
        });
        let (readers, writer) = threads.map_err(cannot_start)?;
        Ok(Self {
            epoch,
            generation: directory.generation(),
            orders,
            places: Arc::new(Semaphore::new(limits::WRITES_QUEUED_BYTES_MAX as usize)),
            counters,
            failure,
            readers: Some(readers),
            writer: Some(writer),
            directory,
        })
    }

    /// The epoch of this start: one more than that of the last start. Durable.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The deployment's generation: 1 until [`new_generation`] raised it.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The directory of the store.
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// The counters now.
    pub fn counters(&self) -> CountersSnapshot {
        self.counters.snapshot()
    }

    /// Waits until the store has failed, and says why. From then on every write is answered with
    /// [`StoreError::Failed`], and the process should end: only a new start knows again what is on
    /// the disk. Needs no runtime; may be called any number of times.
    pub fn failed(&self) -> impl Future<Output = String> + Send + 'static {
        let failure = self.failure.clone();
        async move { failure.wait().await }
    }

    fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Rows) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<T> {
        match &self.readers {
            Some(readers) => readers.read(query),
            None => Box::pin(async { Err(closed()) }),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.places.close();
        self.orders.send(Order::Stop).ok();
        self.readers = None;
        if let Some(writer) = self.writer.take() {
            // A thread that panicked has said so.
            writer.join().ok();
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("dir", &self.dir())
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl LogStore for Embedded {
    fn write(&self, rows: Vec<Row>) -> StoreFuture<()> {
        if let Some(error) = self.failure.get() {
            return Box::pin(async { Err(error) });
        }
        if rows.is_empty() {
            return Box::pin(async { Ok(()) });
        }
        // Encoding here leaves the one writer less to do.
        let changes: Vec<Change> = rows.into_iter().map(Change::from).collect();
        let weight: usize = changes.iter().map(Change::weight).sum();
        // A write beyond the limit goes alone.
        let weight = u32::try_from(weight)
            .unwrap_or(u32::MAX)
            .min(limits::WRITES_QUEUED_BYTES_MAX);
        let queue = Queue {
            orders: self.orders.clone(),
            counters: Arc::clone(&self.counters),
        };
        let (reply, result) = oneshot::channel();
        let place = Arc::clone(&self.places).try_acquire_many_owned(weight);
        let mut late = None;
        match place {
            Ok(place) => queue.push(Write {
                changes,
                weight,
                place,
                reply,
            }),
            Err(_) => late = Some((changes, reply, queue, Arc::clone(&self.places))),
        }
        Box::pin(async move {
            if let Some((changes, reply, queue, places)) = late {
                let place = places.acquire_many_owned(weight).await;
                queue.push(Write {
                    changes,
                    weight,
                    place: place.map_err(|_| closed())?,
                    reply,
                });
            }
            result.await.unwrap_or_else(|_| Err(closed()))
        })
    }

    fn fenced(&self) -> StoreFuture<bool> {
        Box::pin(async { Ok(false) })
    }

    fn boundaries(&self, room: RoomId) -> StoreFuture<Vec<Boundary>> {
        self.read(move |rows| rows.boundaries(room))
    }

    fn entries(&self, room: RoomId, span: Span) -> StoreFuture<Vec<StoredEntry>> {
        self.read(move |rows| rows.entries(room, span))
    }

    fn body(&self, room: RoomId, seq: Seq, epoch: Epoch) -> StoreFuture<Option<Bytes>> {
        self.read(move |rows| rows.body(room, seq, epoch))
    }

    fn pointers(
        &self,
        room: RoomId,
        sender: UserId,
        id: MessageId,
        after: Seq,
        through: Seq,
    ) -> StoreFuture<Vec<Pointer>> {
        self.read(move |rows| rows.pointers(room, sender, id, after, through))
    }

    fn hint(&self, room: RoomId) -> StoreFuture<Option<Hint>> {
        self.read(move |rows| rows.hint(room))
    }

    fn hints(&self, partition: Partition) -> StoreFuture<Vec<(RoomId, Hint)>> {
        self.read(move |rows| rows.hints(partition))
    }

    fn pending(&self, partition: Partition) -> StoreFuture<Vec<(Epoch, Slot, RoomId)>> {
        self.read(move |rows| rows.pending(partition))
    }

    fn members(&self, room: RoomId) -> StoreFuture<Vec<(UserId, MemberRow)>> {
        self.read(move |rows| rows.members(room))
    }

    fn marks(&self, room: RoomId) -> StoreFuture<Vec<(UserId, Marks)>> {
        self.read(move |rows| rows.marks(room))
    }
}

/// The way to the writer.
struct Queue {
    orders: mpsc::Sender<Order>,
    counters: Arc<Counters>,
}

impl Queue {
    /// Hands a write over. If the writer has ended, dropping the reply says so.
    fn push(&self, write: Write) {
        self.counters.queued.fetch_add(1, Relaxed);
        if self.orders.send(Order::Write(write)).is_err() {
            self.counters.queued.fetch_sub(1, Relaxed);
        }
    }
}

fn closed() -> StoreError {
    StoreError::Failed("the log store was closed".to_owned())
}

#[cfg(test)]
mod tests;
