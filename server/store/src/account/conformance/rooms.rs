//! Checks of which rooms exist.

use magpie_core::ids::MessageId;

use super::{START, add_users, room_id, user_id};
use crate::account::{AccountStore, RoomClaim};

const COMMAND: MessageId = MessageId([7; 16]);

async fn create(
    store: &impl AccountStore,
    creator: i64,
    id: MessageId,
    title: &str,
    proposed: i64,
) -> RoomClaim {
    store
        .create_room(
            user_id(creator),
            id,
            title.to_owned(),
            room_id(proposed),
            START,
        )
        .await
        .expect("it works")
}

async fn open(store: &impl AccountStore, a: i64, b: i64, proposed: i64) -> RoomClaim {
    store
        .open_direct(user_id(a), user_id(b), room_id(proposed), START)
        .await
        .expect("it works")
}

pub(crate) async fn a_room_is_made_once_per_command(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    assert_eq!(
        create(store, 1, COMMAND, "a", 50).await,
        RoomClaim::New(room_id(50))
    );
    assert_eq!(
        create(store, 1, COMMAND, "a", 51).await,
        RoomClaim::Existing(room_id(50))
    );
    assert_eq!(
        create(store, 1, COMMAND, "a", 50).await,
        RoomClaim::Existing(room_id(50))
    );
    let other = MessageId([8; 16]);
    assert_eq!(
        create(store, 1, other, "a", 51).await,
        RoomClaim::New(room_id(51))
    );
}

pub(crate) async fn another_title_under_the_same_command_is_noticed(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    create(store, 1, COMMAND, "a", 50).await;
    assert_eq!(
        create(store, 1, COMMAND, "b", 51).await,
        RoomClaim::Reused(room_id(50))
    );
    assert_eq!(
        create(store, 1, COMMAND, "a", 52).await,
        RoomClaim::Existing(room_id(50))
    );
}

pub(crate) async fn two_creators_may_use_the_same_command_id(store: &impl AccountStore) {
    add_users(store, 1..=2).await;
    assert_eq!(
        create(store, 1, COMMAND, "a", 50).await,
        RoomClaim::New(room_id(50))
    );
    assert_eq!(
        create(store, 2, COMMAND, "a", 51).await,
        RoomClaim::New(room_id(51))
    );
}

pub(crate) async fn a_taken_room_id_is_refused(store: &impl AccountStore) {
    add_users(store, 1..=2).await;
    create(store, 1, COMMAND, "a", 50).await;
    assert_eq!(create(store, 2, COMMAND, "b", 50).await, RoomClaim::IdTaken);
    assert_eq!(open(store, 1, 2, 50).await, RoomClaim::IdTaken);
    // Nothing was written: another id does.
    assert_eq!(
        create(store, 2, COMMAND, "b", 51).await,
        RoomClaim::New(room_id(51))
    );
    assert_eq!(open(store, 1, 2, 52).await, RoomClaim::New(room_id(52)));
}

pub(crate) async fn a_pair_has_one_direct_room_in_either_order(store: &impl AccountStore) {
    add_users(store, 1..=3).await;
    assert_eq!(open(store, 2, 1, 50).await, RoomClaim::New(room_id(50)));
    assert_eq!(
        open(store, 1, 2, 51).await,
        RoomClaim::Existing(room_id(50))
    );
    assert_eq!(
        open(store, 2, 1, 52).await,
        RoomClaim::Existing(room_id(50))
    );
    assert_eq!(open(store, 1, 3, 53).await, RoomClaim::New(room_id(53)));
}

pub(crate) async fn one_of_many_racing_openings_makes_the_direct_room(store: &impl AccountStore) {
    add_users(store, 1..=2).await;
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let (a, b) = if number % 2 == 0 { (1, 2) } else { (2, 1) };
            tokio::spawn(store.open_direct(user_id(a), user_id(b), room_id(50 + number), START))
        })
        .collect();
    let mut made = None;
    let mut rooms = Vec::new();
    for task in tasks {
        match task.await.expect("it ends").expect("it works") {
            RoomClaim::New(room) => assert_eq!(made.replace(room), None),
            RoomClaim::Existing(room) => rooms.push(room),
            claim => panic!("{claim:?}"),
        }
    }
    let made = made.expect("one of them made it");
    assert!(rooms.iter().all(|room| *room == made));
}

pub(crate) async fn rooms_need_users_who_exist(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    assert_eq!(create(store, 9, COMMAND, "a", 50).await, RoomClaim::NoUser);
    assert_eq!(open(store, 1, 9, 50).await, RoomClaim::NoUser);
}
