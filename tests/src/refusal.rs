//! Refusals as a client sees them: the contract's `Error`, out of a frame or out of a Status.

use magpie::v1::{Effect, Error, Reason};
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

/// What `google.rpc.Status` holds; declared here because the contract imports nothing of it.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// The `Error` in the details of a Status that ended a call.
///
/// # Panics
/// When there is none, since the contract promises one.
pub fn of_status(status: &Status) -> Error {
    try_of_status(status)
        .unwrap_or_else(|| panic!("a Status without magpie.v1.Error among its details: {status:?}"))
}

/// The same, where a Status may come from below the contract, as when a connection was cut.
pub fn try_of_status(status: &Status) -> Option<Error> {
    let details = RpcStatus::decode(status.details()).ok()?;
    details
        .details
        .iter()
        .find(|any| any.type_url.ends_with("/magpie.v1.Error"))
        .and_then(|any| Error::decode(any.value.as_slice()).ok())
}

/// The type names of all details of a Status.
pub fn detail_types(status: &Status) -> Vec<String> {
    let details = RpcStatus::decode(status.details()).unwrap_or_default();
    let name = |url: &str| url.rsplit('/').next().unwrap_or_default().to_owned();
    details
        .details
        .iter()
        .map(|any| name(&any.type_url))
        .collect()
}

/// Whether a call failed below the contract: no answer came, so its outcome is unknown.
pub fn is_lost(status: &Status) -> bool {
    try_of_status(status).is_none()
        && matches!(
            status.code(),
            Code::Unavailable
                | Code::Unknown
                | Code::Cancelled
                | Code::Internal
                | Code::DeadlineExceeded
        )
}

/// Checks the reason and the effect of a refusal, and that it says something to a developer.
///
/// # Panics
/// When they differ.
#[track_caller]
pub fn expect(error: &Error, reason: Reason, effect: Effect) {
    assert_eq!(error.reason(), reason, "{error:?}");
    assert_eq!(error.effect(), effect, "{error:?}");
    assert!(
        !error.message.is_empty(),
        "a refusal without a message: {error:?}"
    );
}

/// Checks a refusal that names one field at fault.
///
/// # Panics
/// When it is another refusal, or names another field.
#[track_caller]
pub fn expect_field(error: &Error, field: &str) {
    assert_eq!(error.reason(), Reason::InvalidField, "{error:?}");
    let fields: Vec<&str> = error.violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, [field], "{error:?}");
}
