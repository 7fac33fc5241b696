//! HTTP/2 frames as bytes, for what no HTTP/2 library would send.

use std::{io, time::Duration};

use magpie_tests::node::Node;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What a client says first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flag: the last frame of a header block.
pub(crate) const END_HEADERS: u8 = 4;

/// How a connection ended, or that it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The node said GOAWAY with this code.
    GoAway(u32),
    /// It closed or reset the connection without a word.
    Closed,
    /// It did neither in the time given.
    Open,
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame of some size");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block with the least that a gRPC call needs, without indexing.
pub(crate) fn call_headers() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in [
        (":path", "/magpie.v1.ChatService/Chat"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.extend(header(name, value));
    }
    block
}

/// One header field, without indexing.
pub(crate) fn header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let length = text.len();
        if length < 127 {
            bytes.push(u8::try_from(length).expect("below 127"));
        } else {
            bytes.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).expect("below 128") | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).expect("below 128"));
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// A connection that has said its preface and settings.
pub(crate) async fn greet(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.address())
        .await
        .expect("the node accepts");
    let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&greeting).await.expect("it is taken");
    stream
}

/// Writes a piece again and again while the connection takes it, reading nothing; false once the
/// node has closed it.
pub(crate) async fn flood(stream: &mut TcpStream, piece: &[u8], times: usize) -> bool {
    for _ in 0..times {
        // A node that takes no more has bounded the flood as well as one that closes.
        match timeout(Duration::from_secs(1), stream.write_all(piece)).await {
            Ok(Ok(())) => {}
            Ok(Err(_closed)) => return false,
            Err(_full) => return true,
        }
    }
    true
}

/// Reads until the connection ends or says that it will.
pub(crate) async fn end_of(stream: &mut TcpStream, bound: Duration) -> End {
    timeout(bound, read_to_end(stream))
        .await
        .unwrap_or(Ok(End::Open))
        .unwrap_or(End::Closed)
}

async fn read_to_end(stream: &mut TcpStream) -> io::Result<End> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        if head[3] == GOAWAY
            && let Some(code) = payload.get(4..8)
        {
            let code = u32::from_be_bytes(code.try_into().expect("four bytes"));
            return Ok(End::GoAway(code));
        }
    }
}
