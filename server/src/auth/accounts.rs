//! The ways into an account and out of it: sign-up, log-in, renewal, devices, passwords. Each step
//! that ends devices makes that known before it answers.

mod devices;
mod entry;
mod people;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use magpie_core::{
    ids::{DeviceId, UserId},
    refusal::{Effect, Reason, Refusal},
    time::{Now, Timestamp},
};
use magpie_store::account::AccountStore;
use secrecy::SecretString;

use super::{
    AccessKeys, Authenticator, Hasher, KeyError, Limits, Revocations, rates::Rates, store_refusal,
};
use crate::clock::Clock;

/// What a device needs to call and to stay logged in.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The account.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// For calls.
    pub access_token: SecretString,
    /// When it ends.
    pub access_expires: Timestamp,
    /// For the next tokens.
    pub refresh_token: SecretString,
    /// When the password is needed again.
    pub refresh_expires: Timestamp,
}

/// What a person gives to sign up.
#[derive(Clone, Debug)]
pub struct SignUp {
    /// In any case.
    pub handle: String,
    /// Empty: the handle.
    pub display_name: String,
    /// In the clear.
    pub password: SecretString,
    /// Empty: "device".
    pub device_name: String,
}

/// What a person gives to log in.
#[derive(Clone, Debug)]
pub struct LogIn {
    /// In any case.
    pub handle: String,
    /// In the clear.
    pub password: SecretString,
    /// Empty: "device".
    pub device_name: String,
}

/// The accounts of a deployment, as this node serves them. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn AccountStore>,
    keys: AccessKeys,
    revocations: Revocations,
    hasher: Hasher,
    rates: Rates,
    limits: Limits,
    clock: Clock,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts")
            .field("store", &self.inner.store)
            .finish_non_exhaustive()
    }
}

impl Accounts {
    /// Reads the signing keys and the late revocations, and makes the first key at the first
    /// start.
    pub async fn open(
        store: Arc<dyn AccountStore>,
        limits: Limits,
        clock: Clock,
    ) -> Result<Self, KeyError> {
        let now = clock.now().wall;
        let lifetime = Duration::from_millis(limits.access_token_millis);
        let keys = AccessKeys::load(&*store, lifetime, now).await?;
        let revocations = Revocations::load(&*store, lifetime, now).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                keys,
                revocations,
                hasher: Hasher::new(limits.password_waiting_max),
                rates: Rates::new(&limits),
                store,
                limits,
                clock,
            }),
        })
    }

    /// Tells who makes a call.
    pub fn authenticator(&self) -> Authenticator {
        Authenticator::new(self.inner.keys.clone(), self.inner.revocations.clone())
    }

    /// The hasher, for its count.
    pub fn hasher(&self) -> &Hasher {
        &self.inner.hasher
    }

    fn store(&self) -> &dyn AccountStore {
        &*self.inner.store
    }

    fn now(&self) -> Now {
        self.inner.clock.now()
    }

    fn credentials(
        &self,
        user: UserId,
        device: DeviceId,
        refresh_token: SecretString,
        refresh_expires: Timestamp,
        now: Timestamp,
    ) -> Credentials {
        let access = self.inner.keys.issue(user, device, now);
        Credentials {
            user,
            device,
            access_token: access.token,
            access_expires: access.expires,
            refresh_token,
            refresh_expires,
        }
    }

    /// Runs a step that ends devices to its end, whatever becomes of the caller: between the store
    /// and the revocations nothing may be cut off.
    async fn to_the_end<T: Send + 'static>(
        step: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        tokio::spawn(step).await.unwrap_or_else(|_| Err(failed()))
    }
}

fn failed() -> Refusal {
    Refusal::new(Reason::Internal, "the node failed: its log has the details")
        .with_effect(Effect::Unknown)
}

fn user_not_found() -> Refusal {
    Refusal::new(Reason::UserNotFound, "no user has this id or handle")
}

#[cfg(test)]
mod tests;
