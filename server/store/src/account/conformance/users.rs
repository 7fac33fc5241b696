//! Checks of users and of the deployment.

use secrecy::{ExposeSecret, SecretSlice};

use super::{START, add_users, device, device_id, later, user, user_id};
use crate::account::{
    AccountStore, Availability, DeviceCreation, SigningKey, Status, UserCreation,
};

pub(crate) async fn users_are_found_by_id_and_by_handle(store: &impl AccountStore) {
    add_users(store, 1..=3).await;
    let ids = vec![user_id(3), user_id(1), user_id(1), user_id(9)];
    let mut found = store.users(ids).await.expect("it works");
    found.sort_by_key(|user| user.id);
    let names: Vec<_> = found.iter().map(|user| user.handle.as_str()).collect();
    assert_eq!(names, ["user_1", "user_3"]);
    assert_eq!(found[0].display_name, "USER_1");
    assert_eq!(found[0].created, START);
    assert_eq!(found[0].status, Status::default());
    assert_eq!(found[0].last_seen, None);
    assert!(!found[0].disabled);

    let handles = ["user_2", "User_2", "nobody", "user_2"].map(str::to_owned);
    let found = store
        .users_by_handle(handles.into())
        .await
        .expect("it works");
    let ids: Vec<_> = found.iter().map(|user| user.id).collect();
    assert_eq!(ids, [user_id(2)]);

    let login = store.login("user_2".to_owned()).await.expect("it works");
    let login = login.expect("the user is there");
    assert_eq!(login.user.id, user_id(2));
    assert_eq!(
        login.password_hash.expose_secret(),
        "$argon2id$of-a-password"
    );
    assert!(
        store
            .login("nobody".to_owned())
            .await
            .expect("it works")
            .is_none()
    );
}

pub(crate) async fn a_handle_is_taken_once(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    let again = store.create_user(user(2, "user_1"), None).await;
    assert_eq!(again.expect("it works"), UserCreation::HandleTaken);
    assert!(
        store
            .users(vec![user_id(2)])
            .await
            .expect("it works")
            .is_empty()
    );
}

pub(crate) async fn an_id_is_taken_once(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    let again = store.create_user(user(1, "somebody"), None).await;
    assert_eq!(again.expect("it works"), UserCreation::IdTaken);
    assert!(
        store
            .login("somebody".to_owned())
            .await
            .expect("it works")
            .is_none()
    );
}

pub(crate) async fn a_user_is_made_with_a_first_device_or_not_at_all(store: &impl AccountStore) {
    let created = store
        .create_user(user(1, "ann"), Some(device(7, START)))
        .await;
    assert_eq!(created.expect("it works"), UserCreation::Created);
    let devices = store.devices(user_id(1), START).await.expect("it works");
    assert_eq!(devices.len(), 1);

    let refused = store
        .create_user(user(2, "ben"), Some(device(7, START)))
        .await;
    assert_eq!(refused.expect("it works"), UserCreation::IdTaken);
    assert!(
        store
            .login("ben".to_owned())
            .await
            .expect("it works")
            .is_none()
    );
}

pub(crate) async fn one_of_many_sign_ups_gets_the_handle(store: &impl AccountStore) {
    let tasks: Vec<_> = (1..=16)
        .map(|number| tokio::spawn(store.create_user(user(number, "popular"), None)))
        .collect();
    let mut created = 0;
    for task in tasks {
        match task.await.expect("it ends").expect("it works") {
            UserCreation::Created => created += 1,
            UserCreation::HandleTaken => {}
            UserCreation::IdTaken => panic!("the ids differ"),
        }
    }
    assert_eq!(created, 1);
}

pub(crate) async fn a_display_name_is_changed(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    let before = store.revision(user_id(1)).await.expect("it works");
    let changed = store
        .set_display_name(user_id(1), "Ann Ö".to_owned())
        .await
        .expect("it works")
        .expect("the user is there");
    assert_eq!(changed.display_name, "Ann Ö");
    let found = store.users(vec![user_id(1)]).await.expect("it works");
    assert_eq!(found, [changed]);
    assert!(store.revision(user_id(1)).await.expect("it works") > before);
}

pub(crate) async fn a_status_is_changed_in_parts(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    let set = async |availability, text: Option<&str>| {
        store
            .set_status(user_id(1), availability, text.map(str::to_owned))
            .await
            .expect("it works")
            .expect("the user is there")
    };
    set(Some(Availability::Busy), Some("at lunch")).await;
    let status = set(None, None).await;
    assert_eq!(status.availability, Availability::Busy);
    assert_eq!(status.text, "at lunch");
    assert_eq!(set(None, Some("")).await.text, "");
    let status = set(Some(Availability::Available), None).await;
    assert_eq!(status, Status::default());
}

