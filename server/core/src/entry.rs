//! What a room's log holds.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{
    ids::{DeviceId, MessageId, Seq, UserId},
    time::Timestamp,
};

/// One record of a room's log. Its content never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the room.
    pub seq: Seq,
    /// When the owner took it in; never goes back within a room.
    pub time: Timestamp,
    /// Who did it.
    pub actor: UserId,
    /// With which device; none where it was done without one.
    pub device: Option<DeviceId>,
    /// The id of the command.
    pub id: MessageId,
    /// What happened.
    pub body: Body,
}

/// The bytes of an event, which the first edge of a node that needs them makes for all. They are no
/// part of what is said, so all are equal.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<OnceLock<Bytes>>);

impl Shared {
    /// The bytes, made if this is the first time.
    pub fn get_or_make(&self, make: impl FnOnce() -> Bytes) -> Bytes {
        self.0.get_or_init(make).clone()
    }
}

impl PartialEq for Shared {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A message.
    Message(Message),
    /// The room was created. Only at seq 1.
    Created {
        /// The kind of room.
        kind: RoomKind,
        /// Empty for a direct room.
        title: String,
        /// The first members.
        changes: Vec<MemberChange>,
    },
    /// Members came, went, or changed their role.
    Membership(Vec<MemberChange>),
    /// Settings changed.
    Updated {
        /// The new title.
        title: Option<String>,
    },
}

impl Body {
    /// The membership changes in it.
    pub fn changes(&self) -> &[MemberChange] {
        match self {
            Self::Created { changes, .. } | Self::Membership(changes) => changes,
            Self::Message(_) | Self::Updated { .. } => &[],
        }
    }
}

/// A message, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The body as it goes over the wire, encoded once where it came in. Opaque here. For a long
    /// text it holds the preview.
    pub wire: Bytes,
    /// Whether the whole text is a body row of its own, under the same seq and epoch.
    pub long: bool,
}

/// What changed for one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// Who.
    pub user: UserId,
    /// What.
    pub kind: ChangeKind,
}

/// What happened to a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Became a member.
    Joined(Role),
    /// Left of their own accord.
    Left,
    /// Was removed by the actor.
    Removed,
    /// Has another role.
    RoleChanged(Role),
}

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads, sends, invites, leaves.
    Member,
    /// Also removes and updates.
    Owner,
}

/// The kind of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoomKind {
    /// Two people.
    Direct,
    /// Any number of people.
    #[default]
    Group,
}
