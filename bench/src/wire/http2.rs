//! A client of one gRPC call over one HTTP/2 connection: just what the load needs, so that
//! thousands of connections cost the generator less than they cost the servers.
//!
//! It keeps both sides' flow control and answers PING and SETTINGS as a full client does, with
//! the windows of hyper's client. It does not read header blocks (so needs no HPACK decoder): an
//! end of the stream is a fault here, whatever its status.

use std::collections::VecDeque;

use super::{Broken, Pieces};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;
const GRPC_PREFIX_BYTES: usize = 5;
/// We announce no larger one, and no peer may assume one.
const FRAME_BYTES_MAX: usize = 16 * 1024;
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
const STREAM: u32 = 1;
/// The windows of hyper's client, which tonic's clients have.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 5 * 1024 * 1024;
/// RFC 9113 6.9.2.
const WINDOW_AT_FIRST: u32 = 65_535;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const SETTING_ENABLE_PUSH: u16 = 2;
const SETTING_INITIAL_WINDOW: u16 = 4;

/// One connection with one call.
#[derive(Debug)]
pub(crate) struct Http2 {
    /// What the call begins with, encoded; empty once sent.
    headers: Vec<u8>,
    frames: Pieces,
    messages: Pieces,
    /// What the peer still admits, for the connection and for the stream.
    send_connection: i64,
    send_stream: i64,
    peer_initial_window: i64,
    /// Messages that wait for the peer's windows.
    waiting: VecDeque<Vec<u8>>,
    /// Bytes received whose credit was not given back yet.
    owed_connection: u32,
    owed_stream: u32,
}

impl Http2 {
    /// A call of `path` (`/package.Service/Method`), with an `authorization` where one is needed.
    pub(crate) fn new(authority: &str, path: &str, authorization: Option<&str>) -> Self {
        // HPACK, without Huffman and without touching the table: indexed fields of the static
        // table, then literals with an indexed or a literal name.
        let mut headers = vec![0x83, 0x86];
        literal(&mut headers, &[0x04], path);
        literal(&mut headers, &[0x01], authority);
        literal(&mut headers, &[0x0f, 31 - 15], "application/grpc");
        literal(&mut headers, b"\x00\x02te", "trailers");
        if let Some(authorization) = authorization {
            literal(&mut headers, &[0x0f, 23 - 15], authorization);
        }
        Self {
            headers,
            frames: Pieces::default(),
            messages: Pieces::default(),
            send_connection: i64::from(WINDOW_AT_FIRST),
            send_stream: i64::from(WINDOW_AT_FIRST),
            peer_initial_window: i64::from(WINDOW_AT_FIRST),
            waiting: VecDeque::new(),
            owed_connection: 0,
            owed_stream: 0,
        }
    }

