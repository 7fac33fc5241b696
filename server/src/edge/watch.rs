//! Whom sessions watch. Who may be seen is read from the store, and meanwhile the session may end or
//! watch others: so the result comes back to the edge, which passes on the latest only.

use std::collections::HashMap;

use magpie_core::{
    ids::{Partition, SessionId, UserId},
    users::{Input as UserInput, SessionKey, Stored},
};

use super::Parts;
use crate::router::{Router, ToOwner};

/// The watches that are being read. Bounded by the sessions of the edge.
#[derive(Debug, Default)]
pub(super) struct Watches {
    latest: HashMap<SessionId, u64>,
    next: u64,
}

impl Watches {
    /// Begins a watch, which takes the place of the session's earlier ones.
    pub(super) fn begin(&mut self, session: SessionId) -> u64 {
        self.next += 1;
        self.latest.insert(session, self.next);
        self.next
    }

    /// Takes in that a watch was read. Whether it counts: the session lives, and this is its latest.
    pub(super) fn read(&mut self, session: SessionId, watch: u64) -> bool {
        let latest = self.latest.get(&session) == Some(&watch);
        if latest {
            self.latest.remove(&session);
        }
        latest
    }

    /// Forgets a session that ended.
    pub(super) fn end(&mut self, session: SessionId) {
        self.latest.remove(&session);
    }
}

/// Those users whom the caller may see. None: it could not be read.
pub(super) async fn visible(
    parts: Parts,
    user: UserId,
    users: Vec<UserId>,
) -> Option<Vec<(UserId, Stored)>> {
    let seen = parts.presences.visible(user, users).await;
    seen.inspect_err(|refusal| tracing::warn!(%refusal, "a watch was not set"))
        .ok()
}

/// Tells the owners whom a session watches, instead of those before.
pub(super) fn tell(router: &Router, session: SessionKey, users: Vec<(UserId, Stored)>) {
    let owners = router.owners();
    let mut by_owner: Vec<Vec<(UserId, Stored)>> = (0..owners).map(|_| Vec::new()).collect();
    for (user, stored) in users {
        by_owner[router.owner_of(Partition::of_user(user))].push((user, stored));
    }
    for (owner, users) in by_owner.into_iter().enumerate() {
        router.to_owner(owner, ToOwner::User(UserInput::Watch(session, users)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_watch_of_a_session_counts_in_whatever_order_they_are_read() {
        let mut watches = Watches::default();
        let (session, other) = (SessionId(1), SessionId(2));
        let first = watches.begin(session);
        let others = watches.begin(other);
        let second = watches.begin(session);
        assert!(watches.read(session, second));
        assert!(!watches.read(session, first));
        assert!(watches.read(other, others));
        assert!(watches.latest.is_empty());
    }

    #[test]
    fn no_watch_of_an_ended_session_counts() {
        let mut watches = Watches::default();
        let watch = watches.begin(SessionId(1));
        watches.end(SessionId(1));
        assert!(!watches.read(SessionId(1), watch));
    }
}
