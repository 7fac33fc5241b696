//! The values of the log store's rows: a byte for the version, then postcard. The types here are
//! what lies on disk; fields and variants are only ever added in a new version.

use bytes::Bytes;
use magpie_core::{
    entry::{Body, ChangeKind, Entry, MemberChange, Message, Role, RoomKind},
    ids::{DeviceId, Epoch, MessageId, Seq, Slot, UserId},
    rows::{Boundary, Hint, Marks, MemberRow, Settings, StoredEntry},
    time::Timestamp,
};
use serde::{Deserialize, Serialize, Serializer};

use super::StoreError;

/// The version of all values that this program writes, and the newest that it reads.
const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct EntryValue<'a> {
    committed_upto: u64,
    time: u64,
    actor: u64,
    device: Option<u64>,
    id: [u8; 16],
    #[serde(borrow)]
    body: BodyValue<'a>,
}

#[derive(Serialize, Deserialize)]
enum BodyValue<'a> {
    Message {
        #[serde(serialize_with = "bytes")]
        wire: &'a [u8],
        long: bool,
    },
    Created {
        kind: KindValue,
        title: &'a str,
        changes: Vec<ChangeValue>,
    },
    Membership(Vec<ChangeValue>),
    Updated {
        title: Option<&'a str>,
    },
}

#[derive(Serialize, Deserialize)]
struct ChangeValue {
    user: u64,
    kind: ChangeKindValue,
}

#[derive(Serialize, Deserialize)]
enum ChangeKindValue {
    Joined(RoleValue),
    Left,
    Removed,
    RoleChanged(RoleValue),
}

#[derive(Serialize, Deserialize)]
enum RoleValue {
    Member,
    Owner,
}

#[derive(Serialize, Deserialize)]
enum KindValue {
    Direct,
    Group,
}

#[derive(Serialize, Deserialize)]
struct BoundaryValue {
    start: u64,
    prev: u64,
}

#[derive(Serialize, Deserialize)]
struct HintValue<'a> {
    head: u64,
    time: u64,
    room_list: u64,
    kind: KindValue,
    title: &'a str,
}

#[derive(Serialize, Deserialize)]
struct MemberValue {
    role: RoleValue,
    joined: u64,
    left: Option<u64>,
    sent: u64,
}

#[derive(Serialize, Deserialize)]
struct MarksValue {
    read: u64,
    delivered: u64,
}

pub(crate) fn encode_entry(stored: &StoredEntry) -> Vec<u8> {
    let entry = &stored.entry;
    let body = match &entry.body {
        Body::Message(message) => BodyValue::Message {
            wire: &message.wire,
            long: message.long,
        },
        Body::Created {
            kind,
            title,
            changes,
        } => BodyValue::Created {
            kind: (*kind).into(),
            title,
            changes: changes.iter().map(ChangeValue::from).collect(),
        },
        Body::Membership(changes) => {
            BodyValue::Membership(changes.iter().map(ChangeValue::from).collect())
        }
        Body::Updated { title } => BodyValue::Updated {
            title: title.as_deref(),
        },
    };
    encode(&EntryValue {
        committed_upto: number(stored.committed_upto),
        time: entry.time.0,
        actor: entry.actor.get().unsigned_abs(),
        device: entry.device.map(|device| device.get().unsigned_abs()),
        id: entry.id.0,
        body,
    })
}

pub(crate) fn decode_entry(
    seq: Seq,
    epoch: Epoch,
    value: &[u8],
) -> Result<StoredEntry, StoreError> {
    let value: EntryValue<'_> = decode("entry", value)?;
    let body = match value.body {
        BodyValue::Message { wire, long } => Body::Message(Message {
            wire: Bytes::copy_from_slice(wire),
            long,
        }),
        BodyValue::Created {
            kind,
            title,
            changes,
        } => Body::Created {
            kind: kind.into(),
            title: title.to_owned(),
            changes: member_changes(changes)?,
        },
        BodyValue::Membership(changes) => Body::Membership(member_changes(changes)?),
        BodyValue::Updated { title } => Body::Updated {
            title: title.map(ToOwned::to_owned),
        },
    };
    Ok(StoredEntry {
        epoch,
        committed_upto: decode_seq(value.committed_upto)?,
        entry: Entry {
            seq,
            time: Timestamp(value.time),
            actor: decode_user(value.actor)?,
            device: value.device.map(decode_device).transpose()?,
            id: MessageId(value.id),
            body,
        },
    })
}

/// A long body is opaque and may be large, so it is kept as it is behind the version.
pub(crate) fn encode_body(body: &[u8]) -> Vec<u8> {
    [&[VERSION], body].concat()
}

pub(crate) fn decode_body(value: &[u8]) -> Result<Bytes, StoreError> {
    Ok(Bytes::copy_from_slice(versioned("body", value)?))
}

pub(crate) fn encode_seq(seq: Seq) -> Vec<u8> {
    encode(&number(seq))
}

pub(crate) fn decode_pointer(value: &[u8]) -> Result<Seq, StoreError> {
    decode_seq(decode("pointer", value)?)
}

pub(crate) fn encode_slot(slot: Slot) -> Vec<u8> {
    encode(&slot.0)
}

pub(crate) fn decode_done(value: &[u8]) -> Result<Slot, StoreError> {
    decode("done", value).map(Slot)
}

/// The value of a row whose key says all.
pub(crate) fn encode_presence() -> Vec<u8> {
    vec![VERSION]
}

pub(crate) fn encode_boundary(boundary: &Boundary) -> Vec<u8> {
    encode(&BoundaryValue {
        start: number(boundary.start),
        prev: boundary.prev.0,
    })
}

