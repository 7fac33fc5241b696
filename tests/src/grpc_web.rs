//! gRPC-Web over plain HTTP/1.1, framed by hand as a browser does it: binary and text.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use prost::Message;

use crate::http as plain;

/// The flag of the frame that holds the trailers.
const TRAILERS: u8 = 0x80;

/// The length of a frame's head: a flag and the length of what follows.
const HEAD_BYTES: usize = 5;

/// How messages are put into bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/grpc-web+proto`.
    Binary,
    /// `application/grpc-web-text+proto`: the same in base64.
    Text,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Text => "application/grpc-web-text+proto",
        }
    }
}

/// A call whose answers are read one by one.
#[derive(Debug)]
pub struct Call {
    form: Form,
    body: Incoming,
    /// Base64 that makes no whole group yet.
    undecoded: BytesMut,
    decoded: BytesMut,
    trailers: Option<String>,
}

impl Call {
    /// Starts a call of `path`, such as `magpie.v1.ChatService/Sync`.
    ///
    /// # Panics
    /// When the node does not answer it as gRPC-Web.
    pub async fn start(
        node: SocketAddr,
        form: Form,
        path: &str,
        token: Option<&str>,
        message: &impl Message,
    ) -> Self {
        let mut framed = BytesMut::new();
        let length = u32::try_from(message.encoded_len()).expect("a message fits into a frame");
        framed.put_u8(0);
        framed.put_u32(length);
        message
            .encode(&mut framed)
            .expect("a buffer that grows takes it");
        let body = match form {
            Form::Binary => framed.freeze(),
            Form::Text => Bytes::from(STANDARD.encode(&framed)),
        };
        let mut request = Request::post(format!("/{path}"))
            .header(header::HOST, node.to_string())
            .header(header::CONTENT_TYPE, form.content_type())
            .header(header::ACCEPT, form.content_type())
            .header("x-grpc-web", "1");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(body))
            .expect("these headers make a request");
        let response = plain::request(node, request).await;
        assert_eq!(response.status(), 200, "{:?}", response.headers());
        let kind = response.headers().get(header::CONTENT_TYPE).cloned();
        let kind = kind.expect("an answer has a content type");
        let expected = form.content_type();
        assert!(
            expected.starts_with(kind.to_str().unwrap_or("?")),
            "{kind:?}, not {expected}"
        );
        // A call that is refused at once may carry its trailers as headers.
        let status = response.headers().get("grpc-status").cloned();
        let trailers =
            status.map(|status| format!("grpc-status: {}", status.to_str().unwrap_or("?")));
        let empty = BytesMut::new;
        Self {
            form,
            body: response.into_body(),
            undecoded: empty(),
            decoded: empty(),
            trailers,
        }
    }

    /// The next answer; none once the call has ended.
    ///
    /// # Panics
    /// When what comes is no gRPC-Web.
    pub async fn next<T: Message + Default>(&mut self) -> Option<T> {
        loop {
            if let Some((flag, payload)) = self.take_frame() {
                if flag & TRAILERS != 0 {
                    self.trailers = Some(String::from_utf8_lossy(&payload).into_owned());
                    return None;
                }
                return Some(T::decode(payload).expect("an answer of the expected type"));
            }
            let Some(frame) = self.body.frame().await else {
                assert!(self.decoded.is_empty(), "the body ends within a frame");
                return None;
            };
            if let Ok(data) = frame.expect("the body arrives").into_data() {
                self.take_data(&data);
            }
        }
    }

    /// The status of a call that has ended: 0 for success.
    pub fn status(&self) -> Option<i32> {
        let trailers = self.trailers.as_deref()?;
        let line = trailers.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim()
                .eq_ignore_ascii_case("grpc-status")
                .then_some(value)
        });
        line?.trim().parse().ok()
    }

    fn take_data(&mut self, data: &[u8]) {
        if self.form == Form::Binary {
            self.decoded.put_slice(data);
            return;
        }
        // Each piece that the node encodes is padded by itself, so groups are decoded one by one.
        self.undecoded.put_slice(data);
        while self.undecoded.len() >= 4 {
            let group = self.undecoded.split_to(4);
            let bytes = STANDARD.decode(&group).expect("an answer in base64");
            self.decoded.put_slice(&bytes);
        }
    }

    fn take_frame(&mut self) -> Option<(u8, Bytes)> {
        let head = self.decoded.get(..HEAD_BYTES)?;
        let flag = head[0];
        let length = (&head[1..]).get_u32() as usize;
        if self.decoded.len() < HEAD_BYTES + length {
            return None;
        }
        self.decoded.advance(HEAD_BYTES);
        Some((flag, self.decoded.split_to(length).freeze()))
    }
}

/// Makes a unary call and returns its answer.
///
/// # Panics
/// When it is refused.
pub async fn unary<T: Message + Default>(
    node: SocketAddr,
    form: Form,
    path: &str,
    token: Option<&str>,
    message: &impl Message,
) -> T {
    let mut call = Call::start(node, form, path, token, message).await;
    let answer = call.next().await;
    let end: Option<T> = call.next().await;
    assert!(end.is_none(), "a unary call has one answer");
    assert_eq!(call.status(), Some(0), "{path}: {:?}", call.trailers);
    answer.unwrap_or_else(|| panic!("{path} has no answer"))
}
