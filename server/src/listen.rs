//! The public port: accepts connections, bounds what each may take, speaks HTTP/2 and HTTP/1.1 over
//! plain TCP or TLS, and lets them go when the node leaves. Knows nothing of what is asked over them.

mod budget;
mod caps;
mod connection;
mod joined;
mod protocol;
mod socket;
mod tls;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::Router;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub use self::budget::{Budget, Charge, FrameCharge};
use crate::{drain::Drain, limits::Limits, metrics::Metrics};

/// What a call may know of its connection. An extension of every request.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// The other end.
    pub peer: SocketAddr,
    /// What the connection's calls may hold together.
    pub budget: Arc<Budget>,
    /// Whether a call has come.
    called: Arc<AtomicBool>,
}

impl ConnInfo {
    /// A connection without calls yet.
    pub fn new(peer: SocketAddr, limits: &Limits) -> Self {
        Self {
            peer,
            budget: Arc::new(Budget::new(crate::limits::count(
                limits.connection_bytes_max,
            ))),
            called: Arc::new(AtomicBool::new(false)),
        }
    }

    fn note_call(&self) {
        self.called.store(true, Ordering::Relaxed);
    }

    fn has_called(&self) -> bool {
        self.called.load(Ordering::Relaxed)
    }
}

/// Where to listen, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether plain text may be spoken beyond this machine.
    pub insecure: bool,
    /// Certificate chain and key, in PEM files.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// Why a node cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else has the port.
    #[error("{0} is in use: stop the program that listens there, or choose another port")]
    InUse(SocketAddr),
    /// The port needs rights that the process lacks.
    #[error("not allowed to listen on {0}: choose a port above 1023")]
    Denied(SocketAddr),
    /// Plain text beyond this machine, without having said so.
    #[error(
        "{0} can be reached from other machines, and without TLS everybody on the way can read \
         along: give --tls-cert and --tls-key, or --insecure-listen if a proxy in front does TLS"
    )]
    NotLoopback(SocketAddr),
    /// The certificate or key cannot be used.
    #[error("cannot use {path}, named by --tls-cert or --tls-key: {reason}")]
    Tls {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Anything else.
    #[error("cannot listen on {address}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A bound port that accepts nobody yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    limits: Arc<Limits>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Listener").field(&self.address).finish()
    }
}

impl Listener {
    /// Takes the port. Connections queue from now on and are accepted by [`Listener::run`].
    pub fn bind(options: &Options, limits: Arc<Limits>) -> Result<Self, Error> {
        let loopback = options.address.ip().is_loopback();
        if options.tls.is_none() && !options.insecure && !loopback {
            return Err(Error::NotLoopback(options.address));
        }
        let tls = match &options.tls {
            Some((certificate, key)) => Some(tls::acceptor(certificate, key)?),
            None => None,
        };
        let socket = socket::bind(options.address, limits.accept_backlog)?;
        let address = options.address;
        let address = socket
            .local_addr()
            .map_err(|source| Error::Io { address, source })?;
        Ok(Self {
            socket,
            address,
            tls,
            limits,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Accepts and serves until the node leaves; resolves when no connection is left.
    pub async fn run(self, app: Router, metrics: Arc<Metrics>, drain: Drain) {
        let server = connection::Server {
            app,
            tls: self.tls,
            protocol: protocol::builder(&self.limits),
            caps: Arc::new(caps::Caps::new(&self.limits)),
            limits: self.limits,
            metrics,
            drain,
        };
        Arc::new(server).accept_from(self.socket).await;
    }
}

#[cfg(test)]
mod tests;
