//! One connection of the load generator. Knows bytes and readiness, no peer.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
};

use anyhow::{Context as _, bail};
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt},
};

use crate::wire::Wire;

/// A member's place.
#[derive(Debug)]
pub(super) struct Seat {
    /// `None` once cut.
    stream: Option<TcpStream>,
    pub(super) wire: Wire,
    /// What the socket has not taken yet.
    pub(super) out: Vec<u8>,
    /// The connection is in its room.
    pub(super) ready: bool,
    /// The number of the last text; 0 before the first.
    pub(super) last_number: u64,
    /// Whether epoll tells when the socket takes bytes.
    awaits_room: bool,
}

impl Seat {
    /// Begins to connect, and does not wait for the answer.
    pub(super) fn connect(address: SocketAddr, wire: Wire) -> anyhow::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
            .context("no socket")?;
        sockopt::set_tcp_nodelay(&socket, true).context("no TCP_NODELAY")?;
        match connect(&socket, &address) {
            // A refusal also arrives as an event, where it is counted.
            Ok(()) | Err(Errno::INPROGRESS | Errno::CONNREFUSED) => {}
            Err(error) => return Err(error).context("cannot connect"),
        }
        Ok(Self {
            stream: Some(TcpStream::from(socket)),
            wire,
            out: Vec::new(),
            ready: false,
            last_number: 0,
            awaits_room: true,
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        self.stream.as_ref().expect("asked for while it is open")
    }

    pub(super) fn cut(&mut self) {
        self.stream = None;
    }

    /// Reads what there is; `None` where there is nothing.
    pub(super) fn read(&mut self, input: &mut [u8]) -> anyhow::Result<Option<usize>> {
        let Some(stream) = &mut self.stream else {
            return Ok(None);
        };
        match stream.read(input) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("the connection broke"),
        }
    }

    /// Writes what the socket takes, and asks for an event where something is left.
    pub(super) fn flush(&mut self, epoll: &OwnedFd, data: u64) -> anyhow::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        while !self.out.is_empty() {
            match stream.write(&self.out) {
                Ok(sent) => drop(self.out.drain(..sent)),
                // A socket that is still connecting takes nothing either.
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("the connection broke"),
            }
        }
        let awaits_room = !self.out.is_empty();
        if awaits_room != self.awaits_room {
            self.awaits_room = awaits_room;
            let flags = if awaits_room {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            epoll::modify(epoll, &*stream, EventData::new_u64(data), flags)
                .context("cannot watch a connection")?;
        }
        Ok(())
    }
}
