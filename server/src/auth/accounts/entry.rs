//! Ways in: sign-up, log-in, renewal.

use std::net::SocketAddr;

use magpie_core::{
    ids::{DeviceId, UserId},
    refusal::{Reason, Refusal},
    time::Timestamp,
};
use magpie_store::account::{DeviceCreation, NewUser, Rotation, UserCreation};
use secrecy::{ExposeSecret, SecretString};

use super::{Accounts, Credentials, LogIn, SignUp, failed, store_refusal};
use crate::{
    auth::{password, refresh},
    ids::{self, PROPOSALS_MAX},
    validate,
};

const DAY_MILLIS: u64 = 24 * 60 * 60 * 1_000;
const DEFAULT_DEVICE_NAME: &str = "device";

impl Accounts {
    /// Makes an account with its first device.
    pub async fn sign_up(&self, wish: SignUp, peer: SocketAddr) -> Result<Credentials, Refusal> {
        let now = self.now();
        self.inner.rates.sign_up(peer, now.instant)?;
        let handle = validate::handle("handle", &wish.handle)?;
        let display_name = match wish.display_name.as_str() {
            "" => handle.clone(),
            name => validate::display_name("display_name", name)?,
        };
        let device_name = device_name(&wish.device_name)?;
        let length_min = self.inner.limits.password_characters_min;
        password::check_length("password", wish.password.expose_secret(), length_min)?;
        self.check_sign_up(&handle).await?;
        let names = vec![handle.clone(), display_name.clone()];
        let password_hash = self.inner.hasher.hash_new(wish.password, names).await?;

        let expires = self.device_end(now.wall);
        for _ in 0..PROPOSALS_MAX {
            let user = NewUser {
                id: ids::user(now.wall),
                handle: handle.clone(),
                display_name: display_name.clone(),
                password_hash: password_hash.clone(),
                created: now.wall,
            };
            let id = user.id;
            let device = ids::device(now.wall);
            let (new_device, token) =
                refresh::new_device(device, device_name.clone(), now.wall, expires);
            let creation = self.store().create_user(user, Some(new_device)).await;
            match creation.map_err(store_refusal)? {
                UserCreation::Created => {
                    return Ok(self.credentials(id, device, token, expires, now.wall));
                }
                UserCreation::HandleTaken => return Err(handle_taken()),
                UserCreation::IdTaken => {}
            }
        }
        Err(failed())
    }

    /// What can be refused without hashing the password. Handles are public, so saying at once that
    /// one is taken gives nothing away.
    async fn check_sign_up(&self, handle: &str) -> Result<(), Refusal> {
        if !self.store().sign_up_open().await.map_err(store_refusal)? {
            return Err(Refusal::new(
                Reason::SignUpClosed,
                "sign-up is closed here: ask the operator for an account",
            ));
        }
        let holder = self.store().users_by_handle(vec![handle.to_owned()]).await;
        if !holder.map_err(store_refusal)?.is_empty() {
            return Err(handle_taken());
        }
        Ok(())
    }

    /// Makes another device of an account. Answers with the devices that were ended to make room
    /// for it.
    ///
    /// Whether a user exists shows neither in the answer nor in the work.
    pub async fn log_in(
        &self,
        wish: LogIn,
        peer: SocketAddr,
    ) -> Result<(Credentials, Vec<DeviceId>), Refusal> {
        let now = self.now();
        self.inner.rates.log_in(peer, now.instant)?;
        let device_name = device_name(&wish.device_name)?;
        if !password::is_possible(wish.password.expose_secret()) {
            return Err(wrong_credentials());
        }
        // What cannot be a handle is nobody's.
        let handle = validate::fold_handle(&wish.handle).unwrap_or_default();
        self.inner.rates.password_try(&handle, now.instant)?;
        let login = self.store().login(handle).await.map_err(store_refusal)?;
        let (user, hash) = login.map(|login| (login.user, login.password_hash)).unzip();
        let right = self
            .inner
            .hasher
            .verify(wish.password, hash.clone())
            .await?;
        let user = user.filter(|_| right).ok_or_else(wrong_credentials)?;
        if user.disabled {
            return Err(user_disabled());
        }
        let accounts = self.clone();
        Self::to_the_end(async move {
            let added = accounts.add_device(user.id, device_name, now.wall).await?;
            accounts.check_unchanged(user.id, hash, &added.0).await?;
            Ok(added)
        })
        .await
    }

