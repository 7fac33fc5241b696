//! The rows of the log store: what owners write and read back. See docs/storage.md.
//!
//! A row's key holds the epoch of its writer, so one writer writes it once and clocks do not
//! matter. Rows of an epoch that lost a seq stay as ghosts; [`crate::lineage`] tells them apart.

use bytes::Bytes;

use crate::{
    entry::{Entry, Role, RoomKind},
    ids::{Epoch, MessageId, Partition, RoomId, Seq, Slot, UserId},
    limits::Limits,
    time::Timestamp,
};

/// A row to write. Rows handed over in one write become durable together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// Key (room, seq, epoch).
    Entry(RoomId, StoredEntry),
    /// Key (room, bucket of seq, sender, id, epoch); value seq. Lets a retry be recognised. Kept for
    /// 30 days.
    Pointer(RoomId, UserId, MessageId, Pointer),
    /// Key (room, seq, epoch): the whole wire body of a long message.
    Body(RoomId, Seq, Epoch, Bytes),
    /// Key (room, epoch). Immutable.
    Boundary(RoomId, Boundary),
    /// Key (partition, epoch, slot, room): the room was written to in this slot.
    Pending(Partition, Epoch, Slot, RoomId),
    /// Key (partition, epoch): every room of the slots up to this one has its hint, and its effects
    /// are done.
    Done(Partition, Epoch, Slot),
    /// Key (partition, room).
    Hint(RoomId, Hint),
    /// Key (room, user): the member as of the room's hint, written together with it.
    Member(RoomId, UserId, MemberRow),
    /// Key (room, user).
    Marks(RoomId, UserId, Marks),
}

/// An entry with the facts of its writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// The ownership under which it was written.
    pub epoch: Epoch,
    /// The head that was certified when its seq was assigned.
    pub committed_upto: Seq,
    /// The entry.
    pub entry: Entry,
}

/// A part of a room's log that is asked of the store at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Exclusive.
    pub after: Seq,
    /// Inclusive.
    pub through: Seq,
    /// From which end on it is read.
    pub order: Order,
    /// Rows after which it ends early, but never between two rows of one seq.
    pub rows_max: usize,
    /// Bytes of entries ([`Entry::cost`]) beyond which it ends early, the same way: the rows of the
    /// first seq are always given.
    pub bytes_max: u64,
}

/// The order of seqs in which a log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the lowest.
    Ascending,
    /// From the highest.
    Descending,
}

impl Span {
    /// All that is above this seq.
    pub const fn above(after: Seq) -> Self {
        Self {
            after,
            through: Seq::MAX,
            order: Order::Ascending,
            rows_max: usize::MAX,
            bytes_max: u64::MAX,
        }
    }

    /// The latest entries that end at this seq, as a tail keeps them.
    pub fn tail(through: Seq, limits: &Limits) -> Self {
        Self {
            after: Seq::ZERO,
            through,
            order: Order::Descending,
            rows_max: usize::try_from(limits.room_tail_entries_max).unwrap_or(usize::MAX),
            bytes_max: limits.room_tail_bytes_max,
        }
    }

    /// Of rows in the span's order, those that it holds before it ends early.
    pub fn cut<E>(
        &self,
        rows: impl IntoIterator<Item = Result<StoredEntry, E>>,
    ) -> Result<Vec<StoredEntry>, E> {
        let (mut cut, mut bytes) = (Vec::<StoredEntry>::new(), 0);
        for row in rows {
            let row = row?;
            bytes += row.entry.cost() as u64;
            let full = cut.len() >= self.rows_max || bytes > self.bytes_max;
            let begun = cut.last().map(|last| last.entry.seq);
            if full && begun.is_some_and(|begun| begun != row.entry.seq) {
                break;
            }
            cut.push(row);
        }
        Ok(cut)
    }
}

/// Where a command's entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Its seq.
    pub seq: Seq,
    /// The ownership under which it was written. Only a pointer whose epoch is the lineage's for its
    /// seq counts.
    pub epoch: Epoch,
}

/// From which seq on an ownership holds a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The ownership.
    pub epoch: Epoch,
    /// Its first seq.
    pub start: Seq,
    /// The ownership before it in the lineage; 0 for the first.
    pub prev: Epoch,
}

/// What is known of a room without reading its log. Exact for rooms that no unfinished slot names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The certified head when it was written; the member rows are as of it.
    pub head: Seq,
    /// The time of that entry.
    pub time: Timestamp,
    /// Up to where the effect "room list" is done.
    pub room_list: Seq,
    /// The settings as of `head`.
    pub settings: Settings,
}

/// A present or former member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// The role; of a former member, the last one.
    pub role: Role,
    /// The entry with which the last membership began.
    pub joined: Seq,
    /// The entry that ended it; none for a present member.
    pub left: Option<Seq>,
    /// The last entry that is a message by this member: sending moves the read mark.
    pub sent: Seq,
}

/// How far a member has come. Only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Read up to here.
    pub read: Seq,
    /// Delivered up to here.
    pub delivered: Seq,
}

/// The settings of a room: a fold of its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Direct or group.
    pub kind: RoomKind,
    /// Empty for a direct room.
    pub title: String,
}
