//! Silence, heartbeats, moving, sends and their retries, in made-up time.

use super::*;
use crate::{
    client::{
        error::Error,
        event::SendError,
        limits::{
            HEARTBEAT_INTERVAL_DEFAULT, SEND_RETRY_MAX, SENDS_IN_FLIGHT_PER_ROOM_MAX,
            SENDS_QUEUED_PER_ROOM_MAX, SILENCE_MAX, UNANSWERED_MAX,
        },
    },
    v1::{Draining, Reason, SendMessageResponse},
};

fn lost() -> Error {
    Error::Transport("cut".to_owned())
}

fn refusal(request_id: u64, reason: Reason, effect: v1::Effect) -> ServerFrame {
    ServerFrame {
        request_id,
        frame: Some(Frame::Error(v1::Error {
            reason: reason.into(),
            effect: effect.into(),
            ..v1::Error::default()
        })),
    }
}

fn answer(request_id: u64, seq: i64) -> ServerFrame {
    ServerFrame {
        request_id,
        frame: Some(Frame::SendMessage(SendMessageResponse {
            seq,
            ..SendMessageResponse::default()
        })),
    }
}

#[test]
fn silent_server_is_given_up_after_the_longest_silence() {
    let now = Instant::now();
    let mut machine = machine(now);
    let number = open(&mut machine, now);
    events(&mut machine, now);
    machine.handle_timeout(now + SILENCE_MAX - ms(1));
    assert_eq!(machine.current(), Some(number));
    machine.handle_timeout(now + SILENCE_MAX);
    assert_eq!(machine.current(), None);
}

#[test]
fn silence_is_not_held_against_a_server_that_nobody_reads() {
    let now = Instant::now();
    let mut machine = machine(now);
    open(&mut machine, now);
    let later = now + SILENCE_MAX * 2;
    machine.handle_timeout(later);
    assert!(machine.current().is_some());
    events(&mut machine, later);
    machine.handle_timeout(later + ms(1));
    assert!(machine.current().is_some());
}

#[test]
fn heartbeat_is_said_within_the_interval_and_only_into_silence() {
    let now = Instant::now();
    let mut machine = machine(now);
    open(&mut machine, now);
    assert!(frames(&mut machine, now).is_empty());
    let later = now + HEARTBEAT_INTERVAL_DEFAULT - ms(1);
    let said = frames(&mut machine, later);
    assert!(matches!(said[..], [(0, client_frame::Frame::Heartbeat(_))]));
    assert!(frames(&mut machine, later + ms(2)).is_empty());
}

#[test]
fn old_stream_is_read_until_its_successor_is_open() {
    let now = Instant::now();
    let mut machine = machine(now);
    let old = open(&mut machine, now);
    machine.handle_frame(old, caught_up(), now);
    let window = Some(prost_types::Duration {
        seconds: 10,
        nanos: 0,
    });
    let draining = Draining {
        reconnect_window: window,
        ..Draining::default()
    };
    machine.handle_frame(old, frame(Frame::Draining(draining)), now);
    events(&mut machine, now);
    let end = now + Duration::from_secs(10);
    let dial = machine.poll_dial(end).expect("a wish to move");
    assert_eq!(dial.hello.replaces_session_id, "s");
    machine.handle_frame(old, event(5, 1), end);
    assert_eq!(entries(&mut machine, end), [1]);
    machine.handle_opened(dial.number, welcome(), end);
    machine.handle_frame(old, event(5, 2), end);
    assert!(entries(&mut machine, end).is_empty());
    machine.handle_frame(dial.number, event(5, 1), end);
    machine.handle_frame(dial.number, event(5, 2), end);
    assert_eq!(entries(&mut machine, end), [2]);
}

#[test]
fn successor_that_ends_the_old_stream_is_waited_for() {
    let now = Instant::now();
    let mut machine = machine(now);
    let old = open(&mut machine, now);
    machine.handle_frame(old, frame(Frame::Draining(Draining::default())), now);
    let dial = machine.poll_dial(now).expect("a wish to move");
    let closing = v1::Closing {
        error: Some(v1::Error {
            reason: Reason::SessionReplaced.into(),
            ..v1::Error::default()
        }),
        reconnect: v1::ReconnectAdvice::No.into(),
    };
    machine.handle_frame(old, frame(Frame::Closing(closing)), now);
    machine.handle_opened(dial.number, welcome(), now);
    assert_eq!(machine.current(), Some(dial.number));
    let moved = events(&mut machine, now)
        .into_iter()
        .any(|event| matches!(event, Event::Connected(connected) if connected.moved));
    assert!(moved);
}

