//! Calls that are left half done, or whose large answers nobody reads.

use std::{future::ready, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use magpie::v1::{
    GetMessageRequest, GetRoomRequest, ListMessagesRequest, ListRoomsRequest, Reason, State,
    SyncRequest, client_frame, list_messages_request::Position,
};
use magpie_tests::{
    guard::{event, event_within, guarded},
    node::Setup,
    person::message,
    refusal,
    session::hello,
};
use prost::Message;
use tokio::time::timeout;
use tonic::Status;

use crate::{
    peer::{Call, Peer, WINDOW_MAX, prefixed, status},
    scene::{Scene, live},
};

const CONNECTIONS: usize = 30;

/// The streams that a connection may have.
const STREAMS: usize = 32;

/// How long a stream may be without its Hello: 10 s, and what a busy machine adds.
const HELLO_TIME_MAX: Duration = Duration::from_secs(15);

/// Connections whose calls count unread messages, and how long that may take a busy machine: each call
/// reads 16 MB of the log.
const COUNTING: usize = 16;
const COUNTING_TIME_MAX: Duration = Duration::from_secs(60);

/// Sends that wait for their answers at the same time.
const SENDS_AT_ONCE: usize = 32;

#[tokio::test]
async fn half_a_large_message_in_every_stream_is_refused_beyond_the_connections_budget() {
    guarded(async {
        let mut scene = Scene::new().await;
        let honest = scene.honest().await;
        let memory = scene.mark_memory();
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut peer = Peer::connect(&scene.node, WINDOW_MAX, WINDOW_MAX).await;
            let mut answers = FuturesUnordered::new();
            let mut requests = Vec::new();
            for _ in 0..STREAMS {
                let call = peer
                    .call(&scene.mallory, "MessageService/SendMessage")
                    .await;
                let Call {
                    response,
                    mut request,
                } = call.expect("a stream opens");
                request.send_data(half_message(), false).ok();
                answers.push(status(response));
                requests.push(request);
            }
            // Two fit.
            for _ in 0..STREAMS - 2 {
                let answer = event("a refusal", answers.next()).await;
                let answer = answer.expect("one for each").expect("an answer");
                let error = refusal::of_status(&answer);
                assert_eq!(error.reason(), Reason::TooManyUnanswered, "{error:?}");
            }
            held.push((peer, requests));
        }
        let waits = honest.stop_unharmed().await;
        println!("{waits:?}");
        memory.growth_each("half messages", CONNECTIONS);
        drop(held);
    })
    .await;
}

/// The first half of a message of 400 KiB.
fn half_message() -> Bytes {
    let mut half = vec![0, 0, 6, 0x40, 0];
    half.resize(200 << 10, 0x0a);
    half.into()
}

#[tokio::test]
async fn calls_that_are_half_sent_keep_no_place_from_whole_ones() {
    guarded(async {
        let scene = Scene::on(Setup::new().limit("unary_in_flight_max", 4)).await;
        let mut peer = Peer::connect(&scene.node, WINDOW_MAX, WINDOW_MAX).await;
        let mut held = Vec::new();
        for _ in 0..STREAMS - 1 {
            let called = peer.call(&scene.mallory, "RoomService/ListRooms").await;
            let mut call = called.expect("a stream opens");
            // The prefix of a short message, and none of it.
            let prefix = Bytes::from_static(&[0, 0, 0, 0, 2]);
            call.request.send_data(prefix, false).ok();
            held.push(call);
        }
        // The node has taken these in when it answers what was sent after them.
        let called = peer.call(&scene.mallory, "RoomService/ListRooms").await;
        let mut call = called.expect("a stream opens");
        let request = prefixed(&ListRoomsRequest::default());
        call.request.send_data(request, true).ok();
        let response = event("an answer", call.response).await.expect("answered");
        assert!(
            response.headers().get("grpc-status").is_none(),
            "{response:?}"
        );
        for _ in 0..8 {
            let sent = scene.ann.send(scene.room, "still here").await;
            sent.expect("a whole call is answered");
        }
        drop(held);
    })
    .await;
}

