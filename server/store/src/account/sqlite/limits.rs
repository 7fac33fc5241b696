//! The bounds of the SQLite account store.

use std::time::Duration;

/// Connections that read, each with a thread of its own.
pub(super) const READERS_MAX: u32 = 4;

/// Writes that are under way or waiting; one more is refused.
pub(super) const WRITES_MAX: usize = 1024;

/// Reads that are under way or waiting; one more is refused.
pub(super) const READS_MAX: usize = 4096;

/// How long a call waits for a connection before it is refused.
pub(super) const STATEMENT_WAIT_MAX: Duration = Duration::from_secs(5);

/// Refresh tokens issued for one token and not yet presented; one more makes the oldest invalid.
pub(super) const SUCCESSORS_MAX: usize = 8;
