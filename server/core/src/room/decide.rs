//! Whether a command is a retry, is allowed, and what entry it becomes.

use std::time::Duration;

use super::Room;
use crate::{
    command::{Append, What},
    entry::{Body, ChangeKind, Entry, MemberChange, Message, Role, RoomKind},
    ids::{DeviceId, Seq, UserId},
    limits::Limits,
    refusal::{Reason, Refusal},
    time::Timestamp,
};

/// Where an earlier copy of a command may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicate {
    /// It is this entry.
    At(Seq),
    /// There is none.
    None,
    /// Memory cannot tell: search the store's pointers of `(after, through]`.
    Search {
        /// Exclusive.
        after: Seq,
        /// Inclusive.
        through: Seq,
    },
    /// It is too long ago to tell.
    TooOld,
}

/// What becomes of a command that is no retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// An entry with this body.
    Append(Body),
    /// Nothing to change.
    Unchanged,
}

impl Room {
    /// Whether memory knows an earlier copy of a command.
    pub fn duplicate(&self, actor: UserId, append: &Append, limits: &Limits) -> Duplicate {
        if let Some(seq) = self.ids.get(actor, append.id) {
            return Duplicate::At(seq);
        }
        let covered = self.ids.covers_from(self.head);
        let after = self.searched_from(append, limits);
        if after >= covered {
            return Duplicate::None;
        }
        if covered.bucket() - after.bucket() >= limits.dedup_buckets_max {
            return Duplicate::TooOld;
        }
        Duplicate::Search {
            after,
            through: covered,
        }
    }

    /// Whether an earlier copy of a command is found wherever it is: not where its first attempt may
    /// lie before what is searched.
    pub fn searches_all(&self, append: &Append, limits: &Limits) -> bool {
        self.known_after(append).is_some() || self.searched_from(append, limits) == Seq::ZERO
    }

    /// The cursor after which a command's first attempt came.
    fn known_after(&self, append: &Append) -> Option<Seq> {
        append.after.filter(|after| *after <= self.head)
    }

    fn searched_from(&self, append: &Append, limits: &Limits) -> Seq {
        let known = self.known_after(append);
        known.unwrap_or_else(|| self.head.minus(limits.room_ids_max))
    }

    /// Whether the actor may, and what entry it becomes.
    pub fn decide(&self, actor: UserId, what: &What, limits: &Limits) -> Result<Decision, Refusal> {
        if let What::Create { settings, members } = what {
            return self.decide_create(settings.kind, &settings.title, members);
        }
        let role = self.role_of(actor)?;
        match what {
            What::Message {
                wire,
                whole,
                reply_to,
            } => {
                self.check_reply(*reply_to)?;
                let message = Message {
                    wire: wire.clone(),
                    long: whole.is_some(),
                };
                Ok(Decision::Append(Body::Message(message)))
            }
            What::Invite { users, barred } => self.decide_invite(users, barred, limits),
            What::Leave => self.decide_leave(actor, role),
            What::Remove(user) => self.decide_remove(actor, role, *user),
            What::Update { title } => self.decide_update(role, title.as_ref()),
            What::Create { .. } => Ok(Decision::Unchanged),
        }
    }

    /// Whether an entry is what this command became at an earlier attempt. For a long message the
    /// previews are compared; the whole text is for the caller to compare.
    pub fn matches(what: &What, actor: UserId, entry: &Entry) -> bool {
        let has = |user: UserId, wanted: fn(ChangeKind) -> bool| {
            entry
                .body
                .changes()
                .iter()
                .any(|c| c.user == user && wanted(c.kind))
        };
        match (what, &entry.body) {
            (What::Message { wire, whole, .. }, Body::Message(message)) => {
                *wire == message.wire && whole.is_some() == message.long
            }
            (What::Create { settings, .. }, Body::Created { kind, title, .. }) => {
                settings.kind == *kind && settings.title == *title
            }
            (What::Invite { users, .. }, Body::Membership(changes)) => changes
                .iter()
                .all(|c| matches!(c.kind, ChangeKind::Joined(_)) && users.contains(&c.user)),
            (What::Leave, Body::Membership(_)) => has(actor, |kind| kind == ChangeKind::Left),
            (What::Remove(user), Body::Membership(_)) => {
                has(*user, |kind| kind == ChangeKind::Removed)
            }
            (What::Update { title }, Body::Updated { title: stored }) => title == stored,
            _ => false,
        }
    }

    /// An entry that has everything but its seq.
    pub fn entry(
        actor: UserId,
        device: Option<DeviceId>,
        append: &Append,
        body: Body,
        time: Timestamp,
    ) -> Entry {
        Entry {
            seq: Seq::ZERO,
            time,
            actor,
            device,
            id: append.id,
            body,
        }
    }

    /// The actor's role, or the refusal of those who are no members. A refusal here was looked up:
    /// nothing exists under the command's id.
    pub fn role_of(&self, actor: UserId) -> Result<Role, Refusal> {
        match self.assigned.members.get(actor) {
            Some(row) if row.left.is_none() => Ok(row.role),
            Some(_) => Err(not_a_member()),
            None => Err(room_not_found()),
        }
    }

