//! What attempts become, against answers that are given in order.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{Ready, ready},
};

use super::*;

const SERVER: &str = "http://127.0.0.1:7400";

/// A server that gives each answer once and counts the calls.
struct Script(RefCell<VecDeque<std::result::Result<i32, ClientError>>>);

impl Script {
    fn new(answers: impl IntoIterator<Item = std::result::Result<i32, ClientError>>) -> Self {
        Self(RefCell::new(answers.into_iter().collect()))
    }

    fn call(&self) -> Ready<std::result::Result<Response<i32>, Status>> {
        let answer = self.0.borrow_mut().pop_front().expect("one call too many");
        ready(answer.map(Response::new).map_err(|error| {
            let mut status = Status::unavailable("carries ours");
            status.set_source(Arc::new(error));
            status
        }))
    }

    fn is_used_up(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

fn refused(reason: v1::Reason, effect: Effect) -> ClientError {
    ClientError::Refused(Refusal {
        reason,
        message: "no".to_owned(),
        effect,
        retry_after: None,
        violations: Vec::new(),
    })
}

fn lost() -> ClientError {
    ClientError::Transport("connection reset".to_owned())
}

fn no_listener() -> ClientError {
    ClientError::Transport("Connection refused (os error 111)".to_owned())
}

async fn command(script: &Script, given: bool) -> Result<i32> {
    let attempts = Attempts::new(Duration::from_secs(10));
    attempts
        .command(SERVER, RetryId::fresh(None), given, || script.call())
        .await
}

async fn read(script: &Script) -> Result<i32> {
    let attempts = Attempts::new(Duration::from_secs(10));
    attempts.read(SERVER, || script.call()).await
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_with_the_same_id() {
    let script = Script::new([Err(lost()), Err(no_listener()), Ok(58)]);
    assert_eq!(command(&script, false).await.unwrap(), 58);
    assert!(script.is_used_up());
}

#[tokio::test(start_paused = true)]
async fn answers_lost_to_the_end_leave_the_outcome_unknown() {
    let script = Script::new((0..20).map(|_| Err(lost())));
    let failure = command(&script, false).await.unwrap_err();
    assert_eq!(failure.exit(), Exit::OutcomeUnknown);
    assert!(failure.json()["error"]["retry_id"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_command_that_never_left_is_unreachable_at_once() {
    let script = Script::new([Err(no_listener())]);
    let failure = command(&script, false).await.unwrap_err();
    assert_eq!(failure.exit(), Exit::Unreachable);
    assert!(script.is_used_up());
}

#[tokio::test(start_paused = true)]
async fn a_given_id_may_have_had_an_attempt_before() {
    let late = || Err(refused(v1::Reason::TooOldToRetry, Effect::AttemptNone));
    let failure = command(&Script::new([late()]), true).await.unwrap_err();
    assert_eq!(failure.exit(), Exit::OutcomeUnknown);
    let failure = command(&Script::new([late()]), false).await.unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_lost_answer_is_final_only_if_nothing_exists() {
    let none = Script::new([
        Err(lost()),
        Err(refused(v1::Reason::NotAMember, Effect::None)),
    ]);
    let failure = command(&none, false).await.unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused);
    let unsure = refused(v1::Reason::NotAMember, Effect::AttemptNone);
    let failure = command(&Script::new([Err(lost()), Err(unsure)]), false)
        .await
        .unwrap_err();
    assert_eq!(failure.exit(), Exit::OutcomeUnknown);
    assert_eq!(failure.reason(), "NOT_A_MEMBER");
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_given_time() {
    let busy = || Err(refused(v1::Reason::Overloaded, Effect::None));
    let script = Script::new([busy(), busy(), Ok(1)]);
    assert_eq!(command(&script, false).await.unwrap(), 1);
    let script = Script::new([busy(), Ok(2)]);
    assert_eq!(read(&script).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_not_waited_for() {
    let mut limited = refused(v1::Reason::RateLimited, Effect::None);
    if let ClientError::Refused(refusal) = &mut limited {
        refusal.retry_after = Some(Duration::from_secs(60));
    }
    let failure = read(&Script::new([Err(limited)])).await.unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused);
    assert_eq!(failure.json()["error"]["retry_after_ms"], 60_000);
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_apart_by_what_it_leaves_behind() {
    let attempts = Attempts::new(Duration::from_secs(3));
    let silence = std::future::pending::<std::result::Result<Response<()>, Status>>;
    let failure = attempts.read(SERVER, silence).await.unwrap_err();
    assert_eq!(failure.exit(), Exit::Unreachable);
    assert_eq!(failure.reason(), "TIMED_OUT");
    let id = RetryId::fresh(Some(7));
    let failure = attempts
        .command(SERVER, id, false, silence)
        .await
        .unwrap_err();
    assert_eq!(failure.exit(), Exit::OutcomeUnknown);
    assert_eq!(failure.json()["error"]["retry_id"], id.to_string());
}

mod keeper {
    use super::*;

    fn credentials(device_id: i64, access_token: &str) -> v1::Credentials {
        v1::Credentials {
            user_id: 1,
            device_id,
            access_token: access_token.to_owned(),
            ..v1::Credentials::default()
        }
    }

    fn logged_in() -> (tempfile::TempDir, Store, Keeper) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("magpie"));
        let fresh = Fresh {
            server: SERVER.to_owned(),
            ca_file: Some("/etc/ca.pem".into()),
            handle: "anna".to_owned(),
        };
        let first = Keeper::for_log_in(&store, "anna", fresh);
        first.lock().unwrap().save(&credentials(5, "one")).unwrap();
        let renewals = Keeper {
            fresh: None,
            ..first
        };
        (dir, store, renewals)
    }

    #[test]
    fn renewed_credentials_replace_the_former_ones() {
        let (_dir, store, keeper) = logged_in();
        keeper.lock().unwrap().save(&credentials(5, "two")).unwrap();
        assert_eq!(
            keeper.lock().unwrap().load().unwrap().unwrap().access_token,
            "two"
        );
        let profiles = store.load().unwrap();
        assert_eq!(profiles.current.as_deref(), Some("anna"));
        assert!(profiles.profiles["anna"].ca_file.is_some());
    }

    #[test]
    fn a_renewal_does_not_overwrite_a_later_log_in() {
        let (_dir, store, keeper) = logged_in();
        keeper
            .lock()
            .unwrap()
            .save(&credentials(4, "stale"))
            .unwrap();
        assert_eq!(store.load().unwrap().profiles["anna"].access_token, "one");
    }

    #[test]
    fn a_renewal_does_not_bring_back_what_was_logged_out() {
        let (_dir, store, keeper) = logged_in();
        store
            .update(|profiles| {
                profiles.remove("anna");
                Ok(())
            })
            .unwrap();
        keeper.lock().unwrap().save(&credentials(5, "two")).unwrap();
        assert!(store.load().unwrap().profiles.is_empty());
    }
}
