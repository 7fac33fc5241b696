//! Why something was refused, without knowledge of any wire.

use std::{borrow::Cow, fmt, time::Duration};

/// Whether a refused command took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing exists under this id; said after looking it up.
    None,
    /// This attempt wrote nothing; an earlier one may have.
    AttemptNone,
    /// It may have taken effect.
    Unknown,
}

/// Why. The public contract has the same list, with a comment on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "each has its paragraph in error.proto and docs/errors.md"
)]
pub enum Reason {
    Undecodable,
    InvalidField,
    TooLarge,
    UnknownFrame,
    FrameOutOfOrder,
    UnsupportedProtocol,
    Unauthenticated,
    TokenExpired,
    DeviceRevoked,
    WrongCredentials,
    RefreshTokenInvalid,
    UserDisabled,
    SignUpClosed,
    HandleTaken,
    PasswordTooWeak,
    UserNotFound,
    DeviceNotFound,
    RoomNotFound,
    NotAMember,
    MessageNotFound,
    PermissionDenied,
    DirectRoom,
    RoomFull,
    TooManyRooms,
    CursorAhead,
    IdReused,
    TooOldToRetry,
    EarlierSendRefused,
    RateLimited,
    TooManyUnanswered,
    Overloaded,
    StorageFull,
    Draining,
    Internal,
    SessionGone,
    SessionReplaced,
    HeartbeatMissed,
    SlowReader,
    TooManyRefusals,
}

impl Reason {
    /// Whether the same request may succeed later: what a client may retry by itself.
    pub const fn may_retry(self) -> bool {
        matches!(
            self,
            Self::EarlierSendRefused
                | Self::RateLimited
                | Self::TooManyUnanswered
                | Self::Overloaded
                | Self::StorageFull
                | Self::Draining
                | Self::Internal
        )
    }
}

/// One field at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its path in the request.
    pub field: Cow<'static, str>,
    /// What is wrong, and what is accepted.
    pub description: Cow<'static, str>,
}

/// A refusal: the answer to a request that was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// One sentence for a developer, saying what to do. Never holds a secret.
    pub message: Cow<'static, str>,
    /// Whether it took effect all the same.
    pub effect: Effect,
    /// When the same request may be sent again.
    pub retry_after: Option<Duration>,
    /// The fields at fault.
    pub violations: Vec<Violation>,
}

impl Refusal {
    /// A refusal of something that this attempt did not do. Whether an earlier one did, only who looks
    /// it up can say.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            message: message.into(),
            effect: Effect::AttemptNone,
            retry_after: None,
            violations: Vec::new(),
        }
    }

    /// A refusal for one field.
    pub fn field(
        field: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (field, description) = (field.into(), description.into());
        let message = format!("{field}: {description}");
        let mut refusal = Self::new(Reason::InvalidField, message);
        refusal.violations.push(Violation { field, description });
        refusal
    }

    /// The same for a field of a message that stands at `place` in another, such as `marks[2]`.
    #[must_use]
    pub fn within(mut self, place: &str) -> Self {
        for violation in &mut self.violations {
            violation.field = format!("{place}.{}", violation.field).into();
            self.message = format!("{}: {}", violation.field, violation.description).into();
        }
        self
    }

    /// The same, with another effect.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// The same, saying when to come again.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Refusal {}
