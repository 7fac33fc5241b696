//! Which tokens pass.

use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const LIFETIME: Duration = Duration::from_secs(900);

fn key(kid: &str, byte: u8) -> SigningKey {
    SigningKey {
        kid: kid.to_owned(),
        seed: SecretSlice::from(vec![byte; 32]),
        created: NOW,
    }
}

fn keys(keys: &[SigningKey]) -> AccessKeys {
    AccessKeys::new(keys, LIFETIME).expect("they are keys")
}

fn ours() -> AccessKeys {
    keys(&[key("a", 1)])
}

fn ids() -> (UserId, DeviceId) {
    (
        UserId::new(7).expect("positive"),
        DeviceId::new(8).expect("positive"),
    )
}

fn issued(keys: &AccessKeys) -> String {
    let (user, device) = ids();
    keys.issue(user, device, NOW)
        .token
        .expose_secret()
        .to_owned()
}

fn reason(keys: &AccessKeys, token: &str) -> Option<Reason> {
    keys.check(token, NOW).err().map(|refusal| refusal.reason)
}

/// A token signed with our key, in which `header` and `claims` replace what they name.
fn altered(header: &Value, claims: &Value) -> String {
    let mut standard = Header::new(Algorithm::EdDSA);
    standard.typ = header["typ"].as_str().map(str::to_owned);
    standard.kid = header["kid"].as_str().map(str::to_owned);
    jsonwebtoken::encode(&standard, claims, &ours().inner.signing).expect("it can be signed")
}

#[test]
fn a_token_names_its_device_until_it_ends() {
    let keys = ours();
    let (user, device) = ids();
    let token = keys.issue(user, device, NOW);
    assert_eq!(token.expires, Timestamp(NOW.0 + 900_000));
    let caller = keys
        .check(token.token.expose_secret(), NOW)
        .expect("it is ours");
    assert_eq!(
        caller,
        Caller {
            user,
            device,
            expires: token.expires
        }
    );

    let last = Timestamp(token.expires.0 - 1);
    assert!(keys.check(token.token.expose_secret(), last).is_ok());
    let refusal = keys
        .check(token.token.expose_secret(), token.expires)
        .expect_err("it ended");
    assert_eq!(refusal.reason, Reason::TokenExpired);
}

#[test]
fn a_token_of_another_key_is_refused() {
    assert_eq!(
        reason(&ours(), &issued(&keys(&[key("a", 2)]))),
        Some(Reason::Unauthenticated)
    );
}

#[test]
fn a_token_ends_with_its_key() {
    assert_eq!(
        reason(&ours(), &issued(&keys(&[key("b", 1)]))),
        Some(Reason::TokenExpired)
    );
}

#[test]
fn a_former_key_still_checks_and_the_newest_signs() {
    let both = keys(&[key("b", 2), key("a", 1)]);
    assert_eq!(reason(&both, &issued(&ours())), None);
    assert_eq!(reason(&ours(), &issued(&both)), Some(Reason::TokenExpired));
}

#[test]
fn kid_type_and_audience_must_be_right() {
    let header = json!({"typ": TYPE, "kid": "a"});
    let claims = json!({"aud": AUDIENCE, "sub": "7", "device": 8, "exp": NOW.0 / 1000 + 60});
    assert_eq!(reason(&ours(), &altered(&header, &claims)), None);

    for header in [
        json!({"typ": "JWT", "kid": "a"}),
        json!({"kid": "a"}),
        json!({"typ": TYPE}),
    ] {
        let token = altered(&header, &claims);
        assert_eq!(
            reason(&ours(), &token),
            Some(Reason::Unauthenticated),
            "{header}"
        );
    }
    let exp = NOW.0 / 1000 + 60;
    for claims in [
        json!({"aud": "other", "sub": "7", "device": 8, "exp": exp}),
        json!({"sub": "7", "device": 8, "exp": exp}),
        json!({"aud": AUDIENCE, "device": 8, "exp": exp}),
        json!({"aud": AUDIENCE, "sub": "7", "exp": exp}),
        json!({"aud": AUDIENCE, "sub": "7", "device": 8}),
        json!({"aud": AUDIENCE, "sub": "-7", "device": 8, "exp": exp}),
        json!({"aud": AUDIENCE, "sub": "7", "device": 0, "exp": exp}),
    ] {
        let token = altered(&header, &claims);
        assert_eq!(
            reason(&ours(), &token),
            Some(Reason::Unauthenticated),
            "{claims}"
        );
    }
}

#[test]
fn a_token_that_was_tampered_with_is_refused() {
    let keys = ours();
    let token = issued(&keys);
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("it is ASCII");
        // The last character of a signature holds four bits that mean nothing.
        if keys.check(&changed, NOW).is_ok() {
            assert_eq!(at, token.len() - 1);
        }
    }
    for other in [
        "",
        ".",
        "..",
        "a.b.c",
        &token[1..],
        &format!("{token}.x"),
        &"x".repeat(5_000),
    ] {
        assert_eq!(reason(&keys, other), Some(Reason::Unauthenticated));
    }
}

#[test]
fn an_unsigned_or_symmetric_token_is_refused() {
    let token = issued(&ours());
    let (_, claims_and_signature) = token.split_once('.').expect("it has three parts");
    // {"alg":"none","typ":"at+jwt","kid":"a"} in base64.
    let header = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0Iiwia2lkIjoiYSJ9";
    let unsigned = format!("{header}.{claims_and_signature}");
    assert_eq!(reason(&ours(), &unsigned), Some(Reason::Unauthenticated));

    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some("a".to_owned());
    let claims = json!({"aud": AUDIENCE, "sub": "7", "device": 8, "exp": NOW.0 / 1000 + 60});
    let public = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key();
    let secret = EncodingKey::from_secret(public.as_bytes());
    let symmetric = jsonwebtoken::encode(&header, &claims, &secret).expect("it can be signed");
    assert_eq!(reason(&ours(), &symmetric), Some(Reason::Unauthenticated));
}

#[test]
fn keys_are_not_shown() {
    let shown = format!("{:?} {:?}", ours(), key("a", 1));
    assert!(!shown.contains("1, 1"), "{shown}");
    let (user, device) = ids();
    let token = ours().issue(user, device, NOW);
    assert!(!format!("{token:?}").contains(token.token.expose_secret()));
}
