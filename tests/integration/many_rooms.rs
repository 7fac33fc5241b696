//! Accounts in so many rooms that what there is to tell fits into no frame and no queue.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use magpie::v1::{AccountRoom, RoomMarks, ServerFrame, State, SyncRequest, server_frame::Frame};
use magpie_tests::{
    guard::guarded,
    node::Setup,
    person::Person,
    session::{Session, hello},
};

use crate::scene::Scene;

/// More than two frames tell of.
const ROOMS: usize = 1_100;

/// Bytes of two such frames: a queue takes no more before it is half read.
const QUEUE_BYTES: u64 = 40 << 10;

/// Calls that make rooms at the same time.
const CALLS: usize = 16;

/// A person who is in many rooms.
async fn joiner(scene: &Scene) -> (Person, BTreeSet<i64>) {
    let cat = scene.stranger().await;
    let titles = (0..ROOMS).map(|number| format!("room {number}"));
    let made = titles.map(|title| {
        let cat = &cat;
        async move { cat.create_room(&title).await }
    });
    let rooms = stream::iter(made).buffer_unordered(CALLS).collect().await;
    (cat, rooms)
}

fn rows(frame: &ServerFrame) -> &[AccountRoom] {
    match &frame.frame {
        Some(Frame::AccountChanged(changed)) => &changed.rooms,
        _ => &[],
    }
}

#[tokio::test]
async fn a_new_device_is_told_of_more_rooms_than_its_queue_holds() {
    guarded(async {
        let setup = Setup::new().limit("session_queue_bytes_max", QUEUE_BYTES);
        let scene = Scene::on(setup).await;
        let (cat, rooms) = joiner(&scene).await;
        let session = Session::open(&cat, State::default()).await;
        let session = session.expect("a stream opens");
        session.caught_up().await;
        let frames = session.received();
        let told = frames.iter().flat_map(|received| rows(&received.frame));
        assert_eq!(told.map(|row| row.room_id).collect::<BTreeSet<_>>(), rooms);
        let revisions = frames.iter().filter_map(|got| match &got.frame.frame {
            Some(Frame::AccountChanged(changed)) => Some(changed.account_revision),
            _ => None,
        });
        let revisions: Vec<_> = revisions.collect();
        assert!(revisions.len() >= 3, "{revisions:?}");
        assert!(
            revisions.is_sorted_by(|one, next| one < next),
            "{revisions:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn steps_of_sync_get_on_where_one_does_not_hold_all_rooms() {
    guarded(async {
        let scene = Scene::on(Setup::new().limit("page_bytes_max", 4 << 10)).await;
        let (cat, rooms) = joiner(&scene).await;
        let (mut state, mut told) = (State::default(), BTreeSet::new());
        for step in 0.. {
            assert!(step <= 2 * ROOMS, "the steps do not get on");
            let request = SyncRequest {
                state: Some(state.clone()),
                ..SyncRequest::default()
            };
            let answer = cat.api.chat().sync(cat.asks(request)).await;
            let answer = answer.expect("granted").into_inner();
            told.extend(answer.frames.iter().flat_map(rows).map(|row| row.room_id));
            let next = answer.next_state.expect("a state");
            assert!(!answer.more || next != state, "the steps do not get on");
            state = next;
            if !answer.more {
                break;
            }
        }
        assert_eq!(told, rooms);
        assert_eq!(state.cursors.len(), ROOMS);
    })
    .await;
}

#[tokio::test]
async fn marks_said_again_are_taken_in_before_all_is_caught_up() {
    guarded(async {
        let scene = Scene::new().await;
        let foreign = scene.room;
        let (cat, rooms) = joiner(&scene).await;
        let dan = scene.node.api().sign_up("dan").await;
        let read = *rooms.first().expect("a room");
        cat.invite(read, &[&dan]).await;
        let session = Session::open(&cat, State::default()).await.expect("opens");
        session.caught_up().await;
        let said = rooms.iter().chain([&foreign]).map(|&room_id| RoomMarks {
            room_id,
            read_seq: 2,
            delivered_seq: 2,
        });
        let state = State {
            generation: session.welcome.generation,
            ..State::default()
        };
        let mut again = hello(state);
        again.marks = said.collect();
        let session = Session::open_with(&cat, again).await.expect("opens");
        session.caught_up().await;
        assert_eq!(cat.summary(read).await.expect("granted").read_seq, 2);
    })
    .await;
}
