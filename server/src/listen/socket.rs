//! Options of sockets that the runtime does not set.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::Error;

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

/// Frames are small and must not wait for each other; and bytes that a dead peer never
/// acknowledges must not keep its connection, which keepalive alone would allow.
pub(super) fn tune(stream: &TcpStream, unacknowledged_max: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(unacknowledged_max))
}
