//! A client that speaks HTTP/2 in order and gRPC in its own way: it chooses its windows, reads only
//! what it wants to, and leaves messages half sent.

use bytes::{Bytes, BytesMut};
use h2::{
    RecvStream, SendStream,
    client::{self, SendRequest},
};
use http::{Request, Version, header::HeaderValue};
use magpie::v1::{
    ClientFrame, Hello, ServerFrame, State, client_frame, server_frame::Frame as Said,
};
use magpie_tests::{guard::event, node::Node, person::Person, session::hello};
use prost::Message;
use tokio::{net::TcpStream, task::JoinHandle};

/// A window of this many bytes lets the node send all it has.
pub(crate) const WINDOW_MAX: u32 = (1 << 31) - 1;

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Peer {
    sender: SendRequest<Bytes>,
    task: JoinHandle<Result<(), h2::Error>>,
    authority: String,
}

/// A call whose request is still open.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) response: client::ResponseFuture,
    pub(crate) request: SendStream<Bytes>,
}

/// A stream by Chat, of which only what is asked for is read.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) request: SendStream<Bytes>,
    body: RecvStream,
    bytes: BytesMut,
    /// What was read and not given back to the window.
    unreleased: usize,
}

impl Peer {
    /// Connects with windows of this size, for a call and for all of them.
    pub(crate) async fn connect(node: &Node, window: u32, connection_window: u32) -> Self {
        let stream = TcpStream::connect(node.address())
            .await
            .expect("the node accepts");
        Self::over(stream, window, connection_window).await
    }

    /// The same over a connection that there is.
    pub(crate) async fn over(stream: TcpStream, window: u32, connection_window: u32) -> Self {
        let authority = stream.peer_addr().expect("a connected socket has a peer");
        let (sender, connection) = client::Builder::new()
            .initial_window_size(window)
            .initial_connection_window_size(connection_window)
            .handshake(stream)
            .await
            .expect("HTTP/2 opens");
        Self {
            sender,
            task: tokio::spawn(connection),
            authority: authority.to_string(),
        }
    }

    /// Begins a call of `method`, such as `ChatService/Chat`, as somebody.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) async fn call(&mut self, person: &Person, method: &str) -> Result<Call, h2::Error> {
        self.sender = self.sender.clone().ready().await?;
        let request = Request::post(format!("http://{}/magpie.v1.{method}", self.authority))
            .version(Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header(
                "authorization",
                format!("Bearer {}", person.credentials.access_token),
            )
            .body(())
            .expect("a request");
        let (response, request) = self.sender.send_request(request, false)?;
        Ok(Call { response, request })
    }

    /// Opens a stream by Chat.
    pub(crate) async fn chat(&mut self, person: &Person) -> Stream {
        self.chat_with(person, hello(State::default())).await
    }

    /// The same, saying more.
    pub(crate) async fn chat_with(&mut self, person: &Person, hello: Hello) -> Stream {
        let mut call = self
            .call(person, "ChatService/Chat")
            .await
            .expect("a stream opens");
        let frame = client_frame::Frame::Hello(hello);
        call.request
            .send_data(framed(0, frame), false)
            .expect("Hello goes out");
        let response = event("headers", call.response).await;
        Stream {
            request: call.request,
            body: response.expect("the call is taken").into_body(),
            bytes: BytesMut::new(),
            unreleased: 0,
        }
    }

    /// Whether the connection lives.
    pub(crate) fn is_open(&self) -> bool {
        !self.task.is_finished()
    }

    /// Waits for the end of the connection.
    pub(crate) async fn ended(mut self) -> Result<(), h2::Error> {
        event("the end of the connection", &mut self.task)
            .await
            .expect("its task does not panic")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stream {
    /// Sends a frame.
    pub(crate) fn tell(&mut self, request_id: u64, frame: client_frame::Frame) {
        self.request
            .send_data(framed(request_id, frame), false)
            .expect("an open stream takes frames");
    }

    /// Reads the next frame. The window does not grow again before [`Self::release`].
    ///
    /// # Errors
    /// When the stream was reset.
    pub(crate) async fn next(&mut self) -> Result<Option<Said>, h2::Error> {
        loop {
            if let Some(frame) = self.decode() {
                return Ok(frame.frame);
            }
            let Some(data) = event("a frame", self.body.data()).await.transpose()? else {
                return Ok(None);
            };
            self.unreleased += data.len();
            self.bytes.extend_from_slice(&data);
        }
    }

    /// Lets the node send as much again as was read.
    pub(crate) fn release(&mut self) {
        let read = std::mem::take(&mut self.unreleased);
        self.body.flow_control().release_capacity(read).ok();
    }

    fn decode(&mut self) -> Option<ServerFrame> {
        let length = self.bytes.get(1..5)?;
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        if self.bytes.len() < 5 + length {
            return None;
        }
        let message = self.bytes.split_to(5 + length).split_off(5);
        Some(ServerFrame::decode(message).expect("a frame of the contract"))
    }
}

/// A client's frame, encoded and with gRPC's prefix.
pub(crate) fn framed(request_id: u64, frame: client_frame::Frame) -> Bytes {
    prefixed(&ClientFrame {
        request_id,
        frame: Some(frame),
    })
}

/// A message with gRPC's prefix.
pub(crate) fn prefixed(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).expect("a message of some size");
    [&[0][..], &length.to_be_bytes(), &body].concat().into()
}

/// The status of a call and its details, wherever they stand, once its body has ended.
pub(crate) async fn status(response: client::ResponseFuture) -> Result<tonic::Status, h2::Error> {
    let response = event("headers", response).await?;
    let (parts, mut body) = response.into_parts();
    if let Some(status) = tonic::Status::from_header_map(&parts.headers) {
        return Ok(status);
    }
    while let Some(data) = event("the body", body.data()).await.transpose()? {
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = event("trailers", body.trailers()).await?;
    let mut trailers = trailers.unwrap_or_default();
    trailers
        .entry("grpc-status")
        .or_insert(HeaderValue::from_static("2"));
    Ok(tonic::Status::from_header_map(&trailers).expect("there is a status"))
}
