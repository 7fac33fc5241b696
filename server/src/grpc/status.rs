//! How a refusal looks on the wire, as a frame and as a Status. The one place that chooses gRPC
//! codes. Knows nothing of why anything is refused.

use std::time::Duration;

use magpie::v1;
use magpie_core::refusal::{Effect, Reason, Refusal, Violation};
use prost::Message;
use tonic::{Code, Status};

use self::rpc::{BadRequest, ErrorInfo, FieldViolation, RetryInfo};
use crate::limits::VIOLATIONS_MAX;

/// Who defines the reasons, as `google.rpc.ErrorInfo` wants it said.
const DOMAIN: &str = "magpie.dev";

/// The refusal as the contract's error: what a frame of the stream carries.
pub fn to_error(refusal: &Refusal) -> v1::Error {
    v1::Error {
        reason: reason(refusal.reason).into(),
        message: refusal.message.clone().into_owned(),
        effect: effect(refusal.effect).into(),
        retry_after: refusal.retry_after.map(duration),
        violations: violations(refusal)
            .map(|violation| v1::Violation {
                field: violation.field.clone().into_owned(),
                description: violation.description.clone().into_owned(),
            })
            .collect(),
    }
}

/// The refusal as the end of a call. The error is a detail, beside the details that tools know.
pub fn to_status(refusal: &Refusal) -> Status {
    let code = code(refusal.reason);
    let reason = reason(refusal.reason).as_str_name();
    let mut details = vec![
        rpc::any("magpie.v1.Error", &to_error(refusal)),
        rpc::any(
            "google.rpc.ErrorInfo",
            &ErrorInfo {
                reason: reason.strip_prefix("REASON_").unwrap_or(reason).to_owned(),
                domain: DOMAIN.to_owned(),
            },
        ),
    ];
    if let Some(wait) = refusal.retry_after {
        let retry_delay = Some(duration(wait));
        details.push(rpc::any("google.rpc.RetryInfo", &RetryInfo { retry_delay }));
    }
    if !refusal.violations.is_empty() {
        let field_violations = violations(refusal)
            .map(|violation| FieldViolation {
                field: violation.field.clone().into_owned(),
                description: violation.description.clone().into_owned(),
            })
            .collect();
        let detail = BadRequest { field_violations };
        details.push(rpc::any("google.rpc.BadRequest", &detail));
    }
    // Some clients show the message of the details instead of the header, so both hold it.
    let message = refusal.message.clone().into_owned();
    let status = rpc::Status {
        code: code.into(),
        message: message.clone(),
        details,
    };
    Status::with_details(code, message, status.encode_to_vec().into())
}

/// The typed error in a Status, where it holds one.
pub fn error_of(status: &Status) -> Option<v1::Error> {
    let details = rpc::Status::decode(status.details()).ok()?.details;
    let error = details
        .into_iter()
        .find(|detail| detail.type_url.ends_with("/magpie.v1.Error"))?;
    v1::Error::decode(&*error.value).ok()
}

/// What ended a session before it could answer, as what ends the call.
pub fn of_closing(closing: &v1::Closing) -> Status {
    let error = closing.error.clone().unwrap_or_default();
    let reason = match error.reason() {
        v1::Reason::DeviceRevoked => Reason::DeviceRevoked,
        v1::Reason::TokenExpired => Reason::TokenExpired,
        v1::Reason::CursorAhead => Reason::CursorAhead,
        v1::Reason::SessionReplaced => Reason::SessionReplaced,
        v1::Reason::TooManyUnanswered => Reason::TooManyUnanswered,
        v1::Reason::SlowReader => Reason::SlowReader,
        v1::Reason::Undecodable => Reason::Undecodable,
        v1::Reason::TooLarge => Reason::TooLarge,
        v1::Reason::Draining => Reason::Draining,
        _ => Reason::Internal,
    };
    let wait = error
        .retry_after
        .and_then(|wait| Duration::try_from(wait).ok());
    to_status(&Refusal {
        retry_after: wait,
        ..Refusal::new(reason, error.message)
    })
}

/// The code of the call that a reason ends.
pub const fn code(reason: Reason) -> Code {
    match reason {
        Reason::Undecodable
        | Reason::InvalidField
        | Reason::UnknownFrame
        | Reason::PasswordTooWeak => Code::InvalidArgument,
        Reason::Unauthenticated
        | Reason::TokenExpired
        | Reason::DeviceRevoked
        | Reason::WrongCredentials
        | Reason::RefreshTokenInvalid => Code::Unauthenticated,
        Reason::UserDisabled
        | Reason::SignUpClosed
        | Reason::NotAMember
        | Reason::PermissionDenied => Code::PermissionDenied,
        Reason::HandleTaken | Reason::IdReused => Code::AlreadyExists,
        Reason::UserNotFound
        | Reason::DeviceNotFound
        | Reason::RoomNotFound
        | Reason::MessageNotFound
        | Reason::SessionGone => Code::NotFound,
        Reason::FrameOutOfOrder
        | Reason::UnsupportedProtocol
        | Reason::DirectRoom
        | Reason::RoomFull
        | Reason::TooManyRooms
        | Reason::TooOldToRetry => Code::FailedPrecondition,
        Reason::CursorAhead => Code::OutOfRange,
        Reason::EarlierSendRefused | Reason::SessionReplaced | Reason::HeartbeatMissed => {
            Code::Aborted
        }
        Reason::TooLarge
        | Reason::RateLimited
        | Reason::TooManyUnanswered
        | Reason::Overloaded
        | Reason::StorageFull
        | Reason::SlowReader
        | Reason::TooManyRefusals => Code::ResourceExhausted,
        Reason::Draining => Code::Unavailable,
        Reason::Internal => Code::Internal,
    }
}

