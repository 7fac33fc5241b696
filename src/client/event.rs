//! What a session tells the program, in the order in which it happened. Plain values.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use prost_types::Timestamp;

use crate::{
    client::error::{BoxError, Error, Refusal},
    v1,
};

/// Something that happened to a session or to the account.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A stream is open. What was missed follows, then [`Event::CaughtUp`].
    Connected(Connected),
    /// The stream is lost. The session opens another by itself.
    Disconnected {
        /// What ended it.
        cause: Error,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// A room was brought up to date; the entries missed follow one by one, or
    /// [`Event::Stale`].
    RoomUpdated(Box<RoomUpdate>),
    /// An entry: each one once, by ascending seq within its room.
    Entry(Box<v1::Entry>),
    /// Too much was missed in a room: the entries of (after_seq, through_seq] do not come. Drop
    /// what is cached of the room, or fill the gap by ListEntries.
    Stale {
        /// The room.
        room_id: i64,
        /// The last seq handed out before the gap; 0 for none.
        after_seq: i64,
        /// The last seq of the gap.
        through_seq: i64,
    },
    /// All that was missed has been handed out: what follows is live.
    CaughtUp,
    /// The account joined or left rooms.
    AccountChanged(v1::AccountChanged),
    /// Somebody is typing: show it for 6 s.
    Typing {
        /// The room.
        room_id: i64,
        /// Who.
        user_id: i64,
    },
    /// Presence of watched users.
    Presence(Vec<v1::Presence>),
    /// Marks moved in a room. Not told for what a message moves: it moves its sender's marks to its seq.
    Marks {
        /// The room.
        room_id: i64,
        /// The marks as they are now.
        marks: Vec<v1::MemberMarks>,
    },
    /// The server refused a message for now, and the session tries it again by itself. Once for each
    /// reason in a row; not for waiting behind an earlier message.
    SendDelayed {
        /// The room.
        room_id: i64,
        /// The message.
        client_message_id: MessageId,
        /// Why.
        refusal: Refusal,
    },
    /// What became of a message whose sender did not wait for it.
    SendOutcome {
        /// The room.
        room_id: i64,
        /// The message.
        client_message_id: MessageId,
        /// What became of it.
        result: Result<Sent, SendError>,
    },
    /// The deployment was restored from a backup: drop everything cached. All rooms come anew.
    CacheDropped {
        /// The deployment's generation now; 0 where it is not known yet.
        generation: i64,
    },
    /// The session has ended and does not come back. The last event.
    Ended {
        /// Why; absent after a clean end.
        error: Option<Error>,
    },
}

/// An open stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Connected {
    /// Names the session. Opaque.
    pub session_id: String,
    /// The account.
    pub user_id: i64,
    /// The device.
    pub device_id: i64,
    /// The node's name, for support.
    pub node: String,
    /// What the server accepts.
    pub limits: v1::Limits,
    /// Whether the session moved here from a node that is about to stop, without a pause.
    pub moved: bool,
}

/// A room as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomUpdate {
    /// Its summary.
    pub summary: v1::RoomSummary,
    /// Whether entries of the room follow as they happen. False where the membership is over of which
    /// these are the last entries; if the account has joined again, another update follows.
    pub live: bool,
}

/// A durable message.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The room.
    pub room_id: i64,
    /// The message.
    pub client_message_id: MessageId,
    /// Its seq.
    pub seq: i64,
    /// Its time, by the server's clock.
    pub create_time: Option<Timestamp>,
}

/// Why a message was not sent, or is not known to have been.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Refused for good.
    #[error("the message was refused: {0}")]
    Refused(Refusal),
    /// It may have been sent or not, and cannot be retried any more. Send it anew only if the
    /// person says so.
    #[error("it is unknown whether the message was sent")]
    Unknown(Option<Refusal>),
    /// Too many messages wait already; nothing was queued.
    #[error("too many messages wait to be sent")]
    QueueFull,
    /// The session has ended. A message that was queued may have been sent or not; it is among
    /// [`Session::pending`](crate::client::Session::pending).
    #[error("the session has ended")]
    SessionEnded,
    /// The outbox could not store the message, so it was not sent.
    #[error("the outbox failed")]
    Outbox(#[source] Arc<BoxError>),
}

/// A message's client_message_id: 16 bytes, made once, the same in every retry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// A new id (UUIDv7).
    #[expect(clippy::new_without_default, reason = "each one is another")]
    pub fn new() -> Self {
        Self(uuid::Uuid::now_v7().into_bytes())
    }

    /// The id of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id as an entry carries it; `None` unless it has 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Its bytes as requests carry them.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = BoxError;

    fn from_str(text: &str) -> Result<Self, BoxError> {
        Ok(Self(uuid::Uuid::parse_str(text)?.into_bytes()))
    }
}
