//! Clients that open a stream in a busy room and never read, with windows that fill up.

use magpie::v1::{Reason, State, client_frame, server_frame::Frame};
use magpie_tests::{
    guard::{event, guarded},
    node::Setup,
    person::message,
    session::{Session, hello},
};

use crate::{
    peer::{Peer, Stream},
    scene::{CONNECTION_BYTES_MAX, Scene, live},
};

const READERS: usize = 50;

/// The window of a slow reader: HTTP/2's least usual one, which is full soon.
const WINDOW: u32 = 64 << 10;

#[tokio::test]
async fn readers_that_never_read_cost_a_bounded_amount_and_harm_nobody() {
    guarded(async {
        let mut scene = Scene::on(Setup::new().limit("user_sessions_max", 100)).await;
        let loud = live(&scene.ann).await;
        say(&loud, scene.den, 60).await;
        let honest = scene.honest().await;
        let memory = scene.mark_memory();
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut peer = Peer::connect(&scene.node, WINDOW, WINDOW).await;
            let stream = peer.chat(&scene.mallory).await;
            readers.push((peer, stream));
        }
        // Four times what a window and a queue take.
        say(&loud, scene.den, 90).await;
        let waits = honest.stop_unharmed().await;
        println!("{waits:?}");
        memory.growth_each("never reading", READERS);
        assert!(readers.iter().all(|(peer, _)| peer.is_open()));
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_reads_again_is_caught_up_once_and_closed_when_it_lags_too_often() {
    guarded(async {
        let scene = Scene::new().await;
        let loud = live(&scene.ann).await;
        let mut peer = Peer::connect(&scene.node, WINDOW, WINDOW).await;
        let mut stream = peer.chat(&scene.mallory).await;
        while !matches!(stream.next().await, Ok(Some(Frame::CaughtUp(_)))) {}
        let mut closing = None;
        for lag in 1..=8 {
            let last = say(&loud, scene.den, 60).await;
            let (catch_ups, error) = read_to(&mut stream, scene.den, last).await;
            closing = error;
            if closing.is_some() {
                assert_eq!(lag, 3, "the third catch-up within 60 s is one too many");
                break;
            }
            assert_eq!(catch_ups, 1, "catch-ups of lag {lag}");
        }
        let error = closing.expect("a reader that lags for ever is closed");
        assert_eq!(error.reason(), Reason::SlowReader, "{error:?}");
        let end = event("the end", stream.next()).await;
        assert!(matches!(end, Ok(None)), "{end:?}");
    })
    .await;
}

/// Has somebody send large messages, and returns the last seq.
async fn say(loud: &Session, room: i64, count: usize) -> i64 {
    let text = "x".repeat(15_000);
    let mut answers = Vec::new();
    let mut last = 0;
    for number in 1..=count {
        let frame = client_frame::Frame::SendMessage(message(room, &text));
        answers.push(loud.ask(frame).await);
        if number % 30 == 0 || number == count {
            for answer in answers.drain(..) {
                let Ok(Frame::SendMessage(answer)) = answer.await else {
                    panic!("refused")
                };
                last = answer.seq;
            }
        }
    }
    last
}

/// Reads until a seq is reached or the stream is closed; returns how many RoomSyncs came, and why it
/// was closed.
async fn read_to(stream: &mut Stream, room: i64, last: i64) -> (usize, Option<magpie::v1::Error>) {
    let mut catch_ups = 0;
    loop {
        let frame = stream.next().await.expect("the stream goes on");
        stream.release();
        match frame {
            Some(Frame::Event(event)) => {
                let entry = event.entry.expect("an event has an entry");
                if (entry.room_id, entry.seq) == (room, last) {
                    return (catch_ups, None);
                }
            }
            Some(Frame::RoomSync(sync)) => {
                let of = sync.summary.as_ref().map(|summary| summary.room_id);
                catch_ups += 1;
                if of == Some(room) && sync.through_seq == last {
                    return (catch_ups, None);
                }
            }
            Some(Frame::Closing(closing)) => return (catch_ups, closing.error),
            Some(_) => {}
            None => panic!("the stream ended without Closing"),
        }
    }
}

/// A zero window from the beginning: not even Welcome goes out.
#[tokio::test]
async fn readers_without_any_window_cost_a_bounded_amount() {
    guarded(async {
        let mut scene = Scene::on(Setup::new().limit("user_sessions_max", 100)).await;
        let loud = live(&scene.ann).await;
        say(&loud, scene.den, 60).await;
        let honest = scene.honest().await;
        let memory = scene.mark_memory();
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut peer = Peer::connect(&scene.node, 0, WINDOW).await;
            let stream = peer
                .chat_with(&scene.mallory, hello(State::default()))
                .await;
            readers.push((peer, stream));
        }
        say(&loud, scene.den, 90).await;
        let waits = honest.stop_unharmed().await;
        println!("{waits:?}");
        memory.growth_each("zero window", READERS);
        drop(readers);
    })
    .await;
}

/// What waits for all clients together is bounded too: where it is more, those go for whom most
/// waits.
#[tokio::test]
async fn slowest_readers_go_where_more_waits_than_the_node_may_hold() {
    // For each of them nearly 256 KiB wait, so that room is for 17 at the most.
    const SLOW: usize = 30;
    const FEWEST: usize = 12;
    const OUTBOXES_BYTES: u64 = 4 << 20;
    guarded(async {
        let setup = Setup::new()
            .limit("user_sessions_max", 100)
            .limit("outboxes_bytes_max", OUTBOXES_BYTES);
        let scene = Scene::on(setup).await;
        let loud = live(&scene.ann).await;
        let honest = scene.honest().await;
        let mut readers = Vec::new();
        for _ in 0..SLOW {
            let mut peer = Peer::connect(&scene.node, WINDOW, WINDOW).await;
            let stream = peer.chat(&scene.mallory).await;
            readers.push((peer, stream));
        }
        let last = say(&loud, scene.den, 60).await;
        while closed(&scene).await < FEWEST {}
        honest.stop_unharmed().await;
        let mut ended = 0;
        for (_peer, stream) in &mut readers {
            let (_, error) = read_to(stream, scene.den, last).await;
            if let Some(error) = error {
                assert_eq!(error.reason(), Reason::SlowReader, "{error:?}");
                ended += 1;
            }
        }
        assert!((FEWEST..SLOW).contains(&ended), "{ended} of {SLOW}");
    })
    .await;
}

/// How many sessions were closed as slow readers.
async fn closed(scene: &Scene) -> usize {
    let page = scene.node.metrics().await;
    let closed = page.lines().find_map(|line| {
        let value = line.strip_prefix("magpie_errors_total{reason=\"SLOW_READER\"} ")?;
        value.parse().ok()
    });
    closed.unwrap_or_default()
}

/// Many sessions over one connection, as a proxy or a hostile client would have them.
#[tokio::test]
async fn many_readers_of_one_connection_that_never_read_cost_no_more_than_one() {
    const CONNECTIONS: usize = 16;
    const SESSIONS: usize = 32;
    /// What the store's buffers may take at any moment, whoever writes.
    const STORE_BYTES_MAX: usize = 12 << 20;
    guarded(async {
        let mut scene = Scene::on(Setup::new().limit("user_sessions_max", 1_000)).await;
        let loud = live(&scene.ann).await;
        say(&loud, scene.den, 60).await;
        let honest = scene.honest().await;
        let memory = scene.mark_memory();
        let mut readers = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut peer = Peer::connect(&scene.node, 0, WINDOW).await;
            let mut streams = Vec::new();
            for _ in 0..SESSIONS {
                streams.push(peer.chat(&scene.mallory).await);
            }
            readers.push((peer, streams));
        }
        say(&loud, scene.den, 90).await;
        println!("{:?}", honest.stop_unharmed().await);
        let each = memory.growth().saturating_sub(STORE_BYTES_MAX) / CONNECTIONS;
        println!(
            "{SESSIONS} readers: {} KiB a connection",
            (memory.growth() / CONNECTIONS) >> 10
        );
        assert!(
            each <= CONNECTION_BYTES_MAX,
            "{} KiB a connection",
            each >> 10
        );
        drop(readers);
    })
    .await;
}