/// The contract's name of a reason.
pub const fn reason(reason: Reason) -> v1::Reason {
    match reason {
        Reason::Undecodable => v1::Reason::Undecodable,
        Reason::InvalidField => v1::Reason::InvalidField,
        Reason::TooLarge => v1::Reason::TooLarge,
        Reason::UnknownFrame => v1::Reason::UnknownFrame,
        Reason::FrameOutOfOrder => v1::Reason::FrameOutOfOrder,
        Reason::UnsupportedProtocol => v1::Reason::UnsupportedProtocol,
        Reason::Unauthenticated => v1::Reason::Unauthenticated,
        Reason::TokenExpired => v1::Reason::TokenExpired,
        Reason::DeviceRevoked => v1::Reason::DeviceRevoked,
        Reason::WrongCredentials => v1::Reason::WrongCredentials,
        Reason::RefreshTokenInvalid => v1::Reason::RefreshTokenInvalid,
        Reason::UserDisabled => v1::Reason::UserDisabled,
        Reason::SignUpClosed => v1::Reason::SignUpClosed,
        Reason::HandleTaken => v1::Reason::HandleTaken,
        Reason::PasswordTooWeak => v1::Reason::PasswordTooWeak,
        Reason::UserNotFound => v1::Reason::UserNotFound,
        Reason::DeviceNotFound => v1::Reason::DeviceNotFound,
        Reason::RoomNotFound => v1::Reason::RoomNotFound,
        Reason::NotAMember => v1::Reason::NotAMember,
        Reason::MessageNotFound => v1::Reason::MessageNotFound,
        Reason::PermissionDenied => v1::Reason::PermissionDenied,
        Reason::DirectRoom => v1::Reason::DirectRoom,
        Reason::RoomFull => v1::Reason::RoomFull,
        Reason::TooManyRooms => v1::Reason::TooManyRooms,
        Reason::CursorAhead => v1::Reason::CursorAhead,
        Reason::IdReused => v1::Reason::IdReused,
        Reason::TooOldToRetry => v1::Reason::TooOldToRetry,
        Reason::EarlierSendRefused => v1::Reason::EarlierSendRefused,
        Reason::RateLimited => v1::Reason::RateLimited,
        Reason::TooManyUnanswered => v1::Reason::TooManyUnanswered,
        Reason::Overloaded => v1::Reason::Overloaded,
        Reason::StorageFull => v1::Reason::StorageFull,
        Reason::Draining => v1::Reason::Draining,
        Reason::Internal => v1::Reason::Internal,
        Reason::SessionGone => v1::Reason::SessionGone,
        Reason::SessionReplaced => v1::Reason::SessionReplaced,
        Reason::HeartbeatMissed => v1::Reason::HeartbeatMissed,
        Reason::SlowReader => v1::Reason::SlowReader,
        Reason::TooManyRefusals => v1::Reason::TooManyRefusals,
    }
}

/// The contract's name of an effect.
pub const fn effect(effect: Effect) -> v1::Effect {
    match effect {
        Effect::None => v1::Effect::None,
        Effect::AttemptNone => v1::Effect::AttemptNone,
        Effect::Unknown => v1::Effect::Unknown,
    }
}

fn violations(refusal: &Refusal) -> impl Iterator<Item = &Violation> {
    refusal.violations.iter().take(VIOLATIONS_MAX)
}

fn duration(wait: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        nanos: wait.subsec_nanos().cast_signed(),
    }
}

/// The few messages of package `google.rpc` that details are made of. The package is not among the
/// contract's imports, so that stubs need nothing else.
mod rpc {
    use prost::Message;
    use prost_types::{Any, Duration};

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Status {
        #[prost(int32, tag = "1")]
        pub(super) code: i32,
        #[prost(string, tag = "2")]
        pub(super) message: String,
        #[prost(message, repeated, tag = "3")]
        pub(super) details: Vec<Any>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct ErrorInfo {
        #[prost(string, tag = "1")]
        pub(super) reason: String,
        #[prost(string, tag = "2")]
        pub(super) domain: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        pub(super) retry_delay: Option<Duration>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct BadRequest {
        #[prost(message, repeated, tag = "1")]
        pub(super) field_violations: Vec<FieldViolation>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct FieldViolation {
        #[prost(string, tag = "1")]
        pub(super) field: String,
        #[prost(string, tag = "2")]
        pub(super) description: String,
    }

    pub(super) fn any(name: &str, detail: &impl Message) -> Any {
        Any {
            type_url: format!("type.googleapis.com/{name}"),
            value: detail.encode_to_vec(),
        }
    }
}

#[cfg(test)]
mod tests;
