//! The edge: sessions, the rooms they follow, and their frames. It keeps nothing that cannot be
//! rebuilt from the owners and the account store.

mod feed;
mod frames;
mod open;
mod refused;
mod session;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use self::session::Session;
pub use self::session::{Ask, FrameIn, Hello, Said};
use crate::{
    command::{Answer, Submit},
    frame::{Frame, Outlet, Wire},
    ids::{DeviceId, EdgeId, RoomId, Seq, SessionId, UserId},
    limits::{Limits, millis},
    link::{AccountRoom, Attach, ToEdge},
    owner::Head,
    refusal::{Effect, Reason, Refusal},
    time::{Now, Timestamp},
};

/// Who opened a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// When the access token ends.
    pub expires: Timestamp,
}

/// What an edge is told.
#[derive(Debug)]
pub enum Input<O> {
    /// A stream was opened.
    Open {
        /// Chosen by the node; never used before.
        session: SessionId,
        /// Who.
        caller: Caller,
        /// What the client holds and wants.
        hello: Box<Hello>,
        /// Where the frames go.
        outlet: O,
    },
    /// The account's state, as asked for by [`Output::ReadAccount`]. None: it could not be read.
    Account(SessionId, Option<Box<Account>>),
    /// The client said something.
    Frame(SessionId, FrameIn),
    /// An owner answered a command.
    Answered(Call, Result<Answer, Refusal>),
    /// The node answered what it was asked by [`Output::Ask`].
    Asked(Call, Result<Frame, Refusal>),
    /// An owner tells something.
    Owner(ToEdge),
    /// A session that had missed events has read half of what waited.
    Drained(SessionId),
    /// The stream ended without a Bye.
    Gone(SessionId),
    /// What the client sends cannot be understood from here on.
    Broken(SessionId, Refusal),
    /// Too much waits on the node, and most of it for this session.
    Cut(SessionId),
    /// A device was revoked.
    Revoked(DeviceId),
    /// The node is about to stop.
    Drain(Duration),
    /// The node stops: all sessions end.
    CloseAll,
    /// Time has passed.
    Tick,
}

/// What an edge wants done.
#[derive(Debug)]
pub enum Output {
    /// Report the session to the user's owner, then read the account's state; answer with
    /// [`Input::Account`]. In this order, so that no change falls between the two.
    ReadAccount {
        /// The session.
        session: SessionId,
        /// Who.
        caller: Caller,
        /// The revision that the client has.
        since: u64,
        /// Whether the person is away; none when the session was reported before.
        up: Option<bool>,
    },
    /// Ask the room's owner to bring a session up to date.
    Attach(Attach),
    /// Tell the room's owner that no session follows it here.
    Detach(RoomId),
    /// Pass a command on to the room's owner; answer with [`Input::Answered`].
    Submit(Call, Submit),
    /// Answer with [`Input::Asked`].
    Ask(Call, UserId, Ask),
    /// Follow these users' presence, as far as the caller may see it.
    Watch(SessionId, UserId, Vec<UserId>),
    /// The person left or came back.
    Idle(SessionId, UserId, bool),
    /// The session ended; it counts on for so many milliseconds.
    Down(SessionId, UserId, u64),
    /// Count a refusal, or a session that was closed.
    Refused(Reason),
    /// Count a slow reader that is brought up to date.
    CatchUp,
}

/// A command on its way: what its answer is matched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// The session.
    pub session: SessionId,
    /// Its number in the session.
    pub no: u64,
}

/// The state of an account.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Its revision with these rows.
    pub revision: u64,
    /// The rows that changed, at most [`ACCOUNT_ROWS_MAX`](crate::limits::ACCOUNT_ROWS_MAX).
    pub rows: Vec<AccountRoom>,
    /// Whether there are more.
    pub more: bool,
    /// With the first reading of a session, all rooms that the account is in, with their heads as far
    /// as known.
    pub rooms: Vec<(RoomId, Option<Head>)>,
}

/// The sessions of one part of a node.
#[derive(Debug)]
pub struct Edge<W: Wire, O> {
    id: EdgeId,
    limits: Limits,
    generation: u64,
    wire: W,
    sessions: HashMap<SessionId, Session<O>>,
    users: BTreeMap<UserId, BTreeSet<SessionId>>,
    rooms: HashMap<RoomId, Followers>,
    outputs: VecDeque<Output>,
    delivered: u64,
    /// The node stops: nothing new is taken.
    closing: bool,
}

/// Who follows a room here.
#[derive(Debug, Default)]
struct Followers {
    live: Vec<(SessionId, UserId)>,
    /// Sessions that wait for an owner's answer, or for their turn after it.
    attaching: usize,
    /// How many messages about the room passed here.
    passed: u64,
    /// The last entry that passed here.
    cursor: Seq,
}

impl<W: Wire, O: Outlet<W::Encoded>> Edge<W, O> {
    /// An edge without sessions.
    pub fn new(id: EdgeId, generation: u64, limits: Limits, wire: W) -> Self {
        Self {
            id,
            limits,
            generation,
            wire,
            sessions: HashMap::new(),
            users: BTreeMap::new(),
            rooms: HashMap::new(),
            outputs: VecDeque::new(),
            delivered: 0,
            closing: false,
        }
    }