    pub(crate) fn open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(PREFACE);
        frame_header(out, 12, SETTINGS, 0, 0);
        for (setting, value) in [
            (SETTING_ENABLE_PUSH, 0),
            (SETTING_INITIAL_WINDOW, STREAM_WINDOW),
        ] {
            out.extend_from_slice(&setting.to_be_bytes());
            out.extend_from_slice(&u32::to_be_bytes(value));
        }
        window_update(out, 0, CONNECTION_WINDOW - WINDOW_AT_FIRST);
        let headers = std::mem::take(&mut self.headers);
        frame_header(out, headers.len(), HEADERS, END_HEADERS, STREAM);
        out.extend_from_slice(&headers);
    }

    pub(crate) fn send(&mut self, message: &[u8], out: &mut Vec<u8>) {
        self.waiting.push_back(message.to_vec());
        self.send_waiting(out);
    }

    /// Sends what the windows admit, one DATA frame a message.
    fn send_waiting(&mut self, out: &mut Vec<u8>) {
        while let Some(message) = self.waiting.front() {
            let length = GRPC_PREFIX_BYTES + message.len();
            let cost = i64::try_from(length).expect("messages are short");
            if cost > self.send_connection.min(self.send_stream) {
                return;
            }
            self.send_connection -= cost;
            self.send_stream -= cost;
            frame_header(out, length, DATA, 0, STREAM);
            out.push(0);
            let length = u32::try_from(message.len()).expect("messages are short");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(message);
            self.waiting.pop_front();
        }
    }

    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Broken> {
        let mut frames = std::mem::take(&mut self.frames);
        frames.feed(input, |bytes| {
            let Some((header, rest)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else {
                return Ok(None);
            };
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            if length > FRAME_BYTES_MAX {
                return Err(Broken(format!("an HTTP/2 frame of {length} bytes")));
            }
            let Some(payload) = rest.get(..length) else {
                return Ok(None);
            };
            let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            self.frame(header[3], header[4], stream, payload, out, &mut each)?;
            Ok(Some(FRAME_HEADER_BYTES + length))
        })?;
        self.frames = frames;
        Ok(())
    }

    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        out: &mut Vec<u8>,
        each: &mut impl FnMut(&[u8]),
    ) -> Result<(), Broken> {
        match kind {
            DATA => {
                self.data(flags, payload, out, each)?;
                ended(flags)
            }
            HEADERS => ended(flags),
            SETTINGS if flags & ACK == 0 => {
                self.settings(payload);
                frame_header(out, 0, SETTINGS, ACK, 0);
                self.send_waiting(out);
                Ok(())
            }
            PING if flags & ACK == 0 => {
                frame_header(out, payload.len(), PING, ACK, 0);
                out.extend_from_slice(payload);
                Ok(())
            }
            WINDOW_UPDATE => {
                let credit = i64::from(number(payload, 0) & 0x7fff_ffff);
                if stream == 0 {
                    self.send_connection += credit;
                } else {
                    self.send_stream += credit;
                }
                self.send_waiting(out);
                Ok(())
            }
            RST_STREAM => Err(Broken(format!("RST_STREAM, error {}", number(payload, 0)))),
            GOAWAY => {
                let said = String::from_utf8_lossy(payload.get(8..).unwrap_or_default());
                Err(Broken(format!(
                    "GOAWAY, error {}: {said}",
                    number(payload, 4)
                )))
            }
            // The rest is answers to what we sent, priorities, and what later versions bring.
            _ => Ok(()),
        }
    }

    fn settings(&mut self, payload: &[u8]) {
        for setting in payload.chunks_exact(6) {
            if u16::from_be_bytes([setting[0], setting[1]]) == SETTING_INITIAL_WINDOW {
                let window = i64::from(number(setting, 2));
                self.send_stream += window - self.peer_initial_window;
                self.peer_initial_window = window;
            }
        }
    }

    fn data(
        &mut self,
        flags: u8,
        payload: &[u8],
        out: &mut Vec<u8>,
        each: &mut impl FnMut(&[u8]),
    ) -> Result<(), Broken> {
        if flags & PADDED != 0 {
            return Err(Broken("a padded frame".to_owned()));
        }
        let size = u32::try_from(payload.len()).expect("a frame's length has 24 bits");
        self.owed_connection += size;
        self.owed_stream += size;
        if self.owed_connection >= CONNECTION_WINDOW / 2 {
            window_update(out, 0, std::mem::take(&mut self.owed_connection));
        }
        if self.owed_stream >= STREAM_WINDOW / 2 {
            window_update(out, STREAM, std::mem::take(&mut self.owed_stream));
        }
        self.messages.feed(payload, |bytes| {
            let Some((prefix, rest)) = bytes.split_first_chunk::<GRPC_PREFIX_BYTES>() else {
                return Ok(None);
            };
            let length = number(prefix, 1) as usize;
            if prefix[0] != 0 || length > MESSAGE_BYTES_MAX {
                return Err(Broken("a compressed or huge message".to_owned()));
            }
            let Some(message) = rest.get(..length) else {
                return Ok(None);
            };
            each(message);
            Ok(Some(GRPC_PREFIX_BYTES + length))
        })
    }
}

fn ended(flags: u8) -> Result<(), Broken> {
    if flags & END_STREAM == 0 {
        Ok(())
    } else {
        Err(Broken("the server ended the call".to_owned()))
    }
}

