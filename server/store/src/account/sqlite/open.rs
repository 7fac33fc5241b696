//! Opening the database file: its mode, its connections, its schema.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sqlx::{
    SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::limits::{READERS_MAX, STATEMENT_WAIT_MAX};

/// The database's file in the data directory.
pub const FILE_NAME: &str = "accounts.sqlite";

static MIGRATOR: Migrator = sqlx::migrate!("src/account/sqlite/migrations");

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file could not be created or looked at.
    #[error("cannot open {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the file, which holds password hashes and signing keys.
    #[error(
        "{} may be read by other users (mode {mode:o}): run `chmod 600` on it",
        path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A newer version has changed the schema.
    #[error(
        "{} was written by a newer version of magpie-server (schema {version}, this version knows \
         up to {known}): use that version, or a copy of the data from before",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// A step of its schema that this version does not know.
        version: i64,
        /// The last step that this version knows.
        known: i64,
    },
    /// It is no database, or damaged, or the schema could not be brought up to date.
    #[error(
        "cannot use {} as the account store (if it is damaged, put back the whole data directory \
         from a backup, then run `magpie-server new-generation`)",
        path.display()
    )]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The connections to one database.
#[derive(Clone, Debug)]
pub(super) struct Pools {
    /// A single connection, since SQLite takes one writer at a time: waiting here is fair, waiting
    /// on its lock is not.
    pub(super) writer: SqlitePool,
    /// Connections that cannot write.
    pub(super) readers: SqlitePool,
}

/// Opens the database in `directory`, or makes it there.
pub(super) async fn open(directory: &Path) -> Result<Pools, OpenError> {
    let path = directory.join(FILE_NAME);
    create_private(&path)?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL would lose the last commits with the machine's power.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(STATEMENT_WAIT_MAX);
    let unusable = |source: sqlx::Error| OpenError::Unusable {
        path: path.clone(),
        source: source.into(),
    };
    let writer = pool_options(1)
        .connect_with(options.clone())
        .await
        .map_err(unusable)?;
    MIGRATOR
        .run(&writer)
        .await
        .map_err(|error| migration_error(&path, error))?;
    let readers = pool_options(READERS_MAX)
        .connect_with(options.read_only(true))
        .await
        .map_err(unusable)?;
    Ok(Pools { writer, readers })
}

fn pool_options(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(STATEMENT_WAIT_MAX)
        // Connections to a local file do not go stale.
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
}

/// Makes the file before SQLite does, so that it never exists with a wider mode. SQLite gives its
/// companion files the mode of the main one.
fn create_private(path: &Path) -> Result<(), OpenError> {
    let file_error = |source| OpenError::File {
        path: path.to_owned(),
        source,
    };
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(file) => file.sync_all().map_err(file_error),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = fs::metadata(path).map_err(file_error)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(OpenError::Exposed {
                    path: path.to_owned(),
                    mode,
                });
            }
            Ok(())
        }
        Err(error) => Err(file_error(error)),
    }
}

fn migration_error(path: &Path, error: MigrateError) -> OpenError {
    let path = path.to_owned();
    let known = MIGRATOR.iter().map(|m| m.version).max().unwrap_or(0);
    match error {
        MigrateError::VersionMissing(version) if version > known => OpenError::Newer {
            path,
            version,
            known,
        },
        error => OpenError::Unusable {
            path,
            source: error.into(),
        },
    }
}
