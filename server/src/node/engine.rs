//! The owners and edges of a node: their tasks, and their end.

use std::{future::pending, num::NonZero, sync::Arc, thread::available_parallelism};

use magpie_discovery::Standalone;
use magpie_store::{account::AccountStore, log::embedded::Embedded};
use tokio::time::timeout;

use super::{
    Context,
    supervise::{Supervised, Tasks},
};
use crate::{
    auth::Accounts,
    drain::Failure,
    edge::{self, ToWorker},
    grpc::{
        services::{Parts as ServiceParts, Services},
        wire::Contract,
    },
    limits::{LEAVING_MAX, TASKS_MAX, count as bytes},
    owner::{self, TakeOverError},
    presence::Presences,
    router::Router,
};

/// The tasks of a node.
#[derive(Debug)]
pub(super) struct Engine {
    router: Arc<Router>,
    services: Services,
    tasks: Supervised,
}

impl Engine {
    /// Starts all of them. What a former run left unfinished has been taken over when this returns.
    pub(super) async fn start(
        context: &Context,
        log: &Arc<Embedded>,
        accounts: &Arc<dyn AccountStore>,
        people: Accounts,
    ) -> Result<Self, TakeOverError> {
        let count = available_parallelism()
            .map_or(1, NonZero::get)
            .min(TASKS_MAX);
        let outboxes_bytes = bytes(context.config.limits.shell.outboxes_bytes_max);
        let (router, inboxes) = Router::new(count, count, outboxes_bytes);
        let limits = context.config.limits.core.clone();
        let presences = Presences::new(router.clone(), accounts.clone());
        let mut tasks = Tasks::default();
        // The first of them, as the others' start reads the log and must learn of its failure.
        tasks.spawn(
            "the watch over the log",
            watch_log(context.clone(), log.clone()),
        );
        let mut shares = limits.clone();
        shares.rooms_bytes_max /= count as u64;
        let parts = owner::Parts {
            router: router.clone(),
            log: log.clone(),
            accounts: accounts.clone(),
            limits: shares,
            clock: context.clock.clone(),
            drain: context.drain.clone(),
            metrics: context.metrics.clone(),
        };
        for (index, inbox) in inboxes.owners.into_iter().enumerate() {
            let task = owner::Task::start(parts.clone(), index, log.epoch()).await?;
            tasks.spawn("the task of an owner", task.run(inbox));
        }
        let parts = edge::Parts {
            router: router.clone(),
            accounts: accounts.clone(),
            presences: presences.clone(),
            revocations: people.authenticator().revocations().clone(),
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
            tasks.spawn("the task of an edge", task.run(inbox));
        }
        tasks.spawn("the outboxes' bound", edge::keep_within(router.clone()));
        tasks.spawn("the leave-taking", leave(context.clone(), router.clone()));
        let tasks = tasks.supervise(context.drain.clone());
        let services = Services::new(ServiceParts {
            router: router.clone(),
            accounts: accounts.clone(),
            people,
            presences,
            limits,
            clock: context.clock.clone(),
            drain: context.drain.clone(),
            metrics: context.metrics.clone(),
            discovery: Standalone::new(context.config.settings.advertise.clone()),
        });
        Ok(Self {
            router,
            services,
            tasks,
        })
    }

    /// The services over them.
    pub(super) fn services(&self) -> Services {
        self.services.clone()
    }

    /// The ways to the tasks.
    pub(super) fn router(&self) -> Arc<Router> {
        self.router.clone()
    }

    /// Ends the tasks. Nobody waits for an answer any more.
    pub(super) async fn stop(self) {
        // Without it the node only forgets a time.
        drop(timeout(LEAVING_MAX, self.router.leaving()).await);
        self.tasks.stop().await;
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
    // It has nothing more to do, but its end would be taken for a failure.
    pending().await
}

/// Ends the node where the log cannot go on.
async fn watch_log(context: Context, log: Arc<Embedded>) {
    let failed = log.failed();
    drop(log);
    context.drain.fail(Failure::Disk(failed.await));
}