/// The big-endian number at `at`; 0 where there is none.
fn number(payload: &[u8], at: usize) -> u32 {
    let bytes = payload.get(at..).and_then(<[u8]>::first_chunk::<4>);
    bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn frame_header(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let length = u32::try_from(length).expect("frames are short");
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

fn window_update(out: &mut Vec<u8>, stream: u32, credit: u32) {
    frame_header(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&credit.to_be_bytes());
}

/// An HPACK literal without indexing: the name as given, the value with its length (RFC 7541 5.1).
fn literal(headers: &mut Vec<u8>, name: &[u8], value: &str) {
    headers.extend_from_slice(name);
    let mut length = value.len();
    if length < 127 {
        headers.push(length as u8);
    } else {
        headers.push(127);
        length -= 127;
        while length >= 128 {
            headers.push((length % 128) as u8 | 128);
            length /= 128;
        }
        headers.push(length as u8);
    }
    headers.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame_header(&mut bytes, payload.len(), kind, flags, stream);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn opened() -> Http2 {
        let mut http2 = Http2::new("localhost", "/a.B/C", None);
        http2.open(&mut Vec::new());
        http2
    }

    #[test]
    fn messages_are_joined_over_frames_and_reads() {
        // Two messages in three DATA frames that are cut in the wrong places.
        let body = b"\0\0\0\0\x03one\0\0\0\0\x03two";
        let bytes = [&body[..2], &body[2..11], &body[11..]]
            .map(|piece| frame(DATA, 0, STREAM, piece))
            .concat();
        for cut in 1..bytes.len() {
            let (mut http2, mut out, mut seen) = (opened(), Vec::new(), Vec::new());
            for piece in bytes.chunks(cut) {
                let each = |message: &[u8]| seen.push(message.to_vec());
                assert_eq!(http2.receive(piece, &mut out, each), Ok(()));
            }
            assert_eq!(seen, [b"one", b"two"]);
        }
    }

    #[test]
    fn pings_and_settings_are_answered() {
        let (mut http2, mut out) = (opened(), Vec::new());
        let input = [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, &[])].concat();
        assert_eq!(http2.receive(&input, &mut out, |_| ()), Ok(()));
        let answers = [
            frame(PING, ACK, 0, b"12345678"),
            frame(SETTINGS, ACK, 0, &[]),
        ]
        .concat();
        assert_eq!(out, answers);
    }

    #[test]
    fn messages_wait_for_the_peers_windows() {
        let (mut http2, mut out) = (opened(), Vec::new());
        http2.send(&vec![0; 60_000], &mut out);
        let sent = out.len();
        http2.send(&[0; 10_000], &mut out);
        assert_eq!(out.len(), sent, "the windows are used up");
        let credit = 70_000_u32.to_be_bytes();
        for (stream, complete) in [(STREAM, false), (0, true)] {
            let update = frame(WINDOW_UPDATE, 0, stream, &credit);
            assert_eq!(http2.receive(&update, &mut out, |_| ()), Ok(()));
            assert_eq!(out.len() > sent, complete);
        }
    }

    #[test]
    fn credit_is_given_back_before_the_window_is_used_up() {
        let (mut http2, mut out) = (opened(), Vec::new());
        let mut message = b"\0\0\0\x3f\xfb".to_vec();
        message.resize(16 * 1024, 0);
        let input = frame(DATA, 0, STREAM, &message);
        for _ in 0..STREAM_WINDOW / 2 / (16 * 1024) {
            assert!(out.is_empty());
            assert_eq!(http2.receive(&input, &mut out, |_| ()), Ok(()));
        }
        assert_eq!(
            out,
            frame(WINDOW_UPDATE, 0, STREAM, &(STREAM_WINDOW / 2).to_be_bytes())
        );
    }

    #[test]
    fn every_kind_of_end_is_a_fault() {
        for end in [
            frame(HEADERS, END_HEADERS | END_STREAM, STREAM, &[]),
            frame(DATA, END_STREAM, STREAM, &[]),
            frame(RST_STREAM, 0, STREAM, &[0, 0, 0, 8]),
            frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\x0btoo_many"),
        ] {
            assert!(opened().receive(&end, &mut Vec::new(), |_| ()).is_err());
        }
    }

    #[test]
    fn long_header_values_have_a_long_length() {
        let mut headers = Vec::new();
        literal(&mut headers, &[0x04], &"x".repeat(300));
        // 300 - 127 = 173 = 45 + 1 * 128.
        assert_eq!(headers[..4], [0x04, 127, 45 | 128, 1]);
        assert_eq!(headers.len(), 304);
    }
}
