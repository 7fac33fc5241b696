//! How often people may try: by the address they come from, by the account they ask for, and by
//! the account they are.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use magpie_core::{
    ids::UserId,
    refusal::{Reason, Refusal},
    time::Instant,
};

use super::limits::Limits;
use crate::shared_limiter::SharedLimiter;

/// The addresses that count as one: an IPv4 address, or the /64 that an IPv6 network hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source([u8; 8]);

impl Source {
    pub(super) fn of(peer: SocketAddr) -> Self {
        match peer.ip().to_canonical() {
            IpAddr::V4(address) => {
                // 0::/96 holds no client, so no /64 looks like this.
                let [a, b, c, d] = address.octets();
                Self([0, 0, 0, 0, a, b, c, d])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// All rates of one node.
#[derive(Debug)]
pub(super) struct Rates {
    sign_ups: SharedLimiter<Source>,
    log_ins: SharedLimiter<Source>,
    refreshes: SharedLimiter<Source>,
    /// By handle, of accounts that need not exist.
    password_tries: SharedLimiter<String>,
    find_users: SharedLimiter<UserId>,
    profile_changes: SharedLimiter<UserId>,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        let keys_max = usize::try_from(limits.rate_keys_max).unwrap_or(usize::MAX);
        Self {
            sign_ups: SharedLimiter::new(
                limits.sign_up_burst,
                limits.sign_ups_per_minute,
                keys_max,
            ),
            log_ins: SharedLimiter::new(limits.log_in_burst, limits.log_ins_per_minute, keys_max),
            refreshes: SharedLimiter::new(
                limits.refresh_burst,
                limits.refreshes_per_minute,
                keys_max,
            ),
            password_tries: SharedLimiter::new(
                limits.password_tries_burst,
                limits.password_tries_per_minute,
                keys_max,
            ),
            find_users: SharedLimiter::new(
                limits.find_user_burst,
                limits.find_users_per_minute,
                keys_max,
            ),
            profile_changes: SharedLimiter::new(
                limits.profile_change_burst,
                limits.profile_changes_per_minute,
                keys_max,
            ),
        }
    }

    pub(super) fn sign_up(&self, peer: SocketAddr, now: Instant) -> Result<(), Refusal> {
        take(&self.sign_ups, &Source::of(peer), 1, now)
    }

    pub(super) fn log_in(&self, peer: SocketAddr, now: Instant) -> Result<(), Refusal> {
        take(&self.log_ins, &Source::of(peer), 1, now)
    }

    pub(super) fn refresh(&self, peer: SocketAddr, now: Instant) -> Result<(), Refusal> {
        take(&self.refreshes, &Source::of(peer), 1, now)
    }

    pub(super) fn password_try(&self, handle: &str, now: Instant) -> Result<(), Refusal> {
        take(&self.password_tries, &handle.to_owned(), 1, now)
    }

    pub(super) fn find_users(&self, user: UserId, count: u64, now: Instant) -> Result<(), Refusal> {
        take(&self.find_users, &user, count, now)
    }

    pub(super) fn profile_change(&self, user: UserId, now: Instant) -> Result<(), Refusal> {
        take(&self.profile_changes, &user, 1, now)
    }
}

fn take<K: Ord + Clone>(
    limiter: &SharedLimiter<K>,
    key: &K,
    tokens: u64,
    now: Instant,
) -> Result<(), Refusal> {
    limiter.take(key, tokens, now).map_err(|wait| {
        Refusal::new(Reason::RateLimited, "too many tries; wait")
            .with_retry_after(wait.max(Duration::from_millis(1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of(SocketAddr::new(
            address.parse().expect("it is an address"),
            1,
        ))
    }

    #[test]
    fn an_ipv6_network_counts_as_one_source() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
    }
}
