//! A node that is asked to end answers what it took, says so to its clients, and ends.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use magpie::v1::{
    ClientFrame, ListRoomsRequest, Reason, ServerFrame, State, client_frame, server_frame::Frame,
};
use magpie_tests::{
    chatter::{Chatter, Plan},
    guard::{event, guarded_for},
    history::{History, device_complaints},
    node::Setup,
    person::{message, text_of},
    refusal,
    session::{Session, hello},
};
use prost::Message;
use tokio::net::TcpStream;

use crate::scene::{Scene, live};

/// How long a node may take to end while streams are open: its deadline, and some time to stop.
const END_TIME_MAX: Duration = Duration::from_secs(15);

fn drained() -> Setup {
    Setup::new()
        .flag("--drain-window", "2s")
        .flag("--drain-timeout", "10s")
}

#[tokio::test]
async fn a_drained_node_answers_what_it_took_and_ends_while_streams_are_open() {
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::on(drained()).await;
        let history = Arc::new(History::new());
        let plan = Plan {
            room: scene.room,
            history: Arc::clone(&history),
            states_after_seq: true,
        };
        let chatter = Chatter::start(scene.ann.over(scene.node.api()), "ann", plan);
        let watcher = live(&scene.bob).await;
        history.more_answers(50).await;
        scene.node.terminate();
        let draining = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::Draining(draining)) => Some(draining.clone()),
            _ => None,
        };
        let draining = watcher.find(0, "Draining", draining).await;
        assert!(draining.reconnect_window.is_some(), "{draining:?}");
        let status = scene.node.ended_within(END_TIME_MAX).await;
        assert_eq!(status.code(), Some(0), "a drain is no failure");
        watcher.ended_within(Duration::from_secs(5)).await.ok();
        let answered_before_end = history.answers();
        scene.node.start().await;
        history.more_answers(20).await;
        let device = chatter.stop().await;
        let log = scene.ann.over(scene.node.api()).log(scene.room).await;
        history.check(scene.room, &log);
        assert_eq!(
            device_complaints(&device, scene.room, &log),
            Vec::<String>::new()
        );
        assert!(history.answers() > answered_before_end);
    })
    .await;
}

#[tokio::test]
async fn a_draining_node_takes_no_new_stream() {
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::on(drained()).await;
        let watcher = live(&scene.bob).await;
        scene.node.terminate();
        let draining =
            |frame: &ServerFrame| matches!(frame.frame, Some(Frame::Draining(_))).then_some(());
        watcher.find(0, "Draining", draining).await;
        let refused = Session::open(&scene.bob, State::default()).await;
        let status = refused.expect_err("a draining node takes no new stream");
        match refusal::try_of_status(&status) {
            Some(error) => assert_eq!(error.reason(), Reason::Draining, "{error:?}"),
            // The connection may be gone already.
            None => assert!(refusal::is_lost(&status), "{status:?}"),
        }
        drop(watcher);
        scene.node.ended_within(END_TIME_MAX).await;
    })
    .await;
}

#[tokio::test]
async fn streams_whose_clients_stay_end_with_the_window_and_hang_nothing_up() {
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::on(drained()).await;
        let session = live(&scene.bob).await;
        scene.node.terminate();
        let closing = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::Closing(closing)) => closing.error.clone(),
            _ => None,
        };
        let error = session.find(0, "Closing", closing).await;
        assert_eq!(error.reason(), Reason::Draining, "{error:?}");
        session.ended_within(Duration::from_secs(5)).await.ok();
        // The client holds its half of the stream open, as one that hangs does.
        scene.node.ended_within(END_TIME_MAX).await;
        drop(session);
    })
    .await;
}

