//! What went wrong, as a person and as a script are told: the one type of error of this program.
//!
//! The exit codes and the reasons are documented in docs/cli.md and stay as they are.

use std::io;

use magpie::{client::Refusal, v1};
use serde_json::{Map, Value, json};

use crate::{
    address::is_loopback,
    certificate::{Fault, NOTHING_SENT},
    text,
};

/// The words, in small letters, of a TLS client that hears something else than TLS.
const NO_TLS: &str = "invalidcontenttype";

/// What a command returns.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// How the process ends. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The server refused the request; nothing of it took effect.
    Refused = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No credentials, or the server takes them no longer.
    NotLoggedIn = 3,
    /// The server could not be reached, or did not answer in time.
    Unreachable = 4,
    /// The command may or may not have taken effect.
    OutcomeUnknown = 5,
    /// A part of what was asked took effect.
    Partly = 6,
    /// Something on this machine: a file, the terminal, the environment.
    Local = 7,
}

/// A failed command.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub(crate) struct Failure(Box<Parts>);

#[derive(Debug)]
struct Parts {
    exit: Exit,
    reason: String,
    message: String,
    hint: Option<String>,
    details: Map<String, Value>,
    reader_gone: bool,
    passing: bool,
}

impl Failure {
    /// A failure of this kind; `reason` is for programs, `message` for people.
    pub(crate) fn new(exit: Exit, reason: &str, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            exit,
            reason: reason.to_owned(),
            message: message.into(),
            hint: None,
            details: Map::new(),
            reader_gone: false,
            passing: exit == Exit::Unreachable,
        }))
    }

    /// The command line asks for something that cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "USAGE", message)
    }

    /// There are no credentials to use.
    pub(crate) fn not_logged_in(message: impl Into<String>) -> Self {
        Self::new(Exit::NotLoggedIn, "NOT_LOGGED_IN", message)
            .hint("log in with `magpie login HANDLE`, or sign up with `magpie signup HANDLE`")
    }

    /// Something on this machine is in the way.
    pub(crate) fn local(message: impl Into<String>) -> Self {
        Self::new(Exit::Local, "LOCAL", message)
    }

    /// Whoever read the output has gone: nothing to say and nobody to say it to.
    pub(crate) fn reader_gone() -> Self {
        let mut failure = Self::local("the reader of the output has gone");
        failure.0.reader_gone = true;
        failure
    }

    /// What the server said when it refused.
    pub(crate) fn refused(refusal: &Refusal) -> Self {
        let reason = reason_name(refusal.reason);
        let exit = match refusal.reason {
            v1::Reason::Unauthenticated
            | v1::Reason::TokenExpired
            | v1::Reason::DeviceRevoked
            | v1::Reason::RefreshTokenInvalid => Exit::NotLoggedIn,
            _ => Exit::Refused,
        };
        let message = if refusal.message.is_empty() {
            format!("the server refused: {reason}")
        } else {
            text::one_line(&refusal.message)
        };
        let message = match refusal.reason {
            v1::Reason::SessionReplaced => {
                "this session has ended, since a newer one took its place".to_owned()
            }
            v1::Reason::CursorAhead => "that is beyond the end of the room".to_owned(),
            v1::Reason::IdReused => {
                "this id was used before, for another message or command; nothing was done now"
                    .to_owned()
            }
            _ => message,
        };
        let mut failure = Self::new(exit, reason, message);
        failure.0.passing = exit == Exit::Refused && refusal.is_retriable();
        if let Some(hint) = hint_for(refusal.reason) {
            failure = failure.hint(hint);
        }
        let details = &mut failure.0.details;
        details.insert("effect".into(), json!(effect_name(refusal.effect)));
        if let Some(wait) = refusal.retry_after {
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            details.insert("retry_after_ms".into(), json!(millis));
        }
        if !refusal.violations.is_empty() {
            let violations: Vec<Value> = refusal
                .violations
                .iter()
                .map(|at| json!({"field": at.field, "description": at.description}))
                .collect();
            details.insert("violations".into(), json!(violations));
        }
        failure
    }

    /// Nobody answers at this address.
    pub(crate) fn unreachable(server: &str, cause: &str) -> Self {
        let failure = |cause: &str| {
            let message = format!("no answer from {server}: {cause}");
            Self::new(Exit::Unreachable, "UNREACHABLE", message)
        };
        if let Some(fault) = Fault::of(server, cause) {
            let what = format!("{}{NOTHING_SENT}", fault.what);
            return failure(&what).hint(fault.hint);
        }
        if cause.to_ascii_lowercase().contains(NO_TLS) {
            return failure(&format!("it does not speak TLS{NOTHING_SENT}"))
                .hint("write its address with http:// if you trust the way to it");
        }
        failure(cause).hint(if is_loopback(server) {
            "is the node running? start one with `cargo run --release`, or name another with \
             --server URL"
        } else {
            "is the address right, and is the node running? name another with --server URL"
        })
    }

    /// The server at an http:// address speaks TLS.
    pub(crate) fn speaks_tls(server: &str) -> Self {
        let failure = Self::unreachable(server, "it speaks TLS");
        failure.hint(format!(
            "write its address with https://: --server {}",
            server.replacen("http://", "https://", 1)
        ))
    }

    /// The answer to a command with an id did not come; the same id may be tried again.
    pub(crate) fn outcome_unknown(cause: &str, retry_id: &str) -> Self {
        let message = format!("the answer was lost, so the outcome is unknown: {cause}");
        let mut failure =
            Self::new(Exit::OutcomeUnknown, "OUTCOME_UNKNOWN", message).hint(format!(
                "run the same command again with `--id {retry_id}`: it takes effect at most once"
            ));
        failure.0.details.insert("effect".into(), json!("unknown"));
        failure.detail("retry_id", json!(retry_id))
    }

    /// The same, where an earlier attempt may have taken effect all the same.
    #[must_use]
    pub(crate) fn with_unknown_outcome(mut self, retry_id: &str) -> Self {
        self.0.exit = Exit::OutcomeUnknown;
        let hint = format!(
            "it may have taken effect, or do so yet; run the same command again later with \
             `--id {retry_id}`: it does so at most once"
        );
        // What the reason itself says to do is nearer to the point.
        self.0.hint.get_or_insert(hint);
        self.detail("retry_id", json!(retry_id))
    }

    /// The same of a message, where the failure came before the message was sent; `given` says that
    /// the person gave its id, so that an earlier attempt may exist.
    #[must_use]
    pub(crate) fn not_sent(self, given: bool) -> Self {
        let by = if given { " by this attempt" } else { "" };
        let message = format!("the message was not sent{by}: {}", self.0.message);
        match self.exit() {
            Exit::Unreachable => self.with_message(message).detail("effect", json!("none")),
            _ => self,
        }
    }

    /// The same of a command that was done, but whose result could not be printed.
    #[must_use]
    pub(crate) fn of_what_was_done(self, said: &str, result: Value) -> Self {
        let message = format!(
            "the command was done, but its result could not be printed: {}",
            self.0.message
        );
        let hint = format!("do not repeat it; it would have said:\n  {said}");
        self.with_message(message)
            .hint(hint)
            .detail("effect", json!("done"))
            .detail("result", result)
    }

    /// The same in other words.
    #[must_use]
    pub(crate) fn with_message(mut self, message: String) -> Self {
        self.0.message = message;
        self
    }

    /// The same, saying what to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same, with one more fact for programs.
    #[must_use]
    pub(crate) fn detail(mut self, name: &str, value: Value) -> Self {
        self.0.details.insert(name.to_owned(), value);
        self
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.0.exit
    }

    /// The reason, for programs.
    pub(crate) fn reason(&self) -> &str {
        &self.0.reason
    }

    /// Whether the same request may be granted, or heard, later.
    pub(crate) fn is_passing(&self) -> bool {
        self.0.passing
    }

    /// Whether nobody reads the output any more.
    pub(crate) fn is_reader_gone(&self) -> bool {
        self.0.reader_gone
    }

    /// What a person reads: one line, and a second one with what to do.
    pub(crate) fn human(&self) -> String {
        let mut out = format!("magpie: {}", self.0.message);
        if let Some(wait) = self.0.details.get("retry_after_ms").and_then(Value::as_u64) {
            out.push_str(&format!("; try again in {} s", wait.div_ceil(1000)));
        }
        if let Some(hint) = &self.0.hint {
            out.push_str("\n  ");
            out.push_str(hint);
        }
        out
    }

    /// What a program reads.
    pub(crate) fn json(&self) -> Value {
        let mut error = Map::new();
        error.insert("reason".into(), json!(self.0.reason));
        error.insert("message".into(), json!(self.0.message));
        if let Some(hint) = &self.0.hint {
            error.insert("hint".into(), json!(hint));
        }
        error.extend(self.0.details.clone());
        json!({ "error": error })
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::reader_gone()
        } else {
            Self::local(error.to_string())
        }
    }
}

