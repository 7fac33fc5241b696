//! Argon2id: the parameters, the memory, and the PHC form of hashes.

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// Memory of one hash, in KiB: a row of OWASP's list.
const MEMORY_KIB: u32 = 19_456;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes of one hash.
const LANES: u32 = 1;
/// Bytes of a salt, as RFC 9106 recommends.
const SALT_BYTES: usize = 16;
/// Room that is asked for with a hash's memory and never touched: glibc gives what is larger than
/// 32 MiB back to the system as soon as it is freed (mallopt(3), `M_MMAP_THRESHOLD`), and keeps
/// smaller pieces, for each thread that ever hashed.
const CAPACITY_BYTES: usize = 33 << 20;

/// The hash of a new password in PHC string format.
pub(super) fn hash(password: &[u8]) -> SecretString {
    let salt: [u8; SALT_BYTES] = rand::random();
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("they are in range");
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
    let string = ParamsString::try_from(&params).expect("they have a string form");
    fill(
        &Argon2::new(algorithm, version, params),
        password,
        &salt,
        &mut output,
    )
    .expect("the parameters are in range");
    let hash = PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: string,
        salt: Some(Salt::new(&salt).expect("a salt of this length is allowed")),
        hash: Some(Output::new(&output).expect("an output of this length is allowed")),
    };
    hash.to_string().into()
}

/// Whether a password has this hash. `None` if that is no hash.
pub(super) fn verify(password: &[u8], expected: &SecretString) -> Option<bool> {
    let expected = PasswordHash::new(expected.expose_secret()).ok()?;
    let algorithm = Algorithm::try_from(expected.algorithm.as_str()).ok()?;
    let version = Version::try_from(expected.version?).ok()?;
    let params = Params::try_from(&expected).ok()?;
    let (salt, hash) = (expected.salt?, expected.hash?);
    let mut computed = [0; Output::MAX_LENGTH];
    let computed = computed.get_mut(..hash.as_bytes().len())?;
    let argon2 = Argon2::new(algorithm, version, params);
    fill(&argon2, password, &salt, computed).ok()?;
    Some(computed.ct_eq(hash.as_bytes()).into())
}

fn fill(
    argon2: &Argon2<'_>,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
) -> Result<(), argon2::Error> {
    let mut memory = Vec::with_capacity(CAPACITY_BYTES / Block::SIZE);
    memory.resize(argon2.params().block_count(), Block::default());
    argon2.hash_password_into_with_memory(password, salt, output, &mut memory)
}

#[cfg(test)]
mod tests {
    use argon2::PasswordVerifier;

    use super::*;

    #[test]
    fn hashes_are_those_of_the_crate() {
        let hash = hash(b"a long sentence of hers");
        let parsed = PasswordHash::new(hash.expose_secret()).expect("a hash");
        let theirs = Argon2::default();
        let verified = theirs.verify_password(b"a long sentence of hers", &parsed);
        assert_eq!(verified, Ok(()));
        assert!(
            hash.expose_secret()
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        );
        assert_eq!(verify(b"a long sentence of hers", &hash), Some(true));
        assert_eq!(verify(b"another", &hash), Some(false));
        assert_eq!(verify(b"another", &"no hash".to_owned().into()), None);
    }
}