    /// Takes in one input.
    pub fn handle(&mut self, input: Input<O>, now: Now) {
        match input {
            Input::Open {
                session,
                caller,
                hello,
                outlet,
            } => {
                self.open(session, caller, *hello, outlet, now);
            }
            Input::Account(session, account) => self.account_read(session, account, now),
            Input::Frame(session, frame) => self.frame(session, frame, now),
            Input::Answered(call, result) => self.answered(call, result, now),
            Input::Asked(call, result) => self.asked(call, result, now),
            Input::Owner(message) => self.owner(message),
            Input::Drained(session) => self.drained(session, now),
            Input::Gone(session) => self.gone(session),
            Input::Broken(session, refusal) => self.close(session, refusal, false),
            Input::Cut(session) => self.too_slow(session, "too much waits for the client"),
            Input::Revoked(device) => self.revoked(device),
            Input::Drain(window) => self.drain(window),
            Input::CloseAll => self.close_all(),
            Input::Tick => self.tick(now),
        }
    }

    /// The next thing to do. Ask until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Its id.
    pub fn id(&self) -> EdgeId {
        self.id
    }

    /// The device that opened a session.
    pub fn device_of(&self, session: SessionId) -> Option<DeviceId> {
        self.sessions.get(&session).map(|open| open.caller.device)
    }

    /// The devices that have a session here.
    pub fn devices(&self) -> BTreeSet<DeviceId> {
        self.sessions
            .values()
            .map(|open| open.caller.device)
            .collect()
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many events were handed to sessions so far.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Queues a control frame that answers nothing.
    fn control(&mut self, session: SessionId, frame: &Frame) {
        if let Some(open) = self.sessions.get(&session) {
            let (encoded, bytes) = self.wire.encode(0, frame);
            open.outlet.control(encoded, bytes, false);
        }
    }

    /// Queues an event. False: the session reads too slowly.
    fn event(&mut self, session: SessionId, frame: &Frame) -> bool {
        let Some(open) = self.sessions.get(&session) else {
            return true;
        };
        let (encoded, bytes) = self.wire.encode(0, frame);
        open.outlet.event(encoded, bytes)
    }

    /// Tells a session why it ends, and ends it.
    fn close(&mut self, session: SessionId, refusal: Refusal, reconnect: bool) {
        // Who may not come back is gone for good; who may is given the grace, and so is who is here
        // already with another session.
        let leaving = self.sessions.get(&session).is_some_and(|open| open.leaving);
        let reconnect = reconnect && !leaving;
        let stays = reconnect || (refusal.reason == Reason::SessionReplaced && !leaving);
        let linger = if stays { None } else { Some(0) };
        let opening = self.sessions.get(&session).is_none_or(Session::is_opening);
        // What is unanswered may be with its owner, and written yet.
        let refusal = match opening {
            true => refusal,
            false => refusal.with_effect(Effect::Unknown),
        };
        if self.sessions.contains_key(&session) {
            self.outputs.push_back(Output::Refused(refusal.reason));
        }
        self.control(session, &Frame::Closing { refusal, reconnect });
        self.end(session, linger);
    }

    /// Ends a session that reads too slowly.
    fn too_slow(&mut self, session: SessionId, why: &'static str) {
        let refusal = Refusal::new(Reason::SlowReader, why);
        self.close(session, refusal.with_retry_after(millis(1_000)), true);
    }

    /// Forgets a session, and closes its outlet.
    fn end(&mut self, session: SessionId, linger_millis: Option<u64>) {
        let Some(ended) = self.sessions.remove(&session) else {
            return;
        };
        ended.outlet.close();
        for room in ended.answers.keys() {
            if let Some(followers) = self.rooms.get_mut(room) {
                followers.attaching = followers.attaching.saturating_sub(1);
            }
        }
        for room in ended.rooms.keys() {
            self.unfollow(*room, session);
        }
        let user = ended.caller.user;
        if let Some(sessions) = self.users.get_mut(&user) {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.users.remove(&user);
            }
        }
        let linger = linger_millis.or(ended.linger_millis);
        let linger = linger.unwrap_or(self.limits.presence_grace_millis);
        self.outputs.push_back(Output::Down(session, user, linger));
    }

    fn revoked(&mut self, device: DeviceId) {
        let theirs = self
            .sessions
            .iter()
            .filter(|(_, open)| open.caller.device == device);
        let mut theirs: Vec<_> = theirs.map(|(session, _)| *session).collect();
        theirs.sort_unstable();
        for session in theirs {
            let why = "this device was logged out; log in again";
            self.close(session, Refusal::new(Reason::DeviceRevoked, why), false);
        }
    }

    fn drain(&mut self, window: Duration) {
        let open = self.sessions.iter().filter(|(_, open)| !open.is_opening());
        let mut sessions: Vec<_> = open.map(|(session, _)| *session).collect();
        sessions.sort_unstable();
        for session in sessions {
            self.control(session, &Frame::Draining { window });
        }
    }

    /// The stream of a session broke: nobody hears an answer any more. Who had said Bye is no loss.
    fn gone(&mut self, session: SessionId) {
        let leaving = self
            .sessions
            .get(&session)
            .is_some_and(Session::has_said_bye);
        self.end(session, leaving.then_some(0));
    }

    /// Ends all sessions, each as soon as what it asked for is answered.
    fn close_all(&mut self) {
        self.closing = true;
        let mut sessions: Vec<_> = self.sessions.keys().copied().collect();
        sessions.sort_unstable();
        for session in sessions {
            self.close_answered(session);
        }
    }

    /// Ends a session that said Bye, or of a node that stops, if nothing is unanswered.
    fn close_answered(&mut self, session: SessionId) {
        let Some(open) = self.sessions.get(&session) else {
            return;
        };
        if !open.calls.is_empty() {
            return;
        }
        if open.leaving {
            self.end(session, Some(0));
        } else if self.closing {
            let why = "the node stops; come back in a moment";
            let refusal = Refusal::new(Reason::Draining, why);
            self.close(
                session,
                refusal.with_retry_after(Duration::from_millis(500)),
                true,
            );
        }
    }
}

#[cfg(test)]
mod tests;
