//! Ways in and out, over the real store, with a clock that the tests drive.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use magpie_core::time::Instant;
use magpie_store::account::sqlite::SqliteStore;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::sync::broadcast::error::TryRecvError;

use super::*;
use crate::auth::Caller;

const PASSWORD: &str = "lumpy walnut cadence";
const OTHER_PASSWORD: &str = "seven vivid otters";
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1_000;

struct World {
    accounts: Accounts,
    store: Arc<SqliteStore>,
    clock: Clock,
    millis: Arc<AtomicU64>,
    _directory: TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with_limits(Limits::default()).await
    }

    async fn with_limits(limits: Limits) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let store = SqliteStore::open(directory.path()).await.expect("it opens");
        let store = Arc::new(store);
        let millis = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&millis);
        let clock = Clock::from_fn(move || {
            let passed = read.load(Ordering::Relaxed);
            Now {
                instant: Instant(passed),
                wall: Timestamp(1_700_000_000_000 + passed),
            }
        });
        let accounts = Accounts::open(store.clone(), limits, clock.clone()).await;
        Self {
            accounts: accounts.expect("it opens"),
            store,
            clock,
            millis,
            _directory: directory,
        }
    }

    fn pass(&self, millis: u64) {
        self.millis.fetch_add(millis, Ordering::Relaxed);
    }

    async fn sign_up(&self, handle: &str) -> Credentials {
        self.try_sign_up(handle, PASSWORD)
            .await
            .expect("nothing is in its way")
    }

    async fn try_sign_up(&self, handle: &str, password: &str) -> Result<Credentials, Refusal> {
        let wish = SignUp {
            handle: handle.to_owned(),
            display_name: String::new(),
            password: password.to_owned().into(),
            device_name: String::new(),
        };
        self.accounts.sign_up(wish, peer(1)).await
    }

    async fn log_in(&self, handle: &str, password: &str) -> Result<Credentials, Refusal> {
        self.log_in_from(peer(1), handle, password)
            .await
            .map(|(credentials, _)| credentials)
    }

    async fn log_in_from(
        &self,
        peer: SocketAddr,
        handle: &str,
        password: &str,
    ) -> Result<(Credentials, Vec<DeviceId>), Refusal> {
        let wish = LogIn {
            handle: handle.to_owned(),
            password: password.to_owned().into(),
            device_name: "phone".to_owned(),
        };
        self.accounts.log_in(wish, peer).await
    }

    async fn refresh(&self, credentials: &Credentials) -> Result<Credentials, Refusal> {
        self.accounts
            .refresh(credentials.refresh_token.clone(), peer(1))
            .await
    }

    fn caller(&self, credentials: &Credentials) -> Result<Caller, Refusal> {
        let token = credentials.access_token.expose_secret();
        self.accounts
            .authenticator()
            .authenticate_token(token, self.clock.now().wall)
    }
}

fn peer(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 1))
}

fn reason<T: fmt::Debug>(result: Result<T, Refusal>) -> Reason {
    result.expect_err("it is refused").reason
}

#[tokio::test]
async fn a_new_account_can_call_and_be_logged_in_to() {
    let world = World::new().await;
    let first = world.sign_up("Ann").await;
    let caller = world.caller(&first).expect("the token is good");
    assert_eq!((caller.user, caller.device), (first.user, first.device));
    assert_eq!(caller.expires, first.access_expires);

    let user = world.accounts.user(first.user).await.expect("it is there");
    assert_eq!(
        (user.handle.as_str(), user.display_name.as_str()),
        ("ann", "ann")
    );

    world.pass(1);
    let second = world
        .log_in("ANN", PASSWORD)
        .await
        .expect("the password is right");
    assert_eq!(second.user, first.user);
    assert_ne!(second.device, first.device);
    let devices = world.accounts.devices(caller).await.expect("it works");
    let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["phone", "device"]);
}

#[tokio::test]
async fn sign_up_is_refused_for_taken_handles_weak_passwords_and_when_closed() {
    let world = World::new().await;
    world.sign_up("ann").await;
    assert_eq!(
        reason(world.try_sign_up("Ann", PASSWORD).await),
        Reason::HandleTaken
    );
    assert_eq!(
        reason(world.try_sign_up("ben", "password1").await),
        Reason::PasswordTooWeak
    );
    assert_eq!(
        reason(world.try_sign_up("benjamin", "benjamin").await),
        Reason::PasswordTooWeak
    );
    let short = world
        .try_sign_up("ben", "x9!kQ")
        .await
        .expect_err("it is too short");
    assert_eq!(short.violations[0].field, "password");
    let handle = world
        .try_sign_up("b", PASSWORD)
        .await
        .expect_err("it is too short");
    assert_eq!(handle.violations[0].field, "handle");
    world
        .accounts
        .set_sign_up_open(false)
        .await
        .expect("it works");
    assert_eq!(
        reason(world.try_sign_up("ben", PASSWORD).await),
        Reason::SignUpClosed
    );
    world
        .accounts
        .set_sign_up_open(true)
        .await
        .expect("it works");
    world.sign_up("ben").await;
}

