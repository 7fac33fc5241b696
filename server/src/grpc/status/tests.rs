//! One table over all reasons, and the details that tools read.

use std::collections::BTreeSet;

use super::*;

const ALL: [(Reason, Code); 39] = [
    (Reason::Undecodable, Code::InvalidArgument),
    (Reason::InvalidField, Code::InvalidArgument),
    (Reason::TooLarge, Code::ResourceExhausted),
    (Reason::UnknownFrame, Code::InvalidArgument),
    (Reason::FrameOutOfOrder, Code::FailedPrecondition),
    (Reason::UnsupportedProtocol, Code::FailedPrecondition),
    (Reason::Unauthenticated, Code::Unauthenticated),
    (Reason::TokenExpired, Code::Unauthenticated),
    (Reason::DeviceRevoked, Code::Unauthenticated),
    (Reason::WrongCredentials, Code::Unauthenticated),
    (Reason::RefreshTokenInvalid, Code::Unauthenticated),
    (Reason::UserDisabled, Code::PermissionDenied),
    (Reason::SignUpClosed, Code::PermissionDenied),
    (Reason::HandleTaken, Code::AlreadyExists),
    (Reason::PasswordTooWeak, Code::InvalidArgument),
    (Reason::UserNotFound, Code::NotFound),
    (Reason::DeviceNotFound, Code::NotFound),
    (Reason::RoomNotFound, Code::NotFound),
    (Reason::NotAMember, Code::PermissionDenied),
    (Reason::MessageNotFound, Code::NotFound),
    (Reason::PermissionDenied, Code::PermissionDenied),
    (Reason::DirectRoom, Code::FailedPrecondition),
    (Reason::RoomFull, Code::FailedPrecondition),
    (Reason::TooManyRooms, Code::FailedPrecondition),
    (Reason::CursorAhead, Code::OutOfRange),
    (Reason::IdReused, Code::AlreadyExists),
    (Reason::TooOldToRetry, Code::FailedPrecondition),
    (Reason::EarlierSendRefused, Code::Aborted),
    (Reason::RateLimited, Code::ResourceExhausted),
    (Reason::TooManyUnanswered, Code::ResourceExhausted),
    (Reason::Overloaded, Code::ResourceExhausted),
    (Reason::StorageFull, Code::ResourceExhausted),
    (Reason::Draining, Code::Unavailable),
    (Reason::Internal, Code::Internal),
    (Reason::SessionGone, Code::NotFound),
    (Reason::SessionReplaced, Code::Aborted),
    (Reason::HeartbeatMissed, Code::Aborted),
    (Reason::SlowReader, Code::ResourceExhausted),
    (Reason::TooManyRefusals, Code::ResourceExhausted),
];

/// All reasons of the contract that a server may send.
fn contract() -> BTreeSet<&'static str> {
    (1..256)
        .filter_map(|number| v1::Reason::try_from(number).ok())
        .map(|reason| reason.as_str_name())
        .collect()
}

#[test]
fn every_reason_keeps_its_code_and_its_name() {
    for (each, expected) in ALL {
        let status = to_status(&Refusal::new(each, "what to do"));
        assert_eq!(status.code(), expected, "{each:?}");
        assert_eq!(status.message(), "what to do");
        let error = error_of(&status).expect("a typed detail");
        assert_eq!(error.reason(), reason(each), "{each:?}");
    }
    let named: BTreeSet<_> = ALL.iter().map(|(r, _)| reason(*r).as_str_name()).collect();
    assert_eq!(named.len(), ALL.len(), "two reasons share a name");
    assert_eq!(named, contract(), "core and contract differ");
}

#[test]
fn details_hold_the_error_and_what_tools_know() {
    let refusal = Refusal::field("text", "1 to 100,000 characters")
        .with_effect(Effect::AttemptNone)
        .with_retry_after(Duration::from_millis(1_500));
    let status = to_status(&refusal);
    let error = error_of(&status).expect("a typed detail");
    assert_eq!(error.effect(), v1::Effect::AttemptNone);
    assert_eq!(error.violations[0].field, "text");

    let rpc = rpc::Status::decode(status.details()).expect("a google.rpc.Status");
    assert_eq!(rpc.code, i32::from(status.code()));
    assert_eq!(rpc.message, status.message());
    let detail = |name: &str| {
        let url = format!("type.googleapis.com/{name}");
        let found = rpc.details.iter().find(|detail| detail.type_url == url);
        found.expect("the detail is there").value.clone()
    };
    let info = ErrorInfo::decode(&*detail("google.rpc.ErrorInfo")).expect("decodes");
    assert_eq!((&*info.reason, &*info.domain), ("INVALID_FIELD", DOMAIN));
    let retry = RetryInfo::decode(&*detail("google.rpc.RetryInfo")).expect("decodes");
    let delay = retry.retry_delay.expect("present");
    assert_eq!((delay.seconds, delay.nanos), (1, 500_000_000));
    let bad = BadRequest::decode(&*detail("google.rpc.BadRequest")).expect("decodes");
    assert_eq!(
        bad.field_violations[0].description,
        "1 to 100,000 characters"
    );
}

#[test]
fn details_name_a_bounded_number_of_fields() {
    let mut refusal = Refusal::field("handles[0]", "1 to 32 characters");
    refusal.violations = vec![refusal.violations[0].clone(); 100];
    assert_eq!(to_error(&refusal).violations.len(), VIOLATIONS_MAX);
    assert!(to_status(&refusal).details().len() < 4_096);
}

#[test]
fn every_reason_has_a_paragraph_in_the_documents() {
    let document = include_str!("../../../../docs/errors.md");
    let described: BTreeSet<_> = document
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|name| format!("REASON_{name}"))
        .collect();
    let expected: BTreeSet<_> = contract().into_iter().map(str::to_owned).collect();
    assert_eq!(described, expected);
}
