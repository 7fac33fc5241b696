//! The order of messages: a room's messages are pipelined, refused, answered in any order and cut
//! off, and a model server that holds to the contract appends them in the order they were posted.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::{
    client::{Error, event::MessageId},
    v1::{Effect, Reason, SendMessageResponse},
};

const ROOMS: i64 = 2;
/// How long the server refuses later messages for an earlier one.
const GUARD: Duration = Duration::from_secs(10);

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// The program posts messages.
    Post { room: i64, count: usize },
    /// The server takes the next frames.
    Serve { frames: usize, verdict: Verdict },
    /// One of the answers arrives.
    Answer { at: usize },
    /// Time goes by.
    Wait { ms: u64 },
    /// The stream breaks; of the frames on the way the server still gets some.
    Cut { served: usize },
}

/// What the server makes of a message that no earlier one holds up.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    Append,
    Refuse {
        reason: Reason,
        retry_after_ms: u64,
    },
    /// The store does not say whether it is there; it is, or not.
    Unsure {
        appended: bool,
    },
    Never,
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let reason = prop_oneof![
        Just(Reason::RateLimited),
        Just(Reason::TooManyUnanswered),
        Just(Reason::Overloaded),
    ];
    prop_oneof![
        6 => Just(Verdict::Append),
        3 => (reason, 0..20_000u64)
            .prop_map(|(reason, retry_after_ms)| Verdict::Refuse { reason, retry_after_ms }),
        1 => prop::bool::ANY.prop_map(|appended| Verdict::Unsure { appended }),
        1 => Just(Verdict::Never),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..=ROOMS, 1..=12usize).prop_map(|(room, count)| Step::Post { room, count }),
        6 => (1..=4usize, verdict()).prop_map(|(frames, verdict)| Step::Serve { frames, verdict }),
        8 => (0..16usize).prop_map(|at| Step::Answer { at }),
        3 => (0..3_000u64).prop_map(|ms| Step::Wait { ms }),
        1 => (0..=16usize).prop_map(|served| Step::Cut { served }),
    ]
}

/// A message as the server has it on its way.
#[derive(Debug, Clone)]
struct Sent {
    request_id: u64,
    room: i64,
    id: MessageId,
}

/// What is known about a message at the client's end of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unsaid,
    /// Said on this stream, and not answered.
    Said,
    /// Refused, or cut off: to be said again.
    Again,
    Settled,
}

