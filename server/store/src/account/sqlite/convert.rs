//! Between SQL's numbers and bytes and the types of the store.

use magpie_core::{
    entry::RoomKind,
    ids::{DeviceId, RoomId, Seq, UserId},
    time::Timestamp,
};

use crate::account::{Availability, Error, Revision, TokenHash};

pub(super) fn damaged(what: &str) -> Error {
    Error::Damaged(what.to_owned())
}

pub(super) fn user_id(id: i64) -> Result<UserId, Error> {
    UserId::new(id).ok_or_else(|| damaged("a user id is not positive"))
}

pub(super) fn device_id(id: i64) -> Result<DeviceId, Error> {
    DeviceId::new(id).ok_or_else(|| damaged("a device id is not positive"))
}

pub(super) fn room_id(id: i64) -> Result<RoomId, Error> {
    RoomId::new(id).ok_or_else(|| damaged("a room id is not positive"))
}

pub(super) fn seq(seq: i64) -> Result<Seq, Error> {
    Seq::new(seq).ok_or_else(|| damaged("a seq is negative"))
}

pub(super) fn revision(revision: i64) -> Result<Revision, Error> {
    Revision::new(revision).ok_or_else(|| damaged("a revision is negative"))
}

pub(super) fn time(millis: i64) -> Result<Timestamp, Error> {
    u64::try_from(millis)
        .map(Timestamp)
        .map_err(|_| damaged("a time is negative"))
}

/// Times beyond the range of SQL's integers are as good as never.
pub(super) fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

pub(super) fn hash(bytes: &[u8]) -> Result<TokenHash, Error> {
    bytes
        .try_into()
        .map(TokenHash)
        .map_err(|_| damaged("a token's hash is not 32 bytes long"))
}

pub(super) fn availability(number: i64) -> Result<Availability, Error> {
    match number {
        0 => Ok(Availability::Available),
        1 => Ok(Availability::Busy),
        _ => Err(damaged("an availability is unknown")),
    }
}

pub(super) const fn availability_number(availability: Availability) -> i64 {
    match availability {
        Availability::Available => 0,
        Availability::Busy => 1,
    }
}

pub(super) fn kind(number: i64) -> Result<RoomKind, Error> {
    match number {
        1 => Ok(RoomKind::Direct),
        2 => Ok(RoomKind::Group),
        _ => Err(damaged("a kind of room is unknown")),
    }
}

pub(super) const fn kind_number(kind: RoomKind) -> i64 {
    match kind {
        RoomKind::Direct => 1,
        RoomKind::Group => 2,
    }
}

/// A JSON array of numbers, which SQL unfolds by `json_each`: one statement for lists of any
/// length.
pub(super) fn json_array(numbers: impl Iterator<Item = i64>) -> String {
    let numbers: Vec<_> = numbers.map(|number| number.to_string()).collect();
    format!("[{}]", numbers.join(","))
}

/// SQL's integer for a number of rows.
pub(super) fn row_limit(rows_max: usize) -> i64 {
    i64::try_from(rows_max).unwrap_or(i64::MAX)
}