    fn decide_create(
        &self,
        kind: RoomKind,
        title: &str,
        members: &[(UserId, Role)],
    ) -> Result<Decision, Refusal> {
        if self.head > Seq::ZERO {
            return Err(Refusal::new(
                Reason::IdReused,
                "the room exists already; use another client_message_id",
            ));
        }
        let joined = |(user, role): &(UserId, Role)| MemberChange {
            user: *user,
            kind: ChangeKind::Joined(*role),
        };
        let changes = members.iter().map(joined).collect();
        Ok(Decision::Append(Body::Created {
            kind,
            title: title.to_owned(),
            changes,
        }))
    }

    fn check_reply(&self, reply_to: Option<Seq>) -> Result<(), Refusal> {
        match reply_to {
            // Whether it is a message is known only for the tail; older ones are taken on trust, as
            // a reader who follows the reply is told.
            Some(seq) if seq == Seq::ZERO || seq > self.certified => Err(message_not_found()),
            Some(seq) => match self.tail.get(seq) {
                Some(entry) if !matches!(entry.body, Body::Message(_)) => Err(message_not_found()),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    fn decide_invite(
        &self,
        users: &[UserId],
        barred: &[UserId],
        limits: &Limits,
    ) -> Result<Decision, Refusal> {
        self.group_only()?;
        let mut changes: Vec<MemberChange> = Vec::with_capacity(users.len());
        for user in users.iter().filter(|user| !barred.contains(user)) {
            let known = self.assigned.members.present(*user).is_some();
            if !known && !changes.iter().any(|change| change.user == *user) {
                changes.push(MemberChange {
                    user: *user,
                    kind: ChangeKind::Joined(Role::Member),
                });
            }
        }
        if changes.is_empty() {
            return Ok(Decision::Unchanged);
        }
        if (self.assigned.members.count() + changes.len()) as u64 > limits.room_members_max {
            let max = limits.room_members_max;
            let message = format!("a room has at most {max} members; nobody was added");
            return Err(Refusal::new(Reason::RoomFull, message));
        }
        Ok(Decision::Append(Body::Membership(changes)))
    }

    fn decide_leave(&self, actor: UserId, role: Role) -> Result<Decision, Refusal> {
        self.group_only()?;
        let mut changes = vec![MemberChange {
            user: actor,
            kind: ChangeKind::Left,
        }];
        if role == Role::Owner
            && let Some(heir) = self.assigned.members.longest_standing_but(actor)
        {
            changes.push(MemberChange {
                user: heir,
                kind: ChangeKind::RoleChanged(Role::Owner),
            });
        }
        Ok(Decision::Append(Body::Membership(changes)))
    }

    fn decide_remove(&self, actor: UserId, role: Role, user: UserId) -> Result<Decision, Refusal> {
        self.group_only()?;
        owner_only(role)?;
        if user == actor {
            return Err(Refusal::field("user_id", "is yourself; use LeaveRoom"));
        }
        if self.assigned.members.present(user).is_none() {
            return Err(Refusal::new(
                Reason::UserNotFound,
                "that user is no member of the room",
            ));
        }
        Ok(Decision::Append(Body::Membership(vec![MemberChange {
            user,
            kind: ChangeKind::Removed,
        }])))
    }

    fn decide_update(&self, role: Role, title: Option<&String>) -> Result<Decision, Refusal> {
        self.group_only()?;
        owner_only(role)?;
        match title {
            Some(title) if *title != self.assigned.settings.title => {
                Ok(Decision::Append(Body::Updated {
                    title: Some(title.clone()),
                }))
            }
            _ => Ok(Decision::Unchanged),
        }
    }

    fn group_only(&self) -> Result<(), Refusal> {
        match self.assigned.settings.kind {
            RoomKind::Group => Ok(()),
            RoomKind::Direct => Err(Refusal::new(
                Reason::DirectRoom,
                "a direct room has no title and a fixed pair of members: it cannot be renamed, and \
                 nobody joins or leaves it",
            )),
        }
    }
}

fn owner_only(role: Role) -> Result<(), Refusal> {
    match role {
        Role::Owner => Ok(()),
        Role::Member => Err(Refusal::new(
            Reason::PermissionDenied,
            "only the room's owner may do this; ask the owner",
        )),
    }
}

/// The refusal for rooms that do not exist or are none of the caller's business.
pub fn room_not_found() -> Refusal {
    Refusal::new(
        Reason::RoomNotFound,
        "there is no such room, or you are not a member of it",
    )
}

/// The refusal for former members.
pub fn not_a_member() -> Refusal {
    Refusal::new(
        Reason::NotAMember,
        "you are no longer a member of this room",
    )
}

/// The refusal for a seq that is no message.
pub fn message_not_found() -> Refusal {
    Refusal::new(
        Reason::MessageNotFound,
        "the room has no message under this seq",
    )
}

/// The refusal for a cursor beyond the head.
pub fn cursor_ahead(head: Seq) -> Refusal {
    let message = format!(
        "the cursor is beyond the head of the log, {head}; drop what is cached and sync anew"
    );
    Refusal::new(Reason::CursorAhead, message)
}

/// The refusal for more work than can be taken.
pub fn overloaded() -> Refusal {
    Refusal::new(
        Reason::Overloaded,
        "too many commands wait in this room; try again later",
    )
    .with_retry_after(Duration::from_millis(500))
}
