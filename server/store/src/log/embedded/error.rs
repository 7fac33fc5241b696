//! Why a log store's directory was not opened.

use std::{io, path::PathBuf};

/// Why a log store's directory was not opened. Nothing that was answered was taken away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open. Safe to retry once that one has ended.
    #[error("the directory {} is in use by another process", dir.display())]
    InUse {
        /// The directory of the log store.
        dir: PathBuf,
    },
    /// It was written by a newer version. Retrying is in vain.
    #[error(
        "the directory {} was written by a newer version: its format is {found}, this program knows formats up to {known}",
        dir.display()
    )]
    Newer {
        /// The directory of the log store.
        dir: PathBuf,
        /// The format of the directory.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
    },
    /// There is no log store. Only said where none is to be created.
    #[error("there is no log store in the directory {}", dir.display())]
    Absent {
        /// The directory of the log store.
        dir: PathBuf,
    },
    /// Writes that were answered are missing. Retrying is in vain: restore a backup.
    #[error(
        "the log store in {} is damaged: {missing} of {written} batches of writes are missing ({what}); restore a backup of the whole data directory, then run `magpie-server new-generation`",
        dir.display()
    )]
    Missing {
        /// The directory of the log store.
        dir: PathBuf,
        /// How many batches are missing, as far as can be told.
        missing: u64,
        /// How many batches were written in the life of the store, as far as can be told.
        written: u64,
        /// Which ones.
        what: String,
    },
    /// A file is missing or its content makes no sense. Retrying is in vain: restore a backup.
    #[error(
        "the log store in {} is damaged: {what}; restore a backup of the whole data directory, then run `magpie-server new-generation`",
        dir.display()
    )]
    Damaged {
        /// The directory of the log store.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