#[tokio::test]
async fn unknown_users_and_wrong_passwords_cannot_be_told_apart() {
    let world = World::new().await;
    world.sign_up("ann").await;
    let mut answers = Vec::new();
    for handle in ["ann", "nobody", "not a handle", ""] {
        let before = world.accounts.hasher().done();
        answers.push(
            world
                .log_in(handle, OTHER_PASSWORD)
                .await
                .expect_err("it is wrong"),
        );
        let hashed = world.accounts.hasher().done() - before;
        assert_eq!(hashed, 1, "{handle:?} costs one hash, as any other does");
    }
    assert_eq!(answers[0].reason, Reason::WrongCredentials);
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );

    let long = "a".repeat(129);
    for handle in ["ann", "nobody"] {
        assert_eq!(
            world.log_in(handle, &long).await.expect_err("it is wrong"),
            answers[0]
        );
    }
}

#[tokio::test]
async fn a_disabled_user_learns_so_with_the_right_password_only() {
    let world = World::new().await;
    let ann = world.sign_up("ann").await;
    world
        .accounts
        .set_disabled("Ann", true)
        .await
        .expect("the user is there");
    assert_eq!(
        reason(world.log_in("ann", PASSWORD).await),
        Reason::UserDisabled
    );
    assert_eq!(
        reason(world.log_in("ann", OTHER_PASSWORD).await),
        Reason::WrongCredentials
    );
    assert_eq!(reason(world.caller(&ann)), Reason::DeviceRevoked);
    assert_eq!(
        reason(world.refresh(&ann).await),
        Reason::RefreshTokenInvalid
    );
    world
        .accounts
        .set_disabled("ann", false)
        .await
        .expect("the user is there");
    world
        .log_in("ann", PASSWORD)
        .await
        .expect("the user is enabled");
    assert_eq!(
        reason(world.accounts.set_disabled("nobody", true).await),
        Reason::UserNotFound
    );
}

#[tokio::test]
async fn tokens_are_renewed_for_ninety_days() {
    let world = World::new().await;
    let mut credentials = world.sign_up("ann").await;
    let end = credentials.refresh_expires;
    assert_eq!(end.0, world.clock.now().wall.0 + 90 * DAY_MILLIS);
    for _ in 0..9 {
        world.pass(9 * DAY_MILLIS);
        assert_eq!(reason(world.caller(&credentials)), Reason::TokenExpired);
        let next = world.refresh(&credentials).await.expect("it is the latest");
        assert_ne!(
            next.refresh_token.expose_secret(),
            credentials.refresh_token.expose_secret()
        );
        assert_eq!(
            (next.user, next.device),
            (credentials.user, credentials.device)
        );
        assert_eq!(next.refresh_expires, end);
        world.caller(&next).expect("it is new");
        credentials = next;
    }
    world.pass(9 * DAY_MILLIS);
    assert_eq!(
        reason(world.refresh(&credentials).await),
        Reason::RefreshTokenInvalid
    );
}

#[tokio::test]
async fn a_lost_answer_to_a_renewal_is_asked_for_again() {
    let world = World::new().await;
    let first = world.sign_up("ann").await;
    world.refresh(&first).await.expect("this answer is lost");
    world.refresh(&first).await.expect("and this one");
    let third = world.refresh(&first).await.expect("this one arrives");
    let fourth = world.refresh(&third).await.expect("it is the latest");
    world.caller(&fourth).expect("the device lives");
}

#[tokio::test]
async fn a_copied_refresh_token_ends_the_device() {
    let world = World::new().await;
    let first = world.sign_up("ann").await;
    let second = world.refresh(&first).await.expect("it is the latest");
    let third = world.refresh(&second).await.expect("it is the latest");
    let mut news = world.accounts.authenticator().revocations().subscribe();
    assert_eq!(
        reason(world.refresh(&first).await),
        Reason::RefreshTokenInvalid
    );
    assert_eq!(news.try_recv(), Ok(first.device), "its streams end");
    assert_eq!(reason(world.caller(&third)), Reason::DeviceRevoked);
    assert_eq!(
        reason(world.refresh(&third).await),
        Reason::RefreshTokenInvalid
    );
}

