//! The first words of a session, checked.

use std::time::Duration;

use magpie::v1;
use magpie_core::{
    edge::Hello,
    limits::Limits,
    refusal::{Reason, Refusal},
    rows::Marks,
};

use super::{requests, wire};
use crate::limits::CLIENT_CHARACTERS_MAX;

/// The protocol version that this server speaks.
pub(super) const PROTOCOL: u32 = 1;

/// Checks a Hello.
pub(super) fn check(
    hello: &v1::Hello,
    incarnation: u64,
    limits: &Limits,
) -> Result<Hello, Refusal> {
    let lowest = hello.protocol_min.max(1);
    let highest = hello.protocol_max.max(1);
    if !(lowest..=highest).contains(&PROTOCOL) {
        let message = format!(
            "this server speaks protocol version {PROTOCOL}, the client {lowest} to {highest}; \
             update the older of the two"
        );
        return Err(Refusal::new(Reason::UnsupportedProtocol, message));
    }
    if hello.client.chars().count() > CLIENT_CHARACTERS_MAX {
        let range = format!("is too long; at most {CLIENT_CHARACTERS_MAX} characters are accepted");
        return Err(Refusal::field("client", range));
    }
    let heartbeats = hello
        .capabilities
        .contains(&v1::Capability::Heartbeat.into());
    let replaces = Some(hello.replaces_session_id.as_str()).filter(|name| !name.is_empty());
    let watch = &hello.watch_user_ids;
    Ok(Hello {
        watch: requests::watched("watch_user_ids", watch, limits.session_watch_max)?,
        heartbeat: heartbeats.then(|| wire::heartbeat_interval(limits)),
        replaces: replaces.and_then(|name| wire::parse_session_id(incarnation, name)),
        idle: hello.idle,
        ..state(hello.state.as_ref(), &hello.marks, limits)?
    })
}

/// Checks what a client holds.
pub(super) fn state(
    state: Option<&v1::State>,
    marks: &[v1::RoomMarks],
    limits: &Limits,
) -> Result<Hello, Refusal> {
    let default = v1::State::default();
    let state = state.unwrap_or(&default);
    let rooms_max = limits.account_rooms_max;
    for (field, length) in [
        ("state.cursors", state.cursors.len()),
        ("marks", marks.len()),
    ] {
        if length as u64 > rooms_max {
            let range = format!("holds {length} rooms; at most {rooms_max} are accepted");
            return Err(Refusal::field(field, range));
        }
    }
    let number = |field: &'static str, number: i64| {
        u64::try_from(number).map_err(|_| Refusal::field(field, "must not be negative"))
    };
    let cursors = state.cursors.iter().map(|cursor| {
        let seq = requests::seq("state.cursors.seq", cursor.seq)?;
        let read = requests::seq("state.cursors.read_seq", cursor.read_seq)?;
        Ok((requests::room(cursor.room_id)?, seq, read))
    });
    let marks = marks.iter().map(|marks| {
        let read = requests::seq("marks.read_seq", marks.read_seq)?;
        let delivered = requests::seq("marks.delivered_seq", marks.delivered_seq)?;
        Ok((requests::room(marks.room_id)?, Marks { read, delivered }))
    });
    Ok(Hello {
        generation: number("state.generation", state.generation)?,
        revision: number("state.account_revision", state.account_revision)?,
        cursors: cursors.collect::<Result<_, Refusal>>()?,
        marks: marks.collect::<Result<_, Refusal>>()?,
        ..Hello::default()
    })
}

/// How long a poller counts after its poll: until it should be back.
pub(super) fn poll_linger(wait: Duration, limits: &Limits) -> u64 {
    let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    wait.saturating_add(limits.session_silence_millis)
}
