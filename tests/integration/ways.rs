//! The same conversation, driven through each of the four ways in: what each of them saw is the
//! same, entry by entry. And all that a session can be told by Signal.

use std::time::Duration;

use magpie::v1::{
    Bye, Capability, Entry, GetPresenceRequest, Heartbeat, Hello, Idle, MarkReadRequest,
    MarkReadResponse, PresenceState, Reason, RenewToken, SendMessageRequest, SendMessageResponse,
    ServerFrame, SignalRequest, SignalResponse, State, SyncRequest, SyncResponse,
    UpdateRoomRequest, Watch, client_frame, server_frame::Frame, signal_request::Signal,
};
use magpie_tests::{
    api::new_id,
    grpc_web::{self, Form},
    guard::{event, guarded, guarded_for},
    node::Setup,
    person::{Person, message},
    refusal,
    session::{Session, hello},
};

use crate::{
    forms::{Observer, by_polling, by_session, by_web},
    scene::{Scene, live, since_joining},
};

/// A way to say something, with what it needs for it.
enum Way {
    Chat(Session),
    Unary,
    Web(Form),
}

impl Way {
    async fn send(&self, scene: &Scene, request: SendMessageRequest) -> SendMessageResponse {
        match self {
            Self::Chat(session) => session.send(request).await.expect("sent"),
            Self::Unary => scene.ann.send_request(request).await.expect("sent"),
            Self::Web(form) => web(scene, *form, "MessageService/SendMessage", &request).await,
        }
    }

    async fn mark_read(&self, scene: &Scene, request: MarkReadRequest) -> i64 {
        match self {
            Self::Chat(session) => {
                let frame = client_frame::Frame::MarkRead(request);
                match session.ask(frame).await.await {
                    Ok(Frame::MarkRead(answer)) => answer.read_seq,
                    other => panic!("{other:?}"),
                }
            }
            Self::Unary => {
                let marked = scene.ann.mark_read(request.room_id, request.seq).await;
                marked.expect("marked")
            }
            Self::Web(form) => {
                let path = "MessageService/MarkRead";
                let marked: MarkReadResponse = web(scene, *form, path, &request).await;
                marked.read_seq
            }
        }
    }
}

/// Ann's call by gRPC-Web.
async fn web<T: prost::Message + Default>(
    scene: &Scene,
    form: Form,
    method: &str,
    request: &impl prost::Message,
) -> T {
    let token = Some(scene.ann.credentials.access_token.as_str());
    let path = format!("magpie.v1.{method}");
    grpc_web::unary(scene.node.address(), form, &path, token, request).await
}

/// What Ann saw of one room through one way.
async fn driven(scene: &Scene, cat: &Person, way: &Way, observer: Observer) -> Vec<Entry> {
    let room = scene.ann.room_with("ways", &[&scene.bob]).await;
    let first = way.send(scene, message(room, "Who is there?")).await.seq;
    let reply = SendMessageRequest {
        reply_to_seq: Some(first),
        ..message(room, "Bob \u{1f426}")
    };
    let reply = scene.bob.send_request(reply).await.expect("sent").seq;
    let mark = MarkReadRequest {
        room_id: room,
        seq: reply,
    };
    assert_eq!(way.mark_read(scene, mark).await, reply);
    let long: String = "long ".chars().cycle().take(30_000).collect();
    let request = message(room, &long);
    let sent = way.send(scene, request.clone()).await;
    let again = way.send(scene, request).await;
    assert_eq!(again, sent, "a retry is answered as before");
    scene.ann.invite(room, &[cat]).await;
    cat.send(room, "and Cat").await.expect("sent");
    cat.leave(room).await.expect("left");
    let update = UpdateRoomRequest {
        client_message_id: new_id(),
        room_id: room,
        title: Some("all ways".to_owned()),
        after_seq: None,
    };
    let update = scene.ann.asks(update);
    let updated = scene.ann.api.rooms().update_room(update).await;
    updated.expect("updated");
    for number in 0..20 {
        way.send(scene, message(room, &number.to_string())).await;
    }
    let last = way.send(scene, message(room, "the end")).await.seq;
    let mut progress = observer.progress.clone();
    let at_end = progress.wait_for(|device| device.cursor(room) >= last);
    let device = event(observer.form, at_end)
        .await
        .expect("an observer goes on")
        .clone();
    assert_eq!(device.complaints, Vec::<String>::new(), "{}", observer.form);
    let log = scene.ann.log(room).await;
    let seen = device.entries(room);
    assert_eq!(
        seen,
        since_joining(&scene.ann, &log),
        "{} and the log",
        observer.form
    );
    seen.iter().map(alike).collect()
}