/// The store is slow and the window short, so that the node comes to its end amid the sends.
#[tokio::test]
async fn what_a_drained_node_stored_is_what_it_answered() {
    const SENDS: usize = 200;
    const ROOMS: usize = 8;
    guarded_for(Duration::from_secs(90), async {
        let mut scene = Scene::new().await;
        let mut rooms = Vec::new();
        for number in 0..ROOMS {
            rooms.push(scene.ann.create_room(&format!("room {number}")).await);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let inject = "inject=fdatasync,fsync:delay_enter=50000";
        let options = ["-e", "trace=fdatasync,fsync", "-e", inject];
        let slow = Setup::new()
            .flag("--drain-window", "1ms")
            .flag("--drain-timeout", "30s")
            .limit("session_unanswered_max", 1_000)
            .strace(&folder.path().join("trace"), &options);
        scene.node.set_up(slow);
        scene.node.kill_and_restart().await;
        let session = live(&scene.ann.over(scene.node.api())).await;
        let mut ids = Vec::new();
        for request_id in 1..=SENDS {
            let request = message(rooms[request_id % ROOMS], &format!("send {request_id}"));
            ids.push(request.client_message_id.clone());
            let frame = Some(client_frame::Frame::SendMessage(request));
            let request_id = request_id as u64;
            session.tell_raw(ClientFrame { request_id, frame }).await;
        }
        let answer = |frame: &ServerFrame| {
            matches!(frame.frame, Some(Frame::SendMessage(_))).then_some(frame.request_id)
        };
        session.find(0, "a first answer", answer).await;
        scene.node.terminate();
        session.ended_within(Duration::from_secs(40)).await.ok();
        let received = session.received();
        let last = received.last().and_then(|last| last.frame.frame.as_ref());
        assert!(matches!(last, Some(Frame::Closing(_))), "{last:?}");
        let answered = received
            .iter()
            .filter_map(|received| answer(&received.frame));
        let mut answered: Vec<Bytes> = answered
            .map(|request_id| ids[request_id as usize - 1].clone())
            .collect();
        drop(session);
        scene.node.ended_within(Duration::from_secs(40)).await;

        scene.node.set_up(Setup::new());
        scene.node.start().await;
        let ann = scene.ann.over(scene.node.api());
        let mut stored = Vec::new();
        for room in rooms {
            let log = ann.log(room).await;
            let messages = log.into_iter().filter(|entry| text_of(entry).is_some());
            stored.extend(messages.map(|entry| entry.client_message_id));
        }
        answered.sort_unstable();
        stored.sort_unstable();
        assert_eq!(stored, answered, "stored and answered");
    })
    .await;
}

/// They take not even the word that the node leaves.
#[tokio::test]
async fn peers_without_any_window_hold_the_end_up_no_longer_than_the_deadline() {
    const DEADLINE: Duration = Duration::from_secs(3);
    guarded_for(Duration::from_secs(60), async {
        let setup = Setup::new()
            .flag("--drain-window", "1s")
            .flag("--drain-timeout", "3s");
        let mut scene = Scene::on(setup).await;
        let hello = ClientFrame {
            request_id: 0,
            frame: Some(client_frame::Frame::Hello(hello(State::default()))),
        };
        let rooms = ListRoomsRequest::default();
        let mut held = Vec::new();
        for (method, request, ends) in [
            ("ChatService/Chat", hello.encode_to_vec(), false),
            ("RoomService/ListRooms", rooms.encode_to_vec(), true),
        ] {
            held.push(without_window(&scene, method, &request, ends).await);
        }
        scene.node.terminate();
        let bound = DEADLINE + Duration::from_secs(3);
        let status = scene.node.ended_within(bound).await;
        assert_eq!(status.code(), Some(0), "a drain is no failure");
        drop(held);
    })
    .await;
}

/// Makes a call over a connection of its own whose answer the node may not send, and waits for the
/// head of the answer. The call goes on until what is returned is dropped.
async fn without_window(
    scene: &Scene,
    method: &str,
    request: &[u8],
    ends: bool,
) -> impl Sized + use<> {
    let address = scene.node.address();
    let stream = TcpStream::connect(address).await.expect("the node accepts");
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, Bytes>(stream)
        .await
        .expect("HTTP/2 opens");
    let task = tokio::spawn(connection);
    let token = &scene.bob.credentials.access_token;
    let head = http::Request::post(format!("http://{address}/magpie.v1.{method}"))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
        .body(())
        .expect("a request");
    let mut sender = sender.ready().await.expect("HTTP/2 is ready");
    let (response, mut body) = sender.send_request(head, false).expect("a stream opens");
    let length = u32::try_from(request.len()).expect("a small request");
    let framed = [&[0][..], &length.to_be_bytes(), request].concat();
    body.send_data(framed.into(), ends).expect("it goes out");
    let response = event("headers", response).await.expect("the call is taken");
    (sender, task, body, response)
}