#[tokio::test]
async fn unknown_and_spent_refresh_tokens_get_equal_answers() {
    let world = World::new().await;
    let first = world.sign_up("ann").await;
    let second = world.refresh(&first).await.expect("it is the latest");
    world.refresh(&second).await.expect("it is the latest");
    let mut foreign = first.refresh_token.expose_secret().to_owned();
    foreign.replace_range(5..21, "7fffffffffffffff");
    let mut guessed = first.refresh_token.expose_secret().to_owned();
    guessed.replace_range(21..30, "000000000");
    let ask = async |token: String| {
        let answer = world.accounts.refresh(token.into(), peer(1)).await;
        answer.expect_err("it is refused")
    };
    let garbage = ask("garbage".to_owned()).await;
    assert_eq!(ask(foreign).await, garbage);
    assert_eq!(ask(guessed).await, garbage);
    assert!(world.caller(&first).is_ok(), "a guess ends nothing");
    assert_eq!(
        ask(first.refresh_token.expose_secret().to_owned()).await,
        garbage
    );
    assert!(world.caller(&first).is_err());
}

#[tokio::test]
async fn an_eleventh_log_in_ends_the_least_recently_used_device() {
    let world = World::new().await;
    let first = world.sign_up("ann").await;
    let mut second = None;
    for number in 2..=10 {
        world.pass(60_000);
        let (device, ended) = world
            .log_in_from(peer(1), "ann", PASSWORD)
            .await
            .expect("the password is right");
        assert_eq!(ended, [], "device {number} has a place");
        second.get_or_insert(device);
    }
    world.pass(60_000);
    let first = world.refresh(&first).await.expect("it is the latest");
    let second = second.expect("it was logged in");
    let (_, ended) = world
        .log_in_from(peer(1), "ann", PASSWORD)
        .await
        .expect("the password is right");
    assert_eq!(ended, [second.device]);
    assert_eq!(reason(world.caller(&second)), Reason::DeviceRevoked);
    world.caller(&first).expect("it was used of late");
}

#[tokio::test]
async fn a_device_that_ends_is_told_and_its_token_refused() {
    let world = World::new().await;
    let first = world.sign_up("ann").await;
    let second = world
        .log_in("ann", PASSWORD)
        .await
        .expect("the password is right");
    let ben = world.sign_up("ben").await;
    let caller = world.caller(&first).expect("the token is good");
    let mut news = world.accounts.authenticator().revocations().subscribe();

    let foreign = world.accounts.revoke_device(caller, ben.device).await;
    assert_eq!(reason(foreign), Reason::DeviceNotFound);
    assert_eq!(news.try_recv(), Err(TryRecvError::Empty));

    world
        .accounts
        .revoke_device(caller, second.device)
        .await
        .expect("it is ours");
    assert_eq!(news.try_recv(), Ok(second.device));
    assert_eq!(reason(world.caller(&second)), Reason::DeviceRevoked);
    let again = world.accounts.revoke_device(caller, second.device).await;
    assert_eq!(reason(again), Reason::DeviceNotFound);

    world.accounts.log_out(caller).await.expect("it works");
    world
        .accounts
        .log_out(caller)
        .await
        .expect("it is safe to retry");
    assert_eq!(news.try_recv(), Ok(first.device));
    assert_eq!(reason(world.caller(&first)), Reason::DeviceRevoked);
    assert_eq!(
        reason(world.refresh(&first).await),
        Reason::RefreshTokenInvalid
    );
}

#[tokio::test]
async fn revocations_and_keys_survive_a_restart() {
    let world = World::new().await;
    let first = world.sign_up("ann").await;
    let second = world
        .log_in("ann", PASSWORD)
        .await
        .expect("the password is right");
    let caller = world.caller(&first).expect("the token is good");
    world.accounts.log_out(caller).await.expect("it works");
    world.pass(14 * 60 * 1_000);

    let store = Arc::clone(&world.store);
    let restarted = Accounts::open(store, Limits::default(), world.clock.clone()).await;
    let authenticator = restarted.expect("it opens").authenticator();
    let now = world.clock.now().wall;
    let check = |credentials: &Credentials| {
        authenticator.authenticate_token(credentials.access_token.expose_secret(), now)
    };
    assert_eq!(reason(check(&first)), Reason::DeviceRevoked);
    check(&second).expect("the key is the same");
}

