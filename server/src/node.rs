//! A running node: its parts put together, started in order, and let go in order.

mod data_dir;
mod engine;
mod error;
mod http;
mod parts;
mod supervise;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use magpie_store::{account::sqlite::SqliteStore, log::embedded::new_generation};
use tokio::{
    net::TcpListener,
    task::{JoinError, JoinHandle},
    time::timeout,
};

pub use self::error::{Failed, StartError, exit};
use self::parts::Parts;
pub use crate::owner::TakeOverError;
use crate::{
    clock::Clock,
    config::Config,
    drain::{Drain, Failure},
    grpc::{self, health::Health},
    listen::{self, Listener},
    metrics::{Metrics, endpoint},
};

/// Starts nodes.
#[derive(Debug)]
pub struct Node;

/// A node that runs. Dropping it leaves the node running; call [`NodeHandle::shutdown`].
#[derive(Debug)]
pub struct NodeHandle {
    /// Where clients connect.
    pub public: SocketAddr,
    /// Where `/metrics` is served, if it is.
    pub metrics: Option<SocketAddr>,
    /// Whether the public port speaks TLS.
    pub tls: bool,
    drain: Drain,
    done: JoinHandle<Result<(), Failed>>,
}

/// What every part of a node is given.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) drain: Drain,
}

impl Node {
    /// Starts a node. When it returns, clients can connect.
    ///
    /// # Errors
    /// Why it could not start, and by [`StartError::exit_code`] what the process should say.
    pub async fn start(config: Config) -> Result<NodeHandle, StartError> {
        let drain = Drain::new(config.settings.drain_window.0);
        let config = Arc::new(config);
        let context = Context {
            config: Arc::clone(&config),
            clock: Clock::system(),
            metrics: Arc::new(Metrics::new()),
            drain: drain.clone(),
        };
        data_dir::prepare(&config.data_dir)?;
        // Ports first: a second node on this machine fails before it touches anybody's data.
        let listener = bind_public(&config)?;
        let metrics_listener = bind_metrics(config.settings.metrics_listen.0).await?;
        let parts = Parts::start(&context).await?;

        let public = listener.address();
        let tls = listener.is_tls();
        let metrics = metrics_listener.as_ref().map(|(_, address)| *address);
        if let Some((socket, _)) = metrics_listener {
            let counted = Arc::clone(&context.metrics);
            tokio::spawn(endpoint::serve(
                socket,
                counted,
                drain.clone(),
                parts.refresh(),
            ));
        }
        let router = router(&context, &parts).await;
        let served = tokio::spawn(listener.run(router, context.metrics, drain.clone()));
        let deadline = config.settings.drain_timeout.0;
        let done = tokio::spawn(run(parts, served, drain.clone(), deadline));
        Ok(NodeHandle {
            public,
            metrics,
            tls,
            drain,
            done,
        })
    }

    /// Raises the generation of a data directory that no node uses, and returns the new one. The
    /// keys of access tokens end with the old one: the accounts may not know the devices to which
    /// tokens were given after the copy was made.
    ///
    /// # Errors
    /// As for starting. Running it again is safe, since a generation may be skipped.
    pub async fn new_generation(config: &Config) -> Result<u64, StartError> {
        let directory = &config.data_dir;
        let now = Clock::system().now().wall;
        let generation = match new_generation(&directory.join(parts::LOG_DIR), now) {
            Ok(generation) => generation,
            Err(error) => return Err(StartError::of_open(directory, error).await),
        };
        // Where they are missing, the next start says so.
        if data_dir::Former::of(directory).accounts {
            let accounts = SqliteStore::open(directory).await?;
            accounts.forget_signing_keys().await?;
            accounts.close().await;
        }
        Ok(generation)
    }
}

impl NodeHandle {
    /// Begins to leave. Does nothing the second time.
    pub fn shutdown(&self) {
        self.drain.leave();
    }

    /// The stages of leaving, to follow them.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Waits until the node is gone and everything it accepted is stored.
    ///
    /// # Errors
    /// Why it had to stop by itself.
    pub async fn wait(self) -> Result<(), Failed> {
        match self.done.await {
            Ok(done) => done,
            Err(error) => {
                let why = format!("its main task ended: {error}");
                Err(Failed(Failure::Fault(why)))
            }
        }
    }
}

fn bind_public(config: &Config) -> Result<Listener, StartError> {
    let settings = &config.settings;
    let options = listen::Options {
        address: settings.listen,
        insecure: settings.insecure_listen,
        tls: settings.tls_cert.clone().zip(settings.tls_key.clone()),
    };
    let limits = Arc::new(config.limits.shell.clone());
    Ok(Listener::bind(&options, limits)?)
}

async fn bind_metrics(
    address: Option<SocketAddr>,
) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let bound = async {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "whoever reaches this address can read the metrics");
        }
        Ok((socket, address))
    };
    bound
        .await
        .map(Some)
        .map_err(|source| StartError::Metrics { address, source })
}

async fn router(context: &Context, parts: &Parts) -> axum::Router {
    let settings = &context.config.settings;
    let options = grpc::Options {
        reflection: settings.reflection,
        origins: settings.cors_origins.clone(),
    };
    let health = Health::default();
    let (services, authn) = parts.services();
    let names = services.names().to_vec();
    let limits = Arc::new(context.config.limits.shell.clone());
    let metrics = &context.metrics;
    let drain = &context.drain;
    let calls = services
        .into_router(authn, &options, &health, &limits, metrics, drain)
        .await;
    tokio::spawn(health.follow(names, drain.clone()));
    http::router(calls, drain.clone())
}

/// Waits for the node's end, then lets go in the order in which nothing accepted is lost: sessions
/// are told, then end, connections go away, and only then do those stop who store what came.
async fn run(
    parts: Parts,
    mut served: JoinHandle<()>,
    drain: Drain,
    deadline: Duration,
) -> Result<(), Failed> {
    tokio::select! {
        () = drain.begun() => {}
        ended = &mut served => drain.fail(end_of_listener(ended)),
        _ = drain.failed() => {}
    }
    if drain.failure().is_none() {
        leave(served, &drain, deadline).await;
    }
    drain.cut_now();
    // After a failure nothing is waited for: only a new start knows what is stored.
    if drain.failure().is_none() {
        parts.stop().await;
    }
    if let Some(why) = drain.failure() {
        tracing::error!(%why, "the node cannot go on");
        return Err(Failed(why));
    }
    tracing::info!("left");
    Ok(())
}

/// Lets sessions and connections go. Ends early where the node fails meanwhile.
async fn leave(served: JoinHandle<()>, drain: &Drain, deadline: Duration) {
    tracing::info!("leaving: clients are told to go elsewhere");
    let leave = async {
        tokio::select! {
            () = drain.sessions_gone() => {}
            () = tokio::time::sleep(drain.window()) => {}
        }
        drain.close();
        if let Err(error) = served.await {
            tracing::error!(%error, "the listener ended badly");
        }
    };
    tokio::select! {
        left = timeout(deadline, leave) => if left.is_err() {
            tracing::warn!("some connections did not end in time and are cut");
        },
        _ = drain.failed() => {}
    }
}

/// What it means that nobody listens any more, although the node was not told to leave.
fn end_of_listener(ended: Result<(), JoinError>) -> Failure {
    let how = ended.map_or_else(|error| error.to_string(), |()| "ended".to_owned());
    Failure::Fault(format!("the listener ended before the node did: {how}"))
}

#[cfg(test)]
mod tests;
