//! What people ask a room to do, and what it answers.

use std::{any::Any, fmt, sync::Arc};

use bytes::Bytes;

use crate::{
    entry::Role,
    ids::{DeviceId, MessageId, RoomId, Seq, UserId},
    refusal::Refusal,
    rows::{Marks, Settings},
    time::Timestamp,
};

/// A command for a room, by somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// The room.
    pub room: RoomId,
    /// Who asks. Authenticated; whether they may is for the owner to say.
    pub actor: UserId,
    /// With which device.
    pub device: Option<DeviceId>,
    /// What.
    pub command: Command,
    /// Why it is refused where it is no retry: the sender's rate over all rooms, which whoever took
    /// the command in has counted.
    pub unless_retry: Option<Box<Refusal>>,
    /// What is kept in use for it.
    pub held: Held,
}

/// What a command keeps in use until it is dropped everywhere, such as a share of a bound on memory.
/// It is no part of what is asked, so all are equal.
#[derive(Clone, Default)]
pub struct Held(Option<Arc<dyn Any + Send + Sync>>);

impl Held {
    /// Keeps this.
    pub fn new(kept: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(kept)))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.0.is_some()).finish()
    }
}

impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Held {}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// To append an entry.
    Append(Append),
    /// To move the actor's marks forward.
    Mark(Marks),
    /// To show that the actor is typing.
    Typing,
}

/// A command that appends an entry, once per id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The client's id of the command.
    pub id: MessageId,
    /// The head that the client knew at the first attempt.
    pub after: Option<Seq>,
    /// What to append.
    pub what: What,
}

/// What to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A message.
    Message {
        /// The body for the entry, encoded.
        wire: Bytes,
        /// The whole body, where `wire` holds a preview.
        whole: Option<Bytes>,
        /// The message replied to.
        reply_to: Option<Seq>,
    },
    /// The first entry of the room.
    Create {
        /// Kind and title.
        settings: Settings,
        /// The first members.
        members: Vec<(UserId, Role)>,
    },
    /// New members.
    Invite {
        /// All who were named.
        users: Vec<UserId>,
        /// Those of them who may be in no further room.
        barred: Vec<UserId>,
    },
    /// The actor's leaving.
    Leave,
    /// A member's removal.
    Remove(UserId),
    /// Another title.
    Update {
        /// The title, where it is to change.
        title: Option<String>,
    },
}

impl Append {
    /// How much of a rate it takes: one for each 16 KiB of a message's text that is begun.
    pub fn weight(&self) -> u64 {
        const UNIT: usize = 16 << 10;
        match &self.what {
            What::Message {
                whole: Some(whole), ..
            } => whole.len().div_ceil(UNIT) as u64,
            What::Message { .. }
            | What::Create { .. }
            | What::Invite { .. }
            | What::Leave
            | What::Remove(_)
            | What::Update { .. } => 1,
        }
    }
}

/// What a room answers to a command that it granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An entry holds it.
    Appended {
        /// Its seq.
        seq: Seq,
        /// Its time.
        time: Timestamp,
        /// The users that the entry added.
        joined: Vec<UserId>,
    },
    /// There was nothing to change, so there is no entry.
    Unchanged,
    /// The actor's marks now.
    Marks(Marks),
    /// The sign was shown.
    Typing,
}