#[tokio::test]
async fn large_answers_that_nobody_reads_cost_a_bounded_amount() {
    guarded(async {
        let mut scene = Scene::new().await;
        let seqs = fill(&scene).await;
        let honest = scene.honest().await;
        let memory = scene.mark_memory();
        let (mut peers, mut held) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS {
            let mut peer = Peer::connect(&scene.node, 0, WINDOW_MAX).await;
            for number in 0..STREAMS {
                let (method, request) = question(&scene, number, seqs);
                let called = peer.call(&scene.mallory, method);
                let Ok(Ok(mut call)) = timeout(Duration::from_secs(1), called).await else {
                    break;
                };
                call.request.send_data(request, true).ok();
                held.push(call);
            }
            // Somebody else's answer on the same node shows that these were taken in.
            event("a summary", scene.ann.summary(scene.room))
                .await
                .expect("granted");
            peers.push(peer);
        }
        let waits = honest.stop_unharmed().await;
        println!("{waits:?}");
        memory.growth_each("unread answers", CONNECTIONS);
    })
    .await;
}

#[tokio::test]
async fn counting_many_large_unread_texts_costs_a_bounded_amount() {
    guarded(async {
        let mut scene = Scene::new().await;
        write_unread(&scene).await;
        let honest = scene.honest().await;
        let memory = scene.mark_memory();
        let mut held = Vec::new();
        for _ in 0..COUNTING {
            let mut peer = Peer::connect(&scene.node, WINDOW_MAX, WINDOW_MAX).await;
            let answers = FuturesUnordered::new();
            for _ in 0..STREAMS {
                let called = peer.call(&scene.mallory, "RoomService/GetRoom").await;
                let mut call = called.expect("a stream opens");
                let room_id = scene.den;
                let request = prefixed(&GetRoomRequest { room_id });
                call.request.send_data(request, true).ok();
                answers.push(call.response);
            }
            held.push((peer, answers));
        }
        for (_, answers) in &mut held {
            while let Some(answer) =
                event_within(COUNTING_TIME_MAX, "a summary", answers.next()).await
            {
                let answer = answer.expect("answered");
                assert!(answer.headers().get("grpc-status").is_none(), "{answer:?}");
            }
        }
        let waits = honest.stop_unharmed().await;
        println!("{waits:?}");
        memory.growth_each("counts", COUNTING);
        let summary = event("a summary", scene.mallory.summary(scene.den));
        assert_eq!(summary.await.expect("granted").unread_count, 1_000);
    })
    .await;
}

/// Has Ann fill Mallory's room with more texts than a summary counts, of nearly 16 KiB each.
async fn write_unread(scene: &Scene) {
    let session = live(&scene.ann).await;
    let text = "x".repeat(16_000);
    let sends = (0..1_010).map(|_| session.send(message(scene.den, &text)));
    let answers = stream::iter(sends).buffered(SENDS_AT_ONCE);
    let refused = answers.filter(|answer| ready(answer.is_err())).count();
    assert_eq!(event_within(COUNTING_TIME_MAX, "answers", refused).await, 0);
}

/// Fills Mallory's room with texts as large as they may be, and returns the last seq.
async fn fill(scene: &Scene) -> i64 {
    let text = "ä".repeat(100_000);
    let mut last = 0;
    for _ in 0..3 {
        let answer = scene.mallory.send(scene.den, &text).await;
        last = answer.expect("granted").seq;
    }
    let session = live(&scene.mallory).await;
    let text = "x".repeat(15_000);
    for _ in 0..20 {
        session
            .send(message(scene.den, &text))
            .await
            .expect("granted");
    }
    last
}

/// A call with a large answer.
fn question(scene: &Scene, number: usize, large_seq: i64) -> (&'static str, Bytes) {
    let room_id = scene.den;
    match number % 4 {
        0 => {
            let seq = large_seq;
            let request = GetMessageRequest { room_id, seq };
            ("MessageService/GetMessage", prefixed(&request))
        }
        1 => {
            let request = ListMessagesRequest {
                room_id,
                position: Some(Position::BeforeSeq(large_seq + 20)),
                page_size: 200,
            };
            ("MessageService/ListMessages", prefixed(&request))
        }
        2 => {
            let request = SyncRequest {
                state: Some(State::default()),
                ..SyncRequest::default()
            };
            ("ChatService/Sync", prefixed(&request))
        }
        _ => {
            let request = ListRoomsRequest {
                page_size: 200,
                ..ListRoomsRequest::default()
            };
            ("RoomService/ListRooms", prefixed(&request))
        }
    }
}

