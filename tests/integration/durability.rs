//! What was answered is on the disk: over kills in a loop, and in the order of system calls.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use magpie::v1::{
    CreateRoomRequest, MarkReadRequest, ServerFrame, SignUpRequest, server_frame::Frame,
};
use magpie_tests::{
    api::{PASSWORD, new_id},
    chatter::{Chatter, Plan},
    guard::{guarded, guarded_for},
    history::{History, device_complaints},
    node::Setup,
    person::message,
    trace,
};
use prost::Message;

use crate::scene::{Scene, live, since_joining};

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
                scene.ann.clone(),
                load(&scene.ann, "ann", plan(scene.room, true)),
            ),
            (
                scene.bob.clone(),
                load(&scene.bob, "bob", plan(scene.room, false)),
            ),
            (
                scene.bob.clone(),
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
        for (person, chatter) in chatters {
            devices.push((person, chatter.stop().await));
        }
        let ann = scene.ann.over(scene.node.api());
        for room in [scene.room, side] {
            let log = ann.log(room).await;
            history.check(room, &log);
            for (person, device) in &devices {
                assert_eq!(device_complaints(device, room, &log), Vec::<String>::new());
                // Nothing is sent while the node is down, so that no device misses many.
                let shown = device.entries(room);
                let last = shown.last().map_or(0, |entry| entry.seq);
                assert_eq!(device.cursor(room), last, "it shows all up to its cursor");
                assert_eq!(shown, &since_joining(person, &log)[..shown.len()]);
                assert!(shown.len() > KILLS as usize, "{} entries", shown.len());
            }
        }
        assert!(history.answers() > 12 * KILLS as usize);
    })
    .await;
}

/// System calls that show what came, what went, and what was synced between.
const WIRE_CALLS: &str =
    "trace=fdatasync,fsync,recvfrom,read,readv,recvmsg,sendto,write,writev,sendmsg";

/// A node whose trace holds all bytes and the names of all files.
fn traced(file: &Path) -> Setup {
    Setup::new().strace(file, &["-y", "-xx", "-s", "100000", "-e", WIRE_CALLS])
}

#[tokio::test]
async fn fdatasync_returns_before_the_answer_is_written() {
    guarded(async {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("trace");
        let mut scene = Scene::on(traced(&file)).await;
        let session = live(&scene.ann).await;
        let mut sent = Vec::new();
        for number in 0..20 {
            let request = message(scene.room, &format!("number {number}"));
            let answer = session.send(request.clone()).await.expect("sent");
            sent.push((request, answer.seq));
        }
        drop(session);
        ended_and_traced(&mut scene, &file).await;
        let wire = Wire::read(&file);
        for (request, seq) in sent {
            let id = &request.client_message_id;
            let told = |message: &[u8]| {
                // Answers of unary calls may decode as a frame, but not as one of ours.
                ServerFrame::decode(message).is_ok_and(|frame| tells_of(&frame, seq))
            };
            wire.synced_between(&format!("seq {seq}"), id, told, JOURNAL);
        }
    })
    .await;
}

