//! A data directory that is put back from a copy, as docs/operations.md says: stop, copy, start.

use std::{path::Path, time::Duration};

use magpie::v1::{Reason, ServerFrame, State, server_frame::Frame};
use magpie_tests::{
    binaries, files, guard::guarded_for, person::Person, process::Process, refusal,
    session::Session,
};
use tokio::process::Command;

use crate::scene::{Scene, device_after, resume, since_joining};

/// Stops a node in order.
async fn stop(scene: &mut Scene) {
    scene.node.terminate();
    let status = scene.node.ended_within(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0));
}

async fn raise_generation(data: &Path) {
    let mut command = Command::new(binaries::server());
    command
        .env_clear()
        .args(["new-generation", "--data-dir"])
        .arg(data);
    let mut process = Process::spawn(command);
    let status = process.ended_within(Duration::from_secs(10)).await;
    assert!(status.success(), "{:?}", process.all_output().await);
}

/// A device of the copy, with credentials of the new generation.
async fn renewed(person: &Person, scene: &Scene) -> Person {
    let person = person.over(scene.node.api());
    person.renewed().await.expect("renewed")
}

#[tokio::test]
async fn a_restored_copy_misleads_no_device_once_the_generation_was_raised() {
    guarded_for(Duration::from_secs(90), async {
        let mut scene = Scene::new().await;
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join("copy");
        scene.ann_sends(5).await;
        stop(&mut scene).await;
        files::copy(scene.node.data(), &copy);
        scene.node.start().await;
        let bob = scene.bob.over(scene.node.api());
        let session = resume(&bob, State::default()).await;
        scene.ann = scene.ann.over(scene.node.api());
        let last = scene.ann_sends(50).await;
        session.event(scene.room, last).await;
        let mut device = device_after(&bob, &session.received());
        let cat = scene.stranger().await;
        drop(session);
        stop(&mut scene).await;
        files::copy(&copy, scene.node.data());

        scene.node.start().await;
        let bob = scene.bob.over(scene.node.api());
        let session = Session::open(&bob, device.state()).await.expect("welcomed");
        let closing = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::Closing(closing)) => closing.error.clone(),
            _ => None,
        };
        let error = session.find(0, "Closing", closing).await;
        assert_eq!(error.reason(), Reason::CursorAhead, "{error:?}");
        drop(session);
        stop(&mut scene).await;

        raise_generation(scene.node.data()).await;
        scene.node.start().await;
        let cat = cat.over(scene.node.api());
        let refused = Session::open(&cat, State::default()).await;
        let refused = refused.expect_err("a device that the copy does not know");
        assert_eq!(refusal::of_status(&refused).reason(), Reason::TokenExpired);
        let refused = cat.renewed().await.expect_err("nor is its account there");
        assert_eq!(
            refusal::of_status(&refused).reason(),
            Reason::RefreshTokenInvalid
        );
        let bob = renewed(&scene.bob, &scene).await;
        let session = resume(&bob, device.state()).await;
        scene.ann = renewed(&scene.ann, &scene).await;
        let last = scene.ann_sends(3).await;
        session.event(scene.room, last).await;
        device.take_all(session.received().iter().map(|received| &received.frame));
        assert_eq!(device.complaints, Vec::<String>::new());
        let log = scene.ann.log(scene.room).await;
        assert_eq!(log.len() as i64, last, "what came after the copy is gone");
        assert_eq!(device.entries(scene.room), since_joining(&bob, &log));
    })
    .await;
}
