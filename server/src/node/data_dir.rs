//! The data directory, before anything is read from it.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use magpie_store::account::sqlite;

use super::StartError;

/// Makes sure that the directory exists and can be written to, and that its owner alone may look.
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
    let about = fs::metadata(path).map_err(wrong)?;
    // A directory made beforehand, such as a mounted volume, may be open to others.
    if about.mode() & 0o077 != 0 && about.uid() == rustix::process::geteuid().as_raw() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(wrong)?;
    }
    let probe = path.join(format!(".probe-{}", std::process::id()));
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&probe)
        .map_err(wrong)?;
    fs::remove_file(&probe).map_err(wrong)
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
            log: directory.join(super::parts::LOG_DIR).exists(),
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
    fn file_in_its_place_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, "").expect("written");
        let error = prepare(&path).expect_err("refused");
        assert_eq!(error.exit_code(), super::super::exit::CANNOT_CREATE);
        assert!(error.to_string().contains("file"));
    }
}