#[tokio::test]
async fn another_password_ends_all_other_devices() {
    let world = World::new().await;
    let first = world.sign_up("ann").await;
    let second = world
        .log_in("ann", PASSWORD)
        .await
        .expect("the password is right");
    let caller = world.caller(&first).expect("the token is good");
    let change = async |old: &str, new: &str| {
        let (old, new) = (old.to_owned().into(), new.to_owned().into());
        world.accounts.change_password(caller, old, new).await
    };
    assert_eq!(
        reason(change(OTHER_PASSWORD, OTHER_PASSWORD).await),
        Reason::WrongCredentials
    );
    assert_eq!(
        reason(change(PASSWORD, "password1").await),
        Reason::PasswordTooWeak
    );
    world.caller(&second).expect("nothing was changed");

    change(PASSWORD, OTHER_PASSWORD)
        .await
        .expect("the old one is right");
    world.caller(&first).expect("it is the calling device");
    assert_eq!(reason(world.caller(&second)), Reason::DeviceRevoked);
    assert_eq!(
        reason(world.log_in("ann", PASSWORD).await),
        Reason::WrongCredentials
    );
    world
        .log_in("ann", OTHER_PASSWORD)
        .await
        .expect("it is the new one");
}

#[tokio::test]
async fn a_reset_password_ends_all_devices() {
    let world = World::new().await;
    let first = world.sign_up("ann").await;
    let new = || OTHER_PASSWORD.to_owned().into();
    assert_eq!(
        reason(world.accounts.reset_password("nobody", new()).await),
        Reason::UserNotFound
    );
    world
        .accounts
        .reset_password("ann", new())
        .await
        .expect("the user is there");
    assert_eq!(reason(world.caller(&first)), Reason::DeviceRevoked);
    world
        .log_in("ann", OTHER_PASSWORD)
        .await
        .expect("it is the new one");
}

#[tokio::test]
async fn tries_are_bounded_by_address_and_by_account() {
    let limits = Limits {
        log_in_burst: 3,
        log_ins_per_minute: 1,
        password_tries_burst: 4,
        password_tries_per_minute: 1,
        sign_up_burst: 1,
        sign_ups_per_minute: 1,
        ..Limits::default()
    };
    let world = World::with_limits(limits).await;
    world.sign_up("ann").await;
    assert_eq!(
        reason(world.try_sign_up("ben", PASSWORD).await),
        Reason::RateLimited
    );

    let attempt = async |from, handle: &str| {
        let answer = world.log_in_from(peer(from), handle, OTHER_PASSWORD).await;
        answer.expect_err("it is wrong")
    };
    for _ in 0..3 {
        assert_eq!(attempt(1, "ann").await.reason, Reason::WrongCredentials);
    }
    let before = world.accounts.hasher().done();
    let refusal = attempt(1, "nobody").await;
    assert_eq!(refusal.reason, Reason::RateLimited);
    assert!(
        refusal
            .retry_after
            .is_some_and(|wait| wait <= Duration::from_secs(60))
    );
    assert_eq!(attempt(2, "ann").await.reason, Reason::WrongCredentials);
    assert_eq!(attempt(3, "ann").await.reason, Reason::RateLimited);
    assert_eq!(attempt(3, "nobody").await.reason, Reason::WrongCredentials);
    assert_eq!(
        world.accounts.hasher().done(),
        before + 2,
        "a refused try costs no hash"
    );
    world.pass(60_000);
    assert_eq!(attempt(1, "ann").await.reason, Reason::WrongCredentials);
}

#[tokio::test]
async fn people_are_found_by_handle_within_a_rate() {
    let limits = Limits {
        find_user_burst: 2,
        ..Limits::default()
    };
    let world = World::with_limits(limits).await;
    let ann = world.sign_up("ann").await;
    let caller = world.caller(&ann).expect("the token is good");
    let find = async |handle: &str| world.accounts.find_user(caller, handle).await;
    assert_eq!(find("ANN").await.expect("it is there").id, ann.user);
    assert_eq!(reason(find("nobody").await), Reason::UserNotFound);
    assert_eq!(reason(find("ann").await), Reason::RateLimited);
}

#[tokio::test]
async fn a_profile_changes_by_what_is_given() {
    let world = World::new().await;
    let ann = world.sign_up("ann").await;
    let caller = world.caller(&ann).expect("the token is good");
    let update = async |name: Option<&str>| {
        world
            .accounts
            .update_profile(caller, name.map(str::to_owned))
            .await
    };
    assert_eq!(update(None).await.expect("it works").display_name, "ann");
    assert_eq!(
        update(Some("Zoe\u{308}"))
            .await
            .expect("it works")
            .display_name,
        "Zo\u{eb}"
    );
    assert_eq!(
        update(None).await.expect("it works").display_name,
        "Zo\u{eb}"
    );
    assert_eq!(reason(update(Some("")).await), Reason::InvalidField);
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let world = World::new().await;
    let ann = world.sign_up("ann").await;
    let shown = format!("{ann:?} {:?}", world.accounts);
    assert!(!shown.contains(ann.access_token.expose_secret()));
    assert!(!shown.contains(ann.refresh_token.expose_secret()));
}
