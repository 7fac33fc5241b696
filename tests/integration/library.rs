//! The client library as a Rust program uses it, over networks and nodes that fail.

use std::{fs, sync::Arc, time::Duration};

use magpie::client::{
    Api, Event, Events, MemoryStore, MessageId, Profile, SendError, Session, SessionOptions, Target,
};
use magpie::v1::{CreateRoomRequest, Entry, SignUpRequest, entry::Body};
use magpie_tests::{
    api::PASSWORD,
    binaries,
    guard::{event, event_within, guarded, guarded_for},
    history::History,
    node::{Setup, certificate},
    person::{Person, message, texts_of},
    process::Process,
    proxy::{Fault, FaultProxy},
};
use tokio::{process::Command, sync::mpsc, task::JoinHandle};

use crate::scene::{Scene, since_joining};

#[tokio::test]
async fn the_library_loses_and_doubles_nothing_over_cuts_and_kills() {
    guarded_for(Duration::from_secs(90), async {
        let mut scene = Scene::new().await;
        let proxy = FaultProxy::start(scene.node.address()).await;
        let (ann, _events) = Session::open(&opened(&scene.ann, &proxy), options());
        let (_bob, bobs) = Session::open(&opened(&scene.bob, &proxy), options());
        let (seen, reader) = entries(bobs, scene.room);
        let history = Arc::new(History::new());
        let sender = tokio::spawn(send_all(ann.clone(), scene.room, 300, Arc::clone(&history)));
        for round in 0..12 {
            history.more_answers(5).await;
            match round % 4 {
                0 => proxy.reset_all(),
                1 => proxy.close_all(),
                2 => scene.node.kill_and_restart().await,
                _ => ann.reconnect().await.expect("the session goes on"),
            }
        }
        let unsent = sender.await.expect("the sender ends well");
        assert_eq!(unsent, Vec::<String>::new());
        let log = scene.ann.over(scene.node.api()).log(scene.room).await;
        history.check(scene.room, &log);
        let expected = since_joining(&scene.bob, &log);
        let shown = collected(seen, expected.len()).await;
        assert_eq!(shown, expected, "each entry once, in order");
        reader.abort();
    })
    .await;
}

#[tokio::test]
async fn the_library_moves_off_a_draining_node_and_comes_back() {
    guarded_for(Duration::from_secs(90), async {
        let mut scene = Scene::new().await;
        let proxy = FaultProxy::start(scene.node.address()).await;
        let (ann, _events) = Session::open(&opened(&scene.ann, &proxy), options());
        let history = Arc::new(History::new());
        let sender = tokio::spawn(send_all(ann.clone(), scene.room, 200, Arc::clone(&history)));
        history.more_answers(20).await;
        scene.node.terminate();
        scene.node.ended_within(Duration::from_secs(30)).await;
        scene.node.start().await;
        let unsent = sender.await.expect("the sender ends well");
        assert_eq!(unsent, Vec::<String>::new());
        let log = scene.ann.over(scene.node.api()).log(scene.room).await;
        history.check(scene.room, &log);
    })
    .await;
}

#[tokio::test]
async fn the_library_ends_cleanly_and_resumes_from_its_state() {
    guarded(async {
        let scene = Scene::new().await;
        let proxy = FaultProxy::start(scene.node.address()).await;
        let api = opened(&scene.bob, &proxy);
        let (session, mut events) = Session::open(&api, options());
        caught_up(&mut events).await;
        let state = session.state();
        event("a clean end", session.bye()).await;
        scene.ann_sends(3).await;
        let (_session, events) = Session::open(&api, SessionOptions { state, ..options() });
        let (seen, reader) = entries(events, scene.room);
        let shown = collected(seen, 3).await;
        assert_eq!(texts_of(&shown), ["message 1", "message 2", "message 3"]);
        reader.abort();
    })
    .await;
}

#[tokio::test]
async fn the_library_sends_over_a_link_that_crawls() {
    guarded(async {
        let scene = Scene::new().await;
        let proxy = FaultProxy::start(scene.node.address()).await;
        proxy.set(Fault::Delay(Duration::from_millis(60)));
        let (session, _events) = Session::open(&opened(&scene.ann, &proxy), options());
        let sends = (0..20).map(|number| session.send(scene.room, format!("{number}")));
        let sent = futures_util::future::join_all(sends).await;
        let seqs: Vec<i64> = sent
            .into_iter()
            .map(|sent| sent.expect("sent").seq)
            .collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
    })
    .await;
}

#[tokio::test]
async fn the_library_forgets_a_room_it_left_and_begins_anew_with_the_next_joining() {
    guarded(async {
        let scene = Scene::new().await;
        let room = scene.room;
        let proxy = FaultProxy::start(scene.node.address()).await;
        let (session, mut events) = Session::open(&opened(&scene.bob, &proxy), options());
        caught_up(&mut events).await;
        let left = scene.bob.leave(room).await.expect("left");
        assert_eq!(next_entry(&mut events, room).await.seq, left);
        assert_eq!(session.state().cursors, []);
        scene.ann_sends(2).await;
        session.reconnect().await.expect("the session goes on");
        caught_up(&mut events).await;
        assert_eq!(session.state().cursors, []);

        scene.ann.invite(room, &[&scene.bob]).await;
        let joined = next_entry(&mut events, room).await.seq;
        assert_eq!(joined, left + 3, "nothing of what was said in between");
        let seq = scene.ann_sends(1).await;
        assert_eq!(next_entry(&mut events, room).await.seq, seq);
        session.reconnect().await.expect("the session goes on");
        caught_up(&mut events).await;
        let seq = scene.ann_sends(1).await;
        assert_eq!(next_entry(&mut events, room).await.seq, seq);
        assert_eq!(session.state().cursors[0].seq, seq);
    })
    .await;
}

