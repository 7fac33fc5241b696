//! What can go wrong for a caller: the server's typed refusals, read from where the contract puts
//! them, told apart from transport faults. Decides nothing about retries of a session.

use std::{sync::Arc, time::Duration};

use prost::Message;
use tonic::{Code, ConnectError, Status};

use crate::{client::limits::RETRY_AFTER_MAX, v1};

/// Any error at the edge of the program, from a credential store for example.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call, or a whole session, failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused, and says why.
    #[error("{0}")]
    Refused(Refusal),
    /// No connection could be made, so nothing was sent and nothing took effect.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The connection was lost, or no answer came in time. A command may have taken effect: retry
    /// it with the same client_message_id.
    #[error("no connection: {0}")]
    Transport(String),
    /// A gRPC status without Magpie's error in it, as a proxy sends.
    #[error("{code:?}: {message}")]
    Status {
        /// The gRPC code.
        code: Code,
        /// Its message.
        message: String,
    },
    /// The address, the certificate authority or the TLS set-up is unusable.
    #[error("unusable address {address}: {message}")]
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        message: String,
    },
    /// The call needs an account, and the [`Api`](crate::client::Api) has no credentials.
    #[error("not logged in")]
    NotLoggedIn,
    /// The credential store failed, so new credentials could not be used.
    #[error("the credential store failed")]
    Store(#[source] Arc<BoxError>),
    /// The server broke the contract.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
    /// The account is in more rooms than a session follows.
    #[error("the account is in more rooms than a session follows")]
    TooManyRooms,
}

impl Error {
    /// The server's reason, where it gave one.
    pub fn reason(&self) -> Option<v1::Reason> {
        self.refusal().map(|refusal| refusal.reason)
    }

    /// The server's refusal, where there is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the command took effect, as far as is known.
    pub fn effect(&self) -> v1::Effect {
        match self {
            Self::Refused(refusal) => refusal.effect,
            Self::Unreachable(_) | Self::Address { .. } | Self::NotLoggedIn => {
                v1::Effect::AttemptNone
            }
            _ => v1::Effect::Unknown,
        }
    }

    /// How long to wait before the same request may be sent again, where the server says.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal().and_then(|refusal| refusal.retry_after)
    }

    /// Whether the network is at fault, so that trying again may help.
    pub fn is_transport(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Transport(_))
    }

    /// Whether only a new log-in helps.
    pub fn needs_log_in(&self) -> bool {
        matches!(self, Self::NotLoggedIn)
            || matches!(
                self.reason(),
                Some(
                    v1::Reason::Unauthenticated
                        | v1::Reason::DeviceRevoked
                        | v1::Reason::RefreshTokenInvalid
                        | v1::Reason::UserDisabled
                )
            )
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let ours = std::error::Error::source(&status).and_then(|error| error.downcast_ref());
        if let Some(ours) = ours {
            return Self::clone(ours);
        }
        if let Some(refusal) = Refusal::from_status(&status) {
            return Self::Refused(refusal);
        }
        if causes(&status).any(|cause| cause.is::<ConnectError>()) {
            return Self::Unreachable(transport_message(&status));
        }
        let lost = std::error::Error::source(&status).is_some();
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                Self::Transport(transport_message(&status))
            }
            _ if lost => Self::Transport(transport_message(&status)),
            code => Self::Status {
                code,
                message: status.message().to_owned(),
            },
        }
    }
}