#[test]
fn lost_sends_go_out_again_oldest_first_with_the_same_content() {
    let now = Instant::now();
    let mut machine = machine(now);
    let first = open(&mut machine, now);
    machine.handle_frame(first, event(5, 1), now);
    for text in ["a", "b", "c"] {
        post(&mut machine, 5, text, now);
    }
    let before = frames(&mut machine, now);
    machine.handle_frame(first, event(5, 2), now);
    machine.handle_lost(first, lost(), now);
    let later = now + Duration::from_secs(2);
    open(&mut machine, later);
    let after = frames(&mut machine, later);
    let bodies = |frames: Vec<(u64, client_frame::Frame)>| -> Vec<_> {
        frames.into_iter().map(|(_, frame)| frame).collect()
    };
    let before = bodies(before);
    assert_eq!(before.len(), 3);
    assert_eq!(before, bodies(after));
    // The head that was known at the first transmission, not at the retry.
    let client_frame::Frame::SendMessage(request) = &before[0] else {
        panic!("another frame");
    };
    assert_eq!(request.after_seq, Some(1));
}

#[test]
fn refusal_settles_only_what_no_unanswered_attempt_may_have_done() {
    for (effect, known) in [(v1::Effect::AttemptNone, false), (v1::Effect::None, true)] {
        let now = Instant::now();
        let mut machine = machine(now);
        let first = open(&mut machine, now);
        post(&mut machine, 5, "a", now);
        frames(&mut machine, now);
        machine.handle_lost(first, lost(), now);
        let later = now + Duration::from_secs(2);
        let second = open(&mut machine, later);
        let id = frames(&mut machine, later)[0].0;
        machine.handle_frame(second, refusal(id, Reason::NotAMember, effect), later);
        let outcome = machine.poll_outcome().expect("an outcome").result;
        assert_eq!(matches!(outcome, Err(SendError::Refused(_))), known);
        assert_eq!(matches!(outcome, Err(SendError::Unknown(Some(_)))), !known);
    }
}

#[test]
fn retriable_refusal_holds_the_room_until_all_is_answered_then_begins_at_the_oldest() {
    let now = Instant::now();
    let mut machine = machine(now);
    let number = open(&mut machine, now);
    post(&mut machine, 5, "a", now);
    post(&mut machine, 5, "b", now);
    let sent = frames(&mut machine, now);
    let none = v1::Effect::AttemptNone;
    machine.handle_frame(number, refusal(sent[0].0, Reason::Overloaded, none), now);
    post(&mut machine, 6, "elsewhere", now);
    let later = now + Duration::from_secs(5);
    assert_eq!(frames(&mut machine, later).len(), 1);
    machine.handle_frame(
        number,
        refusal(sent[1].0, Reason::EarlierSendRefused, none),
        later,
    );
    // It goes alone, since what comes behind a refused one is sent in vain.
    let oldest: Vec<_> = frames(&mut machine, later);
    assert_eq!(oldest.len(), 1);
    assert_eq!(oldest[0].1, sent[0].1);
    machine.handle_frame(number, answer(oldest[0].0, 1), later);
    assert_eq!(frames(&mut machine, later)[0].1, sent[1].1);
}

#[test]
fn messages_behind_a_refused_one_go_out_more_and_more_at_once_again() {
    let now = Instant::now();
    let mut machine = machine(now);
    let number = open(&mut machine, now);
    for _ in 0..30 {
        post(&mut machine, 5, "x", now);
    }
    let sent = frames(&mut machine, now);
    assert_eq!(sent.len(), SENDS_IN_FLIGHT_PER_ROOM_MAX);
    for (at, (id, _)) in sent.iter().enumerate() {
        let reason = match at {
            0 => Reason::RateLimited,
            _ => Reason::EarlierSendRefused,
        };
        machine.handle_frame(number, refusal(*id, reason, v1::Effect::AttemptNone), now);
    }
    let later = now + Duration::from_secs(1);
    let mut seq = 0;
    for at_once in [1, 2, 4, SENDS_IN_FLIGHT_PER_ROOM_MAX] {
        let out = frames(&mut machine, later);
        assert_eq!(out.len(), at_once);
        for (id, _) in out {
            seq += 1;
            machine.handle_frame(number, answer(id, seq), later);
        }
    }
}

