//! What the writer asks the disk, beside writing: so that tests can make a disk full or broken.

use std::{fmt, io, path::PathBuf};

/// The disk under a store.
pub(super) trait Device: Send + fmt::Debug {
    /// How many bytes this process may still write.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Called right before a group is written. An error is taken for an error of the sync.
    fn before_sync(&self) -> io::Result<()>;
}

/// The real disk.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) dir: PathBuf,
}

impl Device for Disk {
    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn before_sync(&self) -> io::Result<()> {
        Ok(())
    }
}
