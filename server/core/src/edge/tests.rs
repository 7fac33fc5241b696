//! Sessions against a clock of the test's own, where a crowd costs nothing.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, sync::Arc};

use super::*;
use crate::{
    command::{Append, Command, Held, What},
    entry::{Body, Entry, RoomKind, Shared},
    frame::Wire,
    ids::MessageId,
    link::{AccountRoom, Synced},
    rows::Marks,
    time::Instant,
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

/// The first device of a user.
fn caller(user: i64) -> Caller {
    Caller {
        user: UserId::new(user).expect("an id"),
        device: DeviceId::new(1).expect("an id"),
        expires: Timestamp(u64::MAX),
    }
}

#[test]
fn a_crowd_that_comes_within_a_second_makes_one_frame_in_five_seconds() {
    let limits = Limits::default();
    let interval = limits.presence_interval_millis;
    let crowd = limits.session_watch_max;
    let mut edge = Edge::new(EdgeId(0), 1, limits, Uncoded);
    let (session, told) = (SessionId(1), Told::default());
    let caller = caller(1_000_000);
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

/// A session of a user who has the first room, and names a second one that is not, or no more, among
/// the account's. Both are asked for, in this order; no owner has answered.
fn opened_with_a_strange_room(rooms: [RoomId; 2]) -> (Edge<Uncoded, Told>, UserId, Told) {
    let mut edge = Edge::new(EdgeId(0), 1, Limits::default(), Uncoded);
    let (caller, told) = (caller(7), Told::default());
    let seq = Seq::ZERO.next();
    let hello = Hello {
        generation: 1,
        cursors: rooms.map(|room| (room, seq, seq)).to_vec(),
        ..Hello::default()
    };
    let open = Input::Open {
        session: SESSION,
        caller,
        hello: Box::new(hello),
        outlet: told.clone(),
    };
    edge.handle(open, at(0));
    let account = Account {
        rooms: vec![(rooms[0], None)],
        ..Account::default()
    };
    edge.handle(Input::Account(SESSION, Some(Box::new(account))), at(0));
    let outputs = std::iter::from_fn(|| edge.poll());
    let asked: Vec<_> = outputs
        .filter_map(|output| match output {
            Output::Attach(attach) => Some(attach.room),
            _ => None,
        })
        .collect();
    assert_eq!(asked, rooms);
    (edge, caller.user, told)
}

const SESSION: SessionId = SessionId(1);

fn synced(room: RoomId, outcome: Synced) -> Input<Told> {
    Input::Owner(ToEdge::Synced {
        session: SESSION,
        room,
        outcome,
    })
}

#[test]
fn a_stranger_whose_answer_waits_for_its_turn_is_told_nothing() {
    let rooms = [1, 2].map(|id| RoomId::new(id).expect("an id"));
    let (mut edge, user, told) = opened_with_a_strange_room(rooms);
    // Taken on trust, since the room is not in memory; then it is, and the user is no member.
    edge.handle(synced(rooms[1], Synced::Live), at(1));
    let room = rooms[1];
    edge.handle(Input::Owner(ToEdge::Dropped { room, user }), at(2));
    edge.handle(synced(rooms[0], Synced::Live), at(3));
    let entry = Entry {
        seq: Seq::ZERO.next().next(),
        time: Timestamp(4),
        actor: UserId::new(8).expect("an id"),
        device: None,
        id: MessageId([1; 16]),
        body: Body::Updated { title: None },
    };
    let entry = ToEdge::Entry {
        room,
        entry: Arc::new(entry),
        shared: Shared::default(),
    };
    edge.handle(Input::Owner(entry), at(4));
    let events = told.0.borrow();
    let of_the_room = |frame: &&Frame| matches!(frame, Frame::Event { .. });
    assert_eq!(events.iter().filter(of_the_room).count(), 0, "{events:?}");
    drop(events);
    assert!(asks_for(&mut edge, room), "the owner is asked once more");
}

/// Whether the owner of a room is asked to bring a session up to date.
fn asks_for(edge: &mut Edge<Uncoded, Told>, room: RoomId) -> bool {
    std::iter::from_fn(|| edge.poll())
        .any(|output| matches!(output, Output::Attach(attach) if attach.room == room))
}

#[test]
fn who_joins_again_while_an_answer_waits_for_its_turn_is_brought_up_to_date() {
    let rooms = [1, 2].map(|id| RoomId::new(id).expect("an id"));
    for outcome in [Synced::NoMember, Synced::UpToDate] {
        let (mut edge, user, _told) = opened_with_a_strange_room(rooms);
        edge.handle(synced(rooms[1], outcome), at(1));
        let joined = AccountRoom {
            room: rooms[1],
            kind: RoomKind::Group,
            joined: Seq::ZERO.next().next(),
            left: None,
        };
        let joined = ToEdge::Account {
            user,
            revision: 1,
            rows: vec![joined],
        };
        edge.handle(Input::Owner(joined), at(2));
        assert!(!asks_for(&mut edge, rooms[1]), "its answer is there");
        edge.handle(synced(rooms[0], Synced::Live), at(3));
        assert!(asks_for(&mut edge, rooms[1]), "it may be out of date");
    }
}

#[test]
fn marks_are_said_again_a_few_at_a_time_and_for_the_accounts_rooms_only() {
    let limits = Limits::default();
    let at_once = limits.session_attaching_max as usize;
    let mut edge = Edge::new(EdgeId(0), 1, limits, Uncoded);
    let told = Told::default();
    let room = |number: usize| RoomId::new(number as i64).expect("an id");
    let marks = |number| (room(number), Marks::default());
    let hello = Hello {
        generation: 1,
        marks: (1..=100).map(marks).collect(),
        ..Hello::default()
    };
    let open = Input::Open {
        session: SESSION,
        caller: caller(7),
        hello: Box::new(hello),
        outlet: told.clone(),
    };
    edge.handle(open, at(0));
    let account = Account {
        rooms: (1..=60).map(|number| (room(number), None)).collect(),
        ..Account::default()
    };
    edge.handle(Input::Account(SESSION, Some(Box::new(account))), at(0));
    let (mut waiting, mut said) = (VecDeque::new(), Vec::new());
    loop {
        while let Some(output) = edge.poll() {
            match output {
                Output::Submit(call, submit) => {
                    said.push(submit.room);
                    waiting.push_back(call);
                }
                Output::Attach(attach) => {
                    edge.handle(synced(attach.room, Synced::Live), at(1));
                }
                _ => {}
            }
        }
        assert!(waiting.len() <= at_once, "{} at once", waiting.len());
        let caught_up = told.0.borrow().contains(&Frame::CaughtUp);
        assert_eq!(caught_up, waiting.is_empty(), "after all marks");
        let Some(call) = waiting.pop_front() else {
            break;
        };
        let marks = Answer::Marks(Marks::default());
        edge.handle(Input::Answered(call, Ok(marks)), at(2));
    }
    assert_eq!(said, (1..=60).map(room).collect::<Vec<_>>());
}

#[test]
fn bye_ends_a_session_once_what_was_asked_before_is_answered() {
    let rooms = [1, 2].map(|id| RoomId::new(id).expect("an id"));
    let (mut edge, user, told) = opened_with_a_strange_room(rooms);
    let send = |id| {
        let submit = Submit {
            room: rooms[0],
            actor: user,
            device: None,
            command: Command::Append(Append {
                id: MessageId([id; 16]),
                after: None,
                what: What::Message {
                    wire: Default::default(),
                    whole: None,
                    reply_to: None,
                },
            }),
            unless_retry: None,
            held: Held::default(),
        };
        let (request, said) = (u64::from(id), Ok(Said::Submit(submit)));
        Input::Frame(SESSION, FrameIn { request, said })
    };
    let bye = FrameIn {
        request: 0,
        said: Ok(Said::Bye),
    };
    edge.handle(send(1), at(1));
    edge.handle(send(2), at(1));
    edge.handle(Input::Frame(SESSION, bye), at(1));
    edge.handle(send(3), at(1));
    let mut answered = Vec::new();
    while let Some(output) = edge.poll() {
        match output {
            Output::Submit(call, submit) => {
                assert_eq!(edge.sessions(), 1, "it is still to be answered");
                answered.push(submit);
                let answer = Answer::Appended {
                    seq: Seq::ZERO.next(),
                    time: Timestamp(2),
                    joined: Vec::new(),
                };
                edge.handle(Input::Answered(call, Ok(answer)), at(2));
            }
            Output::Down(_, _, linger) => assert_eq!(linger, 0, "it went in order"),
            _ => {}
        }
    }
    assert_eq!(answered.len(), 2, "what came after Bye is not looked at");
    let is_answer = |frame: &&Frame| matches!(frame, Frame::Sent { .. });
    assert_eq!(told.0.borrow().iter().filter(is_answer).count(), 2);
    assert_eq!(edge.sessions(), 0);
}

#[test]
fn sends_behind_a_refused_one_are_no_further_faults() {
    let rooms = [1, 2].map(|id| RoomId::new(id).expect("an id"));
    let (mut edge, user, told) = opened_with_a_strange_room(rooms);
    let send = |edge: &mut Edge<Uncoded, Told>, no: u16| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&no.to_be_bytes());
        let what = What::Message {
            wire: Default::default(),
            whole: None,
            reply_to: None,
        };
        let submit = Submit {
            room: rooms[0],
            actor: user,
            device: None,
            command: Command::Append(Append {
                id: MessageId(id),
                after: None,
                what,
            }),
            unless_retry: None,
            held: Held::default(),
        };
        let (request, said) = (u64::from(no), Ok(Said::Submit(submit)));
        edge.handle(Input::Frame(SESSION, FrameIn { request, said }), at(1));
    };
    send(&mut edge, 1);
    let mut outputs = std::iter::from_fn(|| edge.poll());
    let call = outputs.find_map(|output| match output {
        Output::Submit(call, _) => Some(call),
        _ => None,
    });
    let slow = Refusal::new(Reason::RateLimited, "slow down");
    let slow = slow.with_retry_after(Duration::from_secs(1));
    edge.handle(Input::Answered(call.expect("a send"), Err(slow)), at(1));
    let more = u16::try_from(Limits::default().session_refusals_max).expect("small") * 2;
    (2..more).for_each(|no| send(&mut edge, no));
    let last = told.0.borrow().last().cloned();
    let Some(Frame::Error(refusal)) = last else {
        panic!("{last:?}");
    };
    assert_eq!(refusal.reason, Reason::EarlierSendRefused);
    assert_eq!(edge.sessions(), 1);
}

