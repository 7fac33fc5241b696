//! Why a node could not start, in one line each that says what to do, and the exit codes.

use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use magpie_store::{
    account::sqlite,
    log::{StoreError, embedded},
};

use crate::{admin, auth, drain::Failure, listen, owner};

/// Exit codes of the process, after sysexits.h; docs/operations.md lists them.
pub mod exit {
    /// A flag, variable or file is wrong.
    pub const USAGE: u8 = 64;
    /// The data is damaged, or a newer version wrote it.
    pub const DATA: u8 = 65;
    /// A port is taken, or no running node answers a command.
    pub const UNAVAILABLE: u8 = 69;
    /// A fault of the program.
    pub const SOFTWARE: u8 = 70;
    /// The data directory cannot be created or written to.
    pub const CANNOT_CREATE: u8 = 73;
    /// The disk failed.
    pub const IO: u8 = 74;
    /// Another process uses the data directory.
    pub const IN_USE: u8 = 75;
    /// Told to leave a second time.
    pub const INTERRUPTED: u8 = 130;
}

/// The node could not go on.
#[derive(Debug, thiserror::Error)]
#[error("the node cannot go on: {0}")]
pub struct Failed(pub(super) Failure);

impl Failed {
    /// What the process should exit with.
    pub fn exit_code(&self) -> u8 {
        of_failure(&self.0)
    }
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(
        "cannot write to the data directory {}: choose another with --data-dir, or make it \
         writable for this user",
        path.display()
    )]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The data directory holds something else.
    #[error(
        "{} is no data directory: it holds {}, and nothing of a node; choose an empty directory \
         with --data-dir, or one that does not exist yet",
        path.display(),
        other.display()
    )]
    ForeignDataDir {
        /// Which.
        path: PathBuf,
        /// What it holds.
        other: OsString,
    },
    /// The public port cannot be had.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// The operators' port cannot be had.
    #[error("cannot serve metrics on {address}: choose another with --metrics-listen, or \"off\"")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Another process uses the data directory.
    #[error(
        "the data directory {} is in use by {}: stop the node that runs there, or choose another \
         directory with --data-dir",
        path.display(),
        holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Who uses it, if it is a node that serves already.
        holder: Option<u32>,
    },
    /// The logs cannot be opened.
    #[error(transparent)]
    Log(embedded::OpenError),
    /// The accounts cannot be opened.
    #[error(transparent)]
    Accounts(#[from] sqlite::OpenError),
    /// The signing keys cannot be read.
    #[error(transparent)]
    Keys(#[from] auth::KeyError),
    /// What a former run left could not be taken over.
    #[error("the rooms could not be taken over from the former run")]
    TakeOver(#[from] owner::TakeOverError),
    /// The operators' socket cannot be made.
    #[error(transparent)]
    Admin(#[from] admin::ServeError),
    /// Only one of the two stores is there.
    #[error(
        "{} is missing, though the other half of the data is there: put back the whole data \
         directory, or begin with an empty one by --data-dir",
        path.display()
    )]
    HalfMissing {
        /// What is missing.
        path: PathBuf,
    },
    /// The accounts could not be looked at.
    #[error("the accounts cannot be read")]
    Unread(#[from] magpie_store::account::Error),
    /// Another part could not start.
    #[error("{what}")]
    Part {
        /// What could not be done, and what to do about it.
        what: String,
        /// What the process should exit with.
        exit_code: u8,
        /// Why.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl StartError {
    /// Of the logs in a data directory that could not be opened.
    pub(super) async fn of_open(directory: &Path, error: embedded::OpenError) -> Self {
        match error {
            embedded::OpenError::InUse { .. } => Self::InUse {
                path: directory.to_owned(),
                holder: admin::holder(directory).await,
            },
            error => Self::Log(error),
        }
    }

    /// What the process should exit with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::DataDir { .. } | Self::ForeignDataDir { .. } => exit::CANNOT_CREATE,
            Self::Listen(error) => match error {
                listen::Error::NotLoopback(_) | listen::Error::Tls { .. } => exit::USAGE,
                listen::Error::InUse(_) | listen::Error::Denied(_) | listen::Error::Io { .. } => {
                    exit::UNAVAILABLE
                }
            },
            Self::Metrics { .. } => exit::UNAVAILABLE,
            Self::HalfMissing { .. } => exit::DATA,
            Self::Unread(_) => exit::IO,
            Self::InUse { .. } => exit::IN_USE,
            Self::Log(error) => of_log(error),
            Self::Accounts(error) => match error {
                sqlite::OpenError::Newer { .. } | sqlite::OpenError::Unusable { .. } => exit::DATA,
                sqlite::OpenError::Exposed { .. } => exit::USAGE,
                sqlite::OpenError::File { .. } => exit::CANNOT_CREATE,
            },
            Self::Keys(_) => exit::DATA,
            Self::TakeOver(error) => match error {
                owner::TakeOverError::Failed(failure) => of_failure(failure),
                owner::TakeOverError::Read(StoreError::Damaged(_)) => exit::DATA,
                owner::TakeOverError::Read(StoreError::Failed(_) | StoreError::Full { .. }) => {
                    exit::IO
                }
            },
            Self::Admin(_) => exit::CANNOT_CREATE,
            Self::Part { exit_code, .. } => *exit_code,
        }
    }
}

/// What the process should exit with when it cannot go on.
fn of_failure(failure: &Failure) -> u8 {
    match failure {
        Failure::Disk(_) => exit::IO,
        Failure::Damage(_) => exit::DATA,
        Failure::Fault(_) => exit::SOFTWARE,
    }
}

/// What the process should exit with when the logs cannot be opened.
pub(crate) fn of_log(error: &embedded::OpenError) -> u8 {
    match error {
        embedded::OpenError::InUse { .. } => exit::IN_USE,
        embedded::OpenError::Io { .. } => exit::IO,
        // Newer, Absent, Missing, Damaged, and what later versions of the store may add.
        _ => exit::DATA,
    }
}