pub(crate) fn decode_boundary(epoch: Epoch, value: &[u8]) -> Result<Boundary, StoreError> {
    let value: BoundaryValue = decode("boundary", value)?;
    Ok(Boundary {
        epoch,
        start: decode_seq(value.start)?,
        prev: Epoch(value.prev),
    })
}

pub(crate) fn encode_hint(hint: &Hint) -> Vec<u8> {
    encode(&HintValue {
        head: number(hint.head),
        time: hint.time.0,
        room_list: number(hint.room_list),
        kind: hint.settings.kind.into(),
        title: &hint.settings.title,
    })
}

pub(crate) fn decode_hint(value: &[u8]) -> Result<Hint, StoreError> {
    let value: HintValue<'_> = decode("hint", value)?;
    Ok(Hint {
        head: decode_seq(value.head)?,
        time: Timestamp(value.time),
        room_list: decode_seq(value.room_list)?,
        settings: Settings {
            kind: value.kind.into(),
            title: value.title.to_owned(),
        },
    })
}

pub(crate) fn encode_member(member: &MemberRow) -> Vec<u8> {
    encode(&MemberValue {
        role: member.role.into(),
        joined: number(member.joined),
        left: member.left.map(number),
        sent: number(member.sent),
    })
}

pub(crate) fn decode_member(value: &[u8]) -> Result<MemberRow, StoreError> {
    let value: MemberValue = decode("member", value)?;
    Ok(MemberRow {
        role: value.role.into(),
        joined: decode_seq(value.joined)?,
        left: value.left.map(decode_seq).transpose()?,
        sent: decode_seq(value.sent)?,
    })
}

pub(crate) fn encode_marks(marks: &Marks) -> Vec<u8> {
    encode(&MarksValue {
        read: number(marks.read),
        delivered: number(marks.delivered),
    })
}

pub(crate) fn decode_marks(value: &[u8]) -> Result<Marks, StoreError> {
    let value: MarksValue = decode("marks", value)?;
    Ok(Marks {
        read: decode_seq(value.read)?,
        delivered: decode_seq(value.delivered)?,
    })
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION])
        .expect("a vector takes any length, and these types have no unknown lengths")
}

fn decode<'a, T: Deserialize<'a>>(row: &'static str, value: &'a [u8]) -> Result<T, StoreError> {
    let value = versioned(row, value)?;
    match postcard::take_from_bytes(value) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(damaged(format!("a row of kind {row} is too long"))),
        Err(error) => Err(damaged(format!(
            "a row of kind {row} does not decode: {error}"
        ))),
    }
}

/// The value without its version.
fn versioned<'a>(row: &'static str, value: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match value {
        [VERSION, value @ ..] => Ok(value),
        [] => Err(damaged(format!("a row of kind {row} is empty"))),
        [version, ..] => Err(damaged(format!(
            "a row of kind {row} has version {version}, this program reads version {VERSION}"
        ))),
    }
}

fn damaged(what: impl Into<String>) -> StoreError {
    StoreError::Damaged(what.into())
}

fn bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

const fn number(seq: Seq) -> u64 {
    seq.get().unsigned_abs()
}

fn decode_seq(value: u64) -> Result<Seq, StoreError> {
    i64::try_from(value)
        .ok()
        .and_then(Seq::new)
        .ok_or_else(|| damaged(format!("{value} is no seq")))
}

fn decode_user(value: u64) -> Result<UserId, StoreError> {
    i64::try_from(value)
        .ok()
        .and_then(UserId::new)
        .ok_or_else(|| damaged(format!("{value} is no user")))
}

fn decode_device(value: u64) -> Result<DeviceId, StoreError> {
    i64::try_from(value)
        .ok()
        .and_then(DeviceId::new)
        .ok_or_else(|| damaged(format!("{value} is no device")))
}

fn member_changes(changes: Vec<ChangeValue>) -> Result<Vec<MemberChange>, StoreError> {
    let change = |change: ChangeValue| {
        Ok(MemberChange {
            user: decode_user(change.user)?,
            kind: match change.kind {
                ChangeKindValue::Joined(role) => ChangeKind::Joined(role.into()),
                ChangeKindValue::Left => ChangeKind::Left,
                ChangeKindValue::Removed => ChangeKind::Removed,
                ChangeKindValue::RoleChanged(role) => ChangeKind::RoleChanged(role.into()),
            },
        })
    };
    changes.into_iter().map(change).collect()
}

impl From<&MemberChange> for ChangeValue {
    fn from(change: &MemberChange) -> Self {
        Self {
            user: change.user.get().unsigned_abs(),
            kind: match change.kind {
                ChangeKind::Joined(role) => ChangeKindValue::Joined(role.into()),
                ChangeKind::Left => ChangeKindValue::Left,
                ChangeKind::Removed => ChangeKindValue::Removed,
                ChangeKind::RoleChanged(role) => ChangeKindValue::RoleChanged(role.into()),
            },
        }
    }
}

impl From<Role> for RoleValue {
    fn from(role: Role) -> Self {
        match role {
            Role::Member => Self::Member,
            Role::Owner => Self::Owner,
        }
    }
}

impl From<RoleValue> for Role {
    fn from(role: RoleValue) -> Self {
        match role {
            RoleValue::Member => Self::Member,
            RoleValue::Owner => Self::Owner,
        }
    }
}

impl From<RoomKind> for KindValue {
    fn from(kind: RoomKind) -> Self {
        match kind {
            RoomKind::Direct => Self::Direct,
            RoomKind::Group => Self::Group,
        }
    }
}

impl From<KindValue> for RoomKind {
    fn from(kind: KindValue) -> Self {
        match kind {
            KindValue::Direct => Self::Direct,
            KindValue::Group => Self::Group,
        }
    }
}

#[cfg(test)]
mod tests;
