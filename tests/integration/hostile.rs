//! Clients that mean harm or are broken: they cost a bounded amount, and nobody else anything.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{self, SendRequest},
};
use http::{Request, Version};
use magpie::v1::{ClientFrame, Reason, ServerFrame, State, client_frame, server_frame::Frame};
use magpie_tests::{
    guard::{event, guarded, guarded_for},
    node::Node,
    person::{Person, message},
    session::hello,
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::scene::{Scene, live};

/// What one connection may cost the node.
const CONNECTION_BYTES_MAX: usize = 3 << 19;

/// Connections that a hostile client opens.
const CONNECTIONS: usize = 24;

/// Slack for what the node keeps for itself while it serves them: allocator, pools, logs.
const SLACK_BYTES: usize = 16 << 20;

#[tokio::test]
async fn streams_with_half_a_message_each_cost_a_bounded_amount() {
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::new().await;
        let session = live(&scene.ann).await;
        session
            .send(message(scene.room, "warm"))
            .await
            .expect("sent");
        let before = scene.node.memory();
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            held.push(half_messages(&scene.node, &scene.bob).await);
        }
        let begin = Instant::now();
        session
            .send(message(scene.room, "in between"))
            .await
            .expect("others' sends go on");
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{:?}",
            begin.elapsed()
        );
        let grown = scene.node.memory().saturating_sub(before);
        let bound = CONNECTIONS * CONNECTION_BYTES_MAX + SLACK_BYTES;
        assert!(
            grown < bound,
            "{} KiB a connection",
            (grown / CONNECTIONS) >> 10
        );
        drop(held);
    })
    .await;
}

#[tokio::test]
async fn readers_that_open_their_windows_and_never_read_cost_a_bounded_amount() {
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::new().await;
        let session = live(&scene.ann).await;
        let before = scene.node.memory();
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(never_reading(&scene.node, &scene.bob).await);
        }
        let text = "x".repeat(15_000);
        for _ in 0..6 {
            let mut answers = Vec::new();
            for _ in 0..60 {
                let frame = client_frame::Frame::SendMessage(message(scene.room, &text));
                answers.push(session.ask(frame).await);
            }
            for answer in answers {
                answer.await.expect("others' sends go on");
            }
        }
        let grown = scene.node.memory().saturating_sub(before);
        let bound = 8 * CONNECTION_BYTES_MAX + 2 * SLACK_BYTES;
        assert!(grown < bound, "{} KiB in all", grown >> 10);
        drop(held);
    })
    .await;
}

#[tokio::test]
async fn garbage_and_resets_in_a_loop_leave_the_node_well() {
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::new().await;
        let session = live(&scene.ann).await;
        let before = scene.node.memory();
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
        let grown = scene.node.memory().saturating_sub(before);
        assert!(grown < 50 << 20, "{} MiB more", grown >> 20);
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

#[tokio::test]
async fn unanswered_commands_beyond_the_limit_are_refused_and_a_flood_ends_the_stream() {
    guarded(async {
        let scene = Scene::new().await;
        let session = live(&scene.bob).await;
        for request_id in 1..=600 {
            let request = message(scene.room, "");
            let frame = Some(client_frame::Frame::SendMessage(request));
            session.tell_raw(ClientFrame { request_id, frame }).await;
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

/// Small frames that nobody reads at once meet the HTTP/2 library's budget for them: an honest
/// client that sends in bursts must not.
#[tokio::test]
async fn bursts_of_small_frames_pass_in_both_directions() {
    guarded_for(Duration::from_secs(60), async {
        let scene = Scene::new().await;
        let (ann, bob) = (live(&scene.ann).await, live(&scene.bob).await);
        let mut last = 0;
        for _ in 0..30 {
            let mut answers = Vec::new();
            for number in 0..60 {
                ann.tell(client_frame::Frame::Heartbeat(magpie::v1::Heartbeat {}))
                    .await;
                let frame = message(scene.room, &number.to_string());
                answers.push(ann.ask(client_frame::Frame::SendMessage(frame)).await);
            }
            for answer in answers {
                let Ok(Frame::SendMessage(answer)) = answer.await else {
                    panic!("refused")
                };
                last = answer.seq;
            }
        }
        bob.event(scene.room, last).await;
        assert!(ann.is_open() && bob.is_open());
    })
    .await;
}

/// A connection whose task reads frames as HTTP/2 asks, and no stream's data.
async fn connect(node: &Node) -> (SendRequest<Bytes>, tokio::task::JoinHandle<()>) {
    let stream = TcpStream::connect(node.address())
        .await
        .expect("the node accepts");
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

/// Opens as many streams as it may, each with the first half of the largest message.
async fn half_messages(node: &Node, person: &Person) -> impl Sized + use<> {
    let (mut sender, task) = connect(node).await;
    let mut streams = Vec::new();
    for _ in 0..32 {
        let Ok(ready) = sender.clone().ready().await else {
            break;
        };
        sender = ready;
        let request = grpc(node, person, "MessageService/SendMessage");
        let Ok((response, mut body)) = sender.send_request(request, false) else {
            break;
        };
        // 500 KiB announced, as much sent as the windows let through.
        let mut half = vec![0, 0, 7, 0xd0, 0];
        half.resize(250 << 10, 0x0a);
        body.send_data(half.into(), false).ok();
        streams.push((response, body));
    }
    // A round trip over the connection: what the node was to take is with it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    (sender, task, streams)
}

/// Opens a stream by Chat, is welcomed, and reads no more, with all windows open.
async fn never_reading(node: &Node, person: &Person) -> impl Sized + use<> {
    let (mut sender, task) = connect(node).await;
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
    // Nothing reads from the socket any more.
    task.abort();
    (sender, response, body)
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
        let setup = magpie_tests::node::Setup::new().limit("handshake_millis", 500);
        let scene = Scene::on(setup).await;
        let mut stream = TcpStream::connect(scene.node.address())
            .await
            .expect("connects");
        let end = event("the end", stream.read_u8()).await;
        assert!(end.is_err(), "{end:?}");
    })
    .await;
}