    /// Ends a new device again if the password was changed while its log-in was under way: it was let
    /// in by the old one, after the change had ended all others.
    async fn check_unchanged(
        &self,
        user: UserId,
        verified: Option<SecretString>,
        credentials: &Credentials,
    ) -> Result<(), Refusal> {
        let present = self.store().password_hash(user).await;
        let present = present.map_err(store_refusal)?;
        let exposed =
            |hash: &Option<SecretString>| hash.as_ref().map(|h| h.expose_secret().to_owned());
        if exposed(&present) == exposed(&verified) {
            return Ok(());
        }
        let now = self.now().wall;
        let device = credentials.device;
        let revoked = self.store().revoke_device(user, device, now).await;
        revoked.map_err(store_refusal)?;
        self.inner.revocations.add([device], now);
        Err(wrong_credentials())
    }

    async fn add_device(
        &self,
        user: UserId,
        name: String,
        now: Timestamp,
    ) -> Result<(Credentials, Vec<DeviceId>), Refusal> {
        let devices_max = usize::try_from(self.inner.limits.account_devices_max);
        let devices_max = devices_max.unwrap_or(usize::MAX);
        let expires = self.device_end(now);
        for _ in 0..PROPOSALS_MAX {
            let device = ids::device(now);
            let (new_device, token) = refresh::new_device(device, name.clone(), now, expires);
            let creation = self
                .store()
                .create_device(user, new_device, devices_max)
                .await;
            match creation.map_err(store_refusal)? {
                DeviceCreation::Created { ended } => {
                    self.inner.revocations.add(ended.iter().copied(), now);
                    let credentials = self.credentials(user, device, token, expires, now);
                    return Ok((credentials, ended));
                }
                // Disabled since the password was checked: users are never taken out.
                DeviceCreation::NoUser => return Err(user_disabled()),
                DeviceCreation::IdTaken => {}
            }
        }
        Err(failed())
    }

    /// Exchanges a refresh token for the next tokens of its device.
    pub async fn refresh(
        &self,
        token: SecretString,
        peer: SocketAddr,
    ) -> Result<Credentials, Refusal> {
        let now = self.now();
        self.inner.rates.refresh(peer, now.instant)?;
        let (refresh, next) = refresh::rotation(&token).ok_or_else(invalid_refresh_token)?;
        let accounts = self.clone();
        Self::to_the_end(async move {
            let rotation = accounts
                .store()
                .rotate_refresh_token(refresh, now.wall)
                .await;
            match rotation.map_err(store_refusal)? {
                Rotation::Rotated { user, expires } => {
                    Ok(accounts.credentials(user, refresh.device, next, expires, now.wall))
                }
                Rotation::Reused { user } => {
                    accounts.inner.revocations.add([refresh.device], now.wall);
                    tracing::warn!(
                        %user,
                        device = %refresh.device,
                        "a spent refresh token was presented: the device was revoked"
                    );
                    Err(invalid_refresh_token())
                }
                Rotation::Invalid => Err(invalid_refresh_token()),
            }
        })
        .await
    }

    fn device_end(&self, now: Timestamp) -> Timestamp {
        let lifetime = self.inner.limits.device_days.saturating_mul(DAY_MILLIS);
        Timestamp(now.0.saturating_add(lifetime))
    }
}

fn device_name(given: &str) -> Result<String, Refusal> {
    match given {
        "" => Ok(DEFAULT_DEVICE_NAME.to_owned()),
        name => validate::device_name("device_name", name),
    }
}

fn handle_taken() -> Refusal {
    Refusal::new(
        Reason::HandleTaken,
        "this handle belongs to somebody: choose another one",
    )
}

fn user_disabled() -> Refusal {
    Refusal::new(
        Reason::UserDisabled,
        "an operator has disabled this account",
    )
}

fn invalid_refresh_token() -> Refusal {
    Refusal::new(
        Reason::RefreshTokenInvalid,
        "the refresh token is unknown, expired or used up: log in with the password",
    )
}

pub(super) fn wrong_credentials() -> Refusal {
    Refusal::new(
        Reason::WrongCredentials,
        "the handle or the password is wrong",
    )
}
