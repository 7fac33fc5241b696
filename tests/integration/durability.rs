//! What was answered is on the disk: over kills in a loop, and in the order of system calls.

use std::{path::Path, sync::Arc, time::Duration};

use magpie::v1::{ServerFrame, server_frame::Frame};
use magpie_tests::{
    chatter::{Chatter, Plan},
    guard::{guarded, guarded_for},
    history::{History, device_complaints},
    node::Setup,
    person::message,
    trace,
};
use prost::Message;

use crate::scene::{Scene, live};

/// How often the node is killed.
const KILLS: u32 = 100;

/// How long the whole loop may take, restarts included.
const LOOP_TIME_MAX: Duration = Duration::from_secs(150);

#[tokio::test]
async fn a_hundred_kills_under_load_lose_and_double_nothing() {
    guarded_for(LOOP_TIME_MAX, async {
        let mut scene = Scene::new().await;
        let side = scene.bob.room_with("side", &[&scene.ann]).await;
        let history = Arc::new(History::new());
        let plan = |room, states_after_seq| Plan {
            room,
            history: Arc::clone(&history),
            states_after_seq,
        };
        let load = |person: &magpie_tests::person::Person, name: &str, plan| {
            Chatter::start(person.over(scene.node.api()), name, plan)
        };
        let chatters = [
            (
                scene.ann.user_id,
                load(&scene.ann, "ann", plan(scene.room, true)),
            ),
            (
                scene.bob.user_id,
                load(&scene.bob, "bob", plan(scene.room, false)),
            ),
            (
                scene.bob.user_id,
                load(&scene.bob, "bob aside", plan(side, true)),
            ),
        ];
        for kill in 0..KILLS {
            history.more_answers(12).await;
            // Another moment each time, within the length of a few group commits.
            tokio::time::sleep(Duration::from_micros(u64::from(kill % 20) * 700)).await;
            scene.node.kill_and_restart().await;
        }
        history.more_answers(50).await;
        let mut devices = Vec::new();
        for (_, chatter) in chatters {
            devices.push(chatter.stop().await);
        }
        let ann = scene.ann.over(scene.node.api());
        for room in [scene.room, side] {
            let log = ann.log(room).await;
            history.check(room, &log);
            for device in &devices {
                assert_eq!(device_complaints(device, room, &log), Vec::<String>::new());
            }
        }
        assert!(history.answers() > 12 * KILLS as usize);
    })
    .await;
}

