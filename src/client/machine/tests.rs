//! The machine against a made-up server: whatever a network does, each entry comes once, in order.

mod delivery;
mod marks;
mod membership;
mod order;
mod timers;

use std::time::{Duration, Instant, SystemTime};

use super::{Machine, Setup};
use crate::{
    client::{
        backoff::Profile,
        event::Event,
        pending::{Draft, PendingSend},
    },
    v1::{self, Entry, ServerFrame, State, Welcome, client_frame, server_frame::Frame},
};

fn machine(now: Instant) -> Machine {
    let setup = Setup {
        state: State::default(),
        watch_user_ids: Vec::new(),
        idle: false,
        client: "test".to_owned(),
        profile: Profile::NORMAL,
        seed: 7,
    };
    Machine::new(setup, now)
}

fn frame(frame: Frame) -> ServerFrame {
    ServerFrame {
        request_id: 0,
        frame: Some(frame),
    }
}

fn welcome() -> ServerFrame {
    frame(Frame::Welcome(Welcome {
        session_id: "s".to_owned(),
        user_id: 1,
        generation: 1,
        ..Welcome::default()
    }))
}

fn caught_up() -> ServerFrame {
    frame(Frame::CaughtUp(v1::CaughtUp {}))
}

fn entry(room_id: i64, seq: i64) -> Entry {
    Entry {
        room_id,
        seq,
        ..Entry::default()
    }
}

fn event(room_id: i64, seq: i64) -> ServerFrame {
    let entry = Some(entry(room_id, seq));
    frame(Frame::Event(v1::Event { entry }))
}

/// Opens the stream that the machine wants; returns its number.
fn open(machine: &mut Machine, now: Instant) -> u64 {
    let dial = machine.poll_dial(now).expect("a wish to dial");
    machine.handle_opened(dial.number, welcome(), now);
    dial.number
}

fn events(machine: &mut Machine, now: Instant) -> Vec<Event> {
    std::iter::from_fn(|| machine.poll_event(now))
        .map(|delivery| delivery.event)
        .collect()
}

fn entries(machine: &mut Machine, now: Instant) -> Vec<i64> {
    let entry = |event| match event {
        Event::Entry(entry) => Some(entry.seq),
        _ => None,
    };
    events(machine, now).into_iter().filter_map(entry).collect()
}

fn frames(machine: &mut Machine, now: Instant) -> Vec<(u64, client_frame::Frame)> {
    std::iter::from_fn(|| machine.poll_frame(now))
        .map(|transmit| {
            let frame = transmit.frame;
            (frame.request_id, frame.frame.expect("a body"))
        })
        .collect()
}

fn post(machine: &mut Machine, room_id: i64, text: &str, now: Instant) {
    let pending = PendingSend {
        draft: Draft::new(room_id, text),
        queue_time: SystemTime::now(),
        transmitted: false,
        after_seq: None,
    };
    machine.check_send(&pending).expect("room");
    machine.handle_send(pending, now, SystemTime::now());
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
