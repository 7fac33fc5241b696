//! Sessions against a clock of the test's own, where a crowd costs nothing.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use super::*;
use crate::{
    frame::Wire,
    users::{Presence, PresenceState},
};

/// Frames travel as they are.
struct Uncoded;

impl Wire for Uncoded {
    type Encoded = Frame;

    fn encode(&self, _request: u64, frame: &Frame) -> (Frame, usize) {
        (frame.clone(), 1)
    }
}

/// All that a session was told.
#[derive(Clone, Default)]
struct Told(Rc<RefCell<Vec<Frame>>>);

impl Outlet<Frame> for Told {
    fn event(&self, frame: Frame, _bytes: usize) -> bool {
        self.0.borrow_mut().push(frame);
        true
    }

    fn ephemeral(&self, frame: Frame, bytes: usize) {
        self.event(frame, bytes);
    }

    fn control(&self, frame: Frame, bytes: usize, _reply: bool) -> bool {
        self.event(frame, bytes)
    }

    fn replies(&self) -> usize {
        0
    }

    fn has_room(&self) -> bool {
        true
    }

    fn close(&self) {}
}

fn at(millis: u64) -> Now {
    Now {
        instant: Instant(millis),
        wall: Timestamp(millis),
    }
}

#[test]
fn a_crowd_that_comes_within_a_second_makes_one_frame_in_five_seconds() {
    let limits = Limits::default();
    let interval = limits.presence_interval_millis;
    let crowd = limits.session_watch_max;
    let mut edge = Edge::new(EdgeId(0), 1, limits, Uncoded);
    let (session, told) = (SessionId(1), Told::default());
    let caller = Caller {
        user: UserId::new(1_000_000).expect("an id"),
        device: DeviceId::new(1).expect("an id"),
        expires: Timestamp(u64::MAX),
    };
    let open = Input::Open {
        session,
        caller,
        hello: Box::default(),
        outlet: told.clone(),
    };
    edge.handle(open, at(0));
    edge.handle(Input::Account(session, Some(Box::default())), at(0));
    let mut frames = Vec::new();
    let mut seen = BTreeSet::new();
    for millis in 1_000..1_000 + 3 * interval {
        // Everybody comes within one second, in random order as far as the tick is concerned.
        let come = (1..=crowd).filter(|user| 1_000 + user * 1_000 / crowd == millis);
        for user in come {
            let user = UserId::new(user.cast_signed()).expect("an id");
            let presence = Presence {
                user,
                state: PresenceState::Online,
                status_text: String::new(),
                last_seen: None,
            };
            let presences = vec![presence];
            let message = ToEdge::Presence { session, presences };
            edge.handle(Input::Owner(message), at(millis));
        }
        if millis % 250 == 0 {
            edge.handle(Input::Tick, at(millis));
        }
        for frame in told.0.borrow_mut().drain(..) {
            if let Frame::Presence(presences) = frame {
                frames.push(millis);
                seen.extend(presences.into_iter().map(|presence| presence.user));
            }
        }
    }
    assert_eq!(seen.len() as u64, crowd, "everybody is told of");
    assert!(frames.len() <= 2, "frames at {frames:?}");
    let spaced = |pair: &[u64]| pair[1] - pair[0] >= interval;
    assert!(frames.windows(2).all(spaced), "frames at {frames:?}");
}
