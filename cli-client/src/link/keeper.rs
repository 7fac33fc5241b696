//! Gives the client library its place in the credentials file. Knows no calls.

use std::{fs::File, path::PathBuf};

use magpie::{
    client::{BoxError, CredentialStore, LockedCredentials},
    v1,
};

use crate::{
    credentials::{Profile, Profiles, Store},
    failure::Failure,
};

/// Keeps one profile's credentials for the client library.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    store: Store,
    profile_name: String,
    /// At sign-up and log-in: where and who. Absent for renewals.
    fresh: Option<Fresh>,
}

/// Who logs in, and where.
#[derive(Clone, Debug)]
pub(crate) struct Fresh {
    pub(crate) server: String,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) handle: String,
}

impl Keeper {
    /// Keeps what renewals bring, under a profile that exists.
    pub(super) fn for_renewals(store: &Store, profile_name: &str) -> Self {
        Self {
            store: store.clone(),
            profile_name: profile_name.to_owned(),
            fresh: None,
        }
    }

    /// Keeps what a log-in brings, under a new or the same profile.
    pub(crate) fn for_log_in(store: &Store, profile_name: &str, fresh: Fresh) -> Self {
        Self {
            store: store.clone(),
            profile_name: profile_name.to_owned(),
            fresh: Some(fresh),
        }
    }
}

impl CredentialStore for Keeper {
    fn lock(&self) -> Result<Box<dyn LockedCredentials>, BoxError> {
        Ok(Box::new(LockedKeeper {
            _renewal: self.store.lock_renewal(&self.profile_name)?,
            keeper: self.clone(),
        }))
    }
}

struct LockedKeeper {
    _renewal: File,
    keeper: Keeper,
}

impl LockedCredentials for LockedKeeper {
    fn load(&mut self) -> Result<Option<v1::Credentials>, BoxError> {
        let profiles = self.keeper.store.load()?;
        let profile = profiles.profiles.get(&self.keeper.profile_name);
        Ok(profile.map(Profile::credentials))
    }

    fn save(&mut self, credentials: &v1::Credentials) -> Result<(), BoxError> {
        self.keeper
            .store
            .update(|profiles| self.keeper.put(profiles, credentials))?;
        Ok(())
    }
}

impl Keeper {
    fn put(&self, profiles: &mut Profiles, credentials: &v1::Credentials) -> Result<(), Failure> {
        if let Some(fresh) = &self.fresh {
            let mut profile = Profile::new(&fresh.server, &fresh.handle, credentials.clone());
            profile.ca_file.clone_from(&fresh.ca_file);
            return profiles.insert(&self.profile_name, profile);
        }
        match profiles.profiles.get_mut(&self.profile_name) {
            Some(held) if held.device_id == credentials.device_id => {
                *held = held.renewed(credentials.clone());
            }
            // Another log-in took the profile over, or a log-out ended it: these credentials are good
            // for this process only.
            Some(_) | None => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "http://127.0.0.1:7400";

    fn credentials(device_id: i64, access_token: &str) -> v1::Credentials {
        v1::Credentials {
            user_id: 1,
            device_id,
            access_token: access_token.to_owned(),
            ..v1::Credentials::default()
        }
    }

    fn logged_in() -> (tempfile::TempDir, Store, Keeper) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("magpie"));
        let fresh = Fresh {
            server: SERVER.to_owned(),
            ca_file: Some("/etc/ca.pem".into()),
            handle: "anna".to_owned(),
        };
        let first = Keeper::for_log_in(&store, "anna", fresh);
        first.lock().unwrap().save(&credentials(5, "one")).unwrap();
        let renewals = Keeper {
            fresh: None,
            ..first
        };
        (dir, store, renewals)
    }

    #[test]
    fn renewed_credentials_replace_the_former_ones() {
        let (_dir, store, keeper) = logged_in();
        keeper.lock().unwrap().save(&credentials(5, "two")).unwrap();
        assert_eq!(
            keeper.lock().unwrap().load().unwrap().unwrap().access_token,
            "two"
        );
        let profiles = store.load().unwrap();
        assert_eq!(profiles.current.as_deref(), Some("anna"));
        assert!(profiles.profiles["anna"].ca_file.is_some());
    }

    /// A renewal waits for a server, perhaps for long.
    #[test]
    fn renewals_of_one_profile_keep_no_other_waiting() {
        let (_dir, store, keeper) = logged_in();
        let renewing = keeper.lock().unwrap();
        let other = Keeper::for_renewals(&store, "bob");
        assert!(other.lock().unwrap().load().unwrap().is_none());
        store.check_writable().unwrap();
        drop(renewing);
    }

    #[test]
    fn a_renewal_does_not_overwrite_a_later_log_in() {
        let (_dir, store, keeper) = logged_in();
        keeper
            .lock()
            .unwrap()
            .save(&credentials(4, "stale"))
            .unwrap();
        assert_eq!(store.load().unwrap().profiles["anna"].access_token, "one");
    }

    #[test]
    fn a_renewal_does_not_bring_back_what_was_logged_out() {
        let (_dir, store, keeper) = logged_in();
        store
            .update(|profiles| {
                profiles.remove("anna");
                Ok(())
            })
            .unwrap();
        keeper.lock().unwrap().save(&credentials(5, "two")).unwrap();
        assert!(store.load().unwrap().profiles.is_empty());
    }
}
