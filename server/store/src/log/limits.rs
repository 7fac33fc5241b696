//! The limits of the log store, with their units.

use std::time::Duration;

/// Bytes of writes that wait for the writer or are being written, with [`ROW_OVERHEAD_BYTES`] for
/// each row. Later writes wait in their callers' futures.
pub const WRITES_QUEUED_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// What a waiting row is taken to cost beside its key and value, in bytes.
pub const ROW_OVERHEAD_BYTES: u32 = 64;

/// Bytes after which a group takes no further write. One write is never divided, so a group holds at
/// least one.
pub const GROUP_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// Threads that read.
pub const READ_THREADS: usize = 4;

/// Reads that wait for a thread or run. Later reads wait in their callers' futures.
pub const READS_QUEUED_MAX: usize = 1024;

/// How long the watermark may lag behind what is durable.
pub const WATERMARK_INTERVAL: Duration = Duration::from_secs(1);

/// How many of the last batches leave a row behind, so that a hole among them is seen at the next
/// start. More than the batches that a journal still in use can hold.
pub const BATCHES_REMEMBERED: u64 = 1 << 18;

/// Free bytes below which nothing is written, unless set otherwise.
pub const FREE_BYTES_MIN: u64 = 1024 * 1024 * 1024;

/// How many memtables must at least fit into the free space, whatever is set: one being filled, one
/// being flushed, one for a compaction.
pub const MEMTABLES_FREE_MIN: u64 = 3;

/// Bytes of a memtable, unless set otherwise.
pub const MEMTABLE_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of the block cache, unless set otherwise.
pub const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Files of the store that are kept open. Whoever limits connections must leave these descriptors.
pub const FILES_OPEN_MAX: usize = 512;

/// Bytes of all journals.
pub const JOURNALS_BYTES_MAX: u64 = 512 * 1024 * 1024;
