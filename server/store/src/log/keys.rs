//! The keys of the log store's rows: a byte for the kind, then fields of fixed width, big-endian, so
//! that the order of bytes is the order of fields. See docs/storage.md.

use magpie_core::ids::{Epoch, MessageId, Partition, RoomId, Seq, Slot, UserId};

/// The first byte of a key. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The store's own rows.
    Meta = 0,
    Entry = 1,
    Body = 2,
    Pointer = 3,
    Boundary = 4,
    Pending = 5,
    Done = 6,
    Hint = 7,
    Member = 8,
    Marks = 9,
}

/// A key, or the beginning that keys have in common.
#[derive(Clone, Debug)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// A key of this kind without fields.
    pub(crate) fn new(kind: Kind) -> Self {
        let mut bytes = Vec::with_capacity(1 + 8 + 8 + 8 + 16 + 8);
        bytes.push(kind as u8);
        Self(bytes)
    }

    pub(crate) fn byte(mut self, field: u8) -> Self {
        self.0.push(field);
        self
    }

    pub(crate) fn number(mut self, field: u64) -> Self {
        self.0.extend_from_slice(&field.to_be_bytes());
        self
    }

    pub(crate) fn room(self, room: RoomId) -> Self {
        self.number(room.get().unsigned_abs())
    }

    pub(crate) fn user(self, user: UserId) -> Self {
        self.number(user.get().unsigned_abs())
    }

    pub(crate) fn seq(self, seq: Seq) -> Self {
        self.number(seq.get().cast_unsigned())
    }

    pub(crate) fn epoch(self, epoch: Epoch) -> Self {
        self.number(epoch.0)
    }

    pub(crate) fn slot(self, slot: Slot) -> Self {
        self.number(slot.0)
    }

    pub(crate) fn partition(mut self, partition: Partition) -> Self {
        self.0.extend_from_slice(&partition.0.to_be_bytes());
        self
    }

    pub(crate) fn message(mut self, id: MessageId) -> Self {
        self.0.extend_from_slice(&id.0);
        self
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Takes a key apart, from its end: the fields that matter are the last ones.
#[derive(Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) const fn new(key: &'a [u8]) -> Self {
        Self(key)
    }

    /// The last field that was not taken yet. `None` if the key is too short.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let (rest, field) = self.0.split_last_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*field))
    }

    pub(crate) fn epoch(&mut self) -> Option<Epoch> {
        self.number().map(Epoch)
    }

    pub(crate) fn slot(&mut self) -> Option<Slot> {
        self.number().map(Slot)
    }

    pub(crate) fn seq(&mut self) -> Option<Seq> {
        Seq::new(self.number()?.try_into().ok()?)
    }

    pub(crate) fn room(&mut self) -> Option<RoomId> {
        RoomId::new(self.number()?.try_into().ok()?)
    }

    pub(crate) fn user(&mut self) -> Option<UserId> {
        UserId::new(self.number()?.try_into().ok()?)
    }
}

/// The key of an entry.
pub(crate) fn entry(room: RoomId, seq: Seq, epoch: Epoch) -> Key {
    Key::new(Kind::Entry).room(room).seq(seq).epoch(epoch)
}

/// The key of a long message's body.
pub(crate) fn body(room: RoomId, seq: Seq, epoch: Epoch) -> Key {
    Key::new(Kind::Body).room(room).seq(seq).epoch(epoch)
}

/// What the keys of a command's pointers in a bucket begin with; the epoch follows.
pub(crate) fn pointer(room: RoomId, bucket: u64, sender: UserId, id: MessageId) -> Key {
    let bucket = Key::new(Kind::Pointer).room(room).number(bucket);
    bucket.user(sender).message(id)
}

/// What the keys of a room's boundaries begin with; the epoch follows.
pub(crate) fn boundaries(room: RoomId) -> Key {
    Key::new(Kind::Boundary).room(room)
}

/// What the keys of a partition's pending rows begin with; epoch, slot and room follow.
pub(crate) fn pending(partition: Partition) -> Key {
    Key::new(Kind::Pending).partition(partition)
}

/// What the keys of a partition's done rows begin with; the epoch follows.
pub(crate) fn done(partition: Partition) -> Key {
    Key::new(Kind::Done).partition(partition)
}

/// What the keys of a partition's hints begin with; the room follows.
pub(crate) fn hints(partition: Partition) -> Key {
    Key::new(Kind::Hint).partition(partition)
}

/// What the keys of a room's member rows begin with; the user follows.
pub(crate) fn members(room: RoomId) -> Key {
    Key::new(Kind::Member).room(room)
}

/// What the keys of a room's marks begin with; the user follows.
pub(crate) fn marks(room: RoomId) -> Key {
    Key::new(Kind::Marks).room(room)
}

/// The key of the row that holds the epoch of the last start.
pub(crate) fn last_epoch() -> Key {
    Key::new(Kind::Meta).byte(0)
}

/// What the keys of the rows that the last batches left begin with; the batch's place follows.
pub(crate) fn batches() -> Key {
    Key::new(Kind::Meta).byte(1)
}
