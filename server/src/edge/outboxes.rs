//! The outboxes of all sessions of a node, to tell how much waits in them. Asked seldom, so that
//! frames on their way cost nothing more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use magpie_core::ids::SessionId;

use super::outlet::Shared;

/// Bounded by the sessions that there are.
#[derive(Debug, Default)]
pub(crate) struct Outboxes(Mutex<HashMap<SessionId, Weak<Shared>>>);

impl Outboxes {
    pub(super) fn add(&self, session: SessionId, outbox: &Arc<Shared>) {
        self.change(|outboxes| drop(outboxes.insert(session, Arc::downgrade(outbox))));
    }

    pub(super) fn remove(&self, session: SessionId) {
        self.change(|outboxes| drop(outboxes.remove(&session)));
    }

    /// How many frames wait in all of them.
    pub(crate) fn waiting(&self) -> usize {
        let outboxes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = outboxes.values().filter_map(Weak::upgrade);
        open.map(|outbox| outbox.waiting()).sum()
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<SessionId, Weak<Shared>>)) {
        // It is whole after each change, so a panic elsewhere does not spoil it.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
