//! Options of sockets that the runtime does not set.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use super::Error;
use crate::limits::Limits;

/// Takes a port, with room for a storm of reconnects in its queue: the usual 128 refuse most of
/// 2,000 clients that come at once.
pub(super) fn bind(address: SocketAddr, backlog: u64) -> Result<TcpListener, Error> {
    let bound = || -> io::Result<TcpListener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // A restarted node must not wait for its former connections to be forgotten.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::InUse(address),
        io::ErrorKind::PermissionDenied => Error::Denied(address),
        _ => Error::Io { address, source },
    })
}

/// Probes of a silent peer, after which it is gone.
const PROBES: u32 = 2;

/// Frames are small and must not wait for each other; and bytes that a dead peer never
/// acknowledges must not keep its connection, which keepalive alone would allow. Keepalive is for
/// HTTP/1.1, which has no PING: a browser that listens and is gone is noticed as late as others.
pub(super) fn tune(stream: &TcpStream, limits: &Limits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // The kernel counts in whole seconds, from 1.
    let seconds = |millis: u64| Duration::from_secs(millis.div_ceil(1_000).max(1));
    let keepalive = TcpKeepalive::new()
        .with_time(seconds(limits.ping_interval_millis))
        .with_interval(seconds(limits.ping_timeout_millis / u64::from(PROBES)))
        .with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(Duration::from_millis(limits.tcp_user_timeout_millis)))
}
