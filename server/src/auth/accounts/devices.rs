//! Ways out: log-out, revoked devices, changed passwords, disabled users.

use magpie_core::{
    ids::{DeviceId, UserId},
    refusal::{Reason, Refusal},
};
use magpie_store::account::{Device, User};
use secrecy::{ExposeSecret, SecretString};

use super::{Accounts, entry::wrong_credentials, store_refusal, user_not_found};
use crate::auth::{Caller, password};

impl Accounts {
    /// Ends the calling device. Safe to retry.
    pub async fn log_out(&self, caller: Caller) -> Result<(), Refusal> {
        // That it had ended already is what the caller wanted.
        self.revoke(caller.user, caller.device).await.map(drop)
    }

    /// Ends a device of the caller's account.
    pub async fn revoke_device(&self, caller: Caller, device: DeviceId) -> Result<(), Refusal> {
        if self.revoke(caller.user, device).await? {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::DeviceNotFound,
            "this account has no such device, or it was ended already",
        ))
    }

    async fn revoke(&self, user: UserId, device: DeviceId) -> Result<bool, Refusal> {
        let accounts = self.clone();
        Self::to_the_end(async move {
            let now = accounts.now().wall;
            let revoked = accounts.store().revoke_device(user, device, now).await;
            let revoked = revoked.map_err(store_refusal)?;
            if revoked {
                accounts.inner.revocations.add([device], now);
            }
            Ok(revoked)
        })
        .await
    }

    /// The devices of the caller's account, most recently used first.
    pub async fn devices(&self, caller: Caller) -> Result<Vec<Device>, Refusal> {
        let now = self.now().wall;
        self.store()
            .devices(caller.user, now)
            .await
            .map_err(store_refusal)
    }

    /// Changes the caller's password and ends all other devices.
    pub async fn change_password(
        &self,
        caller: Caller,
        old: SecretString,
        new: SecretString,
    ) -> Result<(), Refusal> {
        let length_min = self.inner.limits.password_characters_min;
        password::check_length("new_password", new.expose_secret(), length_min)?;
        if !password::is_possible(old.expose_secret()) {
            return Err(wrong_credentials());
        }
        let user = self.user(caller.user).await?;
        self.inner
            .rates
            .password_try(&user.handle, self.now().instant)?;
        let hash = self
            .store()
            .password_hash(user.id)
            .await
            .map_err(store_refusal)?;
        if !self.inner.hasher.verify(old, hash).await? {
            return Err(wrong_credentials());
        }
        self.set_password(user, new, Some(caller.device)).await?;
        Ok(())
    }

    /// Gives a user another password and ends all devices, as an operator may. Returns how many.
    pub async fn reset_password(&self, handle: &str, new: SecretString) -> Result<usize, Refusal> {
        let length_min = self.inner.limits.password_characters_min;
        password::check_length("password", new.expose_secret(), length_min)?;
        let user = self.user_by_handle(handle).await?;
        self.set_password(user, new, None).await
    }

    async fn set_password(
        &self,
        user: User,
        new: SecretString,
        keep: Option<DeviceId>,
    ) -> Result<usize, Refusal> {
        let names = vec![user.handle, user.display_name];
        let hash = self.inner.hasher.hash_new(new, names).await?;
        let accounts = self.clone();
        Self::to_the_end(async move {
            let now = accounts.now().wall;
            let revoked = accounts
                .store()
                .set_password(user.id, hash, keep, now)
                .await;
            let revoked = revoked.map_err(store_refusal)?.ok_or_else(user_not_found)?;
            let ended = revoked.len();
            accounts.inner.revocations.add(revoked, now);
            Ok(ended)
        })
        .await
    }

    /// Disables a user and ends all devices, or enables the user, as an operator may. Returns how
    /// many devices ended.
    pub async fn set_disabled(&self, handle: &str, disabled: bool) -> Result<usize, Refusal> {
        let user = self.user_by_handle(handle).await?.id;
        let accounts = self.clone();
        Self::to_the_end(async move {
            let now = accounts.now().wall;
            let revoked = accounts.store().set_disabled(user, disabled, now).await;
            let revoked = revoked.map_err(store_refusal)?.ok_or_else(user_not_found)?;
            let ended = revoked.len();
            accounts.inner.revocations.add(revoked, now);
            Ok(ended)
        })
        .await
    }

    /// Opens or closes sign-up, as an operator may.
    pub async fn set_sign_up_open(&self, open: bool) -> Result<(), Refusal> {
        self.store()
            .set_sign_up_open(open)
            .await
            .map_err(store_refusal)
    }
}
