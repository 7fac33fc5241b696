//! Clients that mean harm or are broken: they cost a bounded amount, and nobody else anything.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{self, SendRequest},
};
use http::{Request, Version};
use magpie::v1::{
    ClientFrame, Effect, Reason, ServerFrame, State, client_frame, server_frame::Frame,
};
use magpie_tests::{
    guard::{event, guarded, guarded_for},
    memory::MemoryMark,
    node::{Node, Setup},
    person::{Person, message},
    session::hello,
};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};

use crate::scene::{Scene, live};

/// Connections that a hostile client opens.
const CONNECTIONS: usize = 24;

/// Commands of a session that may be unanswered, as Welcome says.
const UNANSWERED_MAX: usize = 64;

/// Their windows are wide open, so that only the socket holds the node back.
#[tokio::test]
async fn readers_that_open_their_windows_and_never_read_cost_a_bounded_amount() {
    guarded_for(Duration::from_secs(60), async {
        // Who does not read is left alone for as long as a busy machine needs.
        let patient = Setup::new()
            .limit("user_sessions_max", 100)
            .limit("ping_interval_millis", 300_000)
            .limit("tcp_user_timeout_millis", 300_000);
        let mut scene = Scene::on(patient).await;
        let session = live(&scene.ann).await;
        let own = scene.node.metric("magpie_connections").await;
        let memory = MemoryMark::of(scene.node.process().pid());
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            held.push(never_reading(&scene.node, &scene.bob).await);
        }
        let text = "x".repeat(15_000);
        for _ in 0..10 {
            let mut answers = Vec::new();
            for _ in 0..60 {
                let frame = client_frame::Frame::SendMessage(message(scene.room, &text));
                answers.push(session.ask(frame).await);
            }
            for answer in answers {
                answer.await.expect("others' sends go on");
            }
        }
        memory.growth_each("open windows, nothing read", CONNECTIONS);
        let there = scene.node.metric("magpie_connections").await - own;
        assert_eq!(there, CONNECTIONS as f64, "the readers are still there");
        drop(held);
    })
    .await;
}

#[tokio::test]
async fn garbage_and_resets_in_a_loop_leave_no_descriptor_behind() {
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::new().await;
        let session = live(&scene.ann).await;
        for round in 0..300_usize {
            let mut stream = TcpStream::connect(scene.node.address())
                .await
                .expect("the node accepts");
            let garbage: Vec<u8> = match round % 4 {
                0 => vec![0xff; 4_096],
                1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff".to_vec(),
                2 => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
                _ => b"PRI * HT".to_vec(),
            };
            stream.write_all(&garbage).await.ok();
            if round % 2 == 0 {
                stream.set_zero_linger().ok();
            }
        }
        rapid_resets(&scene.node, &scene.bob).await;
        session
            .send(message(scene.room, "well"))
            .await
            .expect("others' sends go on");
        assert!(
            scene.node.descriptors() < 100,
            "{} descriptors",
            scene.node.descriptors()
        );
    })
    .await;
}

#[tokio::test]
async fn a_length_prefix_of_four_gibibytes_is_refused() {
    guarded(async {
        let mut scene = Scene::new().await;
        let before = scene.node.memory();
        let (mut sender, _task) = connect(&scene.node).await;
        let request = grpc(&scene.node, &scene.bob, "MessageService/SendMessage");
        let (response, mut body) = sender.send_request(request, false).expect("a stream opens");
        body.send_data(
            Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2]),
            false,
        )
        .expect("bytes go out");
        let response = event("a refusal", response).await.expect("a response");
        let status = response.headers().get("grpc-status").cloned();
        let status = match status {
            Some(status) => status,
            None => trailer(response.into_body()).await,
        };
        assert_eq!(status.to_str().ok(), Some("8"), "RESOURCE_EXHAUSTED");
        assert!(scene.node.memory() < before + (8 << 20));
        scene.bob.send(scene.room, "fine").await.expect("sent");
    })
    .await;
}

