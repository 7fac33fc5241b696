//! Clients that send many large commands at once, wait for no answer and read none.

use std::time::Duration;

use magpie::v1::{client_frame, server_frame::Frame};
use magpie_tests::{guard::guarded, node::Setup, person::message};

use crate::{
    peer::{Peer, Stream, WINDOW_MAX},
    scene::Scene,
};

const CONNECTIONS: usize = 4;

/// Commands of one stream that may be unanswered.
const COMMANDS: u64 = 64;

/// Streams of one connection that each sent something large once.
const STREAMS: usize = 16;

/// A store that takes its time shows what waits for it.
#[tokio::test]
async fn large_commands_that_wait_for_the_store_cost_a_bounded_amount() {
    guarded(async {
        let mut scene = Scene::on(Setup::new()).await;
        let folder = tempfile::tempdir().expect("a folder");
        let inject = "inject=fdatasync,fsync:delay_enter=300000";
        let options = ["-e", "trace=fdatasync,fsync", "-e", inject];
        let slow = Setup::new()
            .limit("user_sessions_max", 100)
            .strace(&folder.path().join("trace"), &options);
        let mut rooms = Vec::new();
        for _ in 0..CONNECTIONS {
            rooms.push(scene.mallory.create_room("hoard").await);
        }
        scene.node.set_up(slow);
        scene.node.kill_and_restart().await;
        let honest = scene.honest().await;
        let memory = scene.mark_memory();
        let mut streams = Vec::new();
        for room in rooms {
            let mut peer = Peer::connect(&scene.node, WINDOW_MAX, WINDOW_MAX).await;
            let mut stream = peer.chat(&scene.mallory).await;
            for request_id in 1..=COMMANDS {
                let message = message(room, &large_text());
                stream.tell(request_id, client_frame::Frame::SendMessage(message));
            }
            streams.push((peer, stream));
        }
        // The first have been stored, those behind them are on their way.
        for (_, stream) in &mut streams {
            let seqs = answers(stream, 4).await;
            assert!(seqs.is_sorted(), "{seqs:?}");
        }
        // Twice as much again is what was stored meanwhile, and its copies in the memory of store
        // and owner.
        memory.growth_each("unanswered", 3 * CONNECTIONS);
        let waits = honest.stop().await;
        assert!(waits.longest < Duration::from_secs(10), "{waits:?}");
    })
    .await;
}

#[tokio::test]
async fn streams_that_once_sent_something_large_keep_nothing_of_its_size() {
    guarded(async {
        let mut scene = Scene::on(Setup::new().limit("user_sessions_max", 100)).await;
        let honest = scene.honest().await;
        let memory = scene.mark_memory();
        let mut peers = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut peer = Peer::connect(&scene.node, WINDOW_MAX, WINDOW_MAX).await;
            let mut streams = Vec::new();
            for _ in 0..STREAMS {
                let mut stream = peer.chat(&scene.mallory).await;
                // A refused one, so that the store keeps nothing of it either.
                let message = message(scene.room, &large_text());
                stream.tell(1, client_frame::Frame::SendMessage(message));
                while !matches!(stream.next().await, Ok(Some(Frame::Error(_)))) {}
                streams.push(stream);
            }
            peers.push((peer, streams));
        }
        println!("{:?}", honest.stop_unharmed().await);
        memory.growth_each("large once", CONNECTIONS);
    })
    .await;
}

/// Reads so many answers, and returns their seqs.
async fn answers(stream: &mut Stream, count: u64) -> Vec<i64> {
    let mut seqs = Vec::new();
    while (seqs.len() as u64) < count {
        let frame = stream.next().await.expect("the stream goes on");
        stream.release();
        match frame.expect("the stream goes on") {
            Frame::SendMessage(answer) => seqs.push(answer.seq),
            Frame::Error(error) => panic!("{error:?}"),
            Frame::Closing(closing) => panic!("{closing:?}"),
            _ => {}
        }
    }
    seqs
}

/// A text of 400,000 bytes, the longest that there is.
fn large_text() -> String {
    "🐦".repeat(100_000)
}
