//! A node that is asked to end answers what it took, says so to its clients, and ends.

use std::{sync::Arc, time::Duration};

use magpie::v1::{Reason, ServerFrame, State, server_frame::Frame};
use magpie_tests::{
    chatter::{Chatter, Plan},
    guard::guarded_for,
    history::{History, device_complaints},
    node::Setup,
    refusal,
    session::Session,
};

use crate::scene::{Scene, live};

/// How long a node may take to end while streams are open: its deadline, and some time to stop.
const END_TIME_MAX: Duration = Duration::from_secs(15);

fn drained() -> Setup {
    Setup::new()
        .flag("--drain-window", "2s")
        .flag("--drain-timeout", "10s")
}

#[tokio::test]
async fn a_drained_node_answers_what_it_took_and_ends_while_streams_are_open() {
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::on(drained()).await;
        let history = Arc::new(History::new());
        let plan = Plan {
            room: scene.room,
            history: Arc::clone(&history),
            states_after_seq: true,
        };
        let chatter = Chatter::start(scene.ann.over(scene.node.api()), "ann", plan);
        let watcher = live(&scene.bob).await;
        history.more_answers(50).await;
        scene.node.terminate();
        let draining = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::Draining(draining)) => Some(draining.clone()),
            _ => None,
        };
        let draining = watcher.find(0, "Draining", draining).await;
        assert!(draining.reconnect_window.is_some(), "{draining:?}");
        let status = scene.node.ended_within(END_TIME_MAX).await;
        assert_eq!(status.code(), Some(0), "a drain is no failure");
        watcher.ended_within(Duration::from_secs(5)).await.ok();
        let answered_before_end = history.answers();
        scene.node.start().await;
        history.more_answers(20).await;
        let device = chatter.stop().await;
        let log = scene.ann.over(scene.node.api()).log(scene.room).await;
        history.check(scene.room, &log);
        assert_eq!(
            device_complaints(&device, scene.room, &log),
            Vec::<String>::new()
        );
        assert!(history.answers() > answered_before_end);
    })
    .await;
}

#[tokio::test]
async fn a_draining_node_takes_no_new_stream() {
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::on(drained()).await;
        let watcher = live(&scene.bob).await;
        scene.node.terminate();
        let draining =
            |frame: &ServerFrame| matches!(frame.frame, Some(Frame::Draining(_))).then_some(());
        watcher.find(0, "Draining", draining).await;
        let refused = Session::open(&scene.bob, State::default()).await;
        let status = refused.expect_err("a draining node takes no new stream");
        match refusal::try_of_status(&status) {
            Some(error) => assert_eq!(error.reason(), Reason::Draining, "{error:?}"),
            // The connection may be gone already.
            None => assert!(refusal::is_lost(&status), "{status:?}"),
        }
        drop(watcher);
        scene.node.ended_within(END_TIME_MAX).await;
    })
    .await;
}

#[tokio::test]
async fn streams_whose_clients_stay_end_with_the_window_and_hang_nothing_up() {
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::on(drained()).await;
        let session = live(&scene.bob).await;
        scene.node.terminate();
        let closing = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::Closing(closing)) => closing.error.clone(),
            _ => None,
        };
        let error = session.find(0, "Closing", closing).await;
        assert_eq!(error.reason(), Reason::Draining, "{error:?}");
        session.ended_within(Duration::from_secs(5)).await.ok();
        // The client holds its half of the stream open, as one that hangs does.
        scene.node.ended_within(END_TIME_MAX).await;
        drop(session);
    })
    .await;
}
