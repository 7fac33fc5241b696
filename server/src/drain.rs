//! The stages in which a node leaves on purpose, as something that all of its parts can await. Knows
//! none of the parts.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// A clonable view of the node's end. Each stage comes after the one before it and never goes away.
#[derive(Clone, Debug)]
pub struct Drain(Arc<Stages>);

#[derive(Debug)]
struct Stages {
    /// How clients are to spread their reconnects.
    window: Duration,
    /// New sessions are refused; the present ones are told to move.
    begun: CancellationToken,
    /// Sessions end, connections go away.
    closing: CancellationToken,
    /// What is still there is cut.
    cut: CancellationToken,
    /// Sessions that have not ended.
    sessions: TaskTracker,
    /// Why the node cannot go on, where it was not told to leave.
    failure: OnceLock<Failure>,
    failed: CancellationToken,
}

/// Why a node cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What was written may not be on the disk: only a new start knows.
    #[error("{0}")]
    Disk(String),
    /// What was stored makes no sense.
    #[error("{0}; keep a copy of the data directory and see docs/storage.md")]
    Damage(String),
    /// The program is at fault.
    #[error("{0}; this is a fault of the program: start the node again, and report it")]
    Fault(String),
}

impl Drain {
    /// A node that is not leaving. `window` is what sessions are told to spread reconnects over.
    pub fn new(window: Duration) -> Self {
        let sessions = TaskTracker::new();
        sessions.close();
        Self(Arc::new(Stages {
            window,
            begun: CancellationToken::new(),
            closing: CancellationToken::new(),
            cut: CancellationToken::new(),
            sessions,
            failure: OnceLock::new(),
            failed: CancellationToken::new(),
        }))
    }

    /// What `Draining.reconnect_window` says.
    pub fn window(&self) -> Duration {
        self.0.window
    }

    /// Whether new sessions are refused with DRAINING.
    pub fn has_begun(&self) -> bool {
        self.0.begun.is_cancelled()
    }

    /// Resolves when sessions should send `Draining` and go on.
    pub fn begun(&self) -> WaitForCancellationFuture<'_> {
        self.0.begun.cancelled()
    }

    /// Resolves when sessions should answer what they accepted, send `Closing` and end.
    pub fn closing(&self) -> WaitForCancellationFuture<'_> {
        self.0.closing.cancelled()
    }

    /// Resolves when whatever is left is cut.
    pub fn cut(&self) -> WaitForCancellationFuture<'_> {
        self.0.cut.cancelled()
    }

    /// Held by a session for as long as it lives: the node leaves early once all are gone.
    pub fn session(&self) -> TaskTrackerToken {
        self.0.sessions.token()
    }

    /// Resolves when no session is left.
    pub async fn sessions_gone(&self) {
        self.0.sessions.wait().await;
    }

    /// Says that the node cannot go on (such as a failed fsync) and must exit, nothing more being
    /// answered. The first word counts.
    pub fn fail(&self, why: Failure) {
        if self.0.failure.set(why).is_ok() {
            self.0.failed.cancel();
        }
    }

    /// Why the node cannot go on, if it cannot.
    pub fn failure(&self) -> Option<Failure> {
        self.0.failure.get().cloned()
    }

    /// Resolves with the reason once the node cannot go on.
    pub async fn failed(&self) -> Failure {
        self.0.failed.cancelled().await;
        let failure = self.0.failure.get().cloned();
        failure.expect("the failure is set before this is told")
    }

    /// Begins to leave. Does nothing the second time.
    pub fn leave(&self) {
        self.0.begun.cancel();
    }

    /// Enters the second stage.
    pub(crate) fn close(&self) {
        self.leave();
        self.0.closing.cancel();
    }

    /// Enters the last stage.
    pub(crate) fn cut_now(&self) {
        self.close();
        self.0.cut.cancel();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn later_stage_includes_the_earlier_ones() {
        let drain = Drain::new(Duration::ZERO);
        assert!(!drain.has_begun());
        drain.cut_now();
        assert!(drain.has_begun());
        drain.closing().await;
        drain.cut().await;
    }

    #[tokio::test]
    async fn sessions_are_awaited() {
        let drain = Drain::new(Duration::ZERO);
        let session = drain.session();
        assert!(drain.sessions_gone().now_or_never().is_none());
        drop(session);
        drain.sessions_gone().await;
    }

    #[tokio::test]
    async fn first_failure_is_the_one_reported() {
        let drain = Drain::new(Duration::ZERO);
        let first = Failure::Disk("fdatasync failed".to_owned());
        drain.fail(first.clone());
        drain.fail(Failure::Fault("and then more".to_owned()));
        assert_eq!(drain.failed().await, first);
    }
}
