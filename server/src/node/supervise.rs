//! The tasks that a node lives by. Each runs until the node stops: one that ends before would leave
//! its rooms or sessions without an answer for ever, so it ends the node. Knows none of them.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::drain::{Drain, Failure};

/// Tasks that nobody watches yet. Dropping it ends them, as when the rest of a node fails to start.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// Tasks whose end is noticed.
#[derive(Debug)]
pub(super) struct Supervised {
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
}

impl Tasks {
    /// Starts a task that is to run until the node stops.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Watches them from now on: the end of one fails the node.
    pub(super) fn supervise(self, drain: Drain) -> Supervised {
        let stop = CancellationToken::new();
        let supervisor = tokio::spawn(self.run(stop.clone(), drain));
        Supervised { stop, supervisor }
    }

    async fn run(mut self, stop: CancellationToken, drain: Drain) {
        tokio::select! {
            () = stop.cancelled() => {}
            Some(ended) = self.set.join_next_with_id() => drain.fail(self.failure(ended)),
        }
        self.set.shutdown().await;
    }

    fn failure(&self, ended: Result<(Id, ()), JoinError>) -> Failure {
        let (id, how) = match ended {
            Ok((id, ())) => (id, "ended".to_owned()),
            Err(error) => (error.id(), error.to_string()),
        };
        let name = self.names.get(&id).copied().unwrap_or("a task");
        Failure::Fault(format!("{name} ended before the node did: {how}"))
    }
}

impl Supervised {
    /// Ends them. Nobody waits for an answer any more.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.supervisor.await {
            tracing::error!(%error, "the node's tasks ended badly");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_or_ends_fails_the_node_by_its_name() {
        for panics in [true, false] {
            let drain = Drain::new(Duration::ZERO);
            let mut tasks = Tasks::default();
            tasks.spawn("an edge", pending());
            tasks.spawn("an owner", async move {
                assert!(!panics, "a rule was broken");
            });
            let supervised = tasks.supervise(drain.clone());
            let failure = drain.failed().await;
            assert!(matches!(failure, Failure::Fault(_)), "{failure:?}");
            assert!(failure.to_string().starts_with("an owner"), "{failure}");
            supervised.stop().await;
        }
    }

    #[tokio::test]
    async fn stopping_is_no_failure() {
        let drain = Drain::new(Duration::ZERO);
        let (held, mut gone) = tokio::sync::mpsc::channel::<()>(1);
        let mut tasks = Tasks::default();
        tasks.spawn("an owner", async move {
            pending::<()>().await;
            drop(held);
        });
        tasks.supervise(drain.clone()).stop().await;
        assert_eq!(gone.recv().await, None, "the task is gone");
        assert!(drain.failure().is_none());
    }
}
