//! Who is and was in a room, and how far each has come.

use std::collections::BTreeMap;

use crate::{
    entry::{ChangeKind, MemberChange, Role},
    ids::{Seq, UserId},
    rows::{Marks, MemberRow},
};

/// Present and former members, by user.
#[derive(Clone, Debug, Default)]
pub struct Members {
    rows: BTreeMap<UserId, MemberRow>,
    marks: BTreeMap<UserId, Marks>,
    present: usize,
}

impl Members {
    pub(super) fn new(
        rows: impl IntoIterator<Item = (UserId, MemberRow)>,
        marks: impl IntoIterator<Item = (UserId, Marks)>,
    ) -> Self {
        let rows: BTreeMap<_, _> = rows.into_iter().collect();
        let present = rows.values().filter(|row| row.left.is_none()).count();
        Self {
            rows,
            marks: marks.into_iter().collect(),
            present,
        }
    }

    /// A present or former member.
    pub fn get(&self, user: UserId) -> Option<&MemberRow> {
        self.rows.get(&user)
    }

    /// A present member, as of the last assigned seq.
    pub fn present(&self, user: UserId) -> Option<&MemberRow> {
        self.rows.get(&user).filter(|row| row.left.is_none())
    }

    /// Bytes held, about, with the room that both maps leave.
    pub fn bytes(&self) -> usize {
        const ROW: usize = 80;
        const MARKS: usize = 40;
        self.rows.len() * ROW + self.marks.len() * MARKS
    }

    /// How many are present, as of the last assigned seq.
    pub fn count(&self) -> usize {
        self.present
    }

    /// Present and former members by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = (UserId, &MemberRow)> {
        self.rows.iter().map(|(user, row)| (*user, row))
    }

    /// Present members with a higher id, ascending.
    pub fn present_after(
        &self,
        after: Option<UserId>,
    ) -> impl Iterator<Item = (UserId, &MemberRow)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.rows
            .range((after.map_or(Unbounded, Excluded), Unbounded))
            .filter(|(_, row)| row.left.is_none())
            .map(|(user, row)| (*user, row))
    }

    /// The longest-standing member other than `user`: the lowest join, then the lowest id.
    pub fn longest_standing_but(&self, user: UserId) -> Option<UserId> {
        self.present_after(None)
            .filter(|(id, _)| *id != user)
            .min_by_key(|(id, row)| (row.joined, *id))
            .map(|(id, _)| id)
    }

    /// A member's marks in force: what was stored, what sending implies, and for the read mark the
    /// entry with which the membership began.
    pub fn marks(&self, user: UserId) -> Marks {
        let stored = self.stored_marks(user);
        let Some(row) = self.rows.get(&user) else {
            return stored;
        };
        let read = stored.read.max(row.sent).max(row.joined);
        Marks {
            read,
            delivered: stored.delivered.max(read),
        }
    }

    /// What was stored, without what else moves marks.
    pub(super) fn stored_marks(&self, user: UserId) -> Marks {
        self.marks.get(&user).copied().unwrap_or_default()
    }

    /// Raises the stored marks. Returns them if they moved.
    pub(super) fn mark(&mut self, user: UserId, marks: Marks) -> Option<Marks> {
        let before = self.marks(user);
        if marks.read <= before.read && marks.delivered <= before.delivered {
            return None;
        }
        let stored = self.marks.entry(user).or_default();
        stored.read = stored.read.max(marks.read);
        stored.delivered = stored.delivered.max(marks.delivered);
        Some(*stored)
    }

    pub(super) fn sent(&mut self, user: UserId, seq: Seq) {
        if let Some(row) = self.rows.get_mut(&user) {
            row.sent = seq;
        }
    }

    pub(super) fn change(&mut self, seq: Seq, change: &MemberChange) {
        let known = self.rows.get(&change.user).copied();
        let was_present = known.is_some_and(|row| row.left.is_none());
        let row = match (change.kind, known) {
            (ChangeKind::Joined(role), known) => {
                let sent = known.map_or(Seq::ZERO, |row| row.sent);
                MemberRow {
                    role,
                    joined: seq,
                    left: None,
                    sent,
                }
            }
            (ChangeKind::Left | ChangeKind::Removed, Some(row)) => MemberRow {
                role: Role::Member,
                left: Some(seq),
                ..row
            },
            (ChangeKind::RoleChanged(role), Some(row)) => MemberRow { role, ..row },
            (_, None) => return,
        };
        let is_present = row.left.is_none();
        self.present = self.present + usize::from(is_present) - usize::from(was_present);
        self.rows.insert(change.user, row);
    }
}
