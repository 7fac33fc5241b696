//! The owners and edges of a node: their tasks, and their end.

use std::{num::NonZero, sync::Arc, thread::available_parallelism, time::Duration};

use magpie_discovery::Standalone;
use magpie_store::{
    account::AccountStore,
    log::{StoreError, embedded::Embedded},
};
use tokio::task::JoinHandle;

use super::Context;
use crate::{
    auth::Authenticator,
    edge::{self, ToWorker},
    grpc::{
        services::{Parts as ServiceParts, Services},
        wire::Contract,
    },
    metrics::Queue,
    owner,
    presence::Presences,
    router::Router,
};

/// Owners and edges of one node, each a task. More than a few share no more work.
const TASKS_MAX: usize = 8;
/// How often the log's counters are taken over into the metrics.
const COUNT_INTERVAL: Duration = Duration::from_millis(250);

/// The tasks of a node.
#[derive(Debug)]
pub(super) struct Engine {
    services: Services,
    tasks: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Starts all of them. What a former run left unfinished is finished when this returns.
    pub(super) async fn start(
        context: &Context,
        log: &Arc<Embedded>,
        accounts: &Arc<dyn AccountStore>,
        authenticator: Authenticator,
    ) -> Result<Self, StoreError> {
        let count = available_parallelism()
            .map_or(1, NonZero::get)
            .min(TASKS_MAX);
        let (router, inboxes) = Router::new(count, count);
        let limits = context.config.limits.core.clone();
        let presences = Presences::new(router.clone(), accounts.clone());
        let mut tasks = Vec::new();
        let parts = owner::Parts {
            router: router.clone(),
            log: log.clone(),
            accounts: accounts.clone(),
            limits: limits.clone(),
            clock: context.clock.clone(),
            drain: context.drain.clone(),
            metrics: context.metrics.clone(),
        };
        for (index, inbox) in inboxes.owners.into_iter().enumerate() {
            let task = owner::Task::start(parts.clone(), index, log.epoch()).await?;
            tasks.push(tokio::spawn(task.run(inbox)));
        }
        let parts = edge::Parts {
            router: router.clone(),
            accounts: accounts.clone(),
            presences: presences.clone(),
            revocations: authenticator.revocations().clone(),
            limits: limits.clone(),
            clock: context.clock.clone(),
            metrics: context.metrics.clone(),
        };
        let wire = Contract::new(
            context.config.settings.node_name.clone(),
            router.incarnation(),
            &limits,
            context.config.limits.shell.message_bytes_max,
        );
        for (index, inbox) in (0..).zip(inboxes.edges) {
            let task = edge::Task::new(parts.clone(), index, log.generation(), wire.clone());
            tasks.push(tokio::spawn(task.run(inbox)));
        }
        tasks.push(tokio::spawn(leave(context.clone(), router.clone())));
        tasks.push(tokio::spawn(watch_log(context.clone(), log.clone())));
        let services = Services::new(ServiceParts {
            router,
            accounts: accounts.clone(),
            presences,
            authenticator,
            limits,
            clock: context.clock.clone(),
            drain: context.drain.clone(),
            metrics: context.metrics.clone(),
            discovery: Standalone::new(context.config.settings.advertise.clone()),
        });
        Ok(Self { services, tasks })
    }

    /// The services over them.
    pub(super) fn services(&self) -> Services {
        self.services.clone()
    }

    /// Ends the tasks. Nobody waits for an answer any more.
    pub(super) async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            match task.await {
                Err(error) if error.is_panic() => tracing::error!(%error, "a task ended badly"),
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Tells sessions the stages of leaving.
async fn leave(context: Context, router: Arc<Router>) {
    use magpie_core::edge::Input;
    context.drain.begun().await;
    let window = context.drain.window();
    router.to_all_edges(|| ToWorker::Input(Input::Drain(window)));
    context.drain.closing().await;
    router.to_all_edges(|| ToWorker::Input(Input::CloseAll));
}

/// Counts what the log does, and ends the node where the log cannot go on.
async fn watch_log(context: Context, log: Arc<Embedded>) {
    let queue = context.metrics.queue(Queue::Log);
    let failed = log.failed();
    let mut counted = 0;
    let mut tick = tokio::time::interval(COUNT_INTERVAL);
    tokio::pin!(failed);
    loop {
        tokio::select! {
            why = &mut failed => return context.drain.fail(why),
            _ = tick.tick() => {}
        }
        let counters = log.counters();
        context.metrics.fsyncs.inc_by(counters.fsyncs - counted);
        counted = counters.fsyncs;
        queue.set(counters.writes_queued.try_into().unwrap_or(i64::MAX));
    }
}