/// A room's summary holds its last message, so a page of summaries may be large too.
#[tokio::test]
async fn pages_of_rooms_are_bounded_and_complete() {
    guarded(async {
        let scene = Scene::new().await;
        let mut rooms = vec![scene.den];
        let text = "x".repeat(15_000);
        for _ in 0..30 {
            let room = scene.mallory.create_room("hoard").await;
            scene.mallory.send(room, &text).await.expect("granted");
            rooms.push(room);
        }
        let mut listed = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListRoomsRequest {
                page_size: 200,
                page_token,
            };
            let request = scene.mallory.asks(request);
            let page = scene.mallory.api.rooms().list_rooms(request).await;
            let page = page.expect("granted").into_inner();
            let bytes = page.encoded_len();
            assert!(bytes <= 65 << 10, "{bytes} bytes");
            listed.extend(page.rooms.iter().map(|room| room.room_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(listed, rooms);
    })
    .await;
}

/// Requests that the node does not read yet, as it waits for room for their answers.
#[tokio::test]
async fn requests_that_wait_for_their_turn_cost_a_bounded_amount() {
    guarded(async {
        let mut scene = Scene::new().await;
        let seqs = fill(&scene).await;
        let honest = scene.honest().await;
        let memory = scene.mark_memory();
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut peer = Peer::connect(&scene.node, 0, WINDOW_MAX).await;
            let mut calls = Vec::new();
            for number in 0..STREAMS {
                let (method, request) = question(&scene, 4 * number, seqs);
                let called = peer.call(&scene.mallory, method);
                let Ok(Ok(mut call)) = timeout(Duration::from_secs(1), called).await else {
                    break;
                };
                call.request.send_data(request, false).ok();
                call.request.send_data(half_message(), false).ok();
                calls.push(call);
            }
            held.push((peer, calls));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let waits = honest.stop_unharmed().await;
        println!("{waits:?}");
        memory.growth_each("waiting requests", CONNECTIONS);
        drop(held);
    })
    .await;
}

/// A stream holds a place of its connection's from its headers on.
#[tokio::test]
async fn streams_that_never_finish_their_hello_end() {
    guarded(async {
        let scene = Scene::new().await;
        let mut peer = Peer::connect(&scene.node, WINDOW_MAX, WINDOW_MAX).await;
        let hello = client_frame::Frame::Hello(hello(State::default()));
        let hello = crate::peer::framed(1, hello);
        let mut calls = Vec::new();
        // Without a word, within the prefix, and within the message.
        for sent in [0, 3, hello.len() - 1] {
            let call = peer.call(&scene.mallory, "ChatService/Chat").await;
            let mut call = call.expect("a stream opens");
            let part = hello.slice(..sent);
            call.request.send_data(part, false).expect("it goes out");
            calls.push(call);
        }
        for call in calls {
            let Call { response, request } = call;
            let answer = event_within(HELLO_TIME_MAX, "an end", response).await;
            let answer = answer.expect("an answer");
            let status = Status::from_header_map(answer.headers());
            let error = refusal::of_status(&status.expect("the call is refused as a whole"));
            assert_eq!(error.reason(), Reason::FrameOutOfOrder, "{error:?}");
            drop(request);
        }
        assert!(peer.is_open(), "the connection goes on");
    })
    .await;
}

#[tokio::test]
async fn streams_that_begin_with_another_frame_end() {
    guarded(async {
        let scene = Scene::new().await;
        let mut peer = Peer::connect(&scene.node, WINDOW_MAX, WINDOW_MAX).await;
        let mut call = peer
            .call(&scene.mallory, "ChatService/Chat")
            .await
            .expect("a stream opens");
        let frame = client_frame::Frame::SendMessage(message(scene.den, "before Hello"));
        call.request
            .send_data(crate::peer::framed(1, frame), false)
            .expect("it goes out");
        let status = status(call.response).await.expect("an answer");
        let error = refusal::of_status(&status);
        assert_eq!(error.reason(), Reason::FrameOutOfOrder, "{error:?}");
    })
    .await;
}
