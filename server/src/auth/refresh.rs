//! Refresh tokens: opaque to clients, kept by the node only as hashes. Each names its device and
//! holds a secret of the device's family, which tells a token that was once valid from a guess.

use magpie_core::{ids::DeviceId, time::Timestamp};
use magpie_store::account::{NewDevice, Refresh, TokenHash};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::hex;

/// Lets people and scanners recognise a token that leaked.
const PREFIX: &str = "mgpr_";
const DEVICE_BYTES: usize = 8;
const FAMILY_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const TOKEN_BYTES: usize = DEVICE_BYTES + FAMILY_BYTES + SECRET_BYTES;

/// A refresh token in the clear.
struct RefreshToken {
    device: DeviceId,
    family: [u8; FAMILY_BYTES],
    secret: [u8; SECRET_BYTES],
}

impl RefreshToken {
    fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; TOKEN_BYTES] = hex::decode(text.strip_prefix(PREFIX)?)?;
        let (device, rest) = bytes.split_first_chunk()?;
        let (family, rest) = rest.split_first_chunk()?;
        let (secret, _) = rest.split_first_chunk()?;
        Some(Self {
            device: DeviceId::new(i64::from_be_bytes(*device))?,
            family: *family,
            secret: *secret,
        })
    }

    fn text(&self) -> SecretString {
        let bytes = [
            &self.device.get().to_be_bytes()[..],
            &self.family,
            &self.secret,
        ]
        .concat();
        format!("{PREFIX}{}", hex::encode(&bytes)).into()
    }

    /// The next one of the same family.
    fn next(&self) -> Self {
        Self {
            device: self.device,
            family: self.family,
            secret: rand::random(),
        }
    }

    fn family_hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.family).into())
    }

    fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.text().expose_secret()).into())
    }
}

/// A device to be made, and its first refresh token.
pub(super) fn new_device(
    id: DeviceId,
    name: String,
    created: Timestamp,
    expires: Timestamp,
) -> (NewDevice, SecretString) {
    let token = RefreshToken {
        device: id,
        family: rand::random(),
        secret: rand::random(),
    };
    let device = NewDevice {
        id,
        name,
        family: token.family_hash(),
        token: token.hash(),
        created,
        expires,
    };
    (device, token.text())
}

/// What to ask of the store for a presented token, and the token to answer with. `None` if it is
/// none of ours by its form.
pub(super) fn rotation(presented: &SecretString) -> Option<(Refresh, SecretString)> {
    let token = RefreshToken::parse(presented.expose_secret())?;
    let next = token.next();
    let refresh = Refresh {
        device: token.device,
        family: token.family_hash(),
        token: token.hash(),
        next: next.hash(),
    };
    Some((refresh, next.text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> (NewDevice, SecretString) {
        let id = DeviceId::new(i64::MAX).expect("it is positive");
        new_device(id, String::new(), Timestamp(0), Timestamp(1))
    }

    #[test]
    fn a_token_is_recognised_by_its_hashes() {
        let (device, token) = first();
        let (refresh, next) = rotation(&token).expect("it is a token");
        assert_eq!(refresh.device, device.id);
        assert_eq!(refresh.family, device.family);
        assert_eq!(refresh.token, device.token);

        let (second, _) = rotation(&next).expect("it is a token");
        assert_eq!(second.token, refresh.next);
        assert_eq!(second.family, device.family);
        assert_ne!(second.token, refresh.token);
    }

    #[test]
    fn families_differ() {
        let ((one, _), (other, _)) = (first(), first());
        assert_ne!(one.family, other.family);
        assert_ne!(one.token, other.token);
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let (_, token) = first();
        let token = token.expose_secret();
        let upper = token.to_uppercase();
        let signed = format!("{PREFIX}+{}", &token[PREFIX.len() + 1..]);
        let zero = format!("{PREFIX}{}", "0".repeat(2 * TOKEN_BYTES));
        let wide = format!("{PREFIX}{}", "é".repeat(TOKEN_BYTES));
        for text in [
            "",
            PREFIX,
            &token[1..],
            &token[..token.len() - 1],
            &upper,
            &signed,
            &zero,
            &wide,
        ] {
            assert!(rotation(&text.to_owned().into()).is_none(), "{text}");
        }
    }
}
