//! Bytes that are no HTTP/2, and HTTP/2 that no honest client speaks: the connection ends or is
//! held still, and nothing else happens.

use std::{future::Future, time::Duration};

use magpie_tests::{guard::guarded, node::Setup};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    scene::{Scene, note},
    wire::{
        CONTINUATION, DATA, END_HEADERS, End, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, call_headers, end_of, flood, frame, greet, header,
    },
};

/// How long a node may take to end a hostile connection.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// What an attack may add to the node's memory.
const GROWTH_BYTES_MAX: usize = 50 << 20;

/// Connections of one attack at the same time.
const CONNECTIONS: usize = 8;

/// Frames of one kind that a flood holds.
const FRAMES: usize = 20_000;

/// Runs an attack over several connections beside an honest client, and returns how each ended.
async fn attacked<A>(setup: Setup, attack: impl Fn(TcpStream) -> A, greeted: bool) -> Vec<End>
where
    A: Future<Output = End> + Send + 'static,
{
    let mut scene = Scene::on(setup).await;
    let honest = scene.honest().await;
    let memory = scene.mark_memory();
    let mut attacks = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = if greeted {
            greet(&scene.node).await
        } else {
            TcpStream::connect(scene.node.address())
                .await
                .expect("the node accepts")
        };
        attacks.push(tokio::spawn(attack(stream)));
    }
    let mut ends = Vec::new();
    for attack in attacks {
        ends.push(attack.await.expect("an attack does not panic"));
    }
    let waits = honest.stop_unharmed().await;
    let growth = memory.growth();
    note(&format!("{ends:?}; {} KiB in all; {waits:?}", growth >> 10));
    assert!(growth < GROWTH_BYTES_MAX, "{} KiB", growth >> 10);
    ends
}

fn all_ended(ends: &[End]) {
    assert!(ends.iter().all(|end| *end != End::Open), "{ends:?}");
}

#[tokio::test]
async fn garbage_ends_the_connection() {
    guarded(async {
        let garbage = |mut stream: TcpStream| async move {
            flood(&mut stream, &[0xff; 16_384], 64).await;
            end_of(&mut stream, END_TIME_MAX).await
        };
        all_ended(&attacked(Setup::new(), garbage, false).await);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_preface_ends_the_connection() {
    guarded(async {
        let wrong = |mut stream: TcpStream| async move {
            let wrong = [&PREFACE[..20], b"XX\r\n", &[0; 64]].concat();
            stream.write_all(&wrong).await.ok();
            end_of(&mut stream, END_TIME_MAX).await
        };
        all_ended(&attacked(Setup::new(), wrong, false).await);
    })
    .await;
}

#[tokio::test]
async fn a_preface_that_stalls_ends_the_connection() {
    guarded(async {
        let setup = Setup::new().limit("handshake_millis", 500);
        let stalled = |mut stream: TcpStream| async move {
            stream.write_all(&PREFACE[..10]).await.ok();
            end_of(&mut stream, END_TIME_MAX).await
        };
        all_ended(&attacked(setup, stalled, false).await);
    })
    .await;
}

#[tokio::test]
async fn headers_that_go_on_for_ever_end_the_connection() {
    guarded(async {
        let continued = |mut stream: TcpStream| async move {
            let open = frame(HEADERS, 0, 1, &call_headers());
            stream.write_all(&open).await.ok();
            let more = frame(CONTINUATION, 0, 1, &header("x-more", &"y".repeat(10)));
            flood(&mut stream, &more, FRAMES).await;
            end_of(&mut stream, END_TIME_MAX).await
        };
        all_ended(&attacked(Setup::new(), continued, true).await);
    })
    .await;
}

#[tokio::test]
async fn sixteen_megabytes_of_headers_end_the_connection() {
    guarded(async {
        let large = |mut stream: TcpStream| async move {
            let block = [call_headers(), header("x-large", &"y".repeat(16 << 20))].concat();
            let mut pieces = block.chunks(16_384);
            let first = frame(HEADERS, 0, 1, pieces.next().unwrap_or_default());
            stream.write_all(&first).await.ok();
            for piece in pieces {
                if !flood(&mut stream, &frame(CONTINUATION, 0, 1, piece), 1).await {
                    break;
                }
            }
            end_of(&mut stream, END_TIME_MAX).await
        };
        all_ended(&attacked(Setup::new(), large, true).await);
    })
    .await;
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_at_once_end_the_connection() {
    guarded(async {
        let resets = |mut stream: TcpStream| async move {
            let headers = call_headers();
            let cancel = 8_u32.to_be_bytes();
            for id in (1..FRAMES as u32).step_by(2) {
                let open = frame(HEADERS, END_HEADERS, id, &headers);
                let reset = frame(RST_STREAM, 0, id, &cancel);
                if !flood(&mut stream, &[open, reset].concat(), 1).await {
                    break;
                }
            }
            end_of(&mut stream, END_TIME_MAX).await
        };
        all_ended(&attacked(Setup::new(), resets, true).await);
    })
    .await;
}

/// Streams that the node itself resets, since the client breaks their rules.
#[tokio::test]
async fn streams_that_make_the_node_reset_them_end_the_connection() {
    guarded(async {
        let provoked = |mut stream: TcpStream| async move {
            let headers = call_headers();
            for id in (1..FRAMES as u32).step_by(2) {
                let open = frame(HEADERS, END_HEADERS, id, &headers);
                let most = frame(WINDOW_UPDATE, 0, id, &0x7fff_ffff_u32.to_be_bytes());
                if !flood(&mut stream, &[open, most].concat(), 1).await {
                    break;
                }
            }
            end_of(&mut stream, END_TIME_MAX).await
        };
        all_ended(&attacked(Setup::new(), provoked, true).await);
    })
    .await;
}

/// A ping is answered before the next is read, so who does not read the answers is not read either.
#[tokio::test]
async fn floods_of_pings_and_settings_hold_no_memory() {
    guarded(async {
        let pings = |mut stream: TcpStream| async move {
            let pings = frame(PING, 0, 0, b"magpie!!").repeat(1_000);
            flood(&mut stream, &pings, 200).await;
            End::Closed
        };
        attacked(Setup::new(), pings, true).await;
        let settings = |mut stream: TcpStream| async move {
            let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(1_000);
            flood(&mut stream, &settings, 200).await;
            End::Closed
        };
        attacked(Setup::new(), settings, true).await;
    })
    .await;
}

#[tokio::test]
async fn empty_data_frames_end_the_connection() {
    guarded(async {
        let empty = |mut stream: TcpStream| async move {
            let open = frame(HEADERS, END_HEADERS, 1, &call_headers());
            stream.write_all(&open).await.ok();
            flood(&mut stream, &frame(DATA, 0, 1, &[]), FRAMES).await;
            end_of(&mut stream, END_TIME_MAX).await
        };
        all_ended(&attacked(Setup::new(), empty, true).await);
    })
    .await;
}

/// A window beyond what HTTP/2 allows.
#[tokio::test]
async fn windows_that_overflow_end_the_connection() {
    guarded(async {
        let overflow = |mut stream: TcpStream| async move {
            let most = frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
            flood(&mut stream, &most, 2).await;
            end_of(&mut stream, END_TIME_MAX).await
        };
        all_ended(&attacked(Setup::new(), overflow, true).await);
    })
    .await;
}
