//! The first words of a session, checked.

use std::time::Duration;

use magpie::v1;
use magpie_core::{
    edge::Hello,
    ids::{RoomId, Seq},
    limits::Limits,
    refusal::{Reason, Refusal},
    rows::Marks,
};

use super::{requests, wire};
use crate::limits::{CLIENT_CHARACTERS_MAX, HELLO_ROOMS_MAX};

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
    // Who was in more rooms before the limit was lowered still comes in.
    let rooms_max = limits.account_rooms_max.max(HELLO_ROOMS_MAX);
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
    let cursors = state.cursors.iter().enumerate().map(|(at, held)| {
        cursor(held).map_err(|refusal| refusal.within(&format!("state.cursors[{at}]")))
    });
    let marks = marks.iter().enumerate().map(|(at, held)| {
        room_marks(held).map_err(|refusal| refusal.within(&format!("marks[{at}]")))
    });
    Ok(Hello {
        generation: number("state.generation", state.generation)?,
        revision: number("state.account_revision", state.account_revision)?,
        cursors: cursors.collect::<Result<_, Refusal>>()?,
        marks: marks.collect::<Result<_, Refusal>>()?,
        ..Hello::default()
    })
}

fn cursor(cursor: &v1::RoomCursor) -> Result<(RoomId, Seq, Seq), Refusal> {
    let seq = requests::seq("seq", cursor.seq)?;
    let read = requests::seq("read_seq", cursor.read_seq)?;
    Ok((requests::room(cursor.room_id)?, seq, read))
}

fn room_marks(marks: &v1::RoomMarks) -> Result<(RoomId, Marks), Refusal> {
    let read = requests::seq("read_seq", marks.read_seq)?;
    let delivered = requests::seq("delivered_seq", marks.delivered_seq)?;
    Ok((requests::room(marks.room_id)?, Marks { read, delivered }))
}

/// How long a poller counts after its poll: until it should be back.
pub(super) fn poll_linger(wait: Duration, limits: &Limits) -> u64 {
    let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    wait.saturating_add(limits.session_silence_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lowered_limit_keeps_nobody_out() {
        let limits = Limits {
            account_rooms_max: 3,
            ..Limits::default()
        };
        let named = |rooms| {
            let cursors = (1..=rooms).map(|room_id| v1::RoomCursor {
                room_id,
                ..v1::RoomCursor::default()
            });
            let held = v1::State {
                cursors: cursors.collect(),
                ..v1::State::default()
            };
            state(Some(&held), &[], &limits).map(|hello| hello.cursors.len())
        };
        assert_eq!(named(5_000), Ok(5_000));
        let refusal = named(5_001).expect_err("too many");
        assert_eq!(refusal.violations[0].field, "state.cursors");
    }

    #[test]
    fn a_wrong_element_of_a_list_is_named_by_its_place() {
        let field = |hello: &v1::Hello| {
            let refusal = check(hello, 1, &Limits::default()).expect_err("it is wrong");
            refusal.violations[0].field.to_string()
        };
        let cursor = |room_id, seq| v1::RoomCursor {
            room_id,
            seq,
            ..v1::RoomCursor::default()
        };
        let state = v1::State {
            cursors: vec![cursor(1, 5), cursor(2, -1)],
            ..v1::State::default()
        };
        let hello = v1::Hello {
            state: Some(state),
            ..v1::Hello::default()
        };
        assert_eq!(field(&hello), "state.cursors[1].seq");
        let hello = v1::Hello {
            marks: vec![v1::RoomMarks::default()],
            ..v1::Hello::default()
        };
        assert_eq!(field(&hello), "marks[0].room_id");
        let hello = v1::Hello {
            watch_user_ids: vec![1, 2, 0],
            ..v1::Hello::default()
        };
        assert_eq!(field(&hello), "watch_user_ids[2]");
    }
}
