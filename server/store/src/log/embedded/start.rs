//! The steps of a start: open the storage engine, compare what it found with what was durable, take the
//! next epoch.

use std::io;

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use magpie_core::ids::Epoch;

use super::{
    super::{StoreError, keys, limits},
    Options, batches,
    directory::Directory,
    error::OpenError,
    watermark::Watermark,
    writer::Writer,
};

/// Opens the storage engine, which reads its journals.
pub(super) fn open_engine(
    directory: &Directory,
    options: &Options,
) -> Result<(Database, Keyspace), OpenError> {
    let keyspace = || KeyspaceCreateOptions::default().max_memtable_size(options.memtable_bytes);
    let open = || {
        let db = Database::builder(directory.rows())
            .cache_size(options.cache_bytes)
            .max_cached_files(Some(limits::FILES_OPEN_MAX))
            .max_journaling_size(limits::JOURNALS_BYTES_MAX)
            .open()?;
        // One keyspace for all rows: the rows of a batch are then flushed together, so the rows that
        // batches leave behind say that their other rows are there, too.
        let rows = db.keyspace("rows", keyspace)?;
        Ok((db, rows))
    };
    open().map_err(|error| engine_error(directory, error))
}

fn engine_error(directory: &Directory, error: fjall::Error) -> OpenError {
    match error {
        fjall::Error::Io(error) if error.kind() != io::ErrorKind::NotFound => {
            OpenError::io("open the rows in", directory.rows())(error)
        }
        fjall::Error::Locked => OpenError::InUse {
            dir: directory.rows(),
        },
        error => directory.damaged(format!("the storage engine refused its files: {error}")),
    }
}

/// Compares what was recovered with what was durable, and returns the number of the last batch.
pub(super) fn check(
    directory: &Directory,
    rows: &Keyspace,
    watermark: &Watermark,
) -> Result<u64, OpenError> {
    let recovered = batches::recover(rows).map_err(|error| engine_error(directory, error))?;
    let written = recovered.last.max(watermark.count());
    let behind = written - recovered.last;
    if behind == 0 && recovered.missing == 0 {
        return Ok(recovered.last);
    }
    let end = format!("batches {} to {written}", recovered.last + 1);
    let hole = format!("{} before batch {}", recovered.missing, recovered.last);
    let what = match (behind, recovered.missing) {
        (_, 0) => end,
        (0, _) => hole,
        _ => format!("{hole}, and {end}"),
    };
    Err(directory.missing(behind + recovered.missing, written, what))
}

/// Takes the next epoch and makes it durable, before anything can be written under it.
pub(super) fn take_epoch(directory: &Directory, writer: &mut Writer) -> Result<Epoch, OpenError> {
    let key = keys::last_epoch().into_bytes();
    let last = writer.rows.get(&key);
    let last = last.map_err(|error| engine_error(directory, error))?;
    let last = match last {
        None => 0,
        Some(value) => <[u8; 8]>::try_from(&value[..])
            .map(u64::from_be_bytes)
            .map_err(|_| directory.damaged("the row of the last epoch makes no sense"))?,
    };
    let epoch = last + 1;
    let failed =
        |error: StoreError| OpenError::io("write to", directory.rows())(io::Error::other(error));
    let row = (key, Some(epoch.to_be_bytes().to_vec()));
    writer.commit([row]).map_err(failed)?;
    // From here on the store is known not to be empty.
    writer.note_watermark().map_err(failed)?;
    Ok(Epoch(epoch))
}
