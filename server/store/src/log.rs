//! The log store: rows in, rows out. What they mean is the core's business.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod embedded;
pub mod limits;

mod codec;
mod keys;

use std::{fmt, future::Future, pin::Pin};

use bytes::Bytes;
use magpie_core::{
    ids::{Epoch, MessageId, Partition, RoomId, Seq, Slot, UserId},
    rows::{Boundary, Hint, Marks, MemberRow, Pointer, Row, Span, StoredEntry},
};

/// A future of a store, boxed so that a node chooses its store at run time.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Free space is below the setting. Nothing was written; reading goes on.
    #[error(
        "the disk has too little free space: {free_bytes} bytes are free, writing needs {needed_bytes}"
    )]
    Full {
        /// What is free.
        free_bytes: u64,
        /// What the setting asks for.
        needed_bytes: u64,
    },
    /// The outcome is unknown and the store must not be used again: stop answering and exit.
    #[error("the log store failed and cannot go on: {0}")]
    Failed(String),
    /// What was read is damaged.
    #[error("the log store is damaged: {0}")]
    Damaged(String),
}

/// A store of logs.
///
/// Reads see every write that completed before they began. All methods may be called
/// concurrently, and their futures may be dropped: a write that was begun goes on.
pub trait LogStore: Send + Sync + fmt::Debug + 'static {
    /// Makes the rows durable, all or none, before the future completes. Safe to repeat with the
    /// same rows. Rows of one call belong to one room (or to one partition's slots).
    /// Writes that are under way at the same time may become durable in any order: who overwrites a
    /// row waits for the earlier write.
    fn write(&self, rows: Vec<Row>) -> StoreFuture<()>;

    /// Whether this owner was fenced by another. Called after writes completed and before anything
    /// that depends on them leaves the node. Always `false` where one process owns the store.
    fn fenced(&self) -> StoreFuture<bool>;

    /// All boundaries of a room, in any order.
    fn boundaries(&self, room: RoomId) -> StoreFuture<Vec<Boundary>>;

    /// The entries of all epochs of a span, in its order by seq, then epoch, as far as it reaches
    /// ([`Span::cut`]).
    fn entries(&self, room: RoomId, span: Span) -> StoreFuture<Vec<StoredEntry>>;

    /// The whole wire body of a long message.
    fn body(&self, room: RoomId, seq: Seq, epoch: Epoch) -> StoreFuture<Option<Bytes>>;

    /// The pointers of one command in the buckets of `(after, through]`, of all epochs. Each bucket
    /// costs a look-up, so the caller bounds the span.
    fn pointers(
        &self,
        room: RoomId,
        sender: UserId,
        id: MessageId,
        after: Seq,
        through: Seq,
    ) -> StoreFuture<Vec<Pointer>>;

    /// The hint of a room.
    fn hint(&self, room: RoomId) -> StoreFuture<Option<Hint>>;

    /// All hints of a partition.
    fn hints(&self, partition: Partition) -> StoreFuture<Vec<(RoomId, Hint)>>;

    /// The rooms of a partition's slots that are not done, of all epochs.
    fn pending(&self, partition: Partition) -> StoreFuture<Vec<(Epoch, Slot, RoomId)>>;

    /// The member rows of a room, as of its hint.
    fn members(&self, room: RoomId) -> StoreFuture<Vec<(UserId, MemberRow)>>;

    /// The marks of a room's members.
    fn marks(&self, room: RoomId) -> StoreFuture<Vec<(UserId, Marks)>>;
}
