//! Who may call: passwords, tokens, devices and their ends. Knows the account store; knows no wire
//! format and no rooms.

mod access;
mod accounts;
mod argon2id;
mod hasher;
mod hex;
pub mod limits;
mod password;
mod rates;
mod refresh;
mod revocations;
mod store_refusal;

use http::{HeaderMap, header::AUTHORIZATION};
use magpie_core::{
    ids::{DeviceId, UserId},
    refusal::{Reason, Refusal},
    time::Timestamp,
};

pub use self::{
    access::{AccessKeys, AccessToken, KeyError},
    accounts::{Accounts, Credentials, LogIn, SignUp},
    hasher::Hasher,
    limits::Limits,
    revocations::Revocations,
    store_refusal::store_refusal,
};

/// Who makes a call. An extension of every request that passed authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// When the access token ends. A stream ends with it, unless it was given another one.
    pub expires: Timestamp,
}

/// Tells who makes a call. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authenticator {
    keys: AccessKeys,
    revocations: Revocations,
}

impl Authenticator {
    /// Accepts tokens of these keys whose devices are not revoked.
    pub fn new(keys: AccessKeys, revocations: Revocations) -> Self {
        Self { keys, revocations }
    }

    /// The caller by the metadata of a call.
    pub fn authenticate(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Refusal> {
        let token = bearer(headers).ok_or_else(|| {
            Refusal::new(
                Reason::Unauthenticated,
                "this call needs an access token: log in and send `authorization: Bearer <token>`",
            )
        })?;
        self.authenticate_token(token, now)
    }

    /// The caller by an access token, as streams are given one in band.
    pub fn authenticate_token(&self, token: &str, now: Timestamp) -> Result<Caller, Refusal> {
        let caller = self.keys.check(token, now)?;
        self.check_device(caller.device)?;
        Ok(caller)
    }

    /// Refuses a device that was revoked.
    pub fn check_device(&self, device: DeviceId) -> Result<(), Refusal> {
        if self.revocations.is_revoked(device) {
            return Err(Refusal::new(
                Reason::DeviceRevoked,
                "this device was logged out or revoked: log in again",
            ));
        }
        Ok(())
    }

    /// The devices that are revoked.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }
}

/// The token of the only `authorization` header. Two of them are one too many: a proxy and the node
/// could disagree on which counts.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_of(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().expect("it is a header"));
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn a_bearer_token_is_found_in_one_header_only() {
        assert_eq!(token_of(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(token_of(&["bearer  abc "]).as_deref(), Some("abc"));
        assert_eq!(token_of(&[]), None);
        assert_eq!(token_of(&["abc"]), None);
        assert_eq!(token_of(&["Basic abc"]), None);
        assert_eq!(token_of(&["Bearer abc", "Bearer def"]), None);
    }
}
