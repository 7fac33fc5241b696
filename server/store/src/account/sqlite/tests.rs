//! What only the store in a file can show: its mode, its versions, its restart.

use std::{fs, future, os::unix::fs::PermissionsExt, path::Path, task::Poll};

use magpie_core::time::Timestamp;
use secrecy::SecretSlice;
use tempfile::TempDir;

use super::{FILE_NAME, OpenError, SqliteStore};
use crate::account::{AccountStore, SigningKey, UserCreation, conformance};

async fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory).await.expect("it opens")
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

conformance::suite! {
    async {
        let directory = directory();
        (open(directory.path()).await, directory)
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_restart() {
    let directory = directory();
    let store = open(directory.path()).await;
    let ann = conformance::user(1, "ann");
    let created = store
        .create_user(ann.clone(), None)
        .await
        .expect("it works");
    assert_eq!(created, UserCreation::Created);
    store.close().await;

    let store = open(directory.path()).await;
    let found = store.users(vec![ann.id]).await.expect("it works");
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn keys_that_are_forgotten_give_way_to_the_next() {
    let directory = directory();
    let store = open(directory.path()).await;
    let key = |kid: &str| SigningKey {
        kid: kid.to_owned(),
        seed: SecretSlice::from(vec![1; 32]),
        created: Timestamp(1),
    };
    store.signing_keys(key("first")).await.expect("it works");
    store.forget_signing_keys().await.expect("it works");
    let keys = store.signing_keys(key("second")).await.expect("it works");
    let kids: Vec<_> = keys.iter().map(|key| key.kid.as_str()).collect();
    assert_eq!(kids, ["second"]);
}

#[tokio::test]
async fn its_files_are_for_its_owner_only() {
    let directory = directory();
    let store = open(directory.path()).await;
    store.set_sign_up_open(false).await.expect("it works");
    let mut files = 0;
    for file in fs::read_dir(directory.path()).expect("the directory is there") {
        let file = file.expect("the directory can be read");
        let mode = file
            .metadata()
            .expect("the file is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{}", file.path().display());
        files += 1;
    }
    assert!(files > 1, "the write-ahead log is a file too");
}

#[tokio::test]
async fn a_file_that_others_may_read_is_refused() {
    let directory = directory();
    open(directory.path()).await.close().await;
    let path = directory.path().join(FILE_NAME);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let error = SqliteStore::open(directory.path())
        .await
        .expect_err("it is exposed");
    assert!(
        matches!(error, OpenError::Exposed { mode: 0o644, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let directory = directory();
    let store = open(directory.path()).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .execute(&store.pools.writer)
    .await
    .expect("the table is there");
    store.close().await;
    let error = SqliteStore::open(directory.path())
        .await
        .expect_err("it is newer");
    assert!(
        matches!(error, OpenError::Newer { version: 9999, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_kept() {
    let directory = directory();
    let path = directory.path().join(FILE_NAME);
    let content = "not a database, but something precious. ".repeat(100);
    fs::write(&path, &content).expect("the directory is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let error = SqliteStore::open(directory.path())
        .await
        .expect_err("it is no database");
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    assert_eq!(
        fs::read_to_string(&path).expect("it is still there"),
        content
    );
}

#[tokio::test]
async fn commits_reach_the_disk_before_the_answer() {
    let directory = directory();
    let store = open(directory.path()).await;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&store.pools.writer)
        .await
        .expect("it works");
    let journal_mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&store.pools.writer)
        .await
        .expect("it works");
    assert_eq!((synchronous, journal_mode.as_str()), (2, "wal"));
}

#[tokio::test]
async fn a_write_whose_caller_went_away_is_done_whole() {
    let directory = directory();
    let store = open(directory.path()).await;
    for number in 1..=20 {
        let user = conformance::user(number, &format!("user_{number}"));
        let device = conformance::device(number, user.created);
        // One poll begins it; then it is dropped.
        let mut write = store.create_user(user, Some(device));
        let done = future::poll_fn(|context| Poll::Ready(write.as_mut().poll(context).is_ready()));
        assert!(!done.await);
    }
    // The one writer takes its work in order, so this one is the last.
    store.set_sign_up_open(true).await.expect("it works");
    for number in 1..=20 {
        let user = conformance::user(number, "").id;
        let users = store.users(vec![user]).await.expect("it works");
        let devices = store
            .devices(user, conformance::START)
            .await
            .expect("it works");
        assert_eq!(users.len(), devices.len(), "user {number}");
        assert_eq!(users.len(), 1, "user {number}");
    }
}
