//! From the contract's words to the core's: every field is checked here, before anything acts on it.

use std::time::Duration;

use bytes::Bytes;
use magpie::v1;
use magpie_core::{
    command::{Append, Command, Held, Submit, What},
    edge::{Ask, Said},
    ids::{MessageId, RoomId, Seq, UserId},
    owner::{Position, Query},
    refusal::Refusal,
    rows::Marks,
    time::Timestamp,
};

use super::text;
use crate::{auth::Caller, limits::CALL_USERS_MAX, validate};

/// Entries or rows of a page, at most and by default.
const PAGE_MAX: i32 = 200;
const PAGE_DEFAULT: i32 = 50;

pub(super) fn room(id: i64) -> Result<RoomId, Refusal> {
    RoomId::new(id).ok_or_else(|| Refusal::field("room_id", "must be a positive number"))
}

pub(super) fn user(field: &'static str, id: i64) -> Result<UserId, Refusal> {
    UserId::new(id).ok_or_else(|| Refusal::field(field, "must be a positive number"))
}

pub(super) fn users(ids: &[i64]) -> Result<Vec<UserId>, Refusal> {
    if ids.is_empty() || ids.len() > CALL_USERS_MAX {
        let range = format!(
            "holds {} ids; 1 to {CALL_USERS_MAX} are accepted",
            ids.len()
        );
        return Err(Refusal::field("user_ids", range));
    }
    each_user("user_ids", ids)
}

fn each_user(field: &str, ids: &[i64]) -> Result<Vec<UserId>, Refusal> {
    let user = |(at, id): (usize, &i64)| {
        let positive = || Refusal::field(format!("{field}[{at}]"), "must be a positive number");
        UserId::new(*id).ok_or_else(positive)
    };
    ids.iter().enumerate().map(user).collect()
}

pub(super) fn seq(field: &'static str, seq: i64) -> Result<Seq, Refusal> {
    Seq::new(seq).ok_or_else(|| Refusal::field(field, "must not be negative"))
}

/// A seq of something that exists: not 0.
pub(super) fn seq_of(field: &'static str, number: i64) -> Result<Seq, Refusal> {
    match seq(field, number)? {
        Seq::ZERO => Err(Refusal::field(field, "must be positive")),
        seq => Ok(seq),
    }
}

pub(super) fn message_id(id: &Bytes) -> Result<MessageId, Refusal> {
    let length = id.len();
    let id = <[u8; 16]>::try_from(&id[..]).map_err(|_| {
        let given = format!("has {length} bytes; exactly 16 are accepted, such as a UUIDv7");
        Refusal::field("client_message_id", given)
    })?;
    Ok(MessageId(id))
}

pub(super) fn page_size(size: i32, default: i32) -> Result<u64, Refusal> {
    match size {
        0 => Ok(u64::from(default.unsigned_abs())),
        1..=PAGE_MAX => Ok(u64::from(size.unsigned_abs())),
        _ => {
            let range = format!("is {size}; 1 to {PAGE_MAX} are accepted, and 0 for {default}");
            Err(Refusal::field("page_size", range))
        }
    }
}

/// A page of the usual size.
pub(super) fn usual_page_size(size: i32) -> Result<u64, Refusal> {
    page_size(size, PAGE_DEFAULT)
}

/// A command that appends an entry.
pub(super) fn append(
    caller: Caller,
    room_id: i64,
    id: &Bytes,
    after: Option<i64>,
    what: What,
) -> Result<Submit, Refusal> {
    let after = after.map(|after| seq("after_seq", after)).transpose()?;
    let append = Append {
        id: message_id(id)?,
        after,
        what,
    };
    submit(caller, room_id, Command::Append(append))
}

pub(super) fn submit(caller: Caller, room_id: i64, command: Command) -> Result<Submit, Refusal> {
    let room = room(room_id)?;
    Ok(Submit {
        room,
        actor: caller.user,
        device: Some(caller.device),
        command,
        unless_retry: None,
        held: Held::default(),
    })
}

pub(super) fn send(caller: Caller, send: &v1::SendMessageRequest) -> Result<Submit, Refusal> {
    let reply_to = send
        .reply_to_seq
        .map(|seq| seq_of("reply_to_seq", seq))
        .transpose()?;
    let text::Encoded { wire, whole } = text::encode(&send.text, reply_to)?;
    let what = What::Message {
        wire,
        whole,
        reply_to,
    };
    append(
        caller,
        send.room_id,
        &send.client_message_id,
        send.after_seq,
        what,
    )
}