/// Every kind of change, by unary calls: what it appends is in the journal, and what it changes of
/// accounts in SQLite's.
#[tokio::test]
async fn unary_changes_are_synced_before_their_answer_is_written() {
    guarded(async {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("trace");
        let mut scene = Scene::on(traced(&file)).await;
        let last = scene.ann_sends(3).await;
        let (ann, bob) = (&scene.ann, &scene.bob);

        let send = message(scene.room, "by a call");
        let sent = ann.send_request(send.clone()).await.expect("sent");
        let mark = MarkReadRequest {
            room_id: scene.room,
            seq: last,
        };
        let marked = bob.api.messages().mark_read(bob.asks(mark)).await;
        let marked = marked.expect("marked").into_inner();
        let create = CreateRoomRequest {
            client_message_id: new_id(),
            title: "synced".to_owned(),
        };
        let created = ann.api.rooms().create_room(ann.asks(create.clone())).await;
        let created = created.expect("created").into_inner();
        let sign_up = SignUpRequest {
            handle: "synced_sign_up".to_owned(),
            password: PASSWORD.to_owned(),
            ..SignUpRequest::default()
        };
        let signed_up = ann.api.auth().sign_up(sign_up.clone()).await;
        let signed_up = signed_up.expect("granted").into_inner();

        ended_and_traced(&mut scene, &file).await;
        let wire = Wire::read(&file);
        let synced = |what: &str, request: &[u8], answer: Vec<u8>, file: &str| {
            wire.synced_between(what, request, |message| message == answer, file);
        };
        let id = |id: &[u8]| id.to_vec();
        let answer = sent.encode_to_vec();
        synced("a send", &id(&send.client_message_id), answer, JOURNAL);
        let answer = marked.encode_to_vec();
        synced("a mark", &mark.encode_to_vec(), answer, JOURNAL);
        for file in [JOURNAL, ACCOUNTS] {
            let answer = created.encode_to_vec();
            synced("a room", &id(&create.client_message_id), answer, file);
        }
        let answer = signed_up.encode_to_vec();
        synced("an account", sign_up.handle.as_bytes(), answer, ACCOUNTS);
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

/// How the names of the files end that hold what was appended, and what accounts hold.
const JOURNAL: &str = ".jnl";
const ACCOUNTS: &str = "accounts.sqlite-wal";

/// What a trace tells, each with its place in it.
struct Wire {
    /// What came from clients, where it had come.
    requests: Vec<(usize, Vec<u8>)>,
    /// The messages that went to them, where their writing began.
    answers: Vec<(usize, Vec<u8>)>,
    /// Where a sync began, where it returned, and of which file.
    syncs: Vec<(usize, usize, String)>,
}

impl Wire {
    fn read(file: &Path) -> Self {
        let (mut requests, mut answers, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
        let mut outgoing = HashMap::<String, Outgoing>::new();
        for call in trace::read(file) {
            let file = call.file();
            match call.name.as_str() {
                "fdatasync" | "fsync" if call.result.starts_with('0') => {
                    syncs.push((call.began, call.returned, file));
                }
                "recvfrom" | "read" | "readv" | "recvmsg" if file.starts_with("socket:") => {
                    requests.push((call.returned, hex_strings(&call.args)));
                }
                "sendto" | "write" | "writev" | "sendmsg" if file.starts_with("socket:") => {
                    let mut bytes = hex_strings(&call.args);
                    bytes.truncate(call.result.parse().unwrap_or_default());
                    // A descriptor's number serves again once it was closed, a socket's does not.
                    let messages = outgoing.entry(file).or_default().take(&bytes);
                    answers.extend(messages.into_iter().map(|message| (call.began, message)));
                }
                _ => {}
            }
        }
        Self {
            requests,
            answers,
            syncs,
        }
    }

    /// Checks that a sync of such a file lies between a request, known by some of its bytes, and
    /// the first message that tells of it.
    #[track_caller]
    fn synced_between(
        &self,
        what: &str,
        request: &[u8],
        tells: impl Fn(&[u8]) -> bool,
        file: &str,
    ) {
        let mut came = self.requests.iter();
        let came = came.find(|(_, bytes)| contains(bytes, request));
        let came = came.unwrap_or_else(|| panic!("{what}: no request in the trace"));
        let came = came.0;
        let mut went = self.answers.iter().filter(|(place, _)| *place > came);
        let went = went.find(|(_, message)| tells(message));
        let went = went.unwrap_or_else(|| panic!("{what}: no answer in the trace"));
        let went = went.0;
        let is_between = |(began, returned, of): &(usize, usize, String)| {
            *began > came && *returned < went && of.ends_with(file)
        };
        assert!(
            self.syncs.iter().any(is_between),
            "{what}: came at {came}, told at {went}, no sync of {file} between: {:?}",
            self.syncs
        );
    }
}

/// The bytes that were written to one descriptor, read as HTTP/2 frames.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    streams: HashMap<u32, Vec<u8>>,
}

impl Outgoing {
    /// The gRPC messages that these bytes complete.
    fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.bytes.extend_from_slice(bytes);
        let mut found = Vec::new();
        while self.bytes.len() >= 9 {
            let length =
                u32::from_be_bytes([0, self.bytes[0], self.bytes[1], self.bytes[2]]) as usize;
            let (kind, flags) = (self.bytes[3], self.bytes[4]);
            let stream = [self.bytes[5], self.bytes[6], self.bytes[7], self.bytes[8]];
            let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
            // What is no HTTP/2 is of another protocol.
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
                found.extend(messages(data));
            }
        }
        found
    }
}

/// Takes the whole gRPC messages off the data of a stream.
fn messages(data: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    while data.len() >= 5 {
        let length = u32::from_be_bytes([data[1], data[2], data[3], data[4]]) as usize;
        if data.len() < 5 + length {
            break;
        }
        whole.push(data.drain(..5 + length).skip(5).collect());
    }
    whole
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
