//! The life of a connection, from accept to the last byte.

use std::{io, net::SocketAddr, pin::pin, sync::Arc};

use axum::{Router, extract::Request};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::{
    ConnInfo,
    caps::{Caps, Place},
    joined::Joined,
    socket,
};
use crate::{
    drain::Drain,
    limits::{ACCEPT_PAUSE, Limits, millis},
    metrics::{Metrics, Refused},
};

/// What all connections share.
pub(super) struct Server {
    pub(super) app: Router,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) protocol: Builder<TokioExecutor>,
    pub(super) caps: Arc<Caps>,
    pub(super) limits: Arc<Limits>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: Drain,
}

impl Server {
    /// Accepts until the node closes, then waits for the connections to end.
    pub(super) async fn accept_from(self: Arc<Self>, socket: TcpListener) {
        let connections = TaskTracker::new();
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.drain.closing() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    failing = false;
                    self.admit(stream, peer, &connections);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.metrics.accept_errors.inc();
                    if !failing {
                        tracing::warn!(%error, "accepting no connections for now");
                    }
                    failing = true;
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(socket);
        connections.close();
        connections.wait().await;
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, connections: &TaskTracker) {
        match self.caps.admit(peer.ip()) {
            Ok(place) => {
                connections.spawn(Arc::clone(self).serve(stream, peer, place));
            }
            // The client sees the end at once, and its back-off spaces what it tries next.
            Err(why) => self.metrics.connection_refused(why),
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Place) {
        if let Err(error) = socket::tune(&stream, &self.limits) {
            tracing::debug!(%error, %peer, "the connection ended before its start");
            return;
        }
        self.metrics.connections.inc();
        match &self.tls {
            None => self.speak(stream, peer).await,
            Some(acceptor) => {
                let handshake = acceptor.accept(stream);
                match timeout(millis(self.limits.handshake_millis), handshake).await {
                    Ok(Ok(stream)) => self.speak(stream, peer).await,
                    Ok(Err(error)) => self.refuse_handshake(peer, &error),
                    Err(error) => self.refuse_handshake(peer, &error),
                }
            }
        }
        self.metrics.connections.dec();
        drop(place);
    }

    fn refuse_handshake(&self, peer: SocketAddr, error: &dyn std::fmt::Display) {
        tracing::debug!(%error, %peer, "no TLS handshake");
        self.metrics.connection_refused(Refused::Handshake);
    }

    async fn speak<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let info = ConnInfo::new(peer, &self.limits);
        let app = self.app.clone();
        let of_call = info.clone();
        let service = hyper::service::service_fn(move |mut request: Request<_>| {
            of_call.note_call();
            request.extensions_mut().insert(of_call.clone());
            app.clone().call(request)
        });
        let mut connection = pin!(
            self.protocol
                .serve_connection(TokioIo::new(Joined(stream)), service)
        );

        let first_call = millis(self.limits.handshake_millis);
        let closing = tokio::select! {
            _ = connection.as_mut() => return,
            () = self.drain.closing() => true,
            () = sleep(first_call) => false,
        };
        if !closing {
            // Neither version of HTTP limits how long a connection says nothing at all.
            if !info.has_called() {
                self.metrics.connection_refused(Refused::Silent);
                return;
            }
            tokio::select! {
                _ = connection.as_mut() => return,
                () = self.drain.closing() => {}
            }
        }
        connection.as_mut().graceful_shutdown();
        // The transport would wait for ever for a call that its client does not end.
        tokio::select! {
            _ = connection => {}
            () = self.drain.cut() => {}
        }
    }
}

/// Whether accept failed for a connection that was gone before it could be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