/// The store is slow, so that commands wait; the rooms are several, since those of one room go to
/// its owner one by one.
#[tokio::test]
async fn commands_beyond_the_unanswered_that_may_wait_are_refused_and_the_others_answered() {
    const ROOMS: usize = 16;
    const BURST: usize = UNANSWERED_MAX + 16;
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::new().await;
        let mut rooms = Vec::new();
        for number in 0..ROOMS {
            rooms.push(scene.ann.create_room(&format!("room {number}")).await);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let inject = "inject=fdatasync,fsync:delay_enter=500000";
        let options = ["-e", "trace=fdatasync,fsync", "-e", inject];
        let trace = folder.path().join("trace");
        scene.node.set_up(Setup::new().strace(&trace, &options));
        scene.node.kill_and_restart().await;
        let ann = scene.ann.over(scene.node.api());
        let session = live(&ann).await;
        let limits = session.welcome.limits.expect("Welcome tells the limits");
        assert_eq!(limits.unanswered_commands_max, UNANSWERED_MAX as i32);
        let mut answers = Vec::new();
        for number in 0..BURST {
            let frame = message(rooms[number % ROOMS], &format!("number {number}"));
            answers.push(session.ask(client_frame::Frame::SendMessage(frame)).await);
        }
        for (number, answer) in answers.into_iter().enumerate() {
            match answer.await {
                Ok(Frame::SendMessage(_)) if number < UNANSWERED_MAX => {}
                Err(error) if number >= UNANSWERED_MAX => {
                    assert_eq!(error.reason(), Reason::TooManyUnanswered, "{error:?}");
                    assert_eq!(error.effect(), Effect::AttemptNone, "{error:?}");
                    assert!(error.retry_after.is_some(), "{error:?}");
                }
                other => panic!("command {number}: {other:?}"),
            }
        }
        let frame = message(scene.room, "the stream goes on");
        session.send(frame).await.expect("sent");
        let mut stored = 0;
        for room in rooms {
            // The first entry is the room's creation.
            stored += ann.log(room).await.len() - 1;
        }
        assert_eq!(stored, UNANSWERED_MAX, "what was refused is not there");
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_refused_commands_ends_the_stream() {
    guarded(async {
        let scene = Scene::new().await;
        let session = live(&scene.bob).await;
        for request_id in 1..=600 {
            let request = message(scene.room, "");
            let frame = Some(client_frame::Frame::SendMessage(request));
            // The node need not wait for the last of them.
            if !session
                .try_tell_raw(ClientFrame { request_id, frame })
                .await
            {
                break;
            }
        }
        let closing = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::Closing(closing)) => closing.error.clone(),
            _ => None,
        };
        let error = session.find(0, "Closing", closing).await;
        assert_eq!(error.reason(), Reason::TooManyRefusals, "{error:?}");
        assert_eq!(scene.ann.log(scene.room).await.len(), 2, "nothing was sent");
    })
    .await;
}

/// A connection whose socket can be left unread.
struct Deaf {
    stream: TcpStream,
    is_deaf: Arc<AtomicBool>,
}

impl AsyncRead for Deaf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_deaf.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection whose task reads frames as HTTP/2 asks, and no stream's data.
async fn connect(node: &Node) -> (SendRequest<Bytes>, JoinHandle<()>) {
    let stream = TcpStream::connect(node.address())
        .await
        .expect("the node accepts");
    speak(stream).await
}

async fn speak<S>(stream: S) -> (SendRequest<Bytes>, JoinHandle<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = client::Builder::new()
        .initial_window_size((1 << 31) - 1)
        .initial_connection_window_size((1 << 31) - 1)
        .handshake(stream)
        .await
        .expect("HTTP/2 opens");
    let task = tokio::spawn(async move {
        connection.await.ok();
    });
    (sender.ready().await.expect("HTTP/2 is ready"), task)
}

fn grpc(node: &Node, person: &Person, method: &str) -> Request<()> {
    Request::post(format!("http://{}/magpie.v1.{method}", node.address()))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(
            "authorization",
            format!("Bearer {}", person.credentials.access_token),
        )
        .body(())
        .expect("a request")
}

fn framed(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).expect("a small message");
    [&[0][..], &length.to_be_bytes(), &body].concat().into()
}

/// Opens a stream by Chat, is welcomed, and reads no more, with all windows open. The connection
/// stays until what is returned is dropped.
async fn never_reading(node: &Node, person: &Person) -> impl Sized + use<> {
    // Little room in the kernel, so that the node meets the silence soon.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 << 10).expect("a buffer");
    let stream = socket.connect(node.address()).await;
    let is_deaf = Arc::new(AtomicBool::new(false));
    let (mut sender, task) = speak(Deaf {
        stream: stream.expect("the node accepts"),
        is_deaf: Arc::clone(&is_deaf),
    })
    .await;
    let request = grpc(node, person, "ChatService/Chat");
    let (response, mut body) = sender.send_request(request, false).expect("a stream opens");
    let frame = Some(client_frame::Frame::Hello(hello(State::default())));
    body.send_data(
        framed(&ClientFrame {
            request_id: 0,
            frame,
        }),
        false,
    )
    .expect("Hello goes out");
    let response = event("headers", response).await.expect("the call is taken");
    is_deaf.store(true, Ordering::SeqCst);
    (sender, response, body, task)
}

/// Opens and resets streams as fast as it can, until the node has had enough.
async fn rapid_resets(node: &Node, person: &Person) {
    let (mut sender, task) = connect(node).await;
    for _ in 0..3_000 {
        let ready = tokio::time::timeout(Duration::from_secs(1), sender.ready()).await;
        let Ok(Ok(ready)) = ready else { break };
        sender = ready;
        let request = grpc(node, person, "ChatService/Chat");
        let Ok((response, mut body)) = sender.send_request(request, false) else {
            break;
        };
        body.send_reset(h2::Reason::CANCEL);
        drop(response);
    }
    task.abort();
}

async fn trailer(mut body: RecvStream) -> http::HeaderValue {
    while let Some(Ok(_)) = event("the end of the body", body.data()).await {}
    let trailers = event("trailers", body.trailers())
        .await
        .expect("trailers")
        .expect("trailers");
    trailers.get("grpc-status").expect("a status").clone()
}

/// An idle connection that says nothing is closed, so that it holds no descriptor for ever.
#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    guarded(async {
        let setup = Setup::new().limit("handshake_millis", 500);
        let scene = Scene::on(setup).await;
        let mut stream = TcpStream::connect(scene.node.address())
            .await
            .expect("connects");
        let end = event("the end", stream.read_u8()).await;
        assert!(end.is_err(), "{end:?}");
    })
    .await;
}
