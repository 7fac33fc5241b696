//! Users as their owner holds them: which sessions each has, what presence follows from them, and
//! who is told. In memory only; rebuilt from the sessions that edges report.

mod presence;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::presence::{Held, User};
pub use self::presence::{Presence, PresenceState, Status};
use crate::{
    ids::{DeviceId, EdgeId, SessionId, UserId},
    limits::{Limits, millis},
    link::{AccountRoom, ToEdge},
    refusal::Reason,
    time::{Instant, Now, Timestamp},
};

/// Where a session is.
pub type SessionKey = (EdgeId, SessionId);

/// What the account store knows of a user's presence.
pub type Stored = (Status, Option<Timestamp>);

/// What an owner of users is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A session opened.
    Up {
        /// Where it is.
        session: SessionKey,
        /// Whose it is.
        user: UserId,
        /// On which device.
        device: DeviceId,
        /// Whether the person is away from it.
        idle: bool,
    },
    /// What the account store knows of a user, for what no session has told yet.
    Restore(UserId, Stored),
    /// A session ended.
    Down {
        /// Where it was.
        session: SessionKey,
        /// Whose it was.
        user: UserId,
        /// How long it counts on: zero after a clean end.
        linger_millis: u64,
    },
    /// A person left or came back to a device.
    Idle {
        /// Where the session is.
        session: SessionKey,
        /// Whose it is.
        user: UserId,
        /// Whether away.
        idle: bool,
    },
    /// A user set another status.
    Status(UserId, Status),
    /// A session follows these users of this owner, and no others. With each its stored status, and
    /// when the user was last seen.
    Watch(SessionKey, Vec<(UserId, Stored)>),
    /// Rows of an account changed.
    Account {
        /// The account.
        user: UserId,
        /// Its revision now.
        revision: u64,
        /// The rows.
        rows: Vec<AccountRoom>,
    },
    /// Time has passed.
    Tick,
}

/// What an owner of users wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Tell an edge.
    Edge(EdgeId, ToEdge),
    /// Store when a user was last seen.
    LastSeen(UserId, Timestamp),
}

/// The owner of some partitions' users.
#[derive(Debug)]
pub struct Users {
    limits: Limits,
    started: Instant,
    warm: bool,
    users: BTreeMap<UserId, User>,
    watchers: BTreeMap<UserId, BTreeSet<SessionKey>>,
    watching: BTreeMap<SessionKey, BTreeSet<UserId>>,
    outputs: VecDeque<Output>,
}

impl Users {
    /// An owner that knows no session yet. Until it has been told of those that live it reports no
    /// one offline, unless it is the `first` owner ever, so that there can be none.
    pub fn new(limits: Limits, first: bool, now: Instant) -> Self {
        Self {
            limits,
            started: now,
            warm: first,
            users: BTreeMap::new(),
            watchers: BTreeMap::new(),
            watching: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes in one input.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Up {
                session,
                user,
                device,
                idle,
            } => {
                self.up(
                    session,
                    user,
                    Held {
                        device,
                        idle,
                        until: None,
                    },
                    now,
                );
            }
            Input::Restore(user, stored) => self.change(user, now, |user| user.restore(stored)),
            Input::Down {
                session,
                user,
                linger_millis,
            } => {
                self.down(session, user, linger_millis, now);
            }
            Input::Idle {
                session,
                user,
                idle,
            } => self.change(user, now, |user| {
                if let Some(held) = user.sessions.get_mut(&session) {
                    held.idle = idle;
                }
            }),
            Input::Status(user, status) => self.change(user, now, |user| user.set_status(status)),
            Input::Watch(session, users) => self.watch(session, users, now),
            Input::Account {
                user,
                revision,
                rows,
            } => self.account(user, revision, &rows),
            Input::Tick => self.tick(now),
        }
    }

    /// The next thing to do. Ask until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The presence of a user; none while it is not known.
    pub fn presence(&self, user: UserId) -> Option<Presence> {
        match self.users.get(&user) {
            Some(known) if known.is_there() || self.warm => Some(known.presence(user)),
            None if self.warm => Some(Presence::unknown(user)),
            _ => None,
        }
    }

    /// The users who are there.
    pub fn there(&self) -> impl Iterator<Item = UserId> {
        let there = self.users.iter().filter(|(_, user)| user.is_there());
        there.map(|(user, _)| *user)
    }

    /// How many users are there.
    pub fn online(&self) -> usize {
        self.there().count()
    }

