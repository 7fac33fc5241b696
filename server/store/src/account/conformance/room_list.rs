//! Checks of room lists.

use magpie_core::entry::RoomKind;

use super::{add_users, room_id, seq, user_id};
use crate::account::{AccountStore, Membership, Revision, RoomListChange, RoomRow};
use Membership::{Joined, Left};

async fn apply(
    store: &impl AccountStore,
    room: i64,
    at: i64,
    changes: &[(i64, Membership)],
) -> Vec<RoomListChange> {
    let changes = changes
        .iter()
        .map(|(user, membership)| (user_id(*user), *membership))
        .collect();
    store
        .apply_membership(room_id(room), RoomKind::Group, seq(at), changes)
        .await
        .expect("it works")
}

async fn rooms(store: &impl AccountStore, user: i64) -> Vec<i64> {
    let rows = store.rooms(user_id(user), Revision::ZERO, 100).await;
    rows.expect("it works")
        .iter()
        .map(|row| row.room.get())
        .collect()
}

async fn row(store: &impl AccountStore, user: i64, room: i64) -> RoomRow {
    let row = store
        .room(user_id(user), room_id(room))
        .await
        .expect("it works");
    row.expect("the row is there")
}

pub(crate) async fn joining_and_leaving_change_the_row(store: &impl AccountStore) {
    add_users(store, 1..=2).await;
    let applied = apply(store, 5, 1, &[(2, Joined), (1, Joined)]).await;
    let users: Vec<_> = applied.iter().map(|change| change.user).collect();
    assert_eq!(users, [user_id(2), user_id(1)], "in the order given");
    let joined = row(store, 1, 5).await;
    assert_eq!(applied[1].row, joined);
    assert_eq!(applied[1].revision, joined.revision);
    assert_eq!((joined.joined, joined.left), (seq(1), None));
    assert_eq!(joined.kind, RoomKind::Group);
    assert!(joined.present());

    apply(store, 5, 4, &[(1, Left)]).await;
    let left = row(store, 1, 5).await;
    assert_eq!((left.joined, left.left), (seq(1), Some(seq(4))));
    assert!(left.revision > joined.revision);
    assert!(row(store, 2, 5).await.present());

    apply(store, 5, 7, &[(1, Joined)]).await;
    let again = row(store, 1, 5).await;
    assert_eq!((again.joined, again.left), (seq(7), None));
}

pub(crate) async fn an_entry_applied_again_changes_nothing(store: &impl AccountStore) {
    add_users(store, 1..=2).await;
    apply(store, 5, 1, &[(1, Joined)]).await;
    apply(store, 5, 2, &[(2, Joined)]).await;
    let before = (
        row(store, 1, 5).await,
        store.revision(user_id(1)).await.expect("it works"),
    );
    assert_eq!(apply(store, 5, 1, &[(1, Joined)]).await, []);
    // Of an entry that was applied in part, the rest is.
    let rest = apply(store, 5, 2, &[(2, Joined), (1, Left)]).await;
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].user, user_id(1));
    assert!(before.0.present());
    assert!(before.1 < store.revision(user_id(1)).await.expect("it works"));
}

pub(crate) async fn an_older_entry_never_wins(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    apply(store, 5, 9, &[(1, Joined)]).await;
    assert_eq!(apply(store, 5, 7, &[(1, Left)]).await, []);
    assert!(row(store, 1, 5).await.present());

    apply(store, 6, 9, &[(1, Left)]).await;
    assert_eq!(apply(store, 6, 7, &[(1, Joined)]).await, []);
    assert_eq!(row(store, 1, 6).await.left, Some(seq(9)));
}

pub(crate) async fn rooms_are_in_the_order_of_joining(store: &impl AccountStore) {
    add_users(store, 1..=2).await;
    for room in [30, 10, 20] {
        apply(store, room, 1, &[(1, Joined)]).await;
        // Revisions of other kinds lie between.
        store
            .set_display_name(user_id(1), "Ann".to_owned())
            .await
            .expect("it works");
    }
    assert_eq!(rooms(store, 1).await, [30, 10, 20]);
    assert_eq!(rooms(store, 2).await, []);

    let first = store
        .rooms(user_id(1), Revision::ZERO, 2)
        .await
        .expect("it works");
    assert_eq!(first.len(), 2);
    let after = first[1].joined_revision;
    let second = store.rooms(user_id(1), after, 2).await.expect("it works");
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].room, room_id(20));
}

