//! Who people are: profiles and look-ups.

use magpie_core::{ids::UserId, refusal::Refusal};
use magpie_store::account::User;

use super::{Accounts, store_refusal, user_not_found};
use crate::{auth::Caller, validate};

impl Accounts {
    /// A user who is known to exist.
    pub async fn user(&self, user: UserId) -> Result<User, Refusal> {
        let found = self.users(vec![user]).await?;
        found.into_iter().next().ok_or_else(user_not_found)
    }

    /// The users that exist among those asked for.
    pub async fn users(&self, users: Vec<UserId>) -> Result<Vec<User>, Refusal> {
        self.store().users(users).await.map_err(store_refusal)
    }

    /// Changes what is given of the caller's profile.
    pub async fn update_profile(
        &self,
        caller: Caller,
        display_name: Option<String>,
    ) -> Result<User, Refusal> {
        let Some(display_name) = display_name else {
            return self.user(caller.user).await;
        };
        let display_name = validate::display_name("display_name", &display_name)?;
        let now = self.now().instant;
        self.inner.rates.profile_change(caller.user, now)?;
        let changed = self
            .store()
            .set_display_name(caller.user, display_name)
            .await;
        changed.map_err(store_refusal)?.ok_or_else(user_not_found)
    }

    /// Counts a call that looks people up by handle, before it does.
    pub fn count_look_up(&self, caller: UserId) -> Result<(), Refusal> {
        let now = self.now().instant;
        self.inner.rates.find_users(caller, 1, now)
    }

    /// Counts the handles of such a call that nobody has. One was counted with the call; of more than
    /// a burst, a burst.
    pub fn count_unknown(&self, caller: UserId, unknown: u64) -> Result<(), Refusal> {
        let more = unknown.min(self.inner.limits.find_user_burst);
        match more.saturating_sub(1) {
            0 => Ok(()),
            more => {
                let now = self.now().instant;
                self.inner.rates.find_users(caller, more, now)
            }
        }
    }

    /// Finds a user by handle, within the rate at which the caller may.
    pub async fn find_user(&self, caller: Caller, handle: &str) -> Result<User, Refusal> {
        self.count_look_up(caller.user)?;
        validate::handle("handle", handle)?;
        self.user_by_handle(handle).await
    }

    pub(super) async fn user_by_handle(&self, handle: &str) -> Result<User, Refusal> {
        let handle = validate::fold_handle(handle).ok_or_else(user_not_found)?;
        let found = self
            .store()
            .users_by_handle(vec![handle])
            .await
            .map_err(store_refusal)?;
        found.into_iter().next().ok_or_else(user_not_found)
    }
}