#[tokio::test]
async fn the_library_speaks_tls_with_an_authority_of_its_own() {
    guarded(async {
        let node = Setup::new().tls().start().await;
        let target = Target::new(format!("https://localhost:{}", node.address().port()));
        let request = || SignUpRequest {
            handle: "ann".to_owned(),
            password: PASSWORD.to_owned(),
            ..SignUpRequest::default()
        };
        let store = || Arc::new(MemoryStore::default());
        let stranger = Api::sign_up(target.clone(), request(), store()).await;
        let error = stranger.expect_err("nobody vouches for this certificate");
        assert!(error.is_transport(), "{error}");
        let authority = fs::read(certificate()).expect("readable");
        let api = Api::sign_up(target.with_ca(authority), request(), store()).await;
        let api = api.expect("signed up");
        let create = CreateRoomRequest {
            client_message_id: MessageId::new().to_bytes(),
            title: "safe".to_owned(),
        };
        let room = api.rooms().create_room(create).await.expect("created");
        let room = room.into_inner().room.expect("a room").room_id;
        let (session, mut events) = Session::open(&api, options());
        let sent = session.send(room, "over TLS").await.expect("sent");
        while next_entry(&mut events, room).await.seq != sent.seq {}
    })
    .await;
}

#[tokio::test]
async fn the_example_bot_is_short_and_answers() {
    const LINES_MAX: usize = 59;
    let source = include_str!("../../examples/echo_bot.rs");
    assert!(
        source.lines().count() <= LINES_MAX,
        "an example is read in a minute"
    );
    guarded(async {
        let scene = Scene::new().await;
        let mut command = Command::new(binaries::example("echo_bot"));
        let address = format!("http://{}", scene.node.address());
        command
            .args([&address, "bob"])
            .env("MAGPIE_PASSWORD", PASSWORD);
        let _bot = Process::spawn(command);
        let proxy = FaultProxy::start(scene.node.address()).await;
        let (ann, mut events) = Session::open(&opened(&scene.ann, &proxy), options());
        let by_bot = |entry: &Entry| {
            let replied = match &entry.body {
                Some(Body::Message(said)) => said.reply_to_seq.is_some(),
                _ => false,
            };
            replied && entry.actor_user_id == scene.bob.user_id
        };
        // What is said before the bot is there is none of its business, so it is said again.
        let answered = async {
            loop {
                ann.send(scene.room, "echo?").await.expect("sent");
                let wait = Duration::from_millis(500);
                let answer = async { while !by_bot(&next_entry(&mut events, scene.room).await) {} };
                if tokio::time::timeout(wait, answer).await.is_ok() {
                    return;
                }
            }
        };
        event_within(Duration::from_secs(20), "an answer of the bot", answered).await;
    })
    .await;
}

async fn caught_up(events: &mut Events) {
    while !matches!(
        event("an event", events.next()).await,
        Some(Event::CaughtUp)
    ) {}
}

async fn next_entry(events: &mut Events, room: i64) -> Entry {
    loop {
        if let Event::Entry(entry) = event("an entry", events.next()).await.expect("no end")
            && entry.room_id == room
        {
            return *entry;
        }
    }
}

/// The library's view of a device that was logged in by the raw client.
fn opened(person: &Person, proxy: &FaultProxy) -> Api {
    let target = Target::new(format!("http://{}", proxy.address()));
    let store = Arc::new(MemoryStore::default());
    Api::open(target, person.credentials.clone(), store).expect("an address makes a target")
}

fn options() -> SessionOptions {
    SessionOptions {
        profile: Profile::FAST,
        ..SessionOptions::default()
    }
}

/// Sends messages, eight at a time, and returns those that failed.
async fn send_all(session: Session, room: i64, count: usize, history: Arc<History>) -> Vec<String> {
    let mut unsent = Vec::new();
    for first in (0..count).step_by(8) {
        let sends = (first..(first + 8).min(count)).map(|number| {
            let (session, history) = (session.clone(), Arc::clone(&history));
            let mut request = message(room, &format!("number {number}"));
            async move {
                let draft = magpie::client::Draft::new(room, request.text.clone());
                request.client_message_id = draft.client_message_id.to_bytes();
                let key = history.started("library", &request);
                let sent: Result<_, SendError> = session.send_draft(draft).await;
                sent.map(|sent| history.answered(key, sent.seq))
                    .map_err(|e| e.to_string())
            }
        });
        let results = futures_util::future::join_all(sends).await;
        unsent.extend(results.into_iter().filter_map(Result::err));
    }
    unsent
}

/// The entries of a room as the library hands them out.
fn entries(mut events: Events, room: i64) -> (mpsc::UnboundedReceiver<Entry>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let reader = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Event::Entry(entry) if entry.room_id == room => sender.send(*entry).ok(),
                Event::Stale { room_id, .. } if room_id == room => None,
                _ => continue,
            };
        }
    });
    (receiver, reader)
}

async fn collected(mut seen: mpsc::UnboundedReceiver<Entry>, count: usize) -> Vec<Entry> {
    let mut shown = Vec::new();
    while shown.len() < count {
        let what = format!("entry {} of {count}", shown.len() + 1);
        shown.push(event(&what, seen.recv()).await.expect("the reader goes on"));
    }
    shown
}
