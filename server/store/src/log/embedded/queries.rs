//! The reads, as they run on a reading thread.

use bytes::Bytes;
use fjall::{Guard, Keyspace};
use magpie_core::{
    ids::{Epoch, MessageId, Partition, RoomId, Seq, Slot, UserId},
    rows::{Boundary, Hint, Marks, MemberRow, Order, Pointer, Span, StoredEntry},
};

use super::{
    super::{
        StoreError, codec,
        keys::{self, Fields, Key},
    },
    failure::Failure,
};

/// The rows of a store, to read.
#[derive(Clone)]
pub(super) struct Rows {
    pub(super) rows: Keyspace,
    pub(super) failure: Failure,
}

impl Rows {
    pub(super) fn boundaries(&self, room: RoomId) -> Result<Vec<Boundary>, StoreError> {
        self.all(&keys::boundaries(room), |fields, value| {
            codec::decode_boundary(whole(fields.epoch())?, value)
        })
    }

    pub(super) fn entries(&self, room: RoomId, span: Span) -> Result<Vec<StoredEntry>, StoreError> {
        if span.after >= span.through {
            return Ok(Vec::new());
        }
        let first = keys::entry(room, span.after.next(), Epoch(0)).into_bytes();
        let last = keys::entry(room, span.through, Epoch(u64::MAX)).into_bytes();
        let rows = self.rows.range(first..=last);
        let entry = |fields: &mut Fields<'_>, value: &[u8]| {
            let epoch = whole(fields.epoch())?;
            codec::decode_entry(whole(fields.seq())?, epoch, value)
        };
        match span.order {
            Order::Ascending => span.cut(self.decode(rows, entry)),
            Order::Descending => span.cut(self.decode(rows.rev(), entry)),
        }
    }

    pub(super) fn body(
        &self,
        room: RoomId,
        seq: Seq,
        epoch: Epoch,
    ) -> Result<Option<Bytes>, StoreError> {
        self.one(&keys::body(room, seq, epoch), codec::decode_body)
    }

    pub(super) fn pointers(
        &self,
        room: RoomId,
        sender: UserId,
        id: MessageId,
        after: Seq,
        through: Seq,
    ) -> Result<Vec<Pointer>, StoreError> {
        let mut pointers = Vec::new();
        if after >= through {
            return Ok(pointers);
        }
        for bucket in after.next().bucket()..=through.bucket() {
            let begin = keys::pointer(room, bucket, sender, id);
            pointers.extend(self.all(&begin, |fields, value| {
                Ok(Pointer {
                    epoch: whole(fields.epoch())?,
                    seq: codec::decode_pointer(value)?,
                })
            })?);
        }
        Ok(pointers)
    }

    pub(super) fn hint(&self, room: RoomId) -> Result<Option<Hint>, StoreError> {
        let key = keys::hints(Partition::of_room(room)).room(room);
        self.one(&key, codec::decode_hint)
    }

    pub(super) fn hints(&self, partition: Partition) -> Result<Vec<(RoomId, Hint)>, StoreError> {
        self.all(&keys::hints(partition), |fields, value| {
            Ok((whole(fields.room())?, codec::decode_hint(value)?))
        })
    }

    pub(super) fn pending(
        &self,
        partition: Partition,
    ) -> Result<Vec<(Epoch, Slot, RoomId)>, StoreError> {
        let done = self.all(&keys::done(partition), |fields, value| {
            Ok((whole(fields.epoch())?, codec::decode_done(value)?))
        })?;
        let mut pending = self.all(&keys::pending(partition), |fields, _| {
            let room = whole(fields.room())?;
            let slot = whole(fields.slot())?;
            Ok((whole(fields.epoch())?, slot, room))
        })?;
        // A pending row that was written again after its slot was done is still there.
        pending.retain(|(epoch, slot, _)| {
            !done
                .iter()
                .any(|(of, through)| of == epoch && slot <= through)
        });
        Ok(pending)
    }

    pub(super) fn members(&self, room: RoomId) -> Result<Vec<(UserId, MemberRow)>, StoreError> {
        self.all(&keys::members(room), |fields, value| {
            Ok((whole(fields.user())?, codec::decode_member(value)?))
        })
    }

    pub(super) fn marks(&self, room: RoomId) -> Result<Vec<(UserId, Marks)>, StoreError> {
        self.all(&keys::marks(room), |fields, value| {
            Ok((whole(fields.user())?, codec::decode_marks(value)?))
        })
    }

    fn one<T>(
        &self,
        key: &Key,
        decode: impl FnOnce(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let value = self.rows.get(key.bytes());
        let value = value.map_err(|error| self.failure.of_read(&error))?;
        value.map(|value| decode(&value)).transpose()
    }

    fn all<T>(
        &self,
        begin: &Key,
        decode: impl FnMut(&mut Fields<'_>, &[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.decode(self.rows.prefix(begin.bytes()), decode)
            .collect()
    }

    fn decode<T>(
        &self,
        rows: impl Iterator<Item = Guard>,
        mut decode: impl FnMut(&mut Fields<'_>, &[u8]) -> Result<T, StoreError>,
    ) -> impl Iterator<Item = Result<T, StoreError>> {
        rows.map(move |row| {
            let (key, value) = row
                .into_inner()
                .map_err(|error| self.failure.of_read(&error))?;
            decode(&mut Fields::new(&key), &value)
        })
    }
}

/// A field of a key that must be there.
fn whole<T>(field: Option<T>) -> Result<T, StoreError> {
    field.ok_or_else(|| StoreError::Damaged("a key makes no sense".to_owned()))
}