pub(crate) async fn a_rejoined_room_comes_last(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    apply(store, 10, 1, &[(1, Joined)]).await;
    apply(store, 20, 1, &[(1, Joined)]).await;
    apply(store, 10, 2, &[(1, Left)]).await;
    assert_eq!(rooms(store, 1).await, [20]);
    apply(store, 10, 3, &[(1, Joined)]).await;
    assert_eq!(rooms(store, 1).await, [20, 10]);
}

pub(crate) async fn changes_come_in_pages_by_revision(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    for room in 1..=5 {
        apply(store, room, 1, &[(1, Joined)]).await;
    }
    apply(store, 2, 2, &[(1, Left)]).await;
    store
        .set_display_name(user_id(1), "Ann".to_owned())
        .await
        .expect("it works");

    let mut since = Revision::ZERO;
    let mut seen = Vec::new();
    loop {
        let page = store
            .rooms_changed_since(user_id(1), since, 2)
            .await
            .expect("it works");
        assert!(page.rooms.len() <= 2);
        seen.extend(page.rooms.iter().map(|row| (row.room.get(), row.present())));
        since = page.revision;
        if !page.more {
            break;
        }
    }
    assert_eq!(
        seen,
        [(1, true), (3, true), (4, true), (5, true), (2, false)]
    );
    assert_eq!(
        Some(since),
        store.revision(user_id(1)).await.expect("it works")
    );

    let page = store
        .rooms_changed_since(user_id(1), since, 2)
        .await
        .expect("it works");
    assert_eq!(
        (page.revision, page.rooms.len(), page.more),
        (since, 0, false)
    );
    apply(store, 3, 2, &[(1, Left)]).await;
    let page = store
        .rooms_changed_since(user_id(1), since, 2)
        .await
        .expect("it works");
    assert_eq!(page.rooms.len(), 1);
    assert!(page.revision > since);
}

pub(crate) async fn each_change_takes_a_revision_of_its_own(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    let tasks: Vec<_> = (1..=20)
        .map(|room| {
            let changes = vec![(user_id(1), Joined)];
            tokio::spawn(store.apply_membership(room_id(room), RoomKind::Group, seq(1), changes))
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        let applied = task.await.expect("it ends").expect("it works");
        revisions.push(applied[0].revision.get());
    }
    revisions.sort_unstable();
    let expected: Vec<_> = (1..=20).collect();
    assert_eq!(revisions, expected);
}

pub(crate) async fn unknown_members_are_passed_over(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    let applied = apply(store, 5, 1, &[(9, Joined), (1, Joined)]).await;
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[0].user, user_id(1));
    assert_eq!(
        store.room(user_id(9), room_id(5)).await.expect("it works"),
        None
    );
    let changes = store
        .rooms_changed_since(user_id(9), Revision::ZERO, 10)
        .await;
    assert_eq!(changes.expect("it works").rooms, []);
}

pub(crate) async fn present_rooms_are_counted_and_named(store: &impl AccountStore) {
    add_users(store, 1..=3).await;
    apply(store, 10, 1, &[(1, Joined), (2, Joined)]).await;
    apply(store, 20, 1, &[(1, Joined)]).await;
    apply(store, 10, 2, &[(2, Left)]).await;
    let mut ids = store.rooms_of(user_id(1)).await.expect("it works");
    ids.sort();
    assert_eq!(ids, [room_id(10), room_id(20)]);
    assert_eq!(store.rooms_of(user_id(2)).await.expect("it works"), []);

    let users = vec![user_id(1), user_id(2), user_id(3)];
    let mut counts = store.room_counts(users).await.expect("it works");
    counts.retain(|(_, count)| *count > 0);
    assert_eq!(counts, [(user_id(1), 2)]);
}

pub(crate) async fn sharing_a_room_needs_both_to_be_present(store: &impl AccountStore) {
    add_users(store, 1..=4).await;
    apply(store, 10, 1, &[(1, Joined), (2, Joined), (3, Joined)]).await;
    apply(store, 20, 1, &[(4, Joined)]).await;
    apply(store, 10, 2, &[(3, Left)]).await;
    let share = async |user: i64| {
        let others = (1..=9).map(user_id).collect();
        let mut sharing = store
            .share_room(user_id(user), others)
            .await
            .expect("it works");
        sharing.sort();
        sharing
    };
    assert_eq!(share(1).await, [user_id(2)]);
    assert_eq!(share(2).await, [user_id(1)]);
    assert_eq!(share(3).await, []);
    assert_eq!(share(4).await, []);
    apply(store, 20, 2, &[(1, Joined)]).await;
    assert_eq!(share(1).await, [user_id(2), user_id(4)]);
}
