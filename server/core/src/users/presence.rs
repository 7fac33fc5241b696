//! What presence follows from a user's sessions.

use std::collections::BTreeMap;

use super::{SessionKey, Stored};
use crate::{
    ids::{DeviceId, UserId},
    time::{Instant, Timestamp},
};

/// Whether a user is there, as others are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub user: UserId,
    /// Whether there.
    pub state: PresenceState,
    /// The status text.
    pub status_text: String,
    /// When the last session ended; only for those who are offline.
    pub last_seen: Option<Timestamp>,
}

/// Whether a user is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceState {
    /// No session.
    Offline,
    /// A session that is not idle.
    Online,
    /// Only idle sessions.
    Away,
    /// Sessions, and the user chose to be busy.
    Busy,
}

/// What a user chose to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Busy rather than available.
    pub busy: bool,
    /// The status text.
    pub text: String,
}

impl Presence {
    /// A user of whom nothing is known but that there is no session.
    pub(super) fn unknown(user: UserId) -> Self {
        let (state, status_text) = (PresenceState::Offline, String::new());
        Self {
            user,
            state,
            status_text,
            last_seen: None,
        }
    }
}

/// A user with the sessions that count.
#[derive(Debug, Default)]
pub(super) struct User {
    pub(super) sessions: BTreeMap<SessionKey, Held>,
    pub(super) status: Status,
    pub(super) last_seen: Option<Timestamp>,
    /// The status is newer than what is stored.
    told: bool,
}

/// A session that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) device: DeviceId,
    pub(super) idle: bool,
    /// It has ended, and counts until then.
    pub(super) until: Option<Instant>,
}

impl User {
    /// Takes in what was stored, where nothing newer was told.
    pub(super) fn restore(&mut self, (status, last_seen): Stored) {
        if !self.told {
            self.status = status;
        }
        self.last_seen = self.last_seen.max(last_seen);
    }

    /// Takes in what the user chose.
    pub(super) fn set_status(&mut self, status: Status) {
        self.status = status;
        self.told = true;
    }

    pub(super) fn is_there(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Whether a session stops counting now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.sessions
            .values()
            .any(|held| held.until.is_some_and(|until| until <= now))
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.sessions
            .retain(|_, held| held.until.is_none_or(|until| until > now));
    }

    pub(super) fn presence(&self, user: UserId) -> Presence {
        let state = if self.sessions.is_empty() {
            PresenceState::Offline
        } else if self.status.busy {
            PresenceState::Busy
        } else if self.sessions.values().all(|held| held.idle) {
            PresenceState::Away
        } else {
            PresenceState::Online
        };
        let last_seen = self.last_seen.filter(|_| state == PresenceState::Offline);
        Presence {
            user,
            state,
            status_text: self.status.text.clone(),
            last_seen,
        }
    }
}
