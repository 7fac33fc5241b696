//! The parts that do the work, in the order in which they start and stop.

use std::{path::Path, sync::Arc};

use futures_util::FutureExt;
use magpie_core::ids::Partition;
use magpie_store::{
    account::{
        AccountStore,
        sqlite::{self, SqliteStore},
    },
    log::{
        LogStore,
        embedded::{Embedded, Options},
    },
};
use tokio::task::JoinHandle;

use super::{Context, StartError, data_dir, engine::Engine, exit};
use crate::{
    admin::Socket,
    auth::Accounts,
    drain::Failure,
    grpc::{
        Assembly,
        api::{
            AuthServiceServer, ChatServiceServer, DiscoveryServiceServer, MessageServiceServer,
            PresenceServiceServer, RoomServiceServer, UserServiceServer,
        },
        auth::Auth,
        authn::AuthnLayer,
        user::Users,
    },
    owner::TakeOverError,
};

/// Where the logs lie in the data directory.
pub(super) const LOG_DIR: &str = "log";

/// The parts of a node.
#[derive(Debug)]
pub(super) struct Parts {
    context: Context,
    log: Arc<Embedded>,
    store: Arc<SqliteStore>,
    accounts: Accounts,
    engine: Engine,
    admin: JoinHandle<()>,
}

impl Parts {
    /// Starts all of them. The log store is first: its lock is the data directory's.
    pub(super) async fn start(context: &Context) -> Result<Self, StartError> {
        let directory = &context.config.data_dir;
        // Of a directory of which only one half came back, the other must not be made anew: what refers
        // to it would be nobody's.
        let former = data_dir::Former::of(directory);
        if former.accounts && !former.log && SqliteStore::open(directory).await?.has_users().await?
        {
            return Err(half_missing(directory, LOG_DIR));
        }
        let log = open_log(context).await?;
        if former.log && !former.accounts && has_rooms(&log).await? {
            return Err(half_missing(directory, sqlite::FILE_NAME));
        }
        let store = Arc::new(SqliteStore::open(directory).await?);
        let limits = context.config.limits.accounts.clone();
        let accounts = Accounts::open(store.clone(), limits, context.clock.clone()).await?;
        let shared: Arc<dyn AccountStore> = store.clone();
        let engine = Engine::start(context, &log, &shared, accounts.clone()).await?;
        let socket = Socket::open(directory)?;
        let drain = context.drain.clone();
        let served = accounts.clone();
        let admin = tokio::spawn(async move { socket.serve(served, drain.closing()).await });
        Ok(Self {
            context: context.clone(),
            log,
            store,
            accounts,
            engine,
            admin,
        })
    }

    /// The services, and the layer that tells who calls them.
    pub(super) fn services(&self) -> (Assembly, AuthnLayer) {
        let advertise = self.context.config.settings.advertise.as_ref();
        let advertise = advertise.map(ToString::to_string).unwrap_or_default();
        let accounts = &self.accounts;
        let mut services = Assembly::default();
        services.add(AuthServiceServer::new(Auth::new(
            accounts.clone(),
            advertise,
        )));
        services.add(UserServiceServer::new(Users::new(accounts.clone())));
        let engine = self.engine.services();
        services.add(ChatServiceServer::new(engine.clone()));
        services.add(MessageServiceServer::new(engine.clone()));
        services.add(RoomServiceServer::new(engine.clone()));
        services.add(PresenceServiceServer::new(engine.clone()));
        services.add(DiscoveryServiceServer::new(engine));
        (
            services,
            AuthnLayer::new(accounts.authenticator(), self.context.clock.clone()),
        )
    }

    /// Takes over what the stores count, for the metrics. Does not keep them open.
    pub(super) fn refresh(&self) -> impl Fn() + Clone + Send + Sync + use<> {
        let metrics = Arc::clone(&self.context.metrics);
        let log = Arc::downgrade(&self.log);
        let hasher = self.accounts.hasher().clone();
        let router = self.engine.router();
        move || {
            let outbox = router.outboxes().waiting();
            metrics.note_queues(outbox, router.waiting_for_owners(), hasher.waiting());
            if let Some(log) = log.upgrade() {
                let now = log.counters();
                metrics.note_log(
                    now.fsyncs,
                    now.writes,
                    now.writes_refused_full,
                    now.writes_queued,
                );
            }
        }
    }

    /// Stops them once no call is left: what was accepted is stored when this returns, unless the
    /// node's failure says otherwise.
    pub(super) async fn stop(self) {
        if let Err(error) = self.admin.await {
            tracing::error!(%error, "the operators' socket ended badly");
        }
        self.engine.stop().await;
        self.store.close().await;
        let failed = self.log.failed();
        let log = self.log;
        // Closing waits for the disk, so it gets a thread that may.
        if let Err(error) = tokio::task::spawn_blocking(move || drop(log)).await {
            tracing::error!(%error, "the log store ended badly");
        }
        // Nobody watches the log any more, and what waited was written only now.
        if let Some(why) = failed.now_or_never() {
            self.context.drain.fail(Failure::Disk(why));
        }
    }
}

fn half_missing(directory: &Path, what: &str) -> StartError {
    StartError::HalfMissing {
        path: directory.join(what),
    }
}

async fn has_rooms(log: &Embedded) -> Result<bool, StartError> {
    for partition in Partition::all() {
        let hints = log.hints(partition).await.map_err(TakeOverError::Read)?;
        if !hints.is_empty() {
            return Ok(true);
        }
        let pending = log.pending(partition).await.map_err(TakeOverError::Read)?;
        if !pending.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn open_log(context: &Context) -> Result<Arc<Embedded>, StartError> {
    let path = context.config.data_dir.join(LOG_DIR);
    let options = Options {
        free_bytes_min: context.config.settings.free_space_min.0,
        ..Options::default()
    };
    let opened = tokio::task::spawn_blocking(move || Embedded::open(&path, options));
    match opened.await {
        Ok(Ok(log)) => Ok(Arc::new(log)),
        Ok(Err(error)) => Err(StartError::of_open(&context.config.data_dir, error).await),
        Err(error) => Err(StartError::Part {
            what: "the log store could not be opened".to_owned(),
            exit_code: exit::SOFTWARE,
            source: Some(error.into()),
        }),
    }
}
