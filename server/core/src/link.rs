//! What owners and edges tell each other. Within one node the messages go through memory, in order
//! for each pair; between nodes they will go over a link, with the same order.

use std::sync::Arc;

use crate::{
    entry::{Entry, Role, RoomKind, Shared},
    ids::{EdgeId, RoomId, Seq, SessionId, UserId},
    refusal::Reason,
    rows::Marks,
    users::Presence,
};

/// A session's wish to follow a room from a cursor on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attach {
    /// The edge that holds the session.
    pub edge: EdgeId,
    /// The session.
    pub session: SessionId,
    /// Its user.
    pub user: UserId,
    /// The room.
    pub room: RoomId,
    /// What it has already.
    pub after: Seq,
    /// The read mark as it knows it. Where that and `after` are the head there is nothing to say.
    pub read: Seq,
}

/// From an owner to an edge.
#[derive(Clone, Debug, PartialEq)]
pub enum ToEdge {
    /// The next entry of an attached room.
    Entry {
        /// The room.
        room: RoomId,
        /// The entry, shared by all who get it.
        entry: Arc<Entry>,
        /// Its bytes as an event, likewise.
        shared: Shared,
    },
    /// The answer to an attach. Entries of the room that follow it on this link are later ones.
    Synced {
        /// The session.
        session: SessionId,
        /// The room.
        room: RoomId,
        /// What became of it.
        outcome: Synced,
    },
    /// A user whose membership was taken on trust is no member: nothing more for its sessions.
    Dropped {
        /// The room.
        room: RoomId,
        /// The user.
        user: UserId,
    },
    /// Marks moved.
    Marks {
        /// The room.
        room: RoomId,
        /// The marks now.
        marks: Arc<[(UserId, Marks)]>,
        /// Only for this user's sessions; else for all that follow the room.
        only: Option<UserId>,
    },
    /// Somebody is typing.
    Typing {
        /// The room.
        room: RoomId,
        /// Who.
        user: UserId,
    },
    /// Rows of an account changed.
    Account {
        /// The account.
        user: UserId,
        /// Its revision now.
        revision: u64,
        /// The rows.
        rows: Vec<AccountRoom>,
    },
    /// What a session is to be told of those it watches.
    Presence {
        /// The session.
        session: SessionId,
        /// The latest state of each that changed.
        presences: Vec<Presence>,
    },
    /// A session must end.
    End {
        /// The session.
        session: SessionId,
        /// Why.
        reason: Reason,
    },
}

/// What became of an attach.
#[derive(Clone, Debug, PartialEq)]
pub enum Synced {
    /// The session is at the head; entries follow.
    Live,
    /// This brings the session up to date.
    Sync(Box<RoomSync>),
    /// The cursor is beyond the head.
    CursorAhead {
        /// The head.
        head: Seq,
    },
    /// The user is no member any more, and has all that it may see.
    UpToDate,
    /// The user never was a member.
    NoMember,
    /// The room could not be read; the session should end and come back.
    Failed,
}

/// One room brought up to date.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomSync {
    /// The room now.
    pub summary: Summary,
    /// Whether entries follow.
    pub live: bool,
    /// The membership of which these are the last entries is over, and another has begun: attach
    /// again without a cursor.
    pub rejoined: bool,
    /// The entries missed are too many: none are given.
    pub stale: bool,
    /// All entries of `(after, through]`, unless stale.
    pub entries: Vec<Arc<Entry>>,
    /// The cursor from which this brings up to date.
    pub after: Seq,
    /// The cursor after it.
    pub through: Seq,
}

/// A room as one account sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The room.
    pub room: RoomId,
    /// Direct or group.
    pub kind: RoomKind,
    /// Empty for a direct room.
    pub title: String,
    /// How many members it has.
    pub member_count: usize,
    /// The other person of a direct room.
    pub peer: Option<UserId>,
    /// The last seq that the account may see.
    pub head: Seq,
    /// The account's role; none for a former member.
    pub role: Option<Role>,
    /// The entry with which the membership began.
    pub joined: Seq,
    /// Unread messages, 1,000 for more than 999.
    pub unread: u32,
    /// The account's read mark.
    pub read: Seq,
    /// The last message among the latest entries.
    pub last_message: Option<Arc<Entry>>,
    /// The other members' marks, where the room shows receipts.
    pub marks: Vec<(UserId, Marks)>,
}

/// An account's place in a room: a row of its room list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountRoom {
    /// The room.
    pub room: RoomId,
    /// Direct or group.
    pub kind: RoomKind,
    /// The entry with which the membership began.
    pub joined: Seq,
    /// The entry that ended it; none for a member.
    pub left: Option<Seq>,
}
