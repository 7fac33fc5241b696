//! A node in this process, and the state in which it finds or leaves its disk.

use magpie::v1::{
    message_service_client::MessageServiceClient, room_service_client::RoomServiceClient,
};
use magpie_core::{
    entry::RoomKind,
    ids::{Epoch, Partition, RoomId, Seq, Slot},
    rows::{Hint, Row, Settings},
    time::Timestamp,
};
use magpie_store::{
    account::sqlite::SqliteStore,
    log::{
        LogStore,
        embedded::{Embedded, Options},
    },
};

use super::*;

/// More than any disk has.
const TOO_MUCH: &str = "--free-space-min=100000TiB";

fn as_caller<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {token}").parse().expect("a header");
    request.metadata_mut().insert("authorization", bearer);
    request
}

async fn sign_up(running: &Running, handle: &str) -> String {
    let request = v1::SignUpRequest {
        handle: handle.to_owned(),
        password: PASSWORD.to_owned(),
        ..Default::default()
    };
    let mut auth = AuthServiceClient::new(running.channel());
    let answer = auth.sign_up(request).await.expect("signed up").into_inner();
    answer.credentials.expect("credentials").access_token
}

async fn create_room(running: &Running, token: &str) -> i64 {
    let request = v1::CreateRoomRequest {
        client_message_id: Bytes::from(rand::random::<[u8; 16]>().to_vec()),
        title: "tea".to_owned(),
    };
    let mut rooms = RoomServiceClient::new(running.channel());
    let room = rooms.create_room(as_caller(token, request)).await;
    let room = room.expect("made").into_inner().room.expect("a room");
    room.room_id
}

fn message(room_id: i64) -> v1::SendMessageRequest {
    v1::SendMessageRequest {
        room_id,
        client_message_id: Bytes::from(rand::random::<[u8; 16]>().to_vec()),
        text: "hello".to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn full_disk_does_not_keep_a_node_with_unfinished_slots_from_serving_what_it_has() {
    let first = start_with(&[]).await;
    let token = sign_up(&first, "ann").await;
    let room_id = create_room(&first, &token).await;
    let mut messages = MessageServiceClient::new(first.channel());
    let sent = messages
        .send_message(as_caller(&token, message(room_id)))
        .await;
    assert_eq!(sent.expect("sent").into_inner().seq, 2);
    // So soon after the message its slot is unfinished.
    first.node.shutdown();
    first.node.wait().await.expect("ends well");

    let start = Node::start(config(&first.dir, &[TOO_MUCH]));
    let start = timeout(Duration::from_secs(10), start).await;
    let node = start.expect("in time").expect("starts");
    let second = Running {
        node,
        dir: first.dir,
    };
    let mut messages = MessageServiceClient::new(second.channel());
    let request = v1::ListEntriesRequest {
        room_id,
        ..Default::default()
    };
    let page = messages.list_entries(as_caller(&token, request)).await;
    let page = page.expect("reading goes on").into_inner();
    assert_eq!(page.entries.len(), 2);
    let refused = messages
        .send_message(as_caller(&token, message(room_id)))
        .await
        .expect_err("refused");
    let error = status::error_of(&refused).expect("a typed detail");
    assert_eq!(error.reason(), v1::Reason::StorageFull);
    second.end().await;
}

#[tokio::test]
async fn damaged_room_of_an_unfinished_slot_ends_the_start_and_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(&dir, &[]);
    let room = RoomId::new(77).expect("an id");
    let log = dir.path().join(parts::LOG_DIR);
    let log = Embedded::open(&log, Options::default()).expect("opens");
    // It tells of an entry that is nowhere.
    let hint = Hint {
        head: Seq::new(5).expect("a seq"),
        time: Timestamp(1),
        room_list: Seq::ZERO,
        settings: Settings {
            kind: RoomKind::Group,
            title: String::new(),
        },
    };
    let pending = Row::Pending(Partition::of_room(room), Epoch(1), Slot(0), room);
    let rows = vec![Row::Hint(room, hint), pending];
    log.write(rows).await.expect("written");
    drop(log);
    let accounts = SqliteStore::open(dir.path()).await.expect("opens");
    accounts.close().await;
    let start = timeout(Duration::from_secs(10), Node::start(config)).await;
    let error = start.expect("in time").expect_err("does not start");
    assert_eq!(error.exit_code(), exit::DATA, "{error}");
    let source = std::error::Error::source(&error).expect("a cause");
    assert!(source.to_string().contains("room 77"), "{source}");
}

#[tokio::test]
async fn syncs_are_counted_once() {
    let running = start_with(&[]).await;
    let token = sign_up(&running, "ann").await;
    create_room(&running, &token).await;
    let metrics = running.node.metrics.expect("served");
    http1(metrics, "GET /metrics HTTP/1.1\r\n").await;
    // Takes its time, in which whatever else counts would have counted.
    sign_up(&running, "bob").await;
    let page = http1(metrics, "GET /metrics HTTP/1.1\r\n").await;
    let value = |name: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|value| value.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in\n{page}"))
    };
    let (syncs, writes) = (
        value("magpie_fsyncs_total"),
        value("magpie_log_writes_total"),
    );
    // One is the start's.
    assert!((1.0..=writes + 1.0).contains(&syncs), "{syncs}, {writes}");
    for queue in ["Outbox", "Room", "Password"] {
        value(&format!("magpie_queue_depth{{queue=\"{queue}\"}}"));
    }
    running.end().await;
}
