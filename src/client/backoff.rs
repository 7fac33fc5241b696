//! How long to wait before the next attempt to connect: full jitter under a doubling ceiling.

use std::time::Duration;

use rand::{Rng, RngExt};

/// How fast a session reconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The first ceiling.
    pub base: Duration,
    /// The highest ceiling.
    pub cap: Duration,
    /// How long a stream must have lived after it was caught up for the ceiling to fall back to
    /// `base`.
    pub stable: Duration,
}

impl Profile {
    /// For people's devices: 1 s to 60 s, so that a server that comes back is not run over. 10 s
    /// of a good stream are enough to begin anew: one connection in 10 s from each client is what
    /// a node's admission bears, and who was let in was not what overwhelmed it.
    pub const NORMAL: Self = Self {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(60),
        stable: Duration::from_secs(10),
    };
    /// For programs that a person sits before and waits: as [`Profile::NORMAL`], but at most 5 s.
    pub const ATTENDED: Self = Self {
        cap: Duration::from_secs(5),
        ..Self::NORMAL
    };
    /// For tests: 20 ms to 500 ms.
    pub const FAST: Self = Self {
        base: Duration::from_millis(20),
        cap: Duration::from_millis(500),
        stable: Duration::from_secs(60),
    };
}

impl Default for Profile {
    fn default() -> Self {
        Self::NORMAL
    }
}

/// What the wait comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// No stream came about, or one was lost; `good` is how long it lived after it was caught up.
    Loss { good: Option<Duration> },
    /// The node is about to stop, and says when another may be there. That is a plan, not a
    /// fault: it tells nothing of how the next attempt will fare.
    Draining,
}

/// The waits of one session.
#[derive(Debug)]
pub(crate) struct Backoff {
    profile: Profile,
    ceiling: Duration,
}

impl Backoff {
    pub(crate) const fn new(profile: Profile) -> Self {
        Self {
            profile,
            ceiling: profile.base,
        }
    }

    /// The next wait. `at_least` is what the server asked for, which the jitter comes on top of.
    pub(crate) fn next(
        &mut self,
        after: After,
        at_least: Duration,
        rng: &mut impl Rng,
    ) -> Duration {
        let ceiling = match after {
            After::Draining => self.profile.base,
            After::Loss { good } => {
                if good.is_some_and(|good| good >= self.profile.stable) {
                    self.ceiling = self.profile.base;
                }
                let ceiling = self.ceiling;
                self.ceiling = (ceiling * 2).min(self.profile.cap);
                ceiling
            }
        };
        at_least + ceiling.mul_f64(rng.random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const FAILED: After = After::Loss { good: None };

    #[test]
    fn waits_lie_under_a_doubling_ceiling_up_to_the_cap() {
        for profile in [Profile::NORMAL, Profile::ATTENDED] {
            let mut rng = StdRng::seed_from_u64(1);
            let mut backoff = Backoff::new(profile);
            for power in 0..10 {
                let ceiling = Duration::from_secs(1 << power).min(profile.cap);
                assert!(backoff.next(FAILED, Duration::ZERO, &mut rng) <= ceiling);
                assert_eq!(backoff.ceiling, (ceiling * 2).min(profile.cap));
            }
        }
    }

    #[test]
    fn only_a_stable_stream_lowers_the_ceiling() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut backoff = Backoff::new(Profile::NORMAL);
        for _ in 0..8 {
            backoff.next(FAILED, Duration::ZERO, &mut rng);
        }
        let good = |secs| After::Loss {
            good: Some(Duration::from_secs(secs)),
        };
        backoff.next(good(9), Duration::ZERO, &mut rng);
        assert_eq!(backoff.ceiling, Duration::from_secs(60));
        let wait = backoff.next(good(10), Duration::ZERO, &mut rng);
        assert!(wait <= Duration::from_secs(1));
    }

    #[test]
    fn drain_neither_raises_the_ceiling_nor_waits_under_it() {
        let mut rng = StdRng::seed_from_u64(5);
        let mut backoff = Backoff::new(Profile::NORMAL);
        for _ in 0..4 {
            backoff.next(FAILED, Duration::ZERO, &mut rng);
        }
        let wish = Duration::from_secs(1);
        for _ in 0..100 {
            let wait = backoff.next(After::Draining, wish, &mut rng);
            assert!((wish..=wish * 2).contains(&wait), "{wait:?}");
        }
        assert_eq!(backoff.ceiling, Duration::from_secs(16));
    }

    #[test]
    fn waits_use_the_whole_of_what_the_ceiling_allows() {
        let mut rng = StdRng::seed_from_u64(4);
        let mut backoff = Backoff::new(Profile::NORMAL);
        while backoff.ceiling < Profile::NORMAL.cap {
            backoff.next(FAILED, Duration::ZERO, &mut rng);
        }
        let shares: Vec<f64> = (0..1_000)
            .map(|_| backoff.next(FAILED, Duration::ZERO, &mut rng))
            .map(|wait| wait.as_secs_f64() / Profile::NORMAL.cap.as_secs_f64())
            .collect();
        assert!(shares.iter().any(|share| *share < 0.05), "none is short");
        assert!(shares.iter().any(|share| *share > 0.95), "none is long");
        // Evenly: so that those who lost a server together come back spread out.
        let mean = shares.iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
    }

    #[test]
    fn people_reconnect_within_one_to_sixty_seconds() {
        let wanted = Profile {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            stable: Duration::from_secs(10),
        };
        assert_eq!(Profile::NORMAL, wanted);
        assert_eq!(Profile::default(), wanted);
    }

    #[test]
    fn servers_wish_is_the_least_wait() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut backoff = Backoff::new(Profile::FAST);
        let wish = Duration::from_secs(7);
        assert!(backoff.next(FAILED, wish, &mut rng) >= wish);
    }
}
