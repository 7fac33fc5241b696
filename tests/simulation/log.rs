//! A log store of the simulation: rows in memory, of which a crash keeps what was synced and,
//! of what was on its way, any prefix.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
};

use bytes::Bytes;
use magpie_core::{
    ids::{Epoch, MessageId, Partition, RoomId, Seq, Slot, UserId},
    limits::Limits,
    lineage::Lineage,
    owner::{Fetch, Fetched, WriteNo},
    room::Loaded,
    rows::{Boundary, Hint, Marks, MemberRow, Order, Pointer, Row, Span, StoredEntry},
};

/// Who waits for a write.
pub(crate) type Writer = Option<(usize, RoomId, WriteNo)>;

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// What a crash keeps.
    durable: Rows,
    /// What reads see.
    written: Rows,
    /// Writes that are not durable, oldest first.
    waiting: VecDeque<(Vec<Row>, Writer)>,
    /// How many of them the sync under way covers.
    syncing: usize,
    /// Whether writes are refused for want of space.
    pub(crate) full: bool,
}

#[derive(Clone, Debug, Default)]
struct Rows {
    entries: BTreeMap<(RoomId, Seq, Epoch), StoredEntry>,
    pointers: BTreeSet<(RoomId, UserId, MessageId, Seq, Epoch)>,
    bodies: BTreeMap<(RoomId, Seq, Epoch), Bytes>,
    boundaries: BTreeMap<(RoomId, Epoch), Boundary>,
    pending: BTreeSet<(Partition, Epoch, Slot, RoomId)>,
    done: BTreeMap<(Partition, Epoch), Slot>,
    hints: BTreeMap<RoomId, Hint>,
    members: BTreeMap<(RoomId, UserId), MemberRow>,
    marks: BTreeMap<(RoomId, UserId), Marks>,
}

impl Log {
    /// Takes a write in. False: there is no space, and nothing was written.
    pub(crate) fn write(&mut self, rows: Vec<Row>, writer: Writer) -> bool {
        if self.full {
            return false;
        }
        self.written.apply(&rows);
        self.waiting.push_back((rows, writer));
        true
    }

    /// Begins a sync of all that waits. False: there is nothing, or one is under way.
    pub(crate) fn begin_sync(&mut self) -> bool {
        if self.syncing > 0 || self.waiting.is_empty() {
            return false;
        }
        self.syncing = self.waiting.len();
        true
    }

    /// The sync has ended: what it covered is durable. Returns who waited for it.
    pub(crate) fn end_sync(&mut self) -> Vec<(usize, RoomId, WriteNo)> {
        let synced: Vec<_> = self.waiting.drain(..self.syncing).collect();
        self.syncing = 0;
        for (rows, _) in &synced {
            self.durable.apply(rows);
        }
        synced
            .into_iter()
            .filter_map(|(_, writer)| writer)
            .collect()
    }

    /// How many writes are not durable.
    pub(crate) fn unsynced(&self) -> usize {
        self.waiting.len()
    }

    /// The power fails: of the writes on their way, the first `kept` were on the disk.
    pub(crate) fn crash(&mut self, kept: usize) {
        for (rows, _) in self.waiting.drain(..).take(kept) {
            self.durable.apply(&rows);
        }
        self.syncing = 0;
        self.written = self.durable.clone();
    }

    /// The hints of a partition.
    pub(crate) fn hints(&self, partition: Partition) -> Vec<(RoomId, Hint)> {
        let of = |(room, _): &(&RoomId, &Hint)| Partition::of_room(**room) == partition;
        let hints = self.written.hints.iter().filter(of);
        hints.map(|(room, hint)| (*room, hint.clone())).collect()
    }

    /// The rooms of the slots that are not done.
    pub(crate) fn pending(&self, partition: Partition) -> Vec<(Epoch, Slot, RoomId)> {
        let rows = self.written.pending.iter();
        rows.filter(|(of, epoch, slot, _)| {
            let done = self.written.done.get(&(*of, *epoch));
            *of == partition && done.is_none_or(|done| slot > done)
        })
        .map(|(_, epoch, slot, room)| (*epoch, *slot, *room))
        .collect()
    }

    /// All partitions that have rows.
    pub(crate) fn partitions(&self) -> BTreeSet<Partition> {
        let rooms = self.written.entries.keys().map(|(room, ..)| *room);
        rooms
            .chain(self.written.hints.keys().copied())
            .map(Partition::of_room)
            .chain(self.written.pending.iter().map(|row| row.0))
            .collect()
    }

