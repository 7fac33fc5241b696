//! Who is there, as others who share a room see it.

use std::time::{Duration, Instant};

use magpie::v1::{
    Availability, Bye, GetPresenceRequest, Hello, Idle, Presence, PresenceState, SendTypingRequest,
    ServerFrame, SetStatusRequest, State, SyncRequest, Watch, client_frame, server_frame::Frame,
};
use magpie_tests::{
    guard::{event, guarded, guarded_for},
    node::Setup,
    person::Person,
    proxy::{Fault, FaultProxy},
    session::{Session, hello},
};

use crate::scene::Scene;

/// The grace of the nodes here: long enough to be told from "at once".
const GRACE: Duration = Duration::from_millis(1_500);

fn quick() -> Setup {
    Setup::new()
        .limit("presence_grace_millis", GRACE.as_millis() as u64)
        .limit("presence_warm_up_millis", 1)
        .limit("presence_interval_millis", 200)
        .limit("heartbeat_millis", 300)
        .limit("session_silence_millis", 1_000)
        .limit("ping_interval_millis", 500)
        .limit("ping_timeout_millis", 500)
}

#[tokio::test]
async fn a_person_is_online_with_the_first_stream_and_offline_with_bye() {
    guarded(async {
        // A grace beyond the test's own time: what is told within it did not wait for it.
        let setup = quick().limit("presence_grace_millis", 3_600_000);
        let scene = Scene::on(setup).await;
        let watcher = watching(&scene.ann, &[&scene.bob]).await;
        assert_eq!(
            presence(&scene.ann, &scene.bob).await.state(),
            PresenceState::Offline
        );
        let session = open(&scene.bob).await;
        let from = state_seen(&watcher, 0, &scene.bob, PresenceState::Online).await;
        session.tell(client_frame::Frame::Bye(Bye {})).await;
        state_seen(&watcher, from, &scene.bob, PresenceState::Offline).await;
        session
            .ended_within(Duration::from_secs(2))
            .await
            .expect("a clean end");
        let last = presence(&scene.ann, &scene.bob).await;
        assert!(last.last_seen_time.is_some(), "{last:?}");
    })
    .await;
}