/// An entry without what differs from one telling of the conversation to the next.
fn alike(entry: &Entry) -> Entry {
    Entry {
        room_id: 0,
        create_time: None,
        client_message_id: bytes::Bytes::new(),
        ..entry.clone()
    }
}

#[tokio::test]
async fn a_conversation_is_the_same_whichever_way_drives_it() {
    guarded_for(Duration::from_secs(90), async {
        let scene = Scene::new().await;
        let cat = scene.stranger().await;
        let (ann, node) = (&scene.ann, scene.node.address());
        let chat = || async { Session::open(ann, State::default()).await.expect("opens") };
        let subscribed = Session::subscribe(ann, hello(State::default())).await;
        let subscribed = subscribed.expect("a session opens");
        let (binary, text) = (Form::Binary, Form::Text);
        let ways = [
            (
                Way::Chat(live(ann).await),
                by_session("Chat", ann, chat().await),
            ),
            (Way::Unary, by_session("Subscribe", ann, subscribed)),
            (Way::Web(binary), by_web("gRPC-Web", binary, ann, node)),
            (Way::Web(text), by_web("gRPC-Web text", text, ann, node)),
            (Way::Unary, by_polling("Sync", ann)),
        ];
        let mut seen: Vec<(&str, Vec<Entry>)> = Vec::new();
        for (way, observer) in ways {
            let form = observer.form;
            let entries = driven(&scene, &cat, &way, observer).await;
            for (other, theirs) in &seen {
                assert_eq!(entries.len(), theirs.len(), "{form} and {other}");
                for (entry, their) in entries.iter().zip(theirs) {
                    assert_eq!(entry, their, "{form} and {other}");
                }
            }
            seen.push((form, entries));
        }
    })
    .await;
}

/// How a signal goes to the node.
#[derive(Clone, Copy, Debug)]
enum Carrier {
    Grpc,
    Web(Form),
}

const CARRIERS: [Carrier; 3] = [
    Carrier::Grpc,
    Carrier::Web(Form::Binary),
    Carrier::Web(Form::Text),
];

/// Tells a session of Ann's something.
async fn signal(scene: &Scene, by: Carrier, session: &Session, signal: Signal) {
    let request = SignalRequest {
        session_id: session.welcome.session_id.clone(),
        signal: Some(signal),
    };
    match by {
        Carrier::Grpc => {
            let request = scene.ann.asks(request);
            let told = scene.ann.api.chat().signal(request).await;
            told.expect("told");
        }
        Carrier::Web(form) => {
            let SignalResponse {} = web(scene, form, "ChatService/Signal", &request).await;
        }
    }
}

