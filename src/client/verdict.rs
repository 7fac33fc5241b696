//! What the end of a stream, or of an attempt to open one, means for the session.

use tonic::Code;

use crate::{
    client::error::Error,
    v1::{Closing, Reason, ReconnectAdvice},
};

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Connect again.
    Retry,
    /// Drop all that is cached, then connect again.
    DropCache,
    /// It is over.
    End,
}

/// Of a stream that broke, or could not be opened. `opened` is whether any stream of this session
/// ever was: then a strange answer is more likely a fault on the way than a wrong address.
pub(crate) fn of_error(error: &Error, opened: bool) -> Verdict {
    match error {
        Error::Refused(refusal) => of_reason(refusal.reason),
        Error::Unreachable(_) | Error::Transport(_) | Error::Store(_) | Error::Protocol(_) => {
            Verdict::Retry
        }
        Error::Status { code, .. } => match code {
            Code::Unimplemented | Code::PermissionDenied | Code::InvalidArgument if !opened => {
                Verdict::End
            }
            _ => Verdict::Retry,
        },
        Error::Address { .. } | Error::NotLoggedIn | Error::TooManyRooms => Verdict::End,
    }
}

/// Of a stream that the server closed: its advice holds, but where the client can mend the cause
/// by itself.
pub(crate) fn of_closing(closing: &Closing) -> Verdict {
    let reason = closing.error.as_ref().map(|error| error.reason());
    match (reason, closing.reconnect()) {
        (Some(Reason::CursorAhead), _) => Verdict::DropCache,
        (Some(Reason::TokenExpired), _) => Verdict::Retry,
        (_, ReconnectAdvice::No) => Verdict::End,
        (_, ReconnectAdvice::Yes | ReconnectAdvice::Unspecified) => Verdict::Retry,
    }
}

fn of_reason(reason: Reason) -> Verdict {
    match reason {
        Reason::CursorAhead => Verdict::DropCache,
        Reason::Undecodable
        | Reason::InvalidField
        | Reason::TooLarge
        | Reason::UnknownFrame
        | Reason::FrameOutOfOrder
        | Reason::UnsupportedProtocol
        | Reason::Unauthenticated
        | Reason::DeviceRevoked
        | Reason::WrongCredentials
        | Reason::RefreshTokenInvalid
        | Reason::UserDisabled => Verdict::End,
        _ => Verdict::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::error::Refusal, v1};

    fn refused(reason: Reason) -> Error {
        Error::from(v1::Error {
            reason: reason.into(),
            ..v1::Error::default()
        })
    }

    #[test]
    fn only_what_a_retry_cannot_mend_ends_the_session() {
        for reason in [Reason::DeviceRevoked, Reason::UnsupportedProtocol] {
            assert_eq!(of_error(&refused(reason), true), Verdict::End);
        }
        for reason in [Reason::Draining, Reason::TokenExpired, Reason::Internal] {
            assert_eq!(of_error(&refused(reason), false), Verdict::Retry);
        }
        assert_eq!(
            of_error(&refused(Reason::CursorAhead), true),
            Verdict::DropCache
        );
    }

    #[test]
    fn advice_against_reconnecting_is_obeyed() {
        let closing = |reason: Reason, advice: ReconnectAdvice| Closing {
            error: Some(v1::Error {
                reason: reason.into(),
                ..v1::Error::default()
            }),
            reconnect: advice.into(),
        };
        let replaced = closing(Reason::SessionReplaced, ReconnectAdvice::No);
        assert_eq!(of_closing(&replaced), Verdict::End);
        let slow = closing(Reason::SlowReader, ReconnectAdvice::Yes);
        assert_eq!(of_closing(&slow), Verdict::Retry);
        let expired = closing(Reason::TokenExpired, ReconnectAdvice::No);
        assert_eq!(of_closing(&expired), Verdict::Retry);
    }

    #[test]
    fn foreign_answer_ends_only_a_session_that_never_opened() {
        let error = Error::Status {
            code: Code::Unimplemented,
            message: String::new(),
        };
        assert_eq!(of_error(&error, false), Verdict::End);
        assert_eq!(of_error(&error, true), Verdict::Retry);
        let refusal = Refusal::from(v1::Error::default());
        assert_eq!(of_error(&Error::Refused(refusal), false), Verdict::Retry);
    }
}
