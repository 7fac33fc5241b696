//! Checks of devices and refresh tokens.

use magpie_core::{ids::DeviceId, time::Timestamp};

use super::{START, add_users, device, device_id, family, later, token, user_id};
use crate::account::{AccountStore, DeviceCreation, Refresh, Rotation, TokenHash};

async fn add_device(store: &impl AccountStore, number: i64, now: Timestamp) -> Vec<DeviceId> {
    let created = store
        .create_device(user_id(1), device(number, now), 10)
        .await;
    let DeviceCreation::Created { ended } = created.expect("it works") else {
        panic!("there is nothing in its way");
    };
    ended
}

async fn refresh(store: &impl AccountStore, presented: u8, next: u8, now: Timestamp) -> Rotation {
    let refresh = Refresh {
        device: device_id(11),
        family: family(11),
        token: token(11, presented),
        next: token(11, next),
    };
    store
        .rotate_refresh_token(refresh, now)
        .await
        .expect("it works")
}

fn is_rotated(rotation: Rotation) -> bool {
    matches!(rotation, Rotation::Rotated { .. })
}

fn is_reused(rotation: Rotation) -> bool {
    rotation == Rotation::Reused { user: user_id(1) }
}

/// A user with device 11, whose first refresh token is number 0.
async fn one_device(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    add_device(store, 11, START).await;
}

async fn is_over(store: &impl AccountStore) -> bool {
    store
        .devices(user_id(1), later(1000))
        .await
        .expect("it works")
        .is_empty()
}

pub(crate) async fn devices_are_listed_by_use(store: &impl AccountStore) {
    one_device(store).await;
    add_device(store, 12, later(1)).await;
    assert!(is_rotated(refresh(store, 0, 1, later(2)).await));
    let devices = store.devices(user_id(1), later(3)).await.expect("it works");
    let ids: Vec<_> = devices.iter().map(|device| device.id).collect();
    assert_eq!(ids, [device_id(11), device_id(12)]);
    assert_eq!(devices[0].name, "device 11");
    assert_eq!(devices[0].created, START);
    assert_eq!(devices[0].last_used, later(2));
}

pub(crate) async fn an_eleventh_device_ends_the_least_recently_used(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    for number in 11..=20 {
        assert_eq!(
            add_device(store, number, later(number.unsigned_abs())).await,
            []
        );
    }
    // Device 11 logged in first, but was used last.
    assert!(is_rotated(refresh(store, 0, 1, later(100)).await));
    assert_eq!(add_device(store, 21, later(101)).await, [device_id(12)]);
    let devices = store
        .devices(user_id(1), later(102))
        .await
        .expect("it works");
    assert_eq!(devices.len(), 10);
    let revoked = store.revoked_since(START).await.expect("it works");
    assert_eq!(revoked, [(device_id(12), later(101))]);
}

pub(crate) async fn a_device_id_is_taken_once(store: &impl AccountStore) {
    add_users(store, 1..=2).await;
    add_device(store, 11, START).await;
    let again = store.create_device(user_id(2), device(11, START), 10).await;
    assert_eq!(again.expect("it works"), DeviceCreation::IdTaken);
    assert!(
        store
            .devices(user_id(2), START)
            .await
            .expect("it works")
            .is_empty()
    );
}

pub(crate) async fn a_device_is_revoked_once_and_by_its_user_only(store: &impl AccountStore) {
    add_users(store, 1..=2).await;
    add_device(store, 11, START).await;
    let revoke = async |user, device| {
        let revoked = store
            .revoke_device(user_id(user), device_id(device), later(1))
            .await;
        revoked.expect("it works")
    };
    assert!(!revoke(2, 11).await);
    assert!(!revoke(1, 12).await);
    assert!(revoke(1, 11).await);
    assert!(!revoke(1, 11).await);
    assert!(is_over(store).await);
}

pub(crate) async fn revocations_are_found_by_time(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    for number in [11, 12, 13] {
        add_device(store, number, START).await;
        let at = later(number.unsigned_abs());
        store
            .revoke_device(user_id(1), device_id(number), at)
            .await
            .expect("it works");
    }
    let revoked = store.revoked_since(later(12)).await.expect("it works");
    assert_eq!(
        revoked,
        [(device_id(12), later(12)), (device_id(13), later(13))]
    );
}

pub(crate) async fn each_refresh_token_leads_to_the_next(store: &impl AccountStore) {
    one_device(store).await;
    for number in 0..20 {
        let rotation = refresh(store, number, number + 1, later(number.into())).await;
        let Rotation::Rotated { user, expires } = rotation else {
            panic!("token {number} is the latest: {rotation:?}");
        };
        assert_eq!(user, user_id(1));
        assert_eq!(
            expires,
            device(11, START).expires,
            "rotation does not move it"
        );
    }
}