pub(super) fn mark_read(caller: Caller, mark: v1::MarkReadRequest) -> Result<Submit, Refusal> {
    let read = seq_of("seq", mark.seq)?;
    let marks = Marks {
        read,
        delivered: Seq::ZERO,
    };
    submit(caller, mark.room_id, Command::Mark(marks))
}

pub(super) fn mark_delivered(
    caller: Caller,
    mark: v1::MarkDeliveredRequest,
) -> Result<Submit, Refusal> {
    let delivered = seq_of("seq", mark.seq)?;
    let marks = Marks {
        read: Seq::ZERO,
        delivered,
    };
    submit(caller, mark.room_id, Command::Mark(marks))
}

pub(super) fn typing(caller: Caller, typing: v1::SendTypingRequest) -> Result<Submit, Refusal> {
    submit(caller, typing.room_id, Command::Typing)
}

pub(super) fn set_status(set: v1::SetStatusRequest) -> Result<Ask, Refusal> {
    let busy = match v1::Availability::try_from(set.availability) {
        Ok(v1::Availability::Unspecified) => None,
        Ok(v1::Availability::Available) => Some(false),
        Ok(v1::Availability::Busy) => Some(true),
        Err(_) => return Err(Refusal::field("availability", "is none of its values")),
    };
    let text = set
        .status_text
        .map(|text| validate::status_text("status_text", &text));
    Ok(Ask::SetStatus {
        busy,
        text: text.transpose()?,
    })
}

pub(super) fn get_presence(get: &v1::GetPresenceRequest) -> Result<Ask, Refusal> {
    Ok(Ask::GetPresence(users(&get.user_ids)?))
}

pub(super) fn watch(watch: &v1::Watch, max: u64) -> Result<Said, Refusal> {
    Ok(Said::Watch(watched("user_ids", &watch.user_ids, max)?))
}

pub(super) fn watched(field: &'static str, ids: &[i64], max: u64) -> Result<Vec<UserId>, Refusal> {
    if ids.len() as u64 > max {
        let range = format!("holds {} ids; at most {max} are accepted", ids.len());
        return Err(Refusal::field(field, range));
    }
    each_user(field, ids)
}

pub(super) fn list_messages(list: &v1::ListMessagesRequest) -> Result<(RoomId, Query), Refusal> {
    use v1::list_messages_request::Position as Wired;
    let position = match &list.position {
        None => Position::Newest,
        Some(Wired::BeforeSeq(at)) => Position::Before(seq_of("before_seq", *at)?),
        Some(Wired::AfterSeq(at)) => Position::After(seq("after_seq", *at)?),
        Some(Wired::AroundSeq(at)) => Position::Around(seq_of("around_seq", *at)?),
        Some(Wired::BeforeTime(at)) => Position::BeforeTime(time("before_time", *at)?),
        Some(Wired::AfterTime(at)) => Position::AfterTime(time("after_time", *at)?),
        Some(Wired::AroundTime(at)) => Position::AroundTime(time("around_time", *at)?),
    };
    let count = usual_page_size(list.page_size)?;
    Ok((room(list.room_id)?, Query::Messages { position, count }))
}

pub(super) fn list_entries(list: v1::ListEntriesRequest) -> Result<(RoomId, Query), Refusal> {
    let after = seq("after_seq", list.after_seq)?;
    let count = page_size(list.page_size, PAGE_MAX)?;
    Ok((room(list.room_id)?, Query::Entries { after, count }))
}

/// The last second of 9999, where `google.protobuf.Timestamp` ends.
const LAST_SECOND: u64 = 253_402_300_799;

fn time(field: &'static str, time: prost_types::Timestamp) -> Result<Timestamp, Refusal> {
    let refused = || {
        Refusal::field(
            field,
            "is no time from 1970 to 9999, with 0 to 999,999,999 nanos",
        )
    };
    let seconds = u64::try_from(time.seconds)
        .ok()
        .filter(|seconds| *seconds <= LAST_SECOND);
    let seconds = seconds.ok_or_else(refused)?;
    let nanos = u64::try_from(time.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    let millis = nanos.ok_or_else(refused)?.div_ceil(1_000_000);
    let total = seconds
        .checked_mul(1_000)
        .and_then(|all| all.checked_add(millis));
    total.map(Timestamp).ok_or_else(refused)
}

/// A wait of 0 to `max`.
pub(super) fn wait(
    wait: Option<prost_types::Duration>,
    max: Duration,
) -> Result<Duration, Refusal> {
    let wait = Duration::try_from(wait.unwrap_or_default())
        .ok()
        .filter(|wait| *wait <= max);
    wait.ok_or_else(|| {
        let range = format!(
            "is out of range; 0 to {} seconds are accepted",
            max.as_secs()
        );
        Refusal::field("wait", range)
    })
}
