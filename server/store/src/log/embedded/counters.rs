//! What a store counts about itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of a store, for metrics.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) fsyncs: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) refused_full: AtomicU64,
    pub(super) queued: AtomicU64,
    pub(super) reads: AtomicU64,
}

/// The counters of a store at one moment. All but `writes_queued` only grow, from 0 at each start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CountersSnapshot {
    /// Syncs of the journal, one a group of writes. The watermark's are not counted.
    pub fsyncs: u64,
    /// Writes that are durable.
    pub writes: u64,
    /// Rows of these writes.
    pub rows: u64,
    /// Bytes of these rows, keys and values.
    pub bytes: u64,
    /// Writes that were refused since the disk has too little free space.
    pub writes_refused_full: u64,
    /// Writes that wait or are being written now.
    pub writes_queued: u64,
    /// Reads that were begun.
    pub reads: u64,
}

impl Counters {
    pub(super) fn snapshot(&self) -> CountersSnapshot {
        CountersSnapshot {
            fsyncs: self.fsyncs.load(Relaxed),
            writes: self.writes.load(Relaxed),
            rows: self.rows.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            writes_refused_full: self.refused_full.load(Relaxed),
            writes_queued: self.queued.load(Relaxed),
            reads: self.reads.load(Relaxed),
        }
    }
}