#[test]
fn bye_before_welcome_is_a_clean_end_too() {
    let mut edge = Edge::new(EdgeId(0), 1, Limits::default(), Uncoded);
    let open = Input::Open {
        session: SESSION,
        caller: caller(7),
        hello: Box::default(),
        outlet: Told::default(),
    };
    edge.handle(open, at(0));
    let bye = FrameIn {
        request: 0,
        said: Ok(Said::Bye),
    };
    edge.handle(Input::Frame(SESSION, bye), at(1));
    edge.handle(Input::Gone(SESSION), at(2));
    assert_eq!(lingers(&mut edge), Some(0));
}

#[test]
fn session_that_is_cut_learns_why_and_may_come_back() {
    let rooms = [1, 2].map(|id| RoomId::new(id).expect("an id"));
    let (mut edge, _, told) = opened_with_a_strange_room(rooms);
    edge.handle(Input::Cut(SESSION), at(1));
    let last = told.0.borrow().last().cloned();
    let Some(Frame::Closing { refusal, reconnect }) = last else {
        panic!("{last:?}");
    };
    assert_eq!((refusal.reason, reconnect), (Reason::SlowReader, true));
    assert!(refusal.retry_after.is_some());
    let grace = Limits::default().presence_grace_millis;
    assert_eq!(lingers(&mut edge), Some(grace));
    // It may have ended by itself meanwhile.
    edge.handle(Input::Cut(SESSION), at(2));
    assert!(edge.poll().is_none());
}

