//! What an entry means to one account, for all who fold a log.

use crate::v1::{Entry, MemberChangeKind, entry::Body};

impl Entry {
    /// What the entry did to the account's own membership of the room; `None` where nothing.
    pub fn membership_change_of(&self, user_id: i64) -> Option<MemberChangeKind> {
        let changes = match &self.body {
            Some(Body::MembershipChanged(changed)) => &changed.changes,
            Some(Body::RoomCreated(created)) => &created.changes,
            Some(Body::Message(_) | Body::RoomUpdated(_)) | None => return None,
        };
        let own = changes.iter().find(|change| change.user_id == user_id)?;
        Some(own.kind())
    }

    /// Whether the entry is a message by the account: sending moves its marks to the entry's seq.
    pub fn is_message_of(&self, user_id: i64) -> bool {
        self.actor_user_id == user_id && matches!(self.body, Some(Body::Message(_)))
    }
}
