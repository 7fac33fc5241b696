//! The credentials of each profile, and the rules of the file that holds them.
//!
//! Knows no network. A profile is one account on one server, under a name of the user's choice.

mod store;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use magpie::v1;
use serde::{Deserialize, Serialize};

use crate::{
    clock,
    failure::{Failure, Result},
    limits::PROFILE_NAME_CHARACTERS_MAX,
};

pub(crate) use store::Store;

/// What the file holds.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profiles {
    /// The profile used where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) profiles: BTreeMap<String, Profile>,
}

/// One account on one server, logged in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    /// Where it logged in.
    pub(crate) server: String,
    /// The certificate authorities to trust, where not the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The account's handle.
    pub(crate) handle: String,
    /// The account.
    pub(crate) user_id: i64,
    /// This device of the account.
    pub(crate) device_id: i64,
    /// Sent with every call.
    pub(crate) access_token: String,
    /// RFC 3339, by the server's clock.
    #[serde(default)]
    pub(crate) access_expire_time: String,
    /// Exchanged for the next access token.
    pub(crate) refresh_token: String,
    /// RFC 3339, by the server's clock.
    #[serde(default)]
    pub(crate) refresh_expire_time: String,
    /// Where the stream is opened; empty: at `server`.
    #[serde(default)]
    pub(crate) address: String,
}

impl Profile {
    /// The profile that a server's answer makes.
    pub(crate) fn new(server: &str, handle: &str, credentials: v1::Credentials) -> Self {
        let time = |time: Option<_>| clock::rfc3339(time.as_ref()).unwrap_or_default();
        Self {
            server: server.to_owned(),
            ca_file: None,
            handle: handle.to_owned(),
            user_id: credentials.user_id,
            device_id: credentials.device_id,
            access_token: credentials.access_token,
            access_expire_time: time(credentials.access_expire_time),
            refresh_token: credentials.refresh_token,
            refresh_expire_time: time(credentials.refresh_expire_time),
            address: credentials.address,
        }
    }

    /// The credentials as the wire has them.
    pub(crate) fn credentials(&self) -> v1::Credentials {
        let time = |text: &str| text.parse().ok().map(clock::to_wire);
        v1::Credentials {
            user_id: self.user_id,
            device_id: self.device_id,
            access_token: self.access_token.clone(),
            access_expire_time: time(&self.access_expire_time),
            refresh_token: self.refresh_token.clone(),
            refresh_expire_time: time(&self.refresh_expire_time),
            address: self.address.clone(),
        }
    }

    /// The same profile with newer credentials.
    pub(crate) fn renewed(&self, credentials: v1::Credentials) -> Self {
        Self {
            ca_file: self.ca_file.clone(),
            ..Self::new(&self.server, &self.handle, credentials)
        }
    }
}

/// Without the tokens: a debug print must not give them away.
impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("server", &self.server)
            .field("handle", &self.handle)
            .field("device_id", &self.device_id)
            .finish_non_exhaustive()
    }
}

impl Profiles {
    /// The profile of this name, or the current one, or the only one.
    pub(crate) fn select(&self, name: Option<&str>) -> Result<(&str, &Profile)> {
        let only = || match self.profiles.len() {
            1 => self.profiles.keys().next().map(String::as_str),
            _ => None,
        };
        let Some(name) = name.or(self.current.as_deref()).or_else(only) else {
            return Err(if self.profiles.is_empty() {
                Failure::not_logged_in("you are not logged in")
            } else {
                Failure::not_logged_in("no profile is chosen").hint(
                    "choose one with `magpie profile use NAME`; `magpie profile list` lists them",
                )
            });
        };
        match self.profiles.get_key_value(name) {
            Some((name, profile)) => Ok((name, profile)),
            None => Err(Failure::not_logged_in(format!(
                "there is no profile {name:?}: nobody is logged in under it"
            ))),
        }
    }