/// For how long the session that has ended counts on.
fn lingers(edge: &mut Edge<Uncoded, Told>) -> Option<u64> {
    let mut outputs = std::iter::from_fn(|| edge.poll());
    let linger = outputs.find_map(|output| match output {
        Output::Down(_, _, linger) => Some(linger),
        _ => None,
    });
    outputs.for_each(drop);
    linger
}

#[test]
fn nothing_else_is_told_before_all_rows_of_the_account_are() {
    let (mut edge, told) = (
        Edge::new(EdgeId(0), 1, Limits::default(), Uncoded),
        Told::default(),
    );
    let open = Input::Open {
        session: SESSION,
        caller: caller(7),
        hello: Box::default(),
        outlet: told.clone(),
    };
    edge.handle(open, at(0));
    // Rooms that were left long ago: there is nothing to bring up to date.
    let left = |number: u64| AccountRoom {
        room: RoomId::new(number.cast_signed()).expect("an id"),
        kind: RoomKind::Group,
        joined: Seq::ZERO.next(),
        left: Some(Seq::ZERO.next()),
    };
    for page in 1..=3 {
        let asked = std::iter::from_fn(|| edge.poll())
            .any(|output| matches!(output, Output::ReadAccount { since, .. } if since == page - 1));
        assert!(asked, "page {page} is asked for");
        let account = Account {
            revision: page,
            rows: vec![left(page)],
            more: page < 3,
            rooms: Vec::new(),
        };
        edge.handle(Input::Account(SESSION, Some(Box::new(account))), at(page));
        let caught_up = told.0.borrow().contains(&Frame::CaughtUp);
        assert_eq!(caught_up, page == 3, "after page {page}");
    }
}

/// Two renewals that cross: the one that came last may be of the older token.
#[test]
fn an_older_token_takes_nothing_from_a_session() {
    let mut edge = Edge::new(EdgeId(0), 1, Limits::default(), Uncoded);
    let (session, told) = (SessionId(1), Told::default());
    let open = Input::Open {
        session,
        caller: Caller {
            expires: Timestamp(5_000),
            ..caller(1)
        },
        hello: Box::default(),
        outlet: told.clone(),
    };
    edge.handle(open, at(0));
    edge.handle(Input::Account(session, Some(Box::default())), at(0));
    for expires in [9_000, 5_000] {
        let said = Ok(Said::Renewed(Timestamp(expires)));
        let frame = FrameIn { request: 1, said };
        edge.handle(Input::Frame(session, frame), at(100));
    }
    let closed = |told: &Told| {
        let told = told.0.borrow();
        told.iter()
            .any(|frame| matches!(frame, Frame::Closing { .. }))
    };
    edge.handle(Input::Tick, at(8_999));
    assert!(!closed(&told), "{:?}", told.0.borrow());
    edge.handle(Input::Tick, at(9_000));
    assert!(closed(&told));
    // Of what the session leaves unanswered nobody knows yet whether it is written.
    let told = told.0.borrow();
    let effect = told.iter().find_map(|frame| match frame {
        Frame::Closing { refusal, .. } => Some(refusal.effect),
        _ => None,
    });
    assert_eq!(effect, Some(Effect::Unknown));
}
