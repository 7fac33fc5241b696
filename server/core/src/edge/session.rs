//! One session: what the client said, what it follows, and what is on its way.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use super::{Caller, refused::Refused};
use crate::{
    command::Submit,
    ids::{MessageId, RoomId, Seq, SessionId, UserId},
    link::Synced,
    rate::Bucket,
    refusal::Refusal,
    rows::Marks,
    time::{Instant, Timestamp},
    users::Presence,
};

/// What the client holds and wants, as it opens a session.
#[derive(Clone, Debug, Default)]
pub struct Hello {
    /// The generation of what it holds.
    pub generation: u64,
    /// The account revision it has.
    pub revision: u64,
    /// Its cursor and read mark in each room.
    pub cursors: Vec<(RoomId, Seq, Seq)>,
    /// Marks to say again.
    pub marks: Vec<(RoomId, Marks)>,
    /// Whom to watch.
    pub watch: Vec<UserId>,
    /// How often to send heartbeats; none for a client that did not announce them.
    pub heartbeat: Option<Duration>,
    /// The session that this one replaces.
    pub replaces: Option<SessionId>,
    /// Whether the person is away.
    pub idle: bool,
    /// For how long it counts after its end, where that is not the usual grace. For pollers.
    pub linger_millis: Option<u64>,
}

/// A frame from the client.
#[derive(Clone, Debug)]
pub struct FrameIn {
    /// By which its answer is known; 0: no answer wanted.
    pub request: u64,
    /// What it says; or why it cannot be understood.
    pub said: Result<Said, Refusal>,
}

/// What a client says.
#[derive(Clone, Debug)]
pub enum Said {
    /// That it lives.
    Heartbeat,
    /// That it goes.
    Bye,
    /// Whom to watch, instead of those before.
    Watch(Vec<UserId>),
    /// Whether the person is away.
    Idle(bool),
    /// The access token was renewed, and ends then.
    Renewed(Timestamp),
    /// A command for a room.
    Submit(Submit),
    /// A question to the node.
    Ask(Ask),
}

/// What the node is asked, beside rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To set the status.
    SetStatus {
        /// Busy rather than available, where it is to change.
        busy: Option<bool>,
        /// The text, where it is to change.
        text: Option<String>,
    },
    /// For users' presence.
    GetPresence(Vec<UserId>),
}

/// A session that is open.
#[derive(Debug)]
pub(super) struct Session<O> {
    pub(super) caller: Caller,
    pub(super) outlet: O,
    pub(super) state: State,
    /// The account revision that the client has been told.
    pub(super) revision: u64,
    /// The highest one that the account's owner has told of.
    pub(super) revision_known: u64,
    pub(super) rooms: BTreeMap<RoomId, Follow>,
    /// Rooms to attach, in this order.
    pub(super) to_attach: VecDeque<RoomId>,
    /// Rooms of which the owner was asked, in this order.
    pub(super) asked: VecDeque<RoomId>,
    /// Answers that came before their turn, with how many messages about the room had passed then.
    pub(super) answers: BTreeMap<RoomId, (Synced, u64)>,
    /// Marks to say again, and those of them whose answers are awaited.
    pub(super) to_mark: VecDeque<(RoomId, Marks)>,
    pub(super) marking: BTreeSet<u64>,
    pub(super) caught_up: bool,
    pub(super) catch_ups: Vec<Instant>,
    pub(super) calls: BTreeMap<u64, Asked>,
    pub(super) next_call: u64,
    /// Sends by room; the first of each is with the owner.
    pub(super) sends: HashMap<RoomId, VecDeque<(u64, Submit)>>,
    pub(super) refused: Refused,
    pub(super) refusals: VecDeque<Instant>,
    pub(super) control_rate: Bucket,
    pub(super) presences: BTreeMap<UserId, Presence>,
    pub(super) presence_sent: Option<Instant>,
    pub(super) watched: BTreeSet<UserId>,
    /// Whether it is to be looked up again whom of these the person may see.
    pub(super) watch_again: Again,
    pub(super) heartbeat: Option<Duration>,
    pub(super) heard: Instant,
    pub(super) beat: Instant,
    pub(super) linger_millis: Option<u64>,
    /// The client has said Bye: it ends when all that it asked for before is answered.
    pub(super) leaving: bool,
}