#[test]
fn unanswered_commands_and_queues_are_bounded() {
    let now = Instant::now();
    let mut machine = machine(now);
    open(&mut machine, now);
    for room_id in 1..=20 {
        for _ in 0..20 {
            post(&mut machine, room_id, "x", now);
        }
    }
    let sent = frames(&mut machine, now).len();
    assert!((SENDS_IN_FLIGHT_PER_ROOM_MAX..=UNANSWERED_MAX).contains(&sent));
    for _ in 20..SENDS_QUEUED_PER_ROOM_MAX {
        post(&mut machine, 1, "x", now);
    }
    let pending = PendingSend {
        draft: Draft::new(1, "one too many"),
        queue_time: SystemTime::now(),
        transmitted: false,
        after_seq: None,
    };
    let full = machine.check_send(&pending);
    assert!(matches!(full, Err(SendError::QueueFull)));
}

#[test]
fn retry_ends_as_unknown_after_its_longest_time() {
    let now = Instant::now();
    let mut machine = machine(now);
    let number = open(&mut machine, now);
    post(&mut machine, 5, "old", now);
    frames(&mut machine, now);
    machine.handle_lost(number, lost(), now);
    machine.handle_timeout(now + SEND_RETRY_MAX);
    let outcome = machine.poll_outcome().expect("an outcome").result;
    assert!(matches!(outcome, Err(SendError::Unknown(None))));
}

#[test]
fn frame_that_no_server_would_take_is_refused_here() {
    let now = Instant::now();
    let mut machine = machine(now);
    open(&mut machine, now);
    post(&mut machine, 5, &"x".repeat(600 * 1024), now);
    post(&mut machine, 5, "short", now);
    assert_eq!(frames(&mut machine, now).len(), 1);
    let outcome = machine.poll_outcome().expect("an outcome").result;
    let Err(SendError::Refused(refusal)) = outcome else {
        panic!("another outcome");
    };
    assert_eq!(refusal.reason, Reason::TooLarge);
}

#[test]
fn failed_attempts_that_nobody_hears_of_are_one_event() {
    let mut now = Instant::now();
    let mut machine = machine(now);
    for _ in 0..100 {
        let dial = machine.poll_dial(now).expect("a wish to dial");
        machine.handle_lost(dial.number, lost(), now);
        now += Duration::from_secs(61);
    }
    assert_eq!(events(&mut machine, now).len(), 1);
}

#[test]
fn answers_are_taken_while_frames_are_skipped_and_another_stream_brings_the_rest() {
    let now = Instant::now();
    let mut machine = machine(now);
    let number = open(&mut machine, now);
    post(&mut machine, 5, "a", now);
    let id = frames(&mut machine, now)[0].0;
    machine.handle_stuck();
    machine.handle_frame(number, event(5, 1), now);
    machine.handle_frame(number, answer(id, 2), now);
    let outcome = machine.poll_outcome().expect("an outcome");
    assert_eq!(outcome.result.expect("sent").seq, 2);
    assert!(machine.poll_dial(now).is_none());
    assert!(entries(&mut machine, now).is_empty());
    let dial = machine.poll_dial(now).expect("a wish to move");
    assert!(dial.hello.state.expect("a state").cursors.is_empty());
}

/// How long the machine says that it waits after the loss of its stream.
fn wait_after(machine: &mut Machine, cause: Error, now: Instant) -> Duration {
    let number = match machine.poll_dial(now) {
        Some(dial) => dial.number,
        None => machine.current().expect("a stream"),
    };
    machine.handle_lost(number, cause, now);
    let waits = events(machine, now).into_iter().filter_map(|event| {
        let Event::Disconnected { retry_in, .. } = event else {
            return None;
        };
        Some(retry_in)
    });
    waits.last().expect("a wait")
}

fn drained() -> Error {
    Error::from(v1::Error {
        reason: Reason::Draining.into(),
        retry_after: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..v1::Error::default()
    })
}

#[test]
fn drains_and_good_streams_keep_the_next_wait_short() {
    let mut now = Instant::now();
    let mut machine = machine(now);
    for _ in 0..8 {
        now += wait_after(&mut machine, lost(), now);
    }
    for _ in 0..50 {
        // Whoever waits long already does not wait longer for a node that comes back.
        let wait = wait_after(&mut machine, drained(), now);
        assert!(wait <= ms(2_000), "{wait:?}");
        now += wait;
    }
    let number = open(&mut machine, now);
    machine.handle_frame(number, caught_up(), now);
    now += Duration::from_secs(10);
    let wait = wait_after(&mut machine, lost(), now);
    assert!(wait <= ms(1_000), "{wait:?}");
}

#[test]
fn stream_that_was_never_caught_up_is_no_good_one() {
    let mut now = Instant::now();
    let mut machine = machine(now);
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        open(&mut machine, now);
        now += Duration::from_secs(30);
        let wait = wait_after(&mut machine, lost(), now);
        longest = longest.max(wait);
        now += wait;
    }
    assert!(longest > ms(20_000), "{longest:?}");
}
