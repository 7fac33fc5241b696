//! What a session is told, without knowledge of the wire.

use std::{sync::Arc, time::Duration};

use crate::{
    entry::{Entry, Shared},
    ids::{DeviceId, RoomId, Seq, SessionId, UserId},
    link::{AccountRoom, RoomSync},
    refusal::Refusal,
    rows::Marks,
    time::Timestamp,
    users::Presence,
};

/// One frame to a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The session is open.
    Welcome(Welcome),
    /// Rows of the account changed.
    Account {
        /// The revision with these rows.
        revision: u64,
        /// The rows.
        rows: Vec<AccountRoom>,
    },
    /// One room brought up to date.
    RoomSync(Box<RoomSync>),
    /// All that was missed has been sent.
    CaughtUp,
    /// A new entry.
    Event {
        /// The room.
        room: RoomId,
        /// The entry.
        entry: Arc<Entry>,
        /// Its bytes.
        shared: Shared,
    },
    /// Somebody is typing.
    Typing {
        /// The room.
        room: RoomId,
        /// Who.
        user: UserId,
    },
    /// Watched users' presence.
    Presence(Vec<Presence>),
    /// Marks moved.
    Marks {
        /// The room.
        room: RoomId,
        /// The marks now.
        marks: Arc<[(UserId, Marks)]>,
    },
    /// The server lives.
    Heartbeat,
    /// The node is about to stop.
    Draining {
        /// How long to spread the reconnects over.
        window: Duration,
    },
    /// The stream ends after this frame.
    Closing {
        /// Why.
        refusal: Refusal,
        /// Whether to come back.
        reconnect: bool,
    },
    /// A frame was refused.
    Error(Refusal),
    /// A frame took effect.
    Done,
    /// A message is durable.
    Sent {
        /// Its seq.
        seq: Seq,
        /// Its time.
        time: Timestamp,
    },
    /// The read mark is stored.
    MarkedRead(Seq),
    /// The delivered mark is stored.
    MarkedDelivered(Seq),
    /// The sign was taken in.
    TypingTaken,
    /// The status is set.
    StatusSet(Presence),
    /// The presence asked for.
    Presences(Vec<Presence>),
}

/// The first frame of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The session.
    pub session: SessionId,
    /// The account.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// The deployment's generation.
    pub generation: u64,
    /// How often to show that one lives.
    pub heartbeat: Duration,
    /// The server's clock.
    pub time: Timestamp,
}

/// Turns frames into what goes over the wire.
pub trait Wire {
    /// A frame, encoded once and shared by all who get it.
    type Encoded: Clone;

    /// Encodes a frame, and says how many bytes it takes.
    fn encode(&self, request: u64, frame: &Frame) -> (Self::Encoded, usize);
}

/// Where a session's frames go: two queues, of which events wait for control frames.
pub trait Outlet<E> {
    /// Queues an event. False: the session reads too slowly; nothing was queued, and nothing will
    /// be until it is half drained.
    fn event(&self, encoded: E, bytes: usize) -> bool;

    /// Queues something that may be lost: only while the queue is less than half full.
    fn ephemeral(&self, encoded: E, bytes: usize);

    /// Queues a control frame; `reply` if it answers a command. False: there are too many.
    fn control(&self, encoded: E, bytes: usize, reply: bool) -> bool;

    /// Replies that the transport has not taken yet.
    fn replies(&self) -> usize;

    /// Whether more events would be taken gladly: the queue is less than half full.
    fn has_room(&self) -> bool;

    /// Ends the stream after what is queued as control.
    fn close(&self);
}
