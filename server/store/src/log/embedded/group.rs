//! The changes of all writes that become durable together.

use std::collections::BTreeMap;

use fjall::Keyspace;
use magpie_core::{
    ids::{Epoch, Partition, Slot},
    rows::Row,
};

use super::super::{StoreError, codec, keys, limits::ROW_OVERHEAD_BYTES};

/// What a row changes in the store.
#[derive(Debug)]
pub(super) enum Change {
    /// A key gets a value.
    Put(Vec<u8>, Vec<u8>),
    /// The slots up to this one are done, so their pending rows go.
    Done(Partition, Epoch, Slot),
}

impl Change {
    /// What it costs to let it wait, in bytes.
    pub(super) fn weight(&self) -> usize {
        let bytes = match self {
            Self::Put(key, value) => key.len() + value.len(),
            Self::Done(..) => 0,
        };
        bytes + ROW_OVERHEAD_BYTES as usize
    }
}

impl From<Row> for Change {
    fn from(row: Row) -> Self {
        let (key, value) = match row {
            Row::Entry(room, stored) => (
                keys::entry(room, stored.entry.seq, stored.epoch),
                codec::encode_entry(&stored),
            ),
            Row::Pointer(room, sender, id, pointer) => (
                keys::pointer(room, pointer.seq.bucket(), sender, id).epoch(pointer.epoch),
                codec::encode_seq(pointer.seq),
            ),
            Row::Body(room, seq, epoch, body) => {
                (keys::body(room, seq, epoch), codec::encode_body(&body))
            }
            Row::Boundary(room, boundary) => (
                keys::boundaries(room).epoch(boundary.epoch),
                codec::encode_boundary(&boundary),
            ),
            Row::Pending(partition, epoch, slot, room) => (
                keys::pending(partition).epoch(epoch).slot(slot).room(room),
                codec::encode_presence(),
            ),
            Row::Done(partition, epoch, slot) => return Self::Done(partition, epoch, slot),
            Row::Hint(room, hint) => (
                keys::hints(Partition::of_room(room)).room(room),
                codec::encode_hint(&hint),
            ),
            Row::Member(room, user, member) => (
                keys::members(room).user(user),
                codec::encode_member(&member),
            ),
            Row::Marks(room, user, marks) => {
                (keys::marks(room).user(user), codec::encode_marks(&marks))
            }
        };
        Self::Put(key.into_bytes(), value)
    }
}

/// Gathers changes; of several to one key the last one counts. (The engine would write all of them
/// under one number, and it is not said which wins.)
pub(super) struct Group<'a> {
    rows: &'a Keyspace,
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Group<'a> {
    pub(super) const fn new(rows: &'a Keyspace) -> Self {
        Self {
            rows,
            changes: BTreeMap::new(),
        }
    }

    /// Adds a change.
    pub(super) fn add(&mut self, change: Change) -> Result<(), StoreError> {
        match change {
            Change::Put(key, value) => {
                self.changes.insert(key, Some(value));
                Ok(())
            }
            Change::Done(partition, epoch, slot) => self.finish(partition, epoch, slot),
        }
    }

    /// What to write: values, or none where a row goes.
    pub(super) fn into_changes(self) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        self.changes
    }

    /// Raises the done row, and takes out the pending rows of the store and of this group.
    fn finish(&mut self, partition: Partition, epoch: Epoch, slot: Slot) -> Result<(), StoreError> {
        let key = keys::done(partition).epoch(epoch).into_bytes();
        let before = match self.changes.get(&key) {
            Some(Some(value)) => Some(codec::decode_done(value)?),
            _ => match self.rows.get(&key).map_err(unreadable)? {
                Some(value) => Some(codec::decode_done(&value)?),
                None => None,
            },
        };
        if before.is_some_and(|before| before >= slot) {
            return Ok(());
        }
        self.changes.insert(key, Some(codec::encode_slot(slot)));

        let slots = keys::pending(partition).epoch(epoch);
        let first = slots.clone().slot(Slot(0)).number(0).into_bytes();
        let last = slots.slot(slot).number(u64::MAX).into_bytes();
        for (_, value) in self.changes.range_mut(first.clone()..=last.clone()) {
            *value = None;
        }
        for row in self.rows.range(first..=last) {
            let key = row.key().map_err(unreadable)?;
            self.changes.insert(key.to_vec(), None);
        }
        Ok(())
    }
}

fn unreadable(error: fjall::Error) -> StoreError {
    StoreError::Damaged(format!("a row cannot be read: {error}"))
}