#[tokio::test]
async fn fdatasync_returns_before_the_answer_is_written() {
    guarded(async {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("trace");
        let calls = "trace=fdatasync,fsync,recvfrom,read,readv,recvmsg,sendto,write,writev,sendmsg";
        let setup = Setup::new().strace(&file, &["-xx", "-s", "100000", "-e", calls]);
        let mut scene = Scene::on(setup).await;
        let session = live(&scene.ann).await;
        let mut sent = Vec::new();
        for number in 0..20 {
            let request = message(scene.room, &format!("number {number}"));
            let answer = session.send(request.clone()).await.expect("sent");
            sent.push((request, answer.seq));
        }
        drop(session);
        ended_and_traced(&mut scene, &file).await;
        let (requests, answers, syncs) = wire(&file);
        assert!(!syncs.is_empty(), "no fdatasync in the trace");
        for (request, seq) in sent {
            let id = &request.client_message_id;
            let came = requests.iter().find(|(_, bytes)| contains(bytes, id));
            let came = came.expect("the request is in the trace").0;
            let went = answers.iter().filter(|(_, frame)| tells_of(frame, seq));
            let went = went
                .map(|(place, _)| *place)
                .min()
                .expect("the answer is in the trace");
            let synced = syncs
                .iter()
                .any(|&(began, returned)| began > came && returned < went);
            assert!(
                synced,
                "seq {seq}: came at {came}, told at {went}, no sync between"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn one_fdatasync_serves_all_that_waits() {
    guarded(async {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("trace");
        let setup = Setup::new().strace(&file, &["-e", "trace=fdatasync,fsync"]);
        let mut scene = Scene::on(setup).await;
        for _ in 0..10 {
            let sends = (0..30).map(|number| {
                let (ann, room) = (scene.ann.clone(), scene.room);
                async move { ann.send(room, &format!("number {number}")).await }
            });
            for sent in futures_util::future::join_all(sends).await {
                sent.expect("sent");
            }
        }
        ended_and_traced(&mut scene, &file).await;
        let syncs = trace::read(&file).len();
        // Each round of sends was answered before the next began.
        assert!((10..150).contains(&syncs), "{syncs} syncs for 300 messages");
    })
    .await;
}

#[tokio::test]
async fn a_failed_fdatasync_ends_the_node_and_everything_answered_is_there_later() {
    guarded_for(Duration::from_secs(60), async {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("trace");
        let mut scene = Scene::new().await;
        scene.node.kill().await;
        // Each thread fails from its own 30th on, so that the node comes up and takes some.
        let inject = "inject=fdatasync,fsync:error=EIO:when=30+";
        let options = ["-e", "trace=fdatasync,fsync", "-e", inject];
        scene.node.set_up(Setup::new().strace(&file, &options));
        scene.node.start().await;
        let ann = scene.ann.over(scene.node.api());
        let history = History::new();
        for number in 0..1_000 {
            let request = message(scene.room, &format!("number {number}"));
            let key = history.started("ann", &request);
            match ann.send_request(request).await {
                Ok(answer) => history.answered(key, answer.seq),
                Err(_) => break,
            }
        }
        assert!(history.answers() < 1_000, "no fdatasync failed");
        let status = scene.node.ended_within(Duration::from_secs(10)).await;
        assert_ne!(status.code(), Some(0), "an I/O error is said");
        scene.node.set_up(Setup::new());
        scene.node.start().await;
        let log = scene.ann.over(scene.node.api()).log(scene.room).await;
        history.check(scene.room, &log);
    })
    .await;
}

async fn ended_and_traced(scene: &mut Scene, file: &Path) {
    let pid = scene.node.process().pid();
    scene.node.terminate();
    scene.node.ended_within(Duration::from_secs(20)).await;
    trace::finished(file, pid).await;
}

type Wire = (
    Vec<(usize, Vec<u8>)>,
    Vec<(usize, ServerFrame)>,
    Vec<(usize, usize)>,
);

/// From a trace: what came from clients and when it had come, the frames that went to them and
/// when their writing began, and the syncs.
fn wire(file: &Path) -> Wire {
    let (mut requests, mut answers, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
    let mut outgoing = std::collections::HashMap::<String, Outgoing>::new();
    for call in trace::read(file) {
        let descriptor = call
            .args
            .split(',')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        match call.name.as_str() {
            "fdatasync" | "fsync" if call.result.starts_with('0') => {
                syncs.push((call.began, call.returned));
            }
            "recvfrom" | "read" | "readv" | "recvmsg" => {
                requests.push((call.returned, hex_strings(&call.args)));
            }
            "sendto" | "write" | "writev" | "sendmsg" => {
                let mut bytes = hex_strings(&call.args);
                bytes.truncate(call.result.parse().unwrap_or_default());
                let outgoing = outgoing.entry(descriptor).or_default();
                let frames = outgoing.take(&bytes);
                answers.extend(frames.into_iter().map(|frame| (call.began, frame)));
            }
            _ => {}
        }
    }
    (requests, answers, syncs)
}

/// The bytes that were written to one descriptor, read as HTTP/2 frames.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    streams: std::collections::HashMap<u32, Vec<u8>>,
}

impl Outgoing {
    fn take(&mut self, bytes: &[u8]) -> Vec<ServerFrame> {
        self.bytes.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while self.bytes.len() >= 9 {
            let length =
                u32::from_be_bytes([0, self.bytes[0], self.bytes[1], self.bytes[2]]) as usize;
            let (kind, flags) = (self.bytes[3], self.bytes[4]);
            let stream = [self.bytes[5], self.bytes[6], self.bytes[7], self.bytes[8]];
            let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
            // What is no HTTP/2 is a file or a pipe.
            if kind > 9 || length > 16_384 || flags & 0x40 != 0 {
                self.bytes.clear();
                break;
            }
            if self.bytes.len() < 9 + length {
                break;
            }
            let payload: Vec<u8> = self.bytes.drain(..9 + length).skip(9).collect();
            if kind == 0 {
                let data = self.streams.entry(stream).or_default();
                data.extend(payload);
                frames.extend(messages(data));
            }
        }
        frames
    }
}

/// Takes the whole gRPC messages off the data of a stream.
fn messages(data: &mut Vec<u8>) -> Vec<ServerFrame> {
    let mut frames = Vec::new();
    while data.len() >= 5 {
        let length = u32::from_be_bytes([data[1], data[2], data[3], data[4]]) as usize;
        if data.len() < 5 + length {
            break;
        }
        let message: Vec<u8> = data.drain(..5 + length).skip(5).collect();
        // Answers of unary calls are no frames; they may decode as one, but not as ours.
        frames.extend(ServerFrame::decode(message.as_slice()).ok());
    }
    frames
}

/// Whether a frame shows a client that this entry exists: by the answer or by the event.
fn tells_of(frame: &ServerFrame, seq: i64) -> bool {
    match &frame.frame {
        Some(Frame::SendMessage(answer)) => answer.seq == seq,
        Some(Frame::Event(event)) => event.entry.as_ref().is_some_and(|entry| entry.seq == seq),
        _ => false,
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The bytes of all strings among arguments that strace wrote with `-xx`.
fn hex_strings(args: &str) -> Vec<u8> {
    let strings = args.split('"').skip(1).step_by(2);
    let digits = strings.flat_map(|string| string.split("\\x").filter(|pair| !pair.is_empty()));
    digits
        .filter_map(|pair| u8::from_str_radix(pair, 16).ok())
        .collect()
}
