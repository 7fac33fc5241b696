//! A rate that many calls take from at the same time.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use magpie_core::{
    rate::{Limiter, Rate},
    time::Instant,
};

/// A [`Limiter`] that is shared.
#[derive(Debug)]
pub(crate) struct SharedLimiter<K>(Mutex<Limiter<K>>);

impl<K: Ord + Clone> SharedLimiter<K> {
    /// So much at once, and a minute after that, for each of so many keys.
    pub(crate) fn new(burst: u64, per_minute: u64, keys_max: usize) -> Self {
        Self(Mutex::new(Limiter::new(
            Rate { burst, per_minute },
            keys_max,
        )))
    }

    /// Takes so many tokens of a key, or says how long until there are as many.
    pub(crate) fn take(&self, key: &K, tokens: u64, now: Instant) -> Result<(), Duration> {
        // A limiter is whole after each call, so a panic elsewhere does not spoil it.
        let mut limiter = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.take(key, tokens, now)
    }
}
