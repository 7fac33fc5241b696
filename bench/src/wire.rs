//! The transports under the peers: bytes to messages and back. Knows sockets' bytes only.

mod http2;
mod plain;
pub(crate) mod protobuf;

pub(crate) use http2::Http2;
pub(crate) use plain::Plain;

/// Why a connection is of no more use.
#[derive(Debug, PartialEq)]
pub(crate) struct Broken(pub(crate) String);

/// One connection's transport state.
#[derive(Debug)]
pub(crate) enum Wire {
    /// Frames with a four-byte length.
    Plain(Plain),
    /// One bidirectional gRPC call over HTTP/2 without TLS.
    Grpc(Box<Http2>),
}

impl Wire {
    /// Puts what must be sent first into `out`.
    pub(crate) fn open(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Plain(_) => {}
            Self::Grpc(http2) => http2.open(out),
        }
    }

    /// Puts a message into `out`, or keeps it until the peer's windows admit it.
    pub(crate) fn send(&mut self, message: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Plain(_) => Plain::send(message, out),
            Self::Grpc(http2) => http2.send(message, out),
        }
    }

    /// Takes bytes in, calls `each` for every message they complete, and puts what the transport
    /// itself must answer into `out`.
    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        each: impl FnMut(&[u8]),
    ) -> Result<(), Broken> {
        match self {
            Self::Plain(plain) => plain.receive(input, each),
            Self::Grpc(http2) => http2.receive(input, out, each),
        }
    }
}

/// Bytes that arrive in pieces and leave in whole units.
#[derive(Debug, Default)]
struct Pieces(Vec<u8>);

impl Pieces {
    /// Calls `take` with as much as there is until it takes nothing more (`Some(n)`: n bytes were
    /// a unit). What is left over waits for the next call. A unit that lies whole in `input` is
    /// never copied.
    fn feed<E>(
        &mut self,
        input: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<Option<usize>, E>,
    ) -> Result<(), E> {
        let joined;
        let mut rest = if self.0.is_empty() {
            input
        } else {
            self.0.extend_from_slice(input);
            joined = std::mem::take(&mut self.0);
            joined.as_slice()
        };
        while let Some(taken) = take(rest)? {
            rest = &rest[taken..];
        }
        self.0.extend_from_slice(rest);
        Ok(())
    }
}