#[tokio::test]
async fn each_signal_works_as_the_frame_of_its_name() {
    guarded_for(Duration::from_secs(90), async {
        let quick = Setup::new()
            .limit("presence_warm_up_millis", 1)
            .limit("presence_interval_millis", 100);
        let scene = Scene::on(quick).await;
        let _bob = live(&scene.bob).await;
        for by in CARRIERS {
            let session = Session::subscribe(&scene.ann, hello(State::default())).await;
            let session = session.expect("a session opens");
            session.caught_up().await;
            let user_ids = vec![scene.bob.user_id];
            signal(&scene, by, &session, Signal::Watch(Watch { user_ids })).await;
            let online = |frame: &ServerFrame| match &frame.frame {
                Some(Frame::PresenceChanged(changed)) => changed
                    .presences
                    .iter()
                    .find(|presence| presence.user_id == scene.bob.user_id)
                    .map(|presence| assert_eq!(presence.state(), PresenceState::Online)),
                _ => None,
            };
            session.find(0, "who is watched", online).await;

            for (idle, state) in [(true, PresenceState::Away), (false, PresenceState::Online)] {
                signal(&scene, by, &session, Signal::Idle(Idle { idle })).await;
                becomes(&scene.bob, &scene.ann, state).await;
            }

            let access_token = scene.ann.credentials.access_token.clone();
            let renew = Signal::RenewToken(RenewToken { access_token });
            signal(&scene, by, &session, renew).await;
            let access_token = scene.bob.credentials.access_token.clone();
            let foreign = SignalRequest {
                session_id: session.welcome.session_id.clone(),
                signal: Some(Signal::RenewToken(RenewToken { access_token })),
            };
            let refused = scene.ann.api.chat().signal(scene.ann.asks(foreign)).await;
            let error = refusal::of_status(&refused.expect_err("another's token"));
            refusal::expect_field(&error, "access_token");

            signal(&scene, by, &session, Signal::Bye(Bye {})).await;
            let bound = Duration::from_secs(5);
            session.ended_within(bound).await.expect("a clean end");
            becomes(&scene.bob, &scene.ann, PresenceState::Offline).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_listening_session_lives_by_its_signals() {
    const SILENCE: Duration = Duration::from_secs(3);
    guarded_for(Duration::from_secs(60), async {
        let quick = Setup::new()
            .limit("heartbeat_millis", 500)
            .limit("session_silence_millis", SILENCE.as_millis() as u64);
        let scene = Scene::on(quick).await;
        let announced = Hello {
            capabilities: vec![Capability::Heartbeat.into()],
            ..hello(State::default())
        };
        let session = Session::subscribe(&scene.ann, announced).await;
        let session = session.expect("a session opens");
        let begin = std::time::Instant::now();
        while begin.elapsed() < 2 * SILENCE {
            for by in CARRIERS {
                signal(&scene, by, &session, Signal::Heartbeat(Heartbeat {})).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(session.is_open(), "it was heard of all the time");
        let closing = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::Closing(closing)) => closing.error.clone(),
            _ => None,
        };
        let error = session.find(0, "Closing", closing).await;
        assert_eq!(error.reason(), Reason::HeartbeatMissed, "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_step_of_catching_up_is_the_same_by_grpc_web() {
    guarded(async {
        let scene = Scene::new().await;
        scene.ann_sends(5).await;
        let request = SyncRequest {
            state: Some(State::default()),
            ..SyncRequest::default()
        };
        let by_grpc = scene
            .ann
            .api
            .chat()
            .sync(scene.ann.asks(request.clone()))
            .await;
        let by_grpc = by_grpc.expect("a step").into_inner();
        assert!(!by_grpc.frames.is_empty());
        for form in [Form::Binary, Form::Text] {
            let by_web: SyncResponse = web(&scene, form, "ChatService/Sync", &request).await;
            assert_eq!(by_web, by_grpc, "{form:?}");
        }
    })
    .await;
}

/// Asks until somebody is seen like this: a session is told before its user is.
async fn becomes(seer: &Person, of: &Person, state: PresenceState) {
    let seen = async {
        loop {
            let request = GetPresenceRequest {
                user_ids: vec![of.user_id],
            };
            let answer = seer.api.presence().get_presence(seer.asks(request)).await;
            let presences = answer.expect("answered").into_inner().presences;
            if presences.first().expect("they share a room").state() == state {
                break;
            }
        }
    };
    event(&format!("{} {state:?}", of.handle), seen).await;
}

/// What is no base64 can never succeed, so it must not look like a passing fault of the node.
#[tokio::test]
async fn text_that_is_no_base64_is_undecodable() {
    guarded(async {
        let scene = Scene::new().await;
        let node = scene.node.address();
        let kind = "application/grpc-web-text+proto";
        let request = http::Request::post("/magpie.v1.RoomService/GetRoom")
            .header(http::header::HOST, node.to_string())
            .header(http::header::CONTENT_TYPE, kind)
            .header(http::header::ACCEPT, kind)
            .header(
                "authorization",
                format!("Bearer {}", scene.bob.credentials.access_token),
            )
            .body(http_body_util::Full::new("!!!!".into()))
            .expect("these headers make a request");
        let answer = magpie_tests::http::request(node, request).await;
        let status = answer.headers().get("grpc-status").cloned();
        assert_eq!(status.expect("a status"), "3", "{:?}", answer.headers());
        assert!(answer.headers().contains_key("grpc-status-details-bin"));
    })
    .await;
}