/// The name of a reason without its prefix: `ROOM_NOT_FOUND`.
pub(crate) fn reason_name(reason: v1::Reason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("REASON_").unwrap_or(name)
}

fn effect_name(effect: v1::Effect) -> &'static str {
    match effect {
        v1::Effect::None => "none",
        v1::Effect::AttemptNone => "attempt_none",
        v1::Effect::Unspecified | v1::Effect::Unknown => "unknown",
    }
}

fn hint_for(reason: v1::Reason) -> Option<&'static str> {
    Some(match reason {
        v1::Reason::Unauthenticated
        | v1::Reason::TokenExpired
        | v1::Reason::DeviceRevoked
        | v1::Reason::RefreshTokenInvalid => {
            "log in again with `magpie login HANDLE`, with --profile NAME where the profile is called \
             otherwise"
        }
        v1::Reason::RoomNotFound | v1::Reason::NotAMember => {
            "`magpie rooms` lists the rooms you are in"
        }
        v1::Reason::HandleTaken => {
            "choose another handle, or log in with `magpie login HANDLE` if it is yours"
        }
        v1::Reason::PasswordTooWeak => "several uncommon words in a row make a good password",
        v1::Reason::DeviceNotFound => "`magpie devices` lists your devices",
        v1::Reason::CursorAhead => "`magpie history ROOM` shows its end",
        v1::Reason::SessionReplaced => {
            "an account may have only so many open at a time, and the oldest gives way: end another \
             `chat` or `tail`, then start this one again"
        }
        v1::Reason::IdReused => "leave out --id to run this as a new command",
        v1::Reason::TooOldToRetry => {
            "look with `magpie history ROOM` whether it is there; without --id it is sent anew"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refusal(reason: v1::Reason) -> Refusal {
        Refusal {
            reason,
            message: "say \x1b[31mwhat\x1b[0m to do".to_owned(),
            effect: v1::Effect::None,
            retry_after: Some(Duration::from_millis(1500)),
            violations: vec![v1::Violation {
                field: "text".to_owned(),
                description: "empty".to_owned(),
            }],
        }
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = [
            Exit::Refused,
            Exit::Usage,
            Exit::NotLoggedIn,
            Exit::Unreachable,
            Exit::OutcomeUnknown,
            Exit::Partly,
            Exit::Local,
        ];
        assert_eq!(codes.map(|exit| exit as u8), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_refusal_keeps_all_that_the_server_said() {
        let failure = Failure::refused(&refusal(v1::Reason::RateLimited));
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(
            failure.json(),
            json!({"error": {
                "reason": "RATE_LIMITED",
                "message": "say ␛[31mwhat␛[0m to do",
                "effect": "none",
                "retry_after_ms": 1500,
                "violations": [{"field": "text", "description": "empty"}],
            }})
        );
    }

    #[test]
    fn a_session_that_gave_way_says_to_what() {
        let failure = Failure::refused(&refusal(v1::Reason::SessionReplaced));
        assert_eq!(failure.exit(), Exit::Refused);
        assert!(!failure.human().contains("what"), "{}", failure.human());
        assert!(failure.human().contains("the oldest gives way"));
    }

    #[test]
    fn what_passes_by_itself_is_told_apart() {
        let refused = |reason| {
            let retry_after = None;
            Failure::refused(&Refusal {
                retry_after,
                ..refusal(reason)
            })
        };
        for reason in [
            v1::Reason::Overloaded,
            v1::Reason::RateLimited,
            v1::Reason::Draining,
        ] {
            assert!(refused(reason).is_passing());
        }
        for reason in [v1::Reason::RoomNotFound, v1::Reason::TokenExpired] {
            assert!(!refused(reason).is_passing());
        }
        assert!(Failure::unreachable("http://h:1", "connection refused").is_passing());
        assert!(!Failure::usage("no").is_passing());
    }

    #[test]
    fn an_ended_log_in_is_told_apart() {
        for reason in [
            v1::Reason::Unauthenticated,
            v1::Reason::DeviceRevoked,
            v1::Reason::RefreshTokenInvalid,
        ] {
            let failure = Failure::refused(&refusal(reason));
            assert_eq!(failure.exit(), Exit::NotLoggedIn);
            assert!(failure.human().contains("magpie login"));
        }
        let wrong = Failure::refused(&refusal(v1::Reason::WrongCredentials));
        assert_eq!(wrong.exit(), Exit::Refused);
    }

    #[test]
    fn an_unknown_outcome_says_how_to_retry() {
        let failure = Failure::outcome_unknown("the connection broke", "0192@7");
        assert_eq!(failure.exit(), Exit::OutcomeUnknown);
        assert!(failure.human().contains("--id 0192@7"));
        assert_eq!(failure.json()["error"]["retry_id"], "0192@7");
    }

    #[test]
    fn a_broken_pipe_is_reader_gone() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(failure.is_reader_gone());
        assert!(!Failure::from(io::Error::other("disk")).is_reader_gone());
    }

    #[test]
    fn an_unreachable_server_names_the_way_out() {
        let failure = Failure::unreachable("http://127.0.0.1:7400", "connection refused");
        assert_eq!(failure.exit(), Exit::Unreachable);
        assert!(failure.human().contains("cargo run --release"));
        let foreign = Failure::unreachable("http://10.0.0.1:7400", "connection refused");
        assert!(!foreign.human().contains("cargo run"));
        let plain = "received corrupt message of type InvalidContentType";
        let plain = Failure::unreachable("https://localhost:7400", plain);
        assert!(plain.human().contains("http://"));
        let tls = Failure::speaks_tls("http://h:7400");
        assert_eq!(tls.exit(), Exit::Unreachable);
        assert!(tls.human().contains("--server https://h:7400"));
    }
}
