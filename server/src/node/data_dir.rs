//! The data directory, before anything is read from it.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use magpie_store::account::sqlite;

use super::{StartError, parts};
use crate::admin;

/// Before the number of the process that tries whether the directory can be written to.
const PROBE: &str = ".probe-";

/// What some file systems have in the root of a volume.
const VOLUME_LOST: &str = "lost+found";

/// Makes sure that the directory exists and can be written to, and that its owner alone may look. One
/// that is somebody else's is left as it is.
pub(super) fn prepare(path: &Path) -> Result<(), StartError> {
    let wrong = |source: io::Error| StartError::DataDir {
        path: path.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(wrong)?;
    if let Some(other) = foreign(path).map_err(wrong)? {
        return Err(StartError::ForeignDataDir {
            path: path.to_owned(),
            other,
        });
    }
    let about = fs::metadata(path).map_err(wrong)?;
    // A directory made beforehand, such as a mounted volume, may be open to others.
    if about.mode() & 0o077 != 0 && about.uid() == rustix::process::geteuid().as_raw() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(wrong)?;
    }
    let probe = path.join(format!("{PROBE}{}", std::process::id()));
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&probe)
        .map_err(wrong)?;
    fs::remove_file(&probe).map_err(wrong)
}

/// Something that no node made, in a directory that holds no data of a node: it serves another purpose,
/// and others may need to read it.
fn foreign(directory: &Path) -> io::Result<Option<OsString>> {
    if Former::of(directory).accounts {
        return Ok(None);
    }
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let begins = |own: &str| name.as_encoded_bytes().starts_with(own.as_bytes());
        let is_own = [parts::LOG_DIR, admin::SOCKET_NAME, VOLUME_LOST]
            .contains(&&*name.to_string_lossy())
            || begins(PROBE)
            || begins(sqlite::FILE_NAME);
        if !is_own {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// What of a former run is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Former {
    pub(super) log: bool,
    pub(super) accounts: bool,
}

impl Former {
    pub(super) fn of(directory: &Path) -> Self {
        Self {
            log: directory.join(parts::LOG_DIR).exists(),
            accounts: directory.join(sqlite::FILE_NAME).exists(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_is_made_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a/b");
        prepare(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        prepare(&path).expect("there");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&path).expect("listed").count(), 0);
    }

    #[test]
    fn directory_of_another_purpose_is_left_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.path(), open).expect("set");
        fs::create_dir(dir.path().join("lost+found")).expect("made");
        let letter = dir.path().join("letter.txt");
        fs::write(&letter, "dear").expect("written");
        let error = prepare(dir.path()).expect_err("refused");
        assert_eq!(error.exit_code(), super::super::exit::CANNOT_CREATE);
        assert!(error.to_string().contains("letter.txt"), "{error}");
        let mode = fs::metadata(dir.path()).expect("there").mode();
        assert_eq!(mode & 0o777, 0o755);
        // Beside a node's data there may be what an operator likes.
        fs::write(dir.path().join(sqlite::FILE_NAME), "").expect("written");
        prepare(dir.path()).expect("it is a node's");
        fs::remove_file(dir.path().join(sqlite::FILE_NAME)).expect("removed");
        fs::remove_file(letter).expect("removed");
        prepare(dir.path()).expect("a new volume");
    }

    #[test]
    fn file_in_its_place_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, "").expect("written");
        let error = prepare(&path).expect_err("refused");
        assert_eq!(error.exit_code(), super::super::exit::CANNOT_CREATE);
        assert!(error.to_string().contains("file"));
    }
}
