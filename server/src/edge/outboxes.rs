//! The outboxes of all sessions of a node: how much waits in them together, and whom to end where
//! that is more than the node may hold. What waits is looked at seldom and in full; frames on their
//! way only count what an outbox takes beyond the little that each has for itself.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use magpie_core::{edge::Input, ids::SessionId};
use tokio::{sync::Notify, time::sleep};

use super::{ToWorker, outlet::Shared};
use crate::{limits::OUTBOXES_LOOK_INTERVAL, router::Router};

/// Bounded by the sessions that there are.
#[derive(Debug)]
pub(crate) struct Outboxes {
    all: Mutex<HashMap<SessionId, Weak<Shared>>>,
    bytes_max: usize,
    /// What outboxes have taken, which is more than what waits in them.
    taken: AtomicUsize,
    excess: Notify,
}

impl Outboxes {
    /// No outbox yet. So many bytes may wait in all of them together.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            all: Mutex::default(),
            bytes_max,
            taken: AtomicUsize::new(0),
            excess: Notify::new(),
        })
    }

    pub(super) fn add(&self, session: SessionId, outbox: &Arc<Shared>) {
        self.all().insert(session, Arc::downgrade(outbox));
    }

    pub(super) fn remove(&self, session: SessionId) {
        self.all().remove(&session);
    }

    /// An outbox has taken so many bytes.
    pub(super) fn take(&self, bytes: usize) {
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed);
        if taken.saturating_add(bytes) > self.bytes_max {
            self.excess.notify_one();
        }
    }

    /// An outbox has given them back.
    pub(super) fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Waits until outboxes have taken more than may wait. They fill up without taking more, so what
    /// waits is to be looked at again and again as long as that is so.
    async fn excess(&self) {
        while self.taken.load(Ordering::Relaxed) <= self.bytes_max {
            self.excess.notified().await;
        }
    }

    /// How many frames wait in all of them.
    pub(crate) fn waiting(&self) -> usize {
        let all = self.all();
        let open = all.values().filter_map(Weak::upgrade);
        open.map(|outbox| outbox.waiting()).sum()
    }

    /// The sessions to end so that a quarter of what may wait is free again: those first for whom
    /// most waits. None where what waits is no more than it may be.
    fn largest(&self) -> Vec<SessionId> {
        let mut waiting: Vec<(usize, SessionId)> = {
            let all = self.all();
            let open = all
                .iter()
                .filter_map(|(id, outbox)| Some((*id, outbox.upgrade()?)));
            open.map(|(id, outbox)| (outbox.bytes(), id)).collect()
        };
        let mut bytes: usize = waiting.iter().map(|(bytes, _)| bytes).sum();
        if bytes <= self.bytes_max {
            return Vec::new();
        }
        waiting.sort_unstable_by(|a, b| b.cmp(a));
        let wanted = self.bytes_max / 4 * 3;
        let over = waiting.into_iter().take_while(|(waits, _)| {
            let is_over = bytes > wanted;
            bytes -= waits;
            is_over
        });
        over.map(|(_, session)| session).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<SessionId, Weak<Shared>>> {
        // It is whole after each change, so a panic elsewhere does not spoil it.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the slowest readers whenever more waits than the node may hold. Never returns.
pub(crate) async fn keep_within(router: Arc<Router>) {
    loop {
        router.outboxes().excess().await;
        let largest = router.outboxes().largest();
        if !largest.is_empty() {
            tracing::warn!(
                sessions = largest.len(),
                "more waits for clients than outboxes_bytes_max: the slowest readers are ended"
            );
        }
        for session in largest {
            let cut = Input::Cut(session);
            router.to_session(session, ToWorker::Input(cut));
        }
        sleep(OUTBOXES_LOOK_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use magpie_core::{frame::Outlet as _, limits::Limits};

    use super::*;
    use crate::{
        edge::{Frames, Outlet},
        listen::Budget,
    };

    const KIB: usize = 1 << 10;

    /// Sessions on connections of their own, for each of which so many KiB wait.
    fn waiting(router: &Arc<Router>, sizes: &[usize]) -> Vec<(Outlet, Frames)> {
        let open = |(session, kib): (u64, &usize)| {
            let budget = Arc::new(Budget::new(960 * KIB));
            let limits = Limits::default();
            let (outlet, frames) = Outlet::new(SessionId(session), router.clone(), budget, &limits);
            for _ in 0..*kib {
                assert!(outlet.event(vec![0; KIB].into(), KIB));
            }
            (outlet, frames)
        };
        (0..).zip(sizes).map(open).collect()
    }

    fn is_over(router: &Router) -> bool {
        router.outboxes().excess().now_or_never().is_some()
    }

    #[tokio::test]
    async fn slowest_readers_go_until_a_quarter_is_free() {
        let (router, _inboxes) = Router::new(1, 1, 300 * KIB);
        let mut sessions = waiting(&router, &[40, 120, 4, 100, 60]);
        assert!(is_over(&router));
        assert_eq!(router.outboxes().largest(), [SessionId(1)]);
        sessions.remove(1);
        assert!(router.outboxes().largest().is_empty());
    }

    #[tokio::test]
    async fn what_is_gone_or_read_is_given_back() {
        let (router, _inboxes) = Router::new(1, 1, 300 * KIB);
        let sessions = waiting(&router, &[40, 120, 100]);
        assert!(router.outboxes().taken.load(Ordering::Relaxed) > 0);
        sessions[0].0.close();
        drop(sessions);
        assert_eq!(router.outboxes().taken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn little_that_waits_for_many_is_no_excess() {
        let (router, _inboxes) = Router::new(1, 1, 300 * KIB);
        let _sessions = waiting(&router, &[8; 30]);
        assert!(!is_over(&router));
        assert!(router.outboxes().largest().is_empty());
    }
}