pub(crate) async fn last_seen_never_goes_back(store: &impl AccountStore) {
    add_users(store, 1..=2).await;
    let first = vec![(user_id(1), later(10)), (user_id(9), later(10))];
    store.record_last_seen(first).await.expect("it works");
    let second = vec![(user_id(1), later(5)), (user_id(2), later(7))];
    store.record_last_seen(second).await.expect("it works");
    let mut users = store
        .users(vec![user_id(1), user_id(2)])
        .await
        .expect("it works");
    users.sort_by_key(|user| user.id);
    assert_eq!(users[0].last_seen, Some(later(10)));
    assert_eq!(users[1].last_seen, Some(later(7)));
}

pub(crate) async fn another_password_ends_the_other_devices(store: &impl AccountStore) {
    add_users(store, 1..=2).await;
    for number in [11, 12, 13] {
        store
            .create_device(user_id(1), device(number, START), 10)
            .await
            .expect("it works");
    }
    store
        .create_device(user_id(2), device(21, START), 10)
        .await
        .expect("it works");
    let set = async |keep| {
        let hash = "$argon2id$of-another".to_owned().into();
        let revoked = store.set_password(user_id(1), hash, keep, later(1)).await;
        let mut revoked = revoked.expect("it works").expect("the user is there");
        revoked.sort();
        revoked
    };
    assert_eq!(
        set(Some(device_id(12))).await,
        [device_id(11), device_id(13)]
    );
    assert_eq!(set(Some(device_id(12))).await, []);
    let hash = store.password_hash(user_id(1)).await.expect("it works");
    assert_eq!(
        hash.expect("it is set").expose_secret(),
        "$argon2id$of-another"
    );
    let devices = store.devices(user_id(1), later(2)).await.expect("it works");
    assert_eq!(devices.len(), 1);
    assert_eq!(
        store
            .devices(user_id(2), later(2))
            .await
            .expect("it works")
            .len(),
        1
    );
    assert_eq!(set(None).await, [device_id(12)]);
}

pub(crate) async fn a_disabled_user_has_no_devices_and_gets_none(store: &impl AccountStore) {
    add_users(store, 1..=1).await;
    store
        .create_device(user_id(1), device(11, START), 10)
        .await
        .expect("it works");
    let revoked = store
        .set_disabled(user_id(1), true, later(1))
        .await
        .expect("it works");
    assert_eq!(revoked, Some(vec![device_id(11)]));
    let login = store.login("user_1".to_owned()).await.expect("it works");
    assert!(login.expect("the user is there").user.disabled);
    let refused = store
        .create_device(user_id(1), device(12, later(2)), 10)
        .await;
    assert_eq!(refused.expect("it works"), DeviceCreation::NoUser);

    let revoked = store
        .set_disabled(user_id(1), false, later(3))
        .await
        .expect("it works");
    assert_eq!(revoked, Some(vec![]));
    assert!(
        store
            .devices(user_id(1), later(3))
            .await
            .expect("it works")
            .is_empty()
    );
    let created = store
        .create_device(user_id(1), device(12, later(4)), 10)
        .await;
    assert_eq!(
        created.expect("it works"),
        DeviceCreation::Created { ended: vec![] }
    );
}

pub(crate) async fn sign_up_is_open_until_it_is_closed(store: &impl AccountStore) {
    assert!(store.sign_up_open().await.expect("it works"));
    store.set_sign_up_open(false).await.expect("it works");
    assert!(!store.sign_up_open().await.expect("it works"));
    store.set_sign_up_open(true).await.expect("it works");
    assert!(store.sign_up_open().await.expect("it works"));
}

pub(crate) async fn the_first_signing_key_stays(store: &impl AccountStore) {
    let key = |kid: &str, byte| SigningKey {
        kid: kid.to_owned(),
        seed: SecretSlice::from(vec![byte; 32]),
        created: START,
    };
    let first = store.signing_keys(key("first", 1)).await.expect("it works");
    let second = store
        .signing_keys(key("second", 2))
        .await
        .expect("it works");
    for keys in [first, second] {
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].kid, "first");
        assert_eq!(keys[0].seed.expose_secret(), [1; 32]);
    }
}

pub(crate) async fn unknown_users_are_told_from_known_ones(store: &impl AccountStore) {
    let nobody = user_id(1);
    assert_eq!(store.revision(nobody).await.expect("it works"), None);
    let hash = "hash".to_owned().into();
    assert_eq!(
        store
            .set_password(nobody, hash, None, START)
            .await
            .expect("it works"),
        None
    );
    assert_eq!(
        store
            .set_disabled(nobody, true, START)
            .await
            .expect("it works"),
        None
    );
    assert_eq!(
        store
            .set_status(nobody, None, None)
            .await
            .expect("it works"),
        None
    );
    let named = store.set_display_name(nobody, "x".to_owned()).await;
    assert_eq!(named.expect("it works"), None);
    assert!(
        store
            .password_hash(nobody)
            .await
            .expect("it works")
            .is_none()
    );
    let refused = store.create_device(nobody, device(1, START), 10).await;
    assert_eq!(refused.expect("it works"), DeviceCreation::NoUser);
}