/// How far a session has come.
#[derive(Debug)]
pub(super) enum State {
    /// The account is being read. Frames wait, as Welcome is the first answer.
    Opening {
        hello: Box<Hello>,
        frames: Vec<FrameIn>,
    },
    Open,
    /// There is more of the account to be told, once the outlet has room.
    Behind,
    /// The account is being read on.
    Rereading,
}

/// Whether something is to be done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    No,
    /// Soon: what made it necessary has just happened.
    Soon,
    /// At this time.
    At(Instant),
}

/// A room that a session follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follow {
    pub(super) phase: Phase,
    /// The cursor, while not live.
    pub(super) after: Seq,
    /// The read mark that the client knows, while not live.
    pub(super) read: Seq,
}

/// Whether a session is told a room's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is to be attached.
    Waiting,
    /// The owner was asked.
    Attaching,
    /// It is told.
    Live,
}

/// A command whose answer is awaited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) request: u64,
    pub(super) kind: Kind,
}

/// What kind of command it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Send(RoomId, MessageId),
    MarkRead,
    MarkDelivered,
    Other,
}

impl<O> Session<O> {
    pub(super) fn new(caller: Caller, outlet: O, hello: Hello, now: Instant) -> Self {
        Self {
            caller,
            outlet,
            revision: 0,
            revision_known: 0,
            rooms: BTreeMap::new(),
            to_attach: VecDeque::new(),
            asked: VecDeque::new(),
            answers: BTreeMap::new(),
            to_mark: VecDeque::new(),
            marking: BTreeSet::new(),
            caught_up: false,
            catch_ups: Vec::new(),
            calls: BTreeMap::new(),
            next_call: 1,
            sends: HashMap::new(),
            refused: Refused::default(),
            refusals: VecDeque::new(),
            control_rate: Bucket::default(),
            presences: BTreeMap::new(),
            presence_sent: None,
            watched: BTreeSet::new(),
            watch_again: Again::No,
            heartbeat: hello.heartbeat,
            heard: now,
            beat: now,
            linger_millis: hello.linger_millis,
            leaving: false,
            state: State::Opening {
                hello: Box::new(hello),
                frames: Vec::new(),
            },
        }
    }

    /// Whether it has not been welcomed yet.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening { .. })
    }

    /// Whether the client has said that it goes, also where that waits for Welcome.
    pub(super) fn has_said_bye(&self) -> bool {
        let is_bye = |frame: &FrameIn| matches!(frame.said, Ok(Said::Bye));
        match &self.state {
            State::Opening { frames, .. } => frames.iter().any(is_bye),
            State::Open | State::Behind | State::Rereading => self.leaving,
        }
    }

    /// Somebody whom it watches, or its own user, came to a room or left one: whom it may see is
    /// looked up again, a little later, since the lists of rooms follow their entries.
    pub(super) fn rooms_changed(&mut self) {
        if !self.watched.is_empty() && self.watch_again == Again::No {
            self.watch_again = Again::Soon;
        }
    }

    /// Whether that is due now; says so once.
    pub(super) fn watches_again(&mut self, now: Instant, wait: Duration) -> bool {
        match self.watch_again {
            Again::Soon => self.watch_again = Again::At(now + wait),
            Again::At(due) if due <= now => {
                self.watch_again = Again::No;
                return true;
            }
            Again::No | Again::At(_) => {}
        }
        false
    }

    /// Plans to attach a room from a cursor on.
    pub(super) fn follow(&mut self, room: RoomId, after: Seq, read: Seq) {
        self.rooms.insert(
            room,
            Follow {
                phase: Phase::Waiting,
                after,
                read,
            },
        );
        self.to_attach.push_back(room);
    }
}
