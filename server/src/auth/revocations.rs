//! Devices whose access tokens end before their time: the last ones that were revoked, in memory,
//! and the news of each for those who hold streams.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use magpie_core::{ids::DeviceId, time::Timestamp};
use magpie_store::account::{AccountStore, Error};
use tokio::sync::broadcast;

use super::limits::{REVOCATIONS_LOOK_MIN, REVOCATIONS_MAX, REVOCATIONS_UNSEEN_MAX};

/// The devices that were revoked within the life of an access token. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Revocations {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Read with every call, so not behind an async lock.
    recent: RwLock<Recent>,
    news: broadcast::Sender<DeviceId>,
    /// How long an access token lasts: after that a revoked device has none.
    memory: Duration,
}

#[derive(Debug)]
struct Recent {
    /// When each was revoked.
    devices: HashMap<DeviceId, Timestamp>,
    /// The number at which to look for those that are forgotten.
    look_at: usize,
}

impl Revocations {
    /// Knows of no revocation yet.
    pub fn new(memory: Duration) -> Self {
        let (news, _) = broadcast::channel(REVOCATIONS_UNSEEN_MAX);
        Self {
            inner: Arc::new(Inner {
                recent: RwLock::new(Recent {
                    devices: HashMap::new(),
                    look_at: REVOCATIONS_LOOK_MIN,
                }),
                news,
                memory,
            }),
        }
    }

    /// Knows of the revocations that access tokens may have outlived.
    pub async fn load(
        store: &dyn AccountStore,
        memory: Duration,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let revocations = Self::new(memory);
        let since = earlier(now, memory);
        let revoked = store.revoked_since(since).await?;
        revocations.change(|recent| recent.devices.extend(revoked));
        Ok(revocations)
    }

    /// Notes that devices were revoked, and tells those who listen. Call it after the store has
    /// it.
    pub fn add(&self, revoked: impl IntoIterator<Item = DeviceId>, now: Timestamp) {
        for device in revoked {
            self.change(|recent| {
                recent.devices.insert(device, now);
                recent.forget(earlier(now, self.inner.memory));
            });
            // Nobody listens before the first stream.
            drop(self.inner.news.send(device));
        }
    }

    /// Whether a device was revoked of late.
    pub fn is_revoked(&self, device: DeviceId) -> bool {
        let recent = self.inner.recent.read();
        let recent = recent.unwrap_or_else(PoisonError::into_inner);
        recent.devices.contains_key(&device)
    }

    /// Each device that is revoked from now on. Subscribe before asking [`Self::is_revoked`], so
    /// that none falls between; a receiver that lagged asks it again for all its devices.
    pub fn subscribe(&self) -> broadcast::Receiver<DeviceId> {
        self.inner.news.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Recent)) {
        // It is whole after each change, so a panic elsewhere does not spoil it.
        let recent = self.inner.recent.write();
        change(&mut recent.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Recent {
    /// Forgets those whose tokens have expired; if they are too many all the same, the older half.
    /// Looks only when they have doubled since the last look.
    fn forget(&mut self, expired: Timestamp) {
        if self.devices.len() < self.look_at {
            return;
        }
        self.devices.retain(|_, revoked| *revoked >= expired);
        if self.devices.len() >= REVOCATIONS_MAX {
            let mut times: Vec<_> = self.devices.values().copied().collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            self.devices.retain(|_, revoked| *revoked > median);
            tracing::warn!("so many devices were revoked that older ones were forgotten early");
        }
        self.look_at = (2 * self.devices.len()).clamp(REVOCATIONS_LOOK_MIN, REVOCATIONS_MAX);
    }
}

fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    Timestamp(now.0.saturating_sub(by))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: i64) -> DeviceId {
        DeviceId::new(number).expect("it is positive")
    }

    #[tokio::test]
    async fn a_revocation_is_known_and_told() {
        let revocations = Revocations::new(Duration::from_secs(900));
        let mut news = revocations.subscribe();
        assert!(!revocations.is_revoked(device(1)));
        revocations.add([device(1)], Timestamp(1_000));
        assert!(revocations.is_revoked(device(1)));
        assert!(!revocations.is_revoked(device(2)));
        assert_eq!(news.recv().await, Ok(device(1)));
    }

    #[test]
    fn those_whose_tokens_expired_are_forgotten() {
        let revocations = Revocations::new(Duration::from_millis(100));
        for number in 1..=10_000 {
            revocations.add([device(number)], Timestamp(number.unsigned_abs()));
        }
        assert!(revocations.is_revoked(device(9_901)));
        assert!(!revocations.is_revoked(device(5_000)));
        let recent = revocations.inner.recent.read().expect("nothing panicked");
        assert!(recent.devices.len() <= REVOCATIONS_LOOK_MIN);
    }
}