    /// Takes a profile in and makes it the current one. A name that stands for another account
    /// is not taken from it.
    pub(crate) fn insert(&mut self, name: &str, profile: Profile) -> Result<()> {
        self.check_free(name, &profile.server, &profile.handle)?;
        self.profiles.insert(name.to_owned(), profile);
        self.current = Some(name.to_owned());
        Ok(())
    }

    /// Whether this name may stand for this account.
    pub(crate) fn check_free(&self, name: &str, server: &str, handle: &str) -> Result<()> {
        match self.profiles.get(name) {
            Some(held) if held.server != server || held.handle != handle => {
                Err(Failure::usage(format!(
                    "profile {name:?} is @{} on {} already",
                    held.handle, held.server
                ))
                .hint("give this account a profile of its own with --profile NAME"))
            }
            _ => Ok(()),
        }
    }

    /// Takes a profile out.
    pub(crate) fn remove(&mut self, name: &str) {
        self.profiles.remove(name);
        if self.current.as_deref() == Some(name) {
            self.current = None;
        }
    }
}

/// Accepts a name for a profile.
pub(crate) fn profile_name(input: &str) -> std::result::Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte);
    if input.is_empty() || input.len() > PROFILE_NAME_CHARACTERS_MAX || !input.bytes().all(fits) {
        return Err(format!(
            "a profile's name is 1 to {PROFILE_NAME_CHARACTERS_MAX} letters, digits, `_`, `-`, `.` or `@`"
        ));
    }
    Ok(input.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::failure::Exit;

    /// Somebody on a server where nobody listens.
    pub(crate) fn profile(handle: &str) -> Profile {
        Profile::new(
            "http://127.0.0.1:1",
            handle,
            v1::Credentials {
                user_id: 7,
                device_id: 8,
                access_token: "access-secret".to_owned(),
                access_expire_time: Some(clock::to_wire("2026-11-24T10:15:00Z".parse().unwrap())),
                refresh_token: "refresh-secret".to_owned(),
                refresh_expire_time: None,
                address: String::new(),
            },
        )
    }

    fn two() -> Profiles {
        let mut profiles = Profiles::default();
        profiles.insert("anna", profile("anna")).unwrap();
        profiles.insert("bob", profile("bob")).unwrap();
        profiles
    }

    #[test]
    fn the_latest_log_in_is_current() {
        assert_eq!(two().select(None).unwrap().0, "bob");
        assert_eq!(two().select(Some("anna")).unwrap().1.handle, "anna");
    }

    #[test]
    fn the_only_profile_needs_no_choice() {
        let mut profiles = two();
        profiles.remove("bob");
        assert_eq!(profiles.select(None).unwrap().0, "anna");
    }

    #[test]
    fn nobody_logged_in_has_its_own_exit_code() {
        let failure = Profiles::default().select(None).unwrap_err();
        assert_eq!(failure.exit(), Exit::NotLoggedIn);
        let failure = two().select(Some("carla")).unwrap_err();
        assert_eq!(failure.exit(), Exit::NotLoggedIn);
    }

    #[test]
    fn a_profile_is_not_taken_over_by_another_account() {
        let mut profiles = two();
        let failure = profiles.insert("anna", profile("mallory")).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert_eq!(profiles.profiles["anna"].handle, "anna");
    }

    #[test]
    fn the_same_account_may_log_in_again() {
        assert!(two().insert("anna", profile("anna")).is_ok());
    }

    #[test]
    fn debug_output_holds_no_token() {
        assert!(!format!("{:?}", two()).contains("secret"));
    }

    #[test]
    fn credentials_survive_the_profile() {
        let profile = profile("anna");
        assert_eq!(profile.renewed(profile.credentials()), profile);
    }

    #[test]
    fn names_cannot_be_paths() {
        assert!(profile_name("anna-work.2").is_ok());
        for bad in ["", "a/b", "a b", "é"] {
            assert!(profile_name(bad).is_err(), "{bad:?}");
        }
    }
}