#[tokio::test]
async fn an_abrupt_end_is_hidden_for_the_grace() {
    guarded(async {
        let scene = Scene::on(quick()).await;
        let watcher = watching(&scene.ann, &[&scene.bob]).await;
        let session = open(&scene.bob).await;
        let from = state_seen(&watcher, 0, &scene.bob, PresenceState::Online).await;
        for _ in 0..3 {
            // Short losses: nobody hears of them.
            drop(session_over_own_connection(&scene).await);
        }
        let begin = Instant::now();
        drop(session);
        state_seen(&watcher, from, &scene.bob, PresenceState::Offline).await;
        assert!(begin.elapsed() >= GRACE, "{:?}", begin.elapsed());
        let frames = watcher.received();
        let told = frames[from..]
            .iter()
            .filter(|r| about(&r.frame, &scene.bob).is_some())
            .count();
        assert_eq!(told, 1, "one frame: the end");
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_gone_without_a_word_is_noticed() {
    guarded(async {
        let scene = Scene::on(quick()).await;
        let proxy = FaultProxy::start(scene.node.address()).await;
        let watcher = watching(&scene.ann, &[&scene.bob]).await;
        let before = scene.node.metric("magpie_connections").await;
        let plain = scene
            .bob
            .over(magpie_tests::api::Api::connect(proxy.address()));
        let session = open(&plain).await;
        let from = state_seen(&watcher, 0, &scene.bob, PresenceState::Online).await;
        proxy.set_open(Fault::HalfOpen);
        state_seen(&watcher, from, &scene.bob, PresenceState::Offline).await;
        let freed = async {
            while scene.node.metric("magpie_connections").await > before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        event("the socket is freed", freed).await;
        drop(session);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_announced_heartbeats_and_sends_none_is_ended() {
    guarded(async {
        let scene = Scene::on(quick()).await;
        let capabilities = vec![magpie::v1::Capability::Heartbeat.into()];
        let hello = Hello {
            capabilities,
            ..hello(State::default())
        };
        let session = Session::open_with(&scene.bob, hello).await.expect("opens");
        let interval = session.welcome.heartbeat_interval.expect("an interval");
        assert!(interval.seconds == 0 && interval.nanos > 0, "{interval:?}");
        let beat = |f: &ServerFrame| matches!(f.frame, Some(Frame::Heartbeat(_))).then_some(());
        session.find(0, "a heartbeat of the server", beat).await;
        let closing = |f: &ServerFrame| match &f.frame {
            Some(Frame::Closing(closing)) => closing.error.clone(),
            _ => None,
        };
        let error = session.find(0, "Closing", closing).await;
        assert_eq!(
            error.reason(),
            magpie::v1::Reason::HeartbeatMissed,
            "{error:?}"
        );
        session.ended_within(Duration::from_secs(2)).await.ok();
    })
    .await;
}

#[tokio::test]
async fn a_person_is_away_when_all_devices_are_idle_and_busy_when_they_say_so() {
    guarded(async {
        let scene = Scene::on(quick()).await;
        let watcher = watching(&scene.ann, &[&scene.bob]).await;
        let laptop = scene.node.api().log_in("bob").await;
        let (phone, laptop) = (open(&scene.bob).await, open(&laptop).await);
        let from = state_seen(&watcher, 0, &scene.bob, PresenceState::Online).await;
        done(&phone, client_frame::Frame::Idle(Idle { idle: true })).await;
        assert_eq!(
            presence(&scene.ann, &scene.bob).await.state(),
            PresenceState::Online
        );
        done(&laptop, client_frame::Frame::Idle(Idle { idle: true })).await;
        let from = state_seen(&watcher, from, &scene.bob, PresenceState::Away).await;
        let status = SetStatusRequest {
            availability: Availability::Busy.into(),
            status_text: Some("counting silver".to_owned()),
        };
        let set = scene
            .bob
            .api
            .presence()
            .set_status(scene.bob.asks(status))
            .await;
        set.expect("a status is set");
        state_seen(&watcher, from, &scene.bob, PresenceState::Busy).await;
        assert_eq!(
            presence(&scene.ann, &scene.bob).await.status_text,
            "counting silver"
        );
    })
    .await;
}

#[tokio::test]
async fn a_poller_is_away_while_it_polls_and_for_a_time_after_and_gets_no_typing() {
    const WAIT: Duration = Duration::from_secs(1);
    const AFTER: Duration = Duration::from_secs(2);
    guarded(async {
        let setup = quick()
            .limit("presence_grace_millis", 1)
            .limit("session_silence_millis", AFTER.as_millis() as u64);
        let scene = Scene::on(setup).await;
        let watcher = watching(&scene.ann, &[&scene.bob]).await;
        let poll = async |state| {
            let wait = prost_types::Duration::try_from(WAIT).expect("a short one");
            let request = SyncRequest {
                state: Some(state),
                wait: Some(wait),
                ..SyncRequest::default()
            };
            let answer = scene.bob.api.chat().sync(scene.bob.asks(request)).await;
            answer.expect("a step").into_inner()
        };
        let first = poll(State::default()).await;
        let begin = Instant::now();
        let typing = async {
            state_seen(&watcher, 0, &scene.bob, PresenceState::Away).await;
            let typing = SendTypingRequest {
                room_id: scene.room,
            };
            let typing = scene.ann.asks(typing);
            let typed = scene.ann.api.messages().send_typing(typing).await;
            typed.expect("told");
        };
        let (second, ()) = tokio::join!(poll(first.next_state.expect("a state")), typing);
        assert_eq!(second.frames, [], "typing is not for pollers");
        assert_eq!(
            presence(&scene.ann, &scene.bob).await.state(),
            PresenceState::Away
        );
        state_seen(&watcher, 0, &scene.bob, PresenceState::Offline).await;
        assert!(begin.elapsed() >= WAIT + AFTER, "{:?}", begin.elapsed());
    })
    .await;
}

#[tokio::test]
async fn presence_is_shown_to_those_who_share_a_room_only() {
    guarded(async {
        let scene = Scene::on(quick()).await;
        let cat = scene.stranger().await;
        let watcher = watching(&cat, &[&scene.bob]).await;
        let session = open(&scene.bob).await;
        let request = GetPresenceRequest {
            user_ids: vec![scene.bob.user_id, cat.user_id],
        };
        let shown = cat
            .api
            .presence()
            .get_presence(cat.asks(request))
            .await
            .expect("answered");
        let shown = shown.into_inner().presences;
        assert!(
            shown.iter().all(|presence| presence.user_id == cat.user_id),
            "{shown:?}"
        );
        scene.ann.invite(scene.room, &[&cat]).await;
        let user_ids = vec![scene.bob.user_id];
        done(&watcher, client_frame::Frame::Watch(Watch { user_ids })).await;
        state_seen(&watcher, 0, &scene.bob, PresenceState::Online).await;
        drop(session);
    })
    .await;
}

#[tokio::test]
async fn presence_is_shown_no_longer_once_nobody_shares_a_room() {
    guarded(async {
        let scene = Scene::on(quick()).await;
        let watcher = watching(&scene.bob, &[&scene.ann]).await;
        let session = open(&scene.ann).await;
        state_seen(&watcher, 0, &scene.ann, PresenceState::Online).await;
        let removed = scene.ann.remove(scene.room, scene.bob.user_id).await;
        removed.expect("removed");
        // Cat, who is still in a room with Ann, shows how far the node is.
        let cat = scene.stranger().await;
        scene.ann.invite(scene.room, &[&cat]).await;
        let witness = watching(&cat, &[&scene.ann]).await;
        state_seen(&witness, 0, &scene.ann, PresenceState::Online).await;
        // Whom Bob may see is looked up again within one interval of presence after the removal.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let (from, of_witness) = (watcher.position(), witness.position());
        done(&session, client_frame::Frame::Idle(Idle { idle: true })).await;
        state_seen(&witness, of_witness, &scene.ann, PresenceState::Away).await;
        let received = watcher.received();
        let told = received[from..]
            .iter()
            .any(|r| about(&r.frame, &scene.ann).is_some());
        assert!(!told, "Bob is told of Ann, with whom he shares no room");
    })
    .await;
}

#[tokio::test]
async fn whoever_is_there_when_a_node_stops_was_last_seen_then() {
    guarded(async {
        let mut scene = Scene::on(quick().limit("presence_grace_millis", 30_000)).await;
        let _session = open(&scene.bob).await;
        let before = std::time::SystemTime::now();
        scene.node.terminate();
        scene.node.ended_within(Duration::from_secs(20)).await;
        scene.node.start().await;
        let ann = scene.ann.over(scene.node.api());
        let shown = event("Bob is offline", async {
            loop {
                let shown = presence(&ann, &scene.bob).await;
                if shown.state() == PresenceState::Offline {
                    break shown;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let seen = shown.last_seen_time.expect("Bob was seen");
        let seen = std::time::SystemTime::try_from(seen).expect("a time");
        assert!(seen >= before - Duration::from_secs(1), "{seen:?}");
    })
    .await;
}

#[tokio::test]
async fn losses_that_are_back_within_the_grace_are_never_told() {
    guarded_for(Duration::from_secs(60), async {
        let setup = quick().limit("presence_grace_millis", 20_000);
        let scene = Scene::on(setup).await;
        let people = crowd(&scene, 10).await;
        let watched: Vec<&Person> = people.iter().collect();
        let watcher = watching(&scene.ann, &watched).await;
        let mut sessions = Vec::new();
        for person in &people {
            sessions.push(open(person).await);
        }
        for person in &people {
            state_seen(&watcher, 0, person, PresenceState::Online).await;
        }
        let from = watcher.position();
        for _ in 0..100 {
            sessions.clear();
            let opening = people.iter().map(open);
            sessions = futures_util::future::join_all(opening).await;
        }
        // Longer than the least time between two presence frames.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let told = watcher.received()[from..]
            .iter()
            .filter(|r| presences(&r.frame) > 0)
            .count();
        assert_eq!(told, 0, "frames after 1,000 cuts");
    })
    .await;
}

/// The interval is that of everybody. Three hundred are as many as sign up here in some seconds;
/// a frame holds as many as a session may watch.
#[tokio::test]
async fn many_who_come_at_once_make_one_frame_for_a_watcher_and_interval() {
    const INTERVAL: Duration = Duration::from_secs(5);
    guarded_for(Duration::from_secs(180), async {
        let scene = Scene::on(Setup::new().limit("presence_warm_up_millis", 1)).await;
        let people = crowd(&scene, 300).await;
        let watched: Vec<&Person> = people.iter().collect();
        let watcher = watching(&scene.ann, &watched).await;
        let (begin, from) = (Instant::now(), watcher.position());
        let mut sessions = Vec::new();
        for some in people.chunks(15) {
            sessions.extend(futures_util::future::join_all(some.iter().map(open)).await);
            // All at once would fit into one frame with no interval either.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let bound = Duration::from_secs(60);
        for person in &people {
            let online = |frame: &ServerFrame| {
                about(frame, person).filter(|p| p.state() == PresenceState::Online)
            };
            watcher
                .find_within(bound, from, &person.handle, online)
                .await;
        }
        let frames: Vec<usize> = watcher.received()[from..]
            .iter()
            .map(|received| presences(&received.frame))
            .filter(|&people| people > 0)
            .collect();
        // One that was on its way, and one for the beginning of each interval.
        let most = begin.elapsed().as_millis() / INTERVAL.as_millis() + 2;
        assert!(
            frames.len() as u128 <= most,
            "{frames:?} people a frame in {:?}",
            begin.elapsed()
        );
    })
    .await;
}

/// People in the scene's room.
async fn crowd(scene: &Scene, count: usize) -> Vec<Person> {
    // As many at a time as the node hashes passwords without letting any wait for long.
    const TOGETHER: usize = 16;
    // As many as one call invites.
    const INVITED_MAX: usize = 100;
    let mut people = Vec::new();
    while people.len() < count {
        let numbers = people.len()..count.min(people.len() + TOGETHER);
        let signing = numbers.map(|number| {
            let api = scene.node.api();
            async move { api.sign_up(&format!("crow_{number}")).await }
        });
        people.extend(futures_util::future::join_all(signing).await);
    }
    for some in people.chunks(INVITED_MAX) {
        let invited: Vec<&Person> = some.iter().collect();
        scene.ann.invite(scene.room, &invited).await;
    }
    people
}

fn presences(frame: &ServerFrame) -> usize {
    match &frame.frame {
        Some(Frame::PresenceChanged(changed)) => changed.presences.len(),
        _ => 0,
    }
}

/// Opens a stream, apart from the person's other calls, so that it can be lost alone.
async fn session_over_own_connection(scene: &Scene) -> Session {
    open(&scene.bob.over(scene.node.api())).await
}

async fn open(person: &Person) -> Session {
    let session = Session::open(person, State::default())
        .await
        .expect("a stream opens");
    session.caught_up().await;
    session
}

async fn watching(person: &Person, people: &[&Person]) -> Session {
    let watch_user_ids = people.iter().map(|person| person.user_id).collect();
    let hello = Hello {
        watch_user_ids,
        ..hello(State::default())
    };
    let session = Session::open_with(person, hello)
        .await
        .expect("a stream opens");
    session.caught_up().await;
    session
}

async fn done(session: &Session, frame: client_frame::Frame) {
    let answer = session.ask(frame).await.await;
    assert!(matches!(answer, Ok(Frame::Done(_))), "{answer:?}");
}

async fn presence(person: &Person, of: &Person) -> Presence {
    let request = GetPresenceRequest {
        user_ids: vec![of.user_id],
    };
    let answer = person
        .api
        .presence()
        .get_presence(person.asks(request))
        .await;
    let presences = answer.expect("answered").into_inner().presences;
    presences
        .into_iter()
        .next()
        .expect("people who share a room see each other")
}

/// Waits until the watcher is shown this state, and returns the place after that frame.
async fn state_seen(watcher: &Session, from: usize, of: &Person, state: PresenceState) -> usize {
    let what = format!("{} {state:?}", of.handle);
    watcher
        .find(from, &what, |frame| {
            about(frame, of).filter(|p| p.state() == state)
        })
        .await;
    watcher.position()
}

fn about(frame: &ServerFrame, of: &Person) -> Option<Presence> {
    match &frame.frame {
        Some(Frame::PresenceChanged(changed)) => changed
            .presences
            .iter()
            .find(|presence| presence.user_id == of.user_id)
            .cloned(),
        _ => None,
    }
}
