//! One call, tried until it is answered or the person's patience ends: what may be tried again, when,
//! and what the last failure then means. Knows no profile.

use std::{future::Future, time::Duration};

use magpie::{
    client::{Error as ClientError, Refusal},
    v1::{self, Effect},
};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Response, Status};

use super::{failed, never_left, timed_out};
use crate::{
    failure::{Failure, Result},
    limits::{RETRY_WAIT, RETRY_WAIT_MAX},
    retry::RetryId,
};

/// The attempts at one call, until a deadline.
pub(super) struct Attempts {
    wait: Duration,
    deadline: Instant,
}

impl Attempts {
    pub(super) fn new(wait: Duration) -> Self {
        Self {
            wait,
            deadline: Instant::now() + wait,
        }
    }

    pub(super) async fn read<T, F>(&self, server: &str, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let mut backoff = RETRY_WAIT;
        // Whether a server was heard before, so that one that is gone now may be coming back.
        let mut heard = false;
        loop {
            let error = match timeout_at(self.deadline, call()).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => ClientError::from(status),
                Err(_) => return Err(timed_out(server, self.wait)),
            };
            if let Some(refusal) = error.refusal() {
                let Some(wait) = self.worth_waiting(refusal) else {
                    return Err(failed(&error, server));
                };
                heard = true;
                sleep(wait).await;
                continue;
            }
            if !heard && let Some(failure) = never_left(&error, server).await {
                return Err(failure);
            }
            if !error.is_transport() || Instant::now() + backoff >= self.deadline {
                return Err(failed(&error, server));
            }
            heard = true;
            sleep(backoff).await;
            backoff = (backoff * 2).min(RETRY_WAIT_MAX);
        }
    }

    pub(super) async fn command<T, F>(
        &self,
        server: &str,
        id: RetryId,
        given: bool,
        call: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        // Whether an attempt before the present one may have taken effect.
        let mut earlier = given;
        // Whether a server was heard before, so that one that is gone now may be coming back.
        let mut heard = given;
        let mut backoff = RETRY_WAIT;
        loop {
            let error = match timeout_at(self.deadline, call()).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => ClientError::from(status),
                Err(_) => {
                    let cause = format!("no answer within {} s", self.wait.as_secs());
                    return Err(Failure::outcome_unknown(&cause, &id.to_string()));
                }
            };
            if let Some(refusal) = error.refusal() {
                if let Some(wait) = self.worth_waiting(refusal) {
                    earlier |= refusal.effect == Effect::Unknown;
                    heard = true;
                    sleep(wait).await;
                    continue;
                }
                let failure = Failure::refused(refusal);
                return Err(match refusal.effect {
                    Effect::None => failure,
                    Effect::AttemptNone if !earlier => failure,
                    // What took effect under this id was something else.
                    _ if refusal.reason == v1::Reason::IdReused => failure,
                    _ => failure.with_unknown_outcome(&id.to_string()),
                });
            }
            if !heard && let Some(failure) = never_left(&error, server).await {
                return Err(failure);
            }
            if !error.is_transport() {
                let failure = failed(&error, server);
                return Err(if earlier {
                    failure.with_unknown_outcome(&id.to_string())
                } else {
                    failure
                });
            }
            heard = true;
            // What found no connection was not sent.
            earlier |= !matches!(error, ClientError::Unreachable(_));
            if Instant::now() + backoff >= self.deadline {
                if !earlier {
                    return Err(failed(&error, server));
                }
                return Err(Failure::outcome_unknown(
                    &error.to_string(),
                    &id.to_string(),
                ));
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(RETRY_WAIT_MAX);
        }
    }

    /// How long to wait before the same call, where that may help and there is the time.
    fn worth_waiting(&self, refusal: &Refusal) -> Option<Duration> {
        if !refusal.is_retriable() || refusal.reason == v1::Reason::StorageFull {
            return None;
        }
        let wait = refusal.retry_after.unwrap_or(RETRY_WAIT).max(RETRY_WAIT);
        (Instant::now() + wait < self.deadline).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        collections::VecDeque,
        future::{Ready, ready},
        sync::Arc,
    };

    use super::*;
    use crate::failure::Exit;

    /// Where nobody listens, so that nobody seems to speak TLS.
    const SERVER: &str = "http://127.0.0.1:1";

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
        ClientError::Unreachable("Connection refused (os error 111)".to_owned())
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
    async fn an_id_of_something_else_leaves_nothing_open() {
        let reused = refused(v1::Reason::IdReused, Effect::AttemptNone);
        let failure = command(&Script::new([Err(reused)]), true)
            .await
            .unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_after_refusals_only_leaves_nothing() {
        let script = || {
            Script::new([
                Err(refused(v1::Reason::Overloaded, Effect::AttemptNone)),
                Err(refused(v1::Reason::StorageFull, Effect::AttemptNone)),
            ])
        };
        let failure = command(&script(), false).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused);
        let failure = command(&script(), true).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::OutcomeUnknown);
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
    async fn a_look_up_outlasts_a_restart_as_a_command_does() {
        for first in [lost(), refused(v1::Reason::Draining, Effect::None)] {
            let script = || Script::new([Err(first.clone()), Err(no_listener()), Ok(5)]);
            assert_eq!(read(&script()).await.unwrap(), 5);
            assert_eq!(command(&script(), false).await.unwrap(), 5);
        }
        let failure = read(&Script::new([Err(no_listener())])).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Unreachable);
        let gone = (0..20).map(|_| Err(lost()));
        let failure = read(&Script::new(gone)).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Unreachable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_was_only_refused_leaves_nothing_when_the_server_goes() {
        let draining = Err(refused(v1::Reason::Draining, Effect::None));
        let gone = (0..20).map(|_| Err(no_listener()));
        let script = Script::new(std::iter::once(draining).chain(gone));
        let failure = command(&script, false).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Unreachable);
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
}
