//! Connections that break in the ways of networks, and clients that come back.

use std::{sync::Arc, time::Duration};

use magpie::v1::{ServerFrame, State, client_frame, server_frame::Frame};
use magpie_tests::{
    api::Api,
    chatter::{Chatter, Plan},
    guard::{guarded, guarded_for},
    history::{History, device_complaints},
    node::Setup,
    person::message,
    proxy::{Fault, FaultProxy},
    session::Session,
};

use crate::scene::{Scene, device_after, live, since_joining};

#[tokio::test]
async fn resets_and_cuts_lose_and_double_nothing() {
    guarded_for(Duration::from_secs(60), async {
        let scene = Scene::new().await;
        let proxy = FaultProxy::start(scene.node.address()).await;
        let history = Arc::new(History::new());
        let chatters = [("ann", &scene.ann, true), ("bob", &scene.bob, false)].map(
            |(name, person, states_after_seq)| {
                let history = Arc::clone(&history);
                let plan = Plan {
                    room: scene.room,
                    history,
                    states_after_seq,
                };
                Chatter::start(person.over(Api::connect(proxy.address())), name, plan)
            },
        );
        for cut in 0..40 {
            history.more_answers(10).await;
            if cut % 2 == 0 {
                proxy.reset_all();
            } else {
                proxy.close_all();
            }
        }
        let [ann, bob] = chatters;
        let devices = [ann.stop().await, bob.stop().await];
        let log = scene.ann.log(scene.room).await;
        history.check(scene.room, &log);
        for device in &devices {
            assert_eq!(
                device_complaints(device, scene.room, &log),
                Vec::<String>::new()
            );
        }
        assert!(proxy.accepted() >= 40, "{} connections", proxy.accepted());
    })
    .await;
}

#[tokio::test]
async fn a_stalled_reader_is_caught_up_and_holds_nobody_up() {
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::on(Setup::new().limit("session_catch_ups_max", 100)).await;
        let proxy = FaultProxy::start(scene.node.address()).await;
        let slow = live(&scene.bob.over(Api::connect(proxy.address()))).await;
        let before = scene.node.memory();
        proxy.set(Fault::Stall);
        // Many times what the reader's queue and the sockets take.
        let text = "x".repeat(12_000);
        let session = live(&scene.ann).await;
        let mut last = 0;
        for _ in 0..12 {
            let mut answers = Vec::new();
            for _ in 0..60 {
                let request = message(scene.room, &text);
                let frame = client_frame::Frame::SendMessage(request);
                answers.push(session.ask(frame).await);
            }
            for answer in answers {
                let Ok(Frame::SendMessage(answer)) = answer.await else {
                    panic!("refused")
                };
                last = answer.seq;
            }
        }
        let grown = scene.node.memory().saturating_sub(before);
        assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
        proxy.set(Fault::None);
        slow.find(0, "the last entry", |frame| reaches(frame, last))
            .await;
        let device = device_after(&scene.bob, &slow.received());
        assert_eq!(device.complaints, Vec::<String>::new());
        assert_eq!(device.cursor(scene.room), last);
    })
    .await;
}

#[tokio::test]
async fn a_slow_link_delays_and_loses_nothing() {
    guarded(async {
        let scene = Scene::new().await;
        let proxy = FaultProxy::start(scene.node.address()).await;
        proxy.set(Fault::BytesPerSecond(100_000));
        let slow = live(&scene.bob.over(Api::connect(proxy.address()))).await;
        let last = scene.ann_sends(50).await;
        slow.event(scene.room, last).await;
        let log = scene.ann.log(scene.room).await;
        let device = device_after(&scene.bob, &slow.received());
        assert_eq!(device.complaints, Vec::<String>::new());
        assert_eq!(device.entries(scene.room), since_joining(&scene.bob, &log));
    })
    .await;
}

/// The first attempt never arrives, or arrives long after the second.
#[tokio::test]
async fn a_sender_whose_link_is_dead_or_stalled_sends_again_and_makes_one_entry() {
    guarded(async {
        let scene = Scene::new().await;
        let proxy = FaultProxy::start(scene.node.address()).await;
        for fault in [Fault::HalfOpen, Fault::Stall] {
            let ann = scene.ann.over(Api::connect(proxy.address()));
            let session = live(&ann).await;
            proxy.set_open(fault);
            let request = message(scene.room, &format!("over {fault:?}"));
            let frame = client_frame::Frame::SendMessage(request.clone());
            let answer = session.ask(frame).await;
            let fresh = live(&scene.ann.over(Api::connect(proxy.address()))).await;
            let sent = fresh.send(request.clone()).await.expect("sent");
            if fault == Fault::Stall {
                proxy.set_open(Fault::None);
                let late = answer.await.expect("answered as before");
                assert_eq!(late, Frame::SendMessage(sent), "{fault:?}");
            }
            let log = scene.ann.log(scene.room).await;
            let id = &request.client_message_id;
            let copies = log.iter().filter(|entry| entry.client_message_id == id);
            assert_eq!(copies.count(), 1, "{fault:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn half_closing_ends_commands_and_not_events() {
    guarded(async {
        let scene = Scene::new().await;
        let mut session = Session::open(&scene.bob, State::default())
            .await
            .expect("opens");
        session.half_close();
        session.caught_up().await;
        let sent = scene
            .ann
            .send(scene.room, "still listening?")
            .await
            .expect("sent");
        session.event(scene.room, sent.seq).await;
    })
    .await;
}

/// Whether a frame brings a device to this seq.
fn reaches(frame: &ServerFrame, seq: i64) -> Option<()> {
    let reached = match &frame.frame {
        Some(Frame::Event(event)) => event.entry.as_ref().is_some_and(|entry| entry.seq == seq),
        Some(Frame::RoomSync(sync)) => sync.through_seq == seq,
        _ => false,
    };
    reached.then_some(())
}