/// The client, the way between, and a server.
struct World {
    machine: Machine,
    now: Instant,
    stream: u64,
    /// What was posted, in order, with what became of it.
    posted: BTreeMap<i64, Vec<(MessageId, Fate)>>,
    /// Rooms in which something was refused while other messages are unanswered.
    silent: BTreeMap<i64, bool>,
    /// Before when a room is to be left alone.
    not_before: BTreeMap<i64, Instant>,
    frames: VecDeque<Sent>,
    answers: Vec<(Sent, Frame)>,
    /// The refused message that has to come first, by room, and since when.
    guards: BTreeMap<i64, (MessageId, Instant)>,
    logs: BTreeMap<i64, Vec<MessageId>>,
    /// Messages with a fault of their own: they are refused whenever they come.
    never: Vec<MessageId>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut machine = machine(now);
        let stream = open(&mut machine, now);
        Self {
            machine,
            now,
            stream,
            posted: BTreeMap::new(),
            silent: BTreeMap::new(),
            not_before: BTreeMap::new(),
            frames: VecDeque::new(),
            answers: Vec::new(),
            guards: BTreeMap::new(),
            logs: BTreeMap::new(),
            never: Vec::new(),
        }
    }

    fn fate(&mut self, room: i64, id: MessageId) -> &mut Fate {
        let posted = self.posted.get_mut(&room).expect("a room");
        let found = posted.iter_mut().find(|(posted, _)| *posted == id);
        &mut found.expect("a message").1
    }

    fn post(&mut self, room: i64, count: usize) {
        for _ in 0..count {
            let pending = PendingSend {
                draft: Draft::new(room, "x"),
                queue_time: SystemTime::now(),
                transmitted: false,
                after_seq: None,
            };
            if self.machine.check_send(&pending).is_ok() {
                let id = pending.draft.client_message_id;
                self.machine
                    .handle_send(pending, self.now, SystemTime::now());
                self.posted
                    .entry(room)
                    .or_default()
                    .push((id, Fate::Unsaid));
            }
        }
    }

    /// Takes what the client says, and holds it against the rule.
    fn hear(&mut self) {
        while let Some(transmit) = self.machine.poll_frame(self.now) {
            let Some(client_frame::Frame::SendMessage(request)) = transmit.frame.frame else {
                continue;
            };
            let room = request.room_id;
            let id = MessageId::from_slice(&request.client_message_id).expect("16 bytes");
            assert_ne!(
                self.silent.get(&room),
                Some(&true),
                "not all said is answered"
            );
            assert!(self.not_before.get(&room).is_none_or(|at| *at <= self.now));
            let posted = &self.posted[&room];
            let earlier = posted.iter().take_while(|(posted, _)| *posted != id);
            for (_, fate) in earlier {
                assert!(
                    matches!(fate, Fate::Said | Fate::Settled),
                    "said before an earlier one that is {fate:?}"
                );
            }
            *self.fate(room, id) = Fate::Said;
            let request_id = transmit.frame.request_id;
            self.frames.push_back(Sent {
                request_id,
                room,
                id,
            });
        }
    }

    fn serve(&mut self, frames: usize, verdict: Verdict) {
        for _ in 0..frames {
            let Some(sent) = self.frames.pop_front() else {
                return;
            };
            let answer = self.answer(&sent, verdict);
            self.answers.push((sent, answer));
        }
    }

    fn answer(&mut self, sent: &Sent, verdict: Verdict) -> Frame {
        let log = self.logs.entry(sent.room).or_default();
        let known = log.iter().position(|id| *id == sent.id);
        let guard = self.guards.get(&sent.room);
        let guarded = guard.is_some_and(|(id, since)| *id != sent.id && self.now < *since + GUARD);
        if guarded {
            return refusal(Reason::EarlierSendRefused, Effect::AttemptNone, None);
        }
        self.guards.remove(&sent.room);
        if self.never.contains(&sent.id) {
            return refusal(Reason::InvalidField, Effect::None, None);
        }
        let appended = |log: &mut Vec<MessageId>| {
            let at = known.unwrap_or_else(|| {
                log.push(sent.id);
                log.len() - 1
            });
            i64::try_from(at).expect("a short log") + 1
        };
        match verdict {
            Verdict::Never if known.is_none() => {
                self.never.push(sent.id);
                return refusal(Reason::InvalidField, Effect::None, None);
            }
            Verdict::Append | Verdict::Never => {
                let seq = appended(log);
                let create_time = None;
                return Frame::SendMessage(SendMessageResponse { seq, create_time });
            }
            Verdict::Refuse { .. } => {}
            Verdict::Unsure { appended: there } => {
                if there {
                    appended(log);
                }
            }
        }
        self.guards.insert(sent.room, (sent.id, self.now));
        match verdict {
            Verdict::Refuse {
                reason,
                retry_after_ms,
            } => refusal(reason, Effect::AttemptNone, Some(ms(retry_after_ms))),
            Verdict::Unsure { .. } | Verdict::Append | Verdict::Never => {
                refusal(Reason::Internal, Effect::Unknown, Some(ms(100)))
            }
        }
    }

    fn deliver(&mut self, at: usize) {
        if self.answers.is_empty() {
            return;
        }
        let (sent, answer) = self.answers.remove(at % self.answers.len());
        let again =
            matches!(&answer, Frame::Error(error) if error.reason() != Reason::InvalidField);
        if let Frame::Error(error) = &answer
            && let Some(wait) = error.retry_after
        {
            let wait = Duration::try_from(wait).expect("a short time");
            let not_before = self.not_before.entry(sent.room).or_insert(self.now);
            *not_before = (*not_before).max(self.now + wait);
        }
        *self.fate(sent.room, sent.id) = if again { Fate::Again } else { Fate::Settled };
        let silent = self.silent.entry(sent.room).or_default();
        *silent |= again;
        let said = |(_, fate): &(MessageId, Fate)| *fate == Fate::Said;
        *silent &= self.posted[&sent.room].iter().any(said);
        let frame = ServerFrame {
            request_id: sent.request_id,
            frame: Some(answer),
        };
        self.machine.handle_frame(self.stream, frame, self.now);
        self.settle_outcomes();
    }

    fn deliver_all(&mut self) {
        while !self.answers.is_empty() {
            self.deliver(0);
        }
    }

    fn settle_outcomes(&mut self) {
        while let Some(outcome) = self.machine.poll_outcome() {
            let fate = *self.fate(outcome.room_id, outcome.client_message_id);
            assert_eq!(fate, Fate::Settled, "{outcome:?}");
        }
        events(&mut self.machine, self.now);
    }

    fn wait(&mut self, time: Duration) {
        // Frames and answers are quicker than the server's hold.
        self.serve(usize::MAX, Verdict::Append);
        let lapses = |(_, since): &(MessageId, Instant)| *since + GUARD <= self.now + time;
        if self.guards.values().any(lapses) {
            self.deliver_all();
        }
        self.now += time;
        self.machine.handle_timeout(self.now);
    }

    fn cut(&mut self, served: usize) {
        self.serve(served, Verdict::Append);
        self.frames.clear();
        self.answers.clear();
        self.guards.clear();
        self.silent.clear();
        for (_, fate) in self.posted.values_mut().flatten() {
            if *fate == Fate::Said {
                *fate = Fate::Again;
            }
        }
        let lost = Error::Transport("cut".to_owned());
        self.machine.handle_lost(self.stream, lost, self.now);
        self.now += Duration::from_secs(61);
        self.stream = open(&mut self.machine, self.now);
        self.settle_outcomes();
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Post { room, count } => self.post(room, count),
            Step::Serve { frames, verdict } => self.serve(frames, verdict),
            Step::Answer { at } => self.deliver(at),
            Step::Wait { ms } => self.wait(Duration::from_millis(ms)),
            Step::Cut { served } => self.cut(served),
        }
        self.hear();
    }

    /// From now on the server takes everything: each message is there once, in order.
    fn finish(&mut self) {
        for _ in 0..1_000 {
            self.hear();
            self.serve(usize::MAX, Verdict::Append);
            self.deliver_all();
            self.wait(Duration::from_secs(1));
        }
        for (room, posted) in &self.posted {
            let wanted: Vec<MessageId> = posted
                .iter()
                .map(|(id, _)| *id)
                .filter(|id| !self.never.contains(id))
                .collect();
            let log = self.logs.get(room).cloned().unwrap_or_default();
            let place = |id: &MessageId| log.iter().position(|there| there == id);
            let places: Vec<Option<usize>> = wanted.iter().map(place).collect();
            assert_eq!(places, (0..log.len()).map(Some).collect::<Vec<_>>());
        }
    }
}

fn refusal(reason: Reason, effect: Effect, retry_after: Option<Duration>) -> Frame {
    let retry_after = retry_after.map(|wait| wait.try_into().expect("a short time"));
    Frame::Error(v1::Error {
        reason: reason.into(),
        effect: effect.into(),
        retry_after,
        ..v1::Error::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_message_overtakes_one_that_was_refused(
        steps in prop::collection::vec(step(), 0..160),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}
