//! A device's credentials: where a program keeps them, and when and how the access token is
//! renewed, once at a time and never used before it is stored. Knows no session.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;
use tonic::transport::Channel;

use crate::{
    client::{
        error::{BoxError, Error},
        limits::{ACCESS_TOKEN_LIFETIME, RENEWAL_PART},
    },
    v1::{Credentials, RefreshTokenRequest, auth_service_client::AuthServiceClient},
};

/// Where a program keeps its credentials between runs.
///
/// Both traits are called on a thread where blocking is allowed.
pub trait CredentialStore: Send + Sync + 'static {
    /// Takes the store for one renewal. Where several processes share the store, this waits until
    /// no other holds it: two that renew at once with the same refresh token would look like
    /// theft. Dropping the guard gives it back.
    fn lock(&self) -> Result<Box<dyn LockedCredentials>, BoxError>;
}

/// A store held for one renewal.
pub trait LockedCredentials: Send {
    /// The credentials stored now: perhaps newer ones than the caller has. `None`: there are none.
    fn load(&mut self) -> Result<Option<Credentials>, BoxError>;
    /// Stores new credentials durably, in the place of all former ones. They are used after this.
    fn save(&mut self, credentials: &Credentials) -> Result<(), BoxError>;
}

/// Keeps credentials in memory: for programs that log in at every start, and for tests.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Option<Credentials>>>);

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl CredentialStore for MemoryStore {
    fn lock(&self) -> Result<Box<dyn LockedCredentials>, BoxError> {
        Ok(Box::new(self.clone()))
    }
}

impl LockedCredentials for MemoryStore {
    fn load(&mut self) -> Result<Option<Credentials>, BoxError> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }

    fn save(&mut self, credentials: &Credentials) -> Result<(), BoxError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(credentials.clone());
        Ok(())
    }
}

/// The credentials in use.
pub(crate) struct Tokens {
    store: Arc<dyn CredentialStore>,
    held: watch::Sender<Arc<Held>>,
    /// Held over one renewal, so that concurrent callers wait for it instead of making their own.
    renewal: tokio::sync::Mutex<()>,
}

/// Credentials with what this process knows about them.
pub(crate) struct Held {
    pub(crate) credentials: Credentials,
    /// Counts renewals: whoever saw a version fail asks for another than that.
    pub(crate) version: u64,
    /// When to renew, by this machine's monotonic clock.
    pub(crate) renew_at: Instant,
}

impl Tokens {
    pub(crate) fn new(credentials: Credentials, store: Arc<dyn CredentialStore>) -> Self {
        let held = Held {
            // Stored credentials that are past their end by this clock are renewed at once; if it
            // is the clock that is wrong, that costs one call.
            renew_at: Instant::now() + renew_in(&credentials, SystemTime::now(), Duration::ZERO),
            credentials,
            version: 0,
        };
        Self {
            store,
            held: watch::Sender::new(Arc::new(held)),
            renewal: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn held(&self) -> Arc<Held> {
        self.held.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    /// Credentials that are good for a while yet: those held, or renewed ones.
    pub(crate) async fn fresh(&self, channel: Channel) -> Result<Arc<Held>, Error> {
        let held = self.held();
        if Instant::now() < held.renew_at {
            return Ok(held);
        }
        self.renew(channel, held.version).await
    }

    /// Other credentials than those of version `failed`.
    pub(crate) async fn renew(&self, channel: Channel, failed: u64) -> Result<Arc<Held>, Error> {
        let _renewal = self.renewal.lock().await;
        let held = self.held();
        if held.version != failed {
            return Ok(held);
        }
        let store = self.store.clone();
        let (stored, mut guard) = blocking(move || {
            let mut guard = store.lock()?;
            Ok((guard.load()?, guard))
        })
        .await?;
        let mut refresh_token = held.credentials.refresh_token.clone();
        if let Some(stored) = stored
            && stored.access_token != held.credentials.access_token
            && stored.device_id == held.credentials.device_id
        {
            // Another process renewed: its successor is the one to go on from.
            let wait = renew_in(&stored, SystemTime::now(), Duration::ZERO);
            if !wait.is_zero() {
                return Ok(self.replace(stored, wait));
            }
            refresh_token = stored.refresh_token;
        }
        let renewed = AuthServiceClient::new(channel)
            .refresh_token(RefreshTokenRequest { refresh_token })
            .await?
            .into_inner()
            .credentials
            .ok_or(Error::Protocol(
                "an answer to RefreshToken without credentials",
            ))?;
        let saved = renewed.clone();
        blocking(move || guard.save(&saved)).await?;
        let wait = renew_in(&renewed, SystemTime::now(), ACCESS_TOKEN_LIFETIME);
        Ok(self.replace(renewed, wait))
    }

    /// Stores the first credentials of a log-in.
    pub(crate) async fn save_first(&self) -> Result<(), Error> {
        let store = self.store.clone();
        let credentials = self.held().credentials.clone();
        blocking(move || store.lock()?.save(&credentials)).await
    }

    fn replace(&self, credentials: Credentials, wait: Duration) -> Arc<Held> {
        let held = Arc::new(Held {
            credentials,
            version: self.held.borrow().version + 1,
            renew_at: Instant::now() + wait,
        });
        self.held.send_replace(held.clone());
        held
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the credentials: they are secrets.
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// How long the access token may be used before it is renewed. `otherwise` is its life where its
/// stated end lies in the past by this clock.
fn renew_in(credentials: &Credentials, now: SystemTime, otherwise: Duration) -> Duration {
    let life = credentials
        .access_expire_time
        .and_then(|end| SystemTime::try_from(end).ok())
        .and_then(|end| end.duration_since(now).ok())
        .filter(|life| !life.is_zero())
        .unwrap_or(otherwise)
        // A clock that is slow would make it last too long.
        .min(ACCESS_TOKEN_LIFETIME);
    life - life / RENEWAL_PART
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BoxError> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| Error::Store(Arc::new(error))),
        Err(error) => Err(Error::Store(Arc::new(error.into()))),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn ends_in(now: SystemTime, seconds: i64) -> Credentials {
        let now = Timestamp::from(now);
        Credentials {
            access_expire_time: Some(Timestamp {
                seconds: now.seconds + seconds,
                nanos: now.nanos,
            }),
            ..Credentials::default()
        }
    }

    #[test]
    fn renewal_comes_when_a_third_is_left() {
        let now = SystemTime::now();
        for life in [900, 9] {
            let wait = renew_in(&ends_in(now, life), now, ACCESS_TOKEN_LIFETIME);
            assert_eq!(wait.as_secs(), life.unsigned_abs() * 2 / 3);
        }
    }

    #[test]
    fn slow_clock_does_not_stretch_the_life() {
        let now = SystemTime::now();
        let wait = renew_in(&ends_in(now, 100_000), now, ACCESS_TOKEN_LIFETIME);
        assert_eq!(wait, ACCESS_TOKEN_LIFETIME * 2 / 3);
    }

    #[test]
    fn fast_clock_does_not_make_new_credentials_look_old() {
        let now = SystemTime::now();
        let wait = renew_in(&ends_in(now, -3_600), now, ACCESS_TOKEN_LIFETIME);
        assert_eq!(wait, ACCESS_TOKEN_LIFETIME * 2 / 3);
        assert!(renew_in(&ends_in(now, -3_600), now, Duration::ZERO).is_zero());
    }
}
