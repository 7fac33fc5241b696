//! Access tokens: JWTs signed with Ed25519, which every node of a deployment can check by itself.
//! Keys are named by `kid`, so that another can take over.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use ed25519_dalek::pkcs8::EncodePrivateKey;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use magpie_core::{
    ids::{DeviceId, UserId},
    refusal::{Reason, Refusal},
    time::Timestamp,
};
use magpie_store::account::{AccountStore, Error, SigningKey};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};

use super::{Caller, limits::TOKEN_BYTES_MAX};

/// The type of RFC 9068: no other kind of token passes for an access token.
const TYPE: &str = "at+jwt";
/// Whom the tokens are for.
const AUDIENCE: &str = "magpie";

/// An access token and its end.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// What the client sends.
    pub token: SecretString,
    /// When it ends.
    pub expires: Timestamp,
}

/// The keys that sign and check access tokens. Cheap to clone.
#[derive(Clone)]
pub struct AccessKeys {
    inner: Arc<Inner>,
}

struct Inner {
    kid: String,
    signing: EncodingKey,
    /// By kid.
    checking: HashMap<String, DecodingKey>,
    lifetime: Duration,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    /// The user. The standard wants a string.
    sub: String,
    device: i64,
    /// Seconds since 1970, as the standard wants it.
    exp: u64,
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store did not give them.
    #[error("the keys that sign access tokens could not be read")]
    Store(#[from] Error),
    /// What it gave is no key.
    #[error("the key {0:?} that signs access tokens is damaged")]
    Damaged(String),
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKeys")
            .field("kid", &self.inner.kid)
            .finish_non_exhaustive()
    }
}

impl AccessKeys {
    /// The deployment's keys; the first start makes one.
    pub async fn load(
        store: &dyn AccountStore,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let kid: [u8; 8] = rand::random();
        let seed: [u8; 32] = rand::random();
        let proposed = SigningKey {
            kid: super::hex::encode(&kid),
            seed: SecretSlice::from(seed.to_vec()),
            created: now,
        };
        let keys = store.signing_keys(proposed).await?;
        Self::new(&keys, lifetime)
    }

    /// Signs with the first of the keys, and checks with any.
    fn new(keys: &[SigningKey], lifetime: Duration) -> Result<Self, KeyError> {
        let mut checking = HashMap::new();
        let mut signing = None;
        for key in keys {
            let damaged = || KeyError::Damaged(key.kid.clone());
            let seed = key.seed.expose_secret().try_into().map_err(|_| damaged())?;
            let pair = ed25519_dalek::SigningKey::from_bytes(seed);
            let public = DecodingKey::from_ed_der(pair.verifying_key().as_bytes());
            checking.insert(key.kid.clone(), public);
            if signing.is_none() {
                let private = pair.to_pkcs8_der().map_err(|_| damaged())?;
                signing = Some((
                    key.kid.clone(),
                    EncodingKey::from_ed_der(private.as_bytes()),
                ));
            }
        }
        let (kid, signing) = signing.ok_or_else(|| KeyError::Damaged(String::new()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                kid,
                signing,
                checking,
                lifetime,
            }),
        })
    }

    /// A new token of a device.
    pub fn issue(&self, user: UserId, device: DeviceId, now: Timestamp) -> AccessToken {
        let exp = now.0.saturating_add(millis(self.inner.lifetime)) / 1_000;
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            sub: user.to_string(),
            device: device.get(),
            exp,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(self.inner.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.inner.signing)
            .expect("the key was checked when it was loaded");
        AccessToken {
            token: token.into(),
            expires: Timestamp(exp * 1_000),
        }
    }

    /// Whose token it is, if it is one of ours and has not ended. It ends at the latest with the
    /// key that signed it: whoever has a refresh token gets one of the next key.
    pub fn check(&self, token: &str, now: Timestamp) -> Result<Caller, Refusal> {
        let kid = kid_of(token).ok_or_else(unauthenticated)?;
        let key = self.inner.checking.get(&kid).ok_or_else(expired)?;
        let caller = decode(token, key).ok_or_else(unauthenticated)?;
        if caller.expires <= now {
            return Err(expired());
        }
        Ok(caller)
    }
}

/// The key that a token names, if it is an access token by its form.
fn kid_of(token: &str) -> Option<String> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let header = jsonwebtoken::decode_header(token).ok()?;
    let ours = header.alg == Algorithm::EdDSA && header.typ.as_deref() == Some(TYPE);
    header.kid.filter(|_| ours)
}

fn decode(token: &str, key: &DecodingKey) -> Option<Caller> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["exp", "aud", "sub"]);
    validation.set_audience(&[AUDIENCE]);
    // Compared with the time that is handed in.
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Claims>(token, key, &validation)
        .ok()?
        .claims;
    Some(Caller {
        user: UserId::new(claims.sub.parse().ok()?)?,
        device: DeviceId::new(claims.device)?,
        expires: Timestamp(claims.exp.saturating_mul(1_000)),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn expired() -> Refusal {
    Refusal::new(
        Reason::TokenExpired,
        "the access token has expired: renew it with RefreshToken",
    )
}

/// One answer for all that is wrong with a token but its age: the rest helps only a forger.
fn unauthenticated() -> Refusal {
    Refusal::new(
        Reason::Unauthenticated,
        "the access token is not valid here: log in and send `authorization: Bearer <token>`",
    )
}

#[cfg(test)]
mod tests;