pub(crate) async fn a_lost_answer_is_repeated_with_the_same_token(store: &impl AccountStore) {
    one_device(store).await;
    for next in 1..=5 {
        assert!(is_rotated(refresh(store, 0, next, later(1)).await));
    }
    assert!(is_rotated(refresh(store, 5, 6, later(2)).await));
    assert!(is_rotated(refresh(store, 6, 7, later(3)).await));
}

pub(crate) async fn an_answer_that_came_late_is_good_until_another_is_used(
    store: &impl AccountStore,
) {
    one_device(store).await;
    assert!(is_rotated(refresh(store, 0, 1, later(1)).await));
    assert!(is_rotated(refresh(store, 0, 2, later(2)).await));
    assert!(is_rotated(refresh(store, 1, 3, later(3)).await));
    assert!(is_rotated(refresh(store, 3, 4, later(4)).await));
}

pub(crate) async fn a_spent_token_revokes_the_device(store: &impl AccountStore) {
    one_device(store).await;
    assert!(is_rotated(refresh(store, 0, 1, later(1)).await));
    assert!(is_rotated(refresh(store, 1, 2, later(2)).await));
    assert!(is_reused(refresh(store, 0, 9, later(3)).await));
    assert!(is_over(store).await);
    let revoked = store.revoked_since(START).await.expect("it works");
    assert_eq!(revoked, [(device_id(11), later(3))]);
    // Neither the thief nor the owner goes on.
    assert_eq!(refresh(store, 9, 10, later(4)).await, Rotation::Invalid);
    assert_eq!(refresh(store, 2, 3, later(4)).await, Rotation::Invalid);
}

pub(crate) async fn a_sibling_of_a_used_token_revokes_the_device(store: &impl AccountStore) {
    one_device(store).await;
    assert!(is_rotated(refresh(store, 0, 1, later(1)).await));
    assert!(is_rotated(refresh(store, 0, 2, later(2)).await));
    assert!(is_rotated(refresh(store, 2, 3, later(3)).await));
    assert!(is_reused(refresh(store, 1, 4, later(4)).await));
    assert!(is_over(store).await);
}

pub(crate) async fn a_token_of_no_family_revokes_nothing(store: &impl AccountStore) {
    one_device(store).await;
    let guess = |device, family, token| Refresh {
        device: device_id(device),
        family,
        token,
        next: TokenHash([9; 32]),
    };
    for refresh in [
        guess(11, TokenHash([1; 32]), TokenHash([2; 32])),
        guess(11, family(12), token(11, 0)),
        guess(12, family(12), token(12, 0)),
    ] {
        let rotation = store.rotate_refresh_token(refresh, later(1)).await;
        assert_eq!(rotation.expect("it works"), Rotation::Invalid);
    }
    assert!(is_rotated(refresh(store, 0, 1, later(2)).await));
}

pub(crate) async fn a_device_past_its_time_is_over(store: &impl AccountStore) {
    one_device(store).await;
    let end = device(11, START).expires;
    assert!(is_rotated(refresh(store, 0, 1, Timestamp(end.0 - 1)).await));
    assert_eq!(refresh(store, 1, 2, end).await, Rotation::Invalid);
    assert_eq!(store.devices(user_id(1), end).await.expect("it works"), []);
    // It takes no place either, and is not ended a second time.
    for number in 12..=21 {
        assert_eq!(add_device(store, number, end).await, []);
    }
}

pub(crate) async fn a_revoked_device_gets_no_tokens(store: &impl AccountStore) {
    one_device(store).await;
    store
        .revoke_device(user_id(1), device_id(11), later(1))
        .await
        .expect("it works");
    assert_eq!(refresh(store, 0, 1, later(2)).await, Rotation::Invalid);
}

pub(crate) async fn unused_successors_are_bounded(store: &impl AccountStore) {
    one_device(store).await;
    for next in 1..=100 {
        assert!(is_rotated(refresh(store, 0, next, later(1)).await));
    }
    assert!(is_rotated(refresh(store, 100, 101, later(2)).await));
}

pub(crate) async fn of_two_racing_uses_of_siblings_one_revokes(store: &impl AccountStore) {
    one_device(store).await;
    assert!(is_rotated(refresh(store, 0, 1, later(1)).await));
    assert!(is_rotated(refresh(store, 0, 2, later(1)).await));
    let (first, second) = tokio::join!(
        refresh(store, 1, 3, later(2)),
        refresh(store, 2, 4, later(2))
    );
    assert_ne!(is_rotated(first), is_rotated(second));
    assert_ne!(is_reused(first), is_reused(second));
    assert!(is_over(store).await);
}
