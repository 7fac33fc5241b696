//! One conversation, seen through every way in: all see the same entries.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use magpie::v1::{
    Bye, Entry, Hello, Idle, Reason, SendMessageResponse, ServerFrame, SignalRequest, State,
    SubscribeRequest, SyncRequest, SyncResponse, client_frame, server_frame::Frame,
    signal_request::Signal,
};
use magpie_tests::{
    device::Device,
    grpc_web::{self, Form},
    guard::{event, guarded},
    node::Setup,
    person::{Person, message, texts_of},
    refusal,
    session::{Session, hello},
};
use tokio::{sync::watch, task::JoinHandle};

use crate::scene::{Scene, live, since_joining};

/// Where an observer has come: the cursor of the room it watches, and the account's rooms.
pub(crate) type Progress = watch::Receiver<Device>;

/// Somebody who watches through one of the ways in, until dropped.
pub(crate) struct Observer {
    pub(crate) form: &'static str,
    pub(crate) progress: Progress,
    task: JoinHandle<()>,
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn all_ways_in_see_the_same_entries() {
    guarded(async {
        let scene = Scene::new().await;
        let cat = scene.stranger().await;
        scene.ann_sends(3).await;
        let observers = observers(&scene).await;
        // What follows is live for those who are members, and news for Cat later.
        let end = scripted(&scene, &cat).await;
        let log = scene.ann.log(scene.room).await;
        let expected = since_joining(&scene.bob, &log);
        for observer in &observers {
            let mut progress = observer.progress.clone();
            let at_end = progress.wait_for(|device| device.cursor(scene.room) >= end);
            let device = event(observer.form, at_end)
                .await
                .expect("an observer goes on")
                .clone();
            assert_eq!(device.complaints, Vec::<String>::new(), "{}", observer.form);
            assert_eq!(device.entries(scene.room), expected, "{}", observer.form);
        }
    })
    .await;
}

#[tokio::test]
async fn all_ways_in_send_alike() {
    guarded(async {
        let scene = Scene::new().await;
        let session = live(&scene.ann).await;
        let token = Some(scene.ann.credentials.access_token.as_str());
        let address = scene.node.address();
        let request = message(scene.room, "by any way");
        let by_frame = session.send(request.clone()).await.expect("sent");
        let by_call = scene
            .ann
            .send_request(request.clone())
            .await
            .expect("known");
        for form in [Form::Binary, Form::Text] {
            let path = "magpie.v1.MessageService/SendMessage";
            let by_web: SendMessageResponse =
                grpc_web::unary(address, form, path, token, &request).await;
            assert_eq!(by_web, by_frame, "{form:?}");
        }
        assert_eq!(by_call, by_frame);
        assert_eq!(texts_of(&scene.bob.log(scene.room).await), ["by any way"]);
    })
    .await;
}

#[tokio::test]
async fn a_listening_session_is_steered_by_signals() {
    guarded(async {
        let scene = Scene::new().await;
        let session = Session::subscribe(&scene.bob, hello(State::default())).await;
        let session = session.expect("a session opens");
        session.caught_up().await;
        let bye = SignalRequest {
            session_id: session.welcome.session_id.clone(),
            signal: Some(Signal::Bye(Bye {})),
        };
        let foreign = scene
            .ann
            .api
            .chat()
            .signal(scene.ann.asks(bye.clone()))
            .await;
        let foreign = foreign.expect_err("only the session's own device may");
        let reason = refusal::of_status(&foreign).reason();
        assert_eq!(reason, Reason::SessionGone);
        assert!(session.is_open());
        scene
            .bob
            .api
            .chat()
            .signal(scene.bob.asks(bye.clone()))
            .await
            .expect("told");
        session
            .ended_within(Duration::from_secs(5))
            .await
            .expect("a clean end");
        let gone = scene
            .bob
            .api
            .chat()
            .signal(scene.bob.asks(bye))
            .await
            .expect_err("gone");
        let reason = refusal::of_status(&gone).reason();
        assert_eq!(reason, Reason::SessionGone);
    })
    .await;
}

#[tokio::test]
async fn a_signal_is_answered_as_the_session_takes_it() {
    guarded(async {
        let few = Setup::new().limit("session_control_per_minute", 3);
        let scene = Scene::on(few).await;
        let session = Session::subscribe(&scene.bob, hello(State::default())).await;
        let session = session.expect("a session opens");
        session.caught_up().await;
        let idle = SignalRequest {
            session_id: session.welcome.session_id.clone(),
            signal: Some(Signal::Idle(Idle { idle: true })),
        };
        let mut chat = scene.bob.api.chat();
        for _ in 0..3 {
            let taken = chat.signal(scene.bob.asks(idle.clone())).await;
            taken.expect("taken");
        }
        let refused = chat.signal(scene.bob.asks(idle)).await;
        let error = refusal::of_status(&refused.expect_err("too many"));
        assert_eq!(error.reason(), Reason::RateLimited, "{error:?}");
        assert!(error.retry_after.is_some(), "{error:?}");
        assert!(session.is_open());
    })
    .await;
}

#[tokio::test]
async fn a_poller_waits_for_news_and_no_longer() {
    guarded(async {
        let scene = Scene::new().await;
        let mut state = State::default();
        let mut device = Device::new(scene.bob.user_id);
        while let Some(more) = poll(&scene.bob, &mut device, &mut state, 0).await {
            if !more {
                break;
            }
        }
        let begin = std::time::Instant::now();
        let same = state.clone();
        poll(&scene.bob, &mut device, &mut state, 1).await;
        assert!(
            begin.elapsed() >= Duration::from_millis(900),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(state, same, "nothing happened");
        let bob = scene.bob.clone();
        let waiting = tokio::spawn(async move {
            poll(&bob, &mut device, &mut state, 20).await;
            (device, state)
        });
        let sent = scene.ann.send(scene.room, "news").await.expect("sent");
        let (device, state) = event("an answer", waiting)
            .await
            .expect("a poller ends well");
        assert_eq!(device.cursor(scene.room), sent.seq);
        let cursor = state
            .cursors
            .iter()
            .find(|cursor| cursor.room_id == scene.room);
        assert_eq!(cursor.map(|cursor| cursor.seq), Some(sent.seq));
    })
    .await;
}

/// One observer of each kind, all devices of Bob, who begin at nothing.
async fn observers(scene: &Scene) -> Vec<Observer> {
    let mut observers = Vec::new();
    let chat = Session::open(&scene.bob, State::default())
        .await
        .expect("a stream opens");
    observers.push(by_session("Chat", &scene.bob, chat));
    let subscribed = Session::subscribe(&scene.bob, hello(State::default())).await;
    observers.push(by_session(
        "Subscribe",
        &scene.bob,
        subscribed.expect("a session opens"),
    ));
    for (name, form) in [("gRPC-Web", Form::Binary), ("gRPC-Web text", Form::Text)] {
        observers.push(by_web(name, form, &scene.bob, scene.node.address()));
    }
    observers.push(by_polling("Sync", &scene.bob));
    observers
}

pub(crate) fn by_session(form: &'static str, person: &Person, session: Session) -> Observer {
    let (sender, progress) = watch::channel(Device::new(person.user_id));
    let task = tokio::spawn(async move {
        for place in 0.. {
            let bound = Duration::from_secs(60);
            let frame = session
                .find_within(bound, place, "frame", |f| Some(f.clone()))
                .await;
            sender.send_modify(|device| device.take(&frame));
        }
    });
    Observer {
        form,
        progress,
        task,
    }
}

pub(crate) fn by_web(
    name: &'static str,
    form: Form,
    person: &Person,
    node: SocketAddr,
) -> Observer {
    let (sender, progress) = watch::channel(Device::new(person.user_id));
    let token = person.credentials.access_token.clone();
    let request = SubscribeRequest {
        hello: Some(Hello::default()),
    };
    let task = tokio::spawn(async move {
        let path = "magpie.v1.ChatService/Subscribe";
        let mut call = grpc_web::Call::start(node, form, path, Some(&token), &request).await;
        while let Some(frame) = call.next::<ServerFrame>().await {
            sender.send_modify(|device| device.take(&frame));
        }
    });
    Observer {
        form: name,
        progress,
        task,
    }
}

pub(crate) fn by_polling(form: &'static str, person: &Person) -> Observer {
    let mut device = Device::new(person.user_id);
    let (sender, progress) = watch::channel(device.clone());
    let person = person.clone();
    let task = tokio::spawn(async move {
        let mut state = State::default();
        while poll(&person, &mut device, &mut state, 20).await.is_some() {
            sender.send_replace(device.clone());
        }
    });
    Observer {
        form,
        progress,
        task,
    }
}

/// Makes one step of catching up. Returns whether there is more at once.
async fn poll(
    person: &Person,
    device: &mut Device,
    state: &mut State,
    wait_seconds: i64,
) -> Option<bool> {
    let wait = Some(prost_types::Duration {
        seconds: wait_seconds,
        nanos: 0,
    });
    let request = SyncRequest {
        state: Some(state.clone()),
        marks: Vec::new(),
        wait,
    };
    let answer: SyncResponse = person
        .api
        .chat()
        .sync(person.asks(request))
        .await
        .ok()?
        .into_inner();
    device.take_all(&answer.frames);
    let next = answer.next_state.expect("an answer holds the next state");
    let cursors: BTreeMap<i64, i64> = next.cursors.iter().map(|c| (c.room_id, c.seq)).collect();
    for (room, seq) in cursors {
        assert_eq!(
            device.cursor(room),
            seq,
            "the next state is that after the frames"
        );
    }
    *state = next;
    Some(answer.more)
}

/// The conversation: messages, replies, comings and goings. Returns its last seq.
async fn scripted(scene: &Scene, cat: &Person) -> i64 {
    let session = live(&scene.ann).await;
    let first = session
        .send(message(scene.room, "Who is there?"))
        .await
        .expect("sent")
        .seq;
    let mut reply = message(scene.room, "Bob \u{1f426}");
    reply.reply_to_seq = Some(first);
    scene.bob.send_request(reply).await.expect("sent");
    scene.ann.invite(scene.room, &[cat]).await;
    let long: String = "long ".chars().cycle().take(30_000).collect();
    scene.ann.send(scene.room, &long).await.expect("sent");
    cat.send(scene.room, "and Cat").await.expect("sent");
    cat.leave(scene.room).await.expect("left");
    let mut answers = Vec::new();
    for number in 0..40 {
        let request = message(scene.room, &format!("burst {number}"));
        answers.push(session.ask(client_frame::Frame::SendMessage(request)).await);
    }
    let mut last = 0;
    for answer in answers {
        let Ok(Frame::SendMessage(answer)) = answer.await else {
            panic!("a refused send")
        };
        last = answer.seq;
    }
    let log: Vec<Entry> = scene.ann.log(scene.room).await;
    assert_eq!(log.last().map(|entry| entry.seq), Some(last));
    last
}
