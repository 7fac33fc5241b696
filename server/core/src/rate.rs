//! Token buckets: a burst, then a steady rate.

use std::{collections::BTreeMap, time::Duration};

use crate::{limits::SWEEP_INTERVAL, time::Instant};

/// How much of something is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How much at once.
    pub burst: u64,
    /// How much a minute after that.
    pub per_minute: u64,
}

/// A token bucket, kept as the moment at which it will be full again (the "generic cell rate
/// algorithm" of ITU-T I.371), so that an idle bucket needs no upkeep.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    full_at_micros: u64,
}

impl Bucket {
    /// Takes so many tokens, or says how long until there are as many. What would take more than the
    /// burst takes all of it.
    pub fn take(&mut self, rate: Rate, tokens: u64, now: Instant) -> Result<(), Duration> {
        let (one, burst) = (60_000_000 / rate.per_minute.max(1), rate.burst.max(1));
        if one == 0 {
            // As good as no limit; who read the clock a little earlier than another must not wait.
            return Ok(());
        }
        let now = now.0.saturating_mul(1_000);
        let cost = one.saturating_mul(tokens.min(burst));
        let full_at = self.full_at_micros.max(now).saturating_add(cost);
        let allowed = now.saturating_add(one.saturating_mul(burst));
        if full_at > allowed {
            return Err(Duration::from_micros(full_at - allowed));
        }
        self.full_at_micros = full_at;
        Ok(())
    }

    /// Whether it is full, so that forgetting it changes nothing.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at_micros <= now.0.saturating_mul(1_000)
    }
}

/// Buckets by key, forgotten when full. Holds at most `keys_max`: beyond it, unknown keys are
/// refused for a second (it fails closed).
#[derive(Clone, Debug)]
pub struct Limiter<K> {
    rate: Rate,
    keys_max: usize,
    buckets: BTreeMap<K, Bucket>,
    /// When full buckets were last forgotten: that looks at all of them, so it is not done for each
    /// unknown key.
    swept: Option<Instant>,
}

impl<K: Ord + Clone> Limiter<K> {
    /// A limiter that knows no key yet.
    pub fn new(rate: Rate, keys_max: usize) -> Self {
        Self {
            rate,
            keys_max,
            buckets: BTreeMap::new(),
            swept: None,
        }
    }

    /// Takes so many tokens of a key: see [`Bucket::take`].
    pub fn take(&mut self, key: &K, tokens: u64, now: Instant) -> Result<(), Duration> {
        if let Some(bucket) = self.buckets.get_mut(key) {
            return bucket.take(self.rate, tokens, now);
        }
        if self.buckets.len() >= self.keys_max {
            let due = |swept| now.since(swept) >= SWEEP_INTERVAL;
            if self.swept.is_none_or(due) {
                self.swept = Some(now);
                self.buckets.retain(|_, bucket| !bucket.is_full(now));
            }
            if self.buckets.len() >= self.keys_max {
                return Err(Duration::from_secs(1));
            }
        }
        let mut bucket = Bucket::default();
        bucket.take(self.rate, tokens, now)?;
        self.buckets.insert(key.clone(), bucket);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        per_minute: 60,
    };

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::default();
        let start = Instant(1_000);
        for _ in 0..3 {
            assert_eq!(bucket.take(RATE, 1, start), Ok(()));
        }
        let wait = bucket.take(RATE, 1, start).expect_err("the burst is spent");
        assert_eq!(wait, Duration::from_secs(1));
        assert_eq!(bucket.take(RATE, 1, start + wait), Ok(()));
    }

    #[test]
    fn without_a_limit_nobody_waits_not_even_for_a_clock_read_earlier() {
        let rate = Rate {
            burst: 1,
            per_minute: u64::MAX,
        };
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(rate, 1, Instant(2_000)), Ok(()));
        assert_eq!(bucket.take(rate, 1, Instant(1_000)), Ok(()));
    }

    #[test]
    fn much_takes_many_tokens_but_no_more_than_a_burst() {
        let (mut bucket, start) = (Bucket::default(), Instant(1_000));
        assert_eq!(bucket.take(RATE, 2, start), Ok(()));
        assert_eq!(
            bucket.take(RATE, 2, start),
            Err(Duration::from_secs(1)),
            "one is left, and one is missing"
        );
        let full = start + Duration::from_secs(10);
        assert_eq!(bucket.take(RATE, 1_000, full), Ok(()));
        assert!(bucket.take(RATE, 1, full).is_err());
    }

    #[test]
    fn a_limiter_refuses_new_keys_when_full_of_busy_ones() {
        let mut limiter = Limiter::new(RATE, 2);
        let now = Instant(0);
        assert!(limiter.take(&1, 1, now).is_ok() && limiter.take(&2, 1, now).is_ok());
        assert!(limiter.take(&3, 1, now).is_err());
        assert!(limiter.take(&3, 1, Instant(10_000)).is_ok());
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(steps in prop::collection::vec(0_u64..2_000, 1..200)) {
            let (mut bucket, mut now, mut taken) = (Bucket::default(), Instant(0), 0_u64);
            for step in steps {
                now = now + Duration::from_millis(step);
                taken += u64::from(bucket.take(RATE, 1, now).is_ok());
                prop_assert!(taken <= RATE.burst + now.0 * RATE.per_minute / 60_000);
            }
        }
    }
}
