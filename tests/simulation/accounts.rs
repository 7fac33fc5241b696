//! An account store of the simulation: the lists of rooms, each under its account's revision.
//! What it was told is durable at once; what may be late is the telling.

use std::collections::BTreeMap;

use magpie_core::{
    edge::Account,
    entry::ChangeKind,
    ids::{MessageId, RoomId, UserId},
    link::AccountRoom,
    owner::RoomListChange,
};

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    revisions: BTreeMap<UserId, u64>,
    rows: BTreeMap<(UserId, RoomId), (u64, AccountRoom)>,
    made: BTreeMap<(UserId, MessageId), RoomId>,
}

impl Accounts {
    /// Takes a membership entry in. Returns the rows that changed, with their revisions.
    pub(crate) fn apply(&mut self, change: &RoomListChange) -> Vec<(UserId, u64, AccountRoom)> {
        let mut changed = Vec::new();
        for member in &change.changes {
            let former = self
                .rows
                .get(&(member.user, change.room))
                .map(|(_, row)| *row);
            let last = former.map(|row| row.left.unwrap_or(row.joined));
            if last.is_some_and(|last| last >= change.seq) {
                continue;
            }
            let row = match (member.kind, former) {
                (ChangeKind::Joined(_), _) => AccountRoom {
                    room: change.room,
                    kind: change.kind,
                    joined: change.seq,
                    left: None,
                },
                (ChangeKind::Left | ChangeKind::Removed, Some(former)) => AccountRoom {
                    left: Some(change.seq),
                    ..former
                },
                (ChangeKind::Left | ChangeKind::Removed, None) => AccountRoom {
                    room: change.room,
                    kind: change.kind,
                    joined: change.seq,
                    left: Some(change.seq),
                },
                (ChangeKind::RoleChanged(_), _) => continue,
            };
            let revision = self.revisions.entry(member.user).or_default();
            *revision += 1;
            self.rows
                .insert((member.user, change.room), (*revision, row));
            changed.push((member.user, *revision, row));
        }
        changed
    }

    /// The account's revision, and the rows that changed after `since`.
    pub(crate) fn changed_since(&self, user: UserId, since: u64, rows_max: usize) -> Account {
        let mut rows: Vec<_> = self
            .of(user)
            .filter(|(revision, _)| *revision > since)
            .collect();
        rows.sort_by_key(|(revision, _)| *revision);
        let more = rows.len() > rows_max;
        rows.truncate(rows_max);
        let current = self.revisions.get(&user).copied().unwrap_or_default();
        let last = rows.last().map(|(revision, _)| *revision).filter(|_| more);
        Account {
            revision: last.unwrap_or(current).max(since),
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            more,
            rooms: Vec::new(),
        }
    }

    /// The rooms that a user is in.
    pub(crate) fn rooms_of(&self, user: UserId) -> Vec<RoomId> {
        let member = self.of(user).filter(|(_, row)| row.left.is_none());
        member.map(|(_, row)| row.room).collect()
    }

    /// Whether two users are in a room together.
    pub(crate) fn share_room(&self, one: UserId, other: UserId) -> bool {
        let theirs = self.rooms_of(other);
        self.rooms_of(one).iter().any(|room| theirs.contains(room))
    }

    /// The room that a creator's command makes: `proposed` at the first call.
    pub(crate) fn room_for(&mut self, creator: UserId, id: MessageId, proposed: RoomId) -> RoomId {
        *self.made.entry((creator, id)).or_insert(proposed)
    }

    fn of(&self, user: UserId) -> impl Iterator<Item = (u64, AccountRoom)> {
        let rows = self.rows.iter().filter(move |((of, _), _)| *of == user);
        rows.map(|(_, row)| *row)
    }
}
