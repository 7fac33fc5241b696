//! The credentials file on disk: only its user can read it, each write replaces it whole, and a
//! lock lets one process at a time change it. Another lock, one a profile, lets one process at a time
//! renew: that waits for a server, and no other profile does.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::Profiles;
use crate::failure::{Failure, Result};

const FILE_NAME: &str = "credentials.toml";
const LOCK_NAME: &str = "credentials.lock";
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The credentials file of one directory.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

/// Holds the right to change the file, against other processes and other tasks, until dropped.
#[derive(Debug)]
struct Locked {
    store: Store,
    // Closing the file releases the lock.
    _lock: File,
}

impl Store {
    /// The store in this directory; nothing is touched yet.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory of the user's configuration: `$XDG_CONFIG_HOME/magpie`, else
    /// `~/.config/magpie`.
    pub(crate) fn default_dir() -> Result<PathBuf> {
        // A relative path is invalid by the XDG specification, and is to be ignored.
        let absolute = |name| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let config = absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".config")))
            .ok_or_else(|| {
                Failure::local("neither XDG_CONFIG_HOME nor HOME is set to an absolute path")
                    .hint("say where to keep credentials with --config-dir DIR")
            })?;
        Ok(config.join("magpie"))
    }

    /// Reads all profiles; none where there is no file yet.
    pub(crate) fn load(&self) -> Result<Profiles> {
        let path = self.path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Profiles::default()),
            Err(error) => return Err(at(&path, &error)),
        };
        let mode = file.metadata().map_err(|error| at(&path, &error))?.mode();
        if mode & 0o077 != 0 {
            return Err(Failure::new(
                crate::failure::Exit::Local,
                "CREDENTIALS_EXPOSED",
                format!(
                    "others on this machine can read {} (mode {:04o})",
                    path.display(),
                    mode & 0o7777
                ),
            )
            .hint(format!(
                "run `chmod 600 {}`; if others may have read it, end this device with \
                 `magpie logout` and log in again",
                path.display()
            )));
        }
        let text = io::read_to_string(file).map_err(|error| at(&path, &error))?;
        toml::from_str(&text).map_err(|error| {
            Failure::local(format!(
                "{} is damaged: {}",
                path.display(),
                error.message()
            ))
            .hint("mend it, or delete it and log in again")
        })
    }

    /// Waits for the right to change the file. Blocks.
    fn lock(&self) -> Result<Locked> {
        Ok(Locked {
            store: self.clone(),
            _lock: self.lock_file(LOCK_NAME)?,
        })
    }

    /// Waits for the right to renew a profile's credentials, given back when the file is closed.
    /// Blocks for as long as another process waits for the server.
    pub(crate) fn lock_renewal(&self, profile_name: &str) -> Result<File> {
        self.lock_file(&format!("renewal-{profile_name}.lock"))
    }

    /// Whether the file can be written, so that no account or device is made whose credentials would
    /// be lost. Its content stays as it is.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.update(|_| Ok(()))
    }

    fn lock_file(&self, name: &str) -> Result<File> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(&self.dir)
            .map_err(|error| at(&self.dir, &error))?;
        let path = self.dir.join(name);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(|error| at(&path, &error))?;
        lock.lock().map_err(|error| at(&path, &error))?;
        Ok(lock)
    }

    /// Changes the profiles under the lock.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Profiles) -> Result<T>) -> Result<T> {
        let locked = self.lock()?;
        let mut profiles = self.load()?;
        let out = change(&mut profiles)?;
        locked.save(&profiles)?;
        Ok(out)
    }

    fn path(&self) -> PathBuf {
        self.dir.join(FILE_NAME)
    }
}

impl Locked {
    /// Replaces the file: whoever reads sees the old one or the new one, also after a crash.
    fn save(&self, profiles: &Profiles) -> Result<()> {
        let text = toml::to_string(profiles)
            .map_err(|error| Failure::local(format!("credentials cannot be written: {error}")))?;
        let path = self.store.path();
        let new = path.with_extension("toml.new");
        replace(&self.store.dir, &new, &path, &text).map_err(|error| at(&path, &error))
    }
}

fn replace(dir: &Path, new: &Path, path: &Path, text: &str) -> io::Result<()> {
    // A file left behind by a crash may have another mode: never write secrets into it.
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(FILE_MODE)
        .open(new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)?;
    File::open(dir)?.sync_all()
}

fn at(path: &Path, error: &io::Error) -> Failure {
    Failure::local(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, thread};

    use super::{super::tests::profile, *};
    use crate::failure::Exit;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("magpie"));
        (dir, store)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn nothing_stored_is_no_profile() {
        let (_dir, store) = store();
        assert_eq!(store.load().unwrap(), Profiles::default());
    }

    #[test]
    fn what_is_stored_comes_back_and_only_its_user_can_read_it() {
        let (_dir, store) = store();
        store
            .update(|profiles| profiles.insert("anna", profile("anna")))
            .unwrap();
        assert_eq!(store.load().unwrap().profiles["anna"], profile("anna"));
        assert_eq!(mode(&store.dir), 0o700);
        assert_eq!(mode(&store.path()), 0o600);
        assert_eq!(mode(&store.dir.join(LOCK_NAME)), 0o600);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let (_dir, store) = store();
        store
            .update(|profiles| profiles.insert("anna", profile("anna")))
            .unwrap();
        for exposed in [0o640, 0o604, 0o660] {
            fs::set_permissions(store.path(), PermissionsExt::from_mode(exposed)).unwrap();
            let failure = store.load().unwrap_err();
            assert_eq!(failure.exit(), Exit::Local);
            assert_eq!(failure.reason(), "CREDENTIALS_EXPOSED");
            assert!(failure.human().contains("chmod 600"));
        }
    }

    #[test]
    fn a_damaged_file_is_said_and_not_overwritten() {
        let (_dir, store) = store();
        store.lock().unwrap().save(&Profiles::default()).unwrap();
        fs::write(store.path(), "profiles = 3").unwrap();
        let failure = store
            .update(|profiles| profiles.insert("anna", profile("anna")))
            .unwrap_err();
        assert!(failure.human().contains("damaged"));
        assert_eq!(fs::read_to_string(store.path()).unwrap(), "profiles = 3");
    }

    #[test]
    fn a_place_that_takes_nothing_is_known_before_an_account_is_made() {
        let (dir, store) = store();
        store.check_writable().unwrap();
        assert_eq!(store.load().unwrap(), Profiles::default());
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let failure = Store::new(file).check_writable().unwrap_err();
        assert_eq!(failure.exit(), Exit::Local);
    }

    #[test]
    fn a_refused_change_leaves_the_file_as_it_was() {
        let (_dir, store) = store();
        store
            .update(|profiles| profiles.insert("anna", profile("anna")))
            .unwrap();
        let refused: Result<()> = store.update(|profiles| {
            profiles.remove("anna");
            Err(Failure::usage("no"))
        });
        assert!(refused.is_err());
        assert!(store.load().unwrap().profiles.contains_key("anna"));
    }

    #[test]
    fn changes_at_once_are_all_kept() {
        let (_dir, store) = store();
        thread::scope(|scope| {
            for number in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    let name = format!("user{number}");
                    store
                        .update(|profiles| profiles.insert(&name, profile(&name)))
                        .unwrap();
                });
            }
        });
        assert_eq!(store.load().unwrap().profiles.len(), 8);
    }
}