impl From<v1::Error> for Error {
    fn from(error: v1::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// The last cause says most: "connection refused", rather than "transport error".
fn transport_message(status: &Status) -> String {
    let last = causes(status).last();
    last.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

/// What led to a status, nearest first.
fn causes(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
}

/// A typed refusal by the server; see `magpie.v1.Error`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message} ({})", reason.as_str_name())]
pub struct Refusal {
    /// Why; programs decide by it.
    pub reason: v1::Reason,
    /// One sentence for a developer.
    pub message: String,
    /// Whether the refused command took effect.
    pub effect: v1::Effect,
    /// How long to wait before the same request may be sent again.
    pub retry_after: Option<Duration>,
    /// The fields at fault.
    pub violations: Vec<v1::Violation>,
}

impl Refusal {
    /// Reads the refusal out of a call's status, where one is in its details.
    pub fn from_status(status: &Status) -> Option<Self> {
        let details = RpcStatus::decode(status.details()).ok()?;
        let any = details
            .details
            .iter()
            .find(|any| any.type_url.rsplit('/').next() == Some("magpie.v1.Error"))?;
        Some(v1::Error::decode(any.value.as_slice()).ok()?.into())
    }

    /// Whether the same request may succeed later without anything being changed by hand.
    pub fn is_retriable(&self) -> bool {
        use v1::Reason;
        self.retry_after.is_some()
            || matches!(
                self.reason,
                Reason::RateLimited
                    | Reason::TooManyUnanswered
                    | Reason::Overloaded
                    | Reason::StorageFull
                    | Reason::Draining
                    | Reason::Internal
                    | Reason::EarlierSendRefused
                    | Reason::TokenExpired
            )
    }
}

impl From<v1::Error> for Refusal {
    fn from(error: v1::Error) -> Self {
        let reason = error.reason();
        let effect = match error.effect() {
            v1::Effect::Unspecified => v1::Effect::Unknown,
            effect => effect,
        };
        let retry_after = error
            .retry_after
            .and_then(|wait| Duration::try_from(wait).ok())
            .map(|wait| wait.min(RETRY_AFTER_MAX));
        Self {
            reason,
            message: error.message,
            effect,
            retry_after,
            violations: error.violations,
        }
    }
}

/// `google.rpc.Status`, as gRPC carries it in a call's trailer; of public knowledge, and small
/// enough to be written here rather than imported.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_with(error: &v1::Error) -> Status {
        let details = RpcStatus {
            code: Code::ResourceExhausted as i32,
            message: "slow down".to_owned(),
            details: vec![
                prost_types::Any {
                    type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
                    value: vec![1, 2, 3],
                },
                prost_types::Any {
                    type_url: "type.googleapis.com/magpie.v1.Error".to_owned(),
                    value: error.encode_to_vec(),
                },
            ],
        };
        Status::with_details(
            Code::ResourceExhausted,
            "slow down",
            details.encode_to_vec().into(),
        )
    }

    #[test]
    fn refusal_is_read_from_the_details_of_a_status() {
        let error = v1::Error {
            reason: v1::Reason::RateLimited.into(),
            message: "wait".to_owned(),
            effect: v1::Effect::AttemptNone.into(),
            retry_after: Some(prost_types::Duration {
                seconds: 2,
                nanos: 0,
            }),
            violations: Vec::new(),
        };
        let error = Error::from(status_with(&error));
        assert_eq!(error.reason(), Some(v1::Reason::RateLimited));
        assert_eq!(error.effect(), v1::Effect::AttemptNone);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
        assert!(!error.is_transport());
    }

    #[test]
    fn lost_connection_is_told_apart_from_a_bare_status() {
        assert!(Error::from(Status::unavailable("gone")).is_transport());
        assert!(!Error::from(Status::unimplemented("no")).is_transport());
    }

    #[test]
    fn what_was_never_sent_took_no_effect() {
        let mut status = Status::unavailable("tcp connect error");
        status.set_source(Arc::new(ConnectError("no words for it".into())));
        let error = Error::from(status);
        assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
        assert!(error.is_transport());
        assert_eq!(error.effect(), v1::Effect::AttemptNone);
        let lost = Error::from(Status::unavailable("connection reset"));
        assert_eq!(lost.effect(), v1::Effect::Unknown);
    }

    #[test]
    fn unstated_effect_counts_as_unknown() {
        let refusal = Refusal::from(v1::Error::default());
        assert_eq!(refusal.effect, v1::Effect::Unknown);
    }

    #[test]
    fn negative_and_endless_waits_are_tamed() {
        let wait = |seconds| {
            Refusal::from(v1::Error {
                retry_after: Some(prost_types::Duration { seconds, nanos: 0 }),
                ..v1::Error::default()
            })
            .retry_after
        };
        assert_eq!(wait(-5), None);
        assert_eq!(wait(i64::MAX), Some(RETRY_AFTER_MAX));
    }
}