    fn up(&mut self, session: SessionKey, user: UserId, held: Held, now: Now) {
        let device = held.device;
        let sessions_max = self.limits.user_sessions_max as usize;
        let mut ended = Vec::new();
        self.change(user, now, |user| {
            // The device is back: what is left of its former session counts no more.
            user.sessions
                .retain(|_, other| other.device != device || other.until.is_none());
            user.sessions.insert(session, held);
            let live = user
                .sessions
                .iter()
                .filter(|(_, held)| held.until.is_none());
            let live: Vec<_> = live.map(|(key, _)| *key).collect();
            ended.extend(live.iter().take(live.len().saturating_sub(sessions_max)));
            for key in &ended {
                user.sessions.remove(key);
            }
        });
        for (edge, session) in ended {
            let end = ToEdge::End {
                session,
                reason: Reason::SessionReplaced,
            };
            self.outputs.push_back(Output::Edge(edge, end));
        }
    }

    fn down(&mut self, session: SessionKey, user: UserId, linger_millis: u64, now: Now) {
        self.unwatch(session);
        self.change(user, now, |user| {
            let Some(held) = user.sessions.get_mut(&session) else {
                return;
            };
            user.last_seen = Some(now.wall);
            if linger_millis == 0 {
                user.sessions.remove(&session);
            } else {
                held.until = Some(now.instant + millis(linger_millis));
            }
        });
    }

    /// Changes a user, and tells its watchers if its presence is another.
    fn change(&mut self, user: UserId, now: Now, change: impl FnOnce(&mut User)) {
        let known = self.users.entry(user).or_default();
        let before = (known.is_there(), known.presence(user));
        change(known);
        known.expire(now.instant);
        let after = (known.is_there(), known.presence(user));
        if before == after {
            return;
        }
        if before.0
            && !after.0
            && let Some(time) = known.last_seen
        {
            self.outputs.push_back(Output::LastSeen(user, time));
        }
        if after.0 || self.warm {
            self.tell_watchers(user, &after.1);
        }
    }

    fn tell_watchers(&mut self, user: UserId, presence: &Presence) {
        for (edge, session) in self.watchers.get(&user).into_iter().flatten() {
            let presences = vec![presence.clone()];
            let message = ToEdge::Presence {
                session: *session,
                presences,
            };
            self.outputs.push_back(Output::Edge(*edge, message));
        }
    }

    fn watch(&mut self, session: SessionKey, wanted: Vec<(UserId, Stored)>, now: Now) {
        let before = self.unwatch(session);
        let mut users = BTreeSet::new();
        for (user, stored) in wanted
            .into_iter()
            .take(self.limits.session_watch_max as usize)
        {
            self.users.entry(user).or_default().restore(stored);
            users.insert(user);
        }
        self.warm_up(now.instant);
        let fresh = users
            .difference(&before)
            .filter_map(|user| self.presence(*user));
        let presences: Vec<_> = fresh.collect();
        for user in &users {
            self.watchers.entry(*user).or_default().insert(session);
        }
        if !users.is_empty() {
            self.watching.insert(session, users);
        }
        if !presences.is_empty() {
            let message = ToEdge::Presence {
                session: session.1,
                presences,
            };
            self.outputs.push_back(Output::Edge(session.0, message));
        }
    }

    fn unwatch(&mut self, session: SessionKey) -> BTreeSet<UserId> {
        let users = self.watching.remove(&session).unwrap_or_default();
        for user in &users {
            if let Some(watchers) = self.watchers.get_mut(user) {
                watchers.remove(&session);
                if watchers.is_empty() {
                    self.watchers.remove(user);
                }
            }
        }
        users
    }

    fn account(&mut self, user: UserId, revision: u64, rows: &[AccountRoom]) {
        let Some(known) = self.users.get(&user) else {
            return;
        };
        let live = known
            .sessions
            .iter()
            .filter(|(_, held)| held.until.is_none());
        let edges: BTreeSet<_> = live.map(|((edge, _), _)| *edge).collect();
        for edge in edges {
            let message = ToEdge::Account {
                user,
                revision,
                rows: rows.to_vec(),
            };
            self.outputs.push_back(Output::Edge(edge, message));
        }
    }

    fn tick(&mut self, now: Now) {
        let was_warm = self.warm;
        self.warm_up(now.instant);
        let due = |(user, known): (&UserId, &User)| known.is_due(now.instant).then_some(*user);
        let due: Vec<_> = self.users.iter().filter_map(due).collect();
        for user in due {
            self.change(user, now, |_| {});
        }
        if self.warm && !was_warm {
            let watched: Vec<_> = self.watchers.keys().copied().collect();
            for user in watched {
                if let Some(presence) = self.presence(user)
                    && presence.state == PresenceState::Offline
                {
                    self.tell_watchers(user, &presence);
                }
            }
        }
        let watchers = &self.watchers;
        self.users
            .retain(|user, known| known.is_there() || watchers.contains_key(user));
    }

    fn warm_up(&mut self, now: Instant) {
        self.warm |= now.since(self.started) >= millis(self.limits.presence_warm_up_millis);
    }
}

#[cfg(test)]
mod tests;
