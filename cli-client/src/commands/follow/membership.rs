//! In which of the followed rooms the reader is a member no longer, so that nothing more comes from
//! them. Prints nothing.

use std::collections::{HashMap, HashSet};

use magpie::v1::{Entry, MemberChangeKind, MemberRole, Reason, RoomSummary};

use super::Follower;
use crate::{
    failure::{Exit, Failure, reason_name},
    rooms,
};

/// How a membership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By leaving.
    Left,
    /// By somebody else.
    Removed,
    /// Before following began.
    Earlier,
}

impl Ending {
    /// The change of the membership, as programs are told.
    pub(crate) const fn change(self) -> Option<&'static str> {
        match self {
            Self::Left => Some("left"),
            Self::Removed => Some("removed"),
            Self::Earlier => None,
        }
    }

    /// What people are told.
    pub(crate) fn words(self, title: &str) -> String {
        let how = match self {
            Self::Left => "you left",
            Self::Removed => "you were removed from",
            Self::Earlier => "you are no member any more of",
        };
        format!("{how} {}", rooms::quoted(title))
    }

    /// The end of a command that followed only this room.
    pub(crate) fn failure(self, title: &str) -> Failure {
        no_member(self.words(title))
    }
}

/// Nothing more comes from any room that a command follows.
pub(crate) fn no_member(words: String) -> Failure {
    Failure::new(Exit::Refused, reason_name(Reason::NotAMember), words)
        .hint("`magpie rooms` lists the rooms you are in")
}

/// Where somebody is a member, as far as summaries and entries have told.
#[derive(Debug)]
pub(super) struct Membership {
    user_id: i64,
    /// The seq by which each membership began that is known to go on.
    joined: HashMap<i64, i64>,
    over: HashSet<i64>,
}

impl Membership {
    pub(super) fn of(user_id: i64) -> Self {
        Self {
            user_id,
            joined: HashMap::new(),
            over: HashSet::new(),
        }
    }

    pub(super) fn summary(&mut self, room: &RoomSummary) {
        if room.role() != MemberRole::Unspecified {
            self.joined.insert(room.room_id, room.joined_seq);
            self.over.remove(&room.room_id);
        }
    }

    /// Whether an entry makes the reader a member.
    pub(super) fn is_joined_by(&self, entry: &Entry) -> bool {
        entry.membership_change_of(self.user_id) == Some(MemberChangeKind::Joined)
    }

    fn entry(&mut self, entry: &Entry) -> Option<Ending> {
        let since = self.joined.get(&entry.room_id).copied().unwrap_or_default();
        let ending = match entry.membership_change_of(self.user_id)? {
            MemberChangeKind::Joined => {
                self.joined.insert(entry.room_id, since.max(entry.seq));
                self.over.remove(&entry.room_id);
                return None;
            }
            MemberChangeKind::Left => Ending::Left,
            MemberChangeKind::Removed => Ending::Removed,
            MemberChangeKind::RoleChanged | MemberChangeKind::Unspecified => return None,
        };
        // What ended a former membership comes late where the present one is known already.
        if entry.seq < since {
            return None;
        }
        self.over.insert(entry.room_id);
        Some(ending)
    }
}

impl Follower<'_> {
    /// Whether an entry that was shown ended the reader's membership of its room.
    pub(crate) fn ending(&mut self, entry: &Entry) -> Option<Ending> {
        self.membership.entry(entry)
    }

    /// The same of a room that is about to be followed.
    pub(crate) fn ending_before(&mut self, room: &RoomSummary) -> Option<Ending> {
        let is_former = room.role() == MemberRole::Unspecified;
        is_former.then(|| {
            self.membership.over.insert(room.room_id);
            Ending::Earlier
        })
    }

    /// Whether only some rooms are followed, and nothing more comes from any of them.
    pub(crate) fn is_over(&self) -> bool {
        let over = &self.membership.over;
        self.wanted
            .as_ref()
            .is_some_and(|wanted| wanted.is_subset(over))
    }

    /// How many rooms are followed; `None` for all.
    pub(crate) fn wanted_rooms(&self) -> Option<usize> {
        self.wanted.as_ref().map(HashSet::len)
    }
}

#[cfg(test)]
mod tests {
    use magpie::v1::{MemberChange, MembershipChanged, entry::Body};

    use super::*;

    const ME: i64 = 1;
    const ROOM: i64 = 7;

    fn changed(seq: i64, user_id: i64, kind: MemberChangeKind) -> Entry {
        let change = MemberChange {
            user_id,
            kind: kind.into(),
            ..MemberChange::default()
        };
        Entry {
            room_id: ROOM,
            seq,
            body: Some(Body::MembershipChanged(MembershipChanged {
                changes: vec![change],
            })),
            ..Entry::default()
        }
    }

    fn member(joined_seq: i64) -> RoomSummary {
        RoomSummary {
            room_id: ROOM,
            role: MemberRole::Member.into(),
            joined_seq,
            ..RoomSummary::default()
        }
    }

    #[test]
    fn only_ones_own_end_ends_a_membership() {
        let mut membership = Membership::of(ME);
        membership.summary(&member(2));
        let other = changed(3, 2, MemberChangeKind::Removed);
        assert_eq!(membership.entry(&other), None);
        let own = changed(4, ME, MemberChangeKind::Removed);
        assert_eq!(membership.entry(&own), Some(Ending::Removed));
        assert!(membership.over.contains(&ROOM));
        let again = changed(5, ME, MemberChangeKind::Joined);
        assert_eq!(membership.entry(&again), None);
        assert!(membership.over.is_empty());
        let own = changed(6, ME, MemberChangeKind::Left);
        assert_eq!(membership.entry(&own), Some(Ending::Left));
    }

    #[test]
    fn who_came_back_meanwhile_has_not_ended() {
        let mut membership = Membership::of(ME);
        membership.summary(&member(9));
        let former = changed(8, ME, MemberChangeKind::Removed);
        assert_eq!(membership.entry(&former), None);
        assert!(membership.over.is_empty());
    }
}