    /// What an owner loads of a room.
    pub(crate) fn load(&self, room: RoomId, limits: &Limits) -> Loaded {
        let rows = &self.written;
        let hint = rows.hints.get(&room).cloned();
        let head = hint.as_ref().map_or(Seq::ZERO, |hint| hint.head);
        let mut entries = rows.entries(room, Span::tail(head, limits));
        entries.reverse();
        entries.extend(rows.entries(room, Span::above(head)));
        Loaded {
            boundaries: rows.boundaries(room),
            hint,
            members: of_room(&rows.members, room),
            marks: of_room(&rows.marks, room),
            rows: entries,
        }
    }

    /// What a reading asks for.
    pub(crate) fn fetch(&self, room: RoomId, fetch: Fetch) -> Fetched {
        let rows = &self.written;
        match fetch {
            Fetch::Entries(span) => Fetched::Entries(rows.entries(room, span)),
            Fetch::Body { seq, epoch } => {
                Fetched::Body(rows.bodies.get(&(room, seq, epoch)).cloned())
            }
            Fetch::Pointers {
                sender,
                id,
                after,
                through,
            } => {
                let buckets = after.bucket()..=through.bucket();
                let all = rows.pointers.iter();
                let theirs = all.filter(|(of, who, what, seq, _)| {
                    (*of, *who, *what) == (room, sender, id) && buckets.contains(&seq.bucket())
                });
                let pointers = theirs.map(|(_, _, _, seq, epoch)| Pointer {
                    seq: *seq,
                    epoch: *epoch,
                });
                Fetched::Pointers(pointers.collect())
            }
        }
    }

    /// The true log of every room, as far as it is durable, read by the lineage alone.
    pub(crate) fn truth(&self) -> BTreeMap<RoomId, Vec<StoredEntry>> {
        let rooms: BTreeSet<_> = self
            .durable
            .entries
            .keys()
            .map(|(room, ..)| *room)
            .collect();
        let of = |room| {
            let lineage = Lineage::of(&self.durable.boundaries(room));
            let rows = self.durable.entries(room, Span::above(Seq::ZERO));
            let counts = |row: &StoredEntry| lineage.epoch_of(row.entry.seq) == Some(row.epoch);
            rows.into_iter().filter(counts).collect()
        };
        rooms.into_iter().map(|room| (room, of(room))).collect()
    }

    /// The whole body of a long message.
    pub(crate) fn body(&self, room: RoomId, row: &StoredEntry) -> Option<&Bytes> {
        self.durable.bodies.get(&(room, row.entry.seq, row.epoch))
    }
}

impl Rows {
    fn apply(&mut self, rows: &[Row]) {
        for row in rows.iter().cloned() {
            match row {
                Row::Entry(room, stored) => {
                    let key = (room, stored.entry.seq, stored.epoch);
                    let former = self.entries.insert(key, stored.clone());
                    let same = former.is_none_or(|former| former == stored);
                    assert!(same, "an epoch wrote two entries under {key:?}");
                }
                Row::Pointer(room, user, id, pointer) => {
                    self.pointers
                        .insert((room, user, id, pointer.seq, pointer.epoch));
                }
                Row::Body(room, seq, epoch, whole) => {
                    self.bodies.insert((room, seq, epoch), whole);
                }
                Row::Boundary(room, boundary) => {
                    let former = self.boundaries.insert((room, boundary.epoch), boundary);
                    let same = former.is_none_or(|former| former == boundary);
                    assert!(same, "room {room}: a boundary changed to {boundary:?}");
                }
                Row::Pending(partition, epoch, slot, room) => {
                    self.pending.insert((partition, epoch, slot, room));
                }
                Row::Done(partition, epoch, slot) => {
                    self.done.insert((partition, epoch), slot);
                }
                Row::Hint(room, hint) => drop(self.hints.insert(room, hint)),
                Row::Member(room, user, row) => drop(self.members.insert((room, user), row)),
                Row::Marks(room, user, marks) => drop(self.marks.insert((room, user), marks)),
            }
        }
    }

    fn entries(&self, room: RoomId, span: Span) -> Vec<StoredEntry> {
        let first = (room, span.after.next(), Epoch(0));
        let range = first..=(room, span.through, Epoch(u64::MAX));
        if range.is_empty() {
            return Vec::new();
        }
        let rows = self.entries.range(range).map(|(_, row)| Ok(row.clone()));
        let cut: Result<_, Infallible> = match span.order {
            Order::Ascending => span.cut(rows),
            Order::Descending => span.cut(rows.rev()),
        };
        cut.unwrap_or_default()
    }

    fn boundaries(&self, room: RoomId) -> Vec<Boundary> {
        let all = self
            .boundaries
            .range((room, Epoch(0))..=(room, Epoch(u64::MAX)));
        all.map(|(_, boundary)| *boundary).collect()
    }
}

fn of_room<V: Copy>(rows: &BTreeMap<(RoomId, UserId), V>, room: RoomId) -> Vec<(UserId, V)> {
    let rows = rows.iter().filter(|((of, _), _)| *of == room);
    rows.map(|((_, user), value)| (*user, *value)).collect()
}
