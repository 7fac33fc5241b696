//! Reads a room from the log store.

use magpie_core::{
    ids::{RoomId, Seq},
    room::Loaded,
};
use magpie_store::log::{LogStore, StoreError};

use crate::limits::LOG_ROWS_MAX;

/// All that an owner needs of a room: some entries before the hint's head, and all after it.
pub(super) async fn room(
    log: &dyn LogStore,
    room: RoomId,
    tail: u64,
) -> Result<Loaded, StoreError> {
    let hint = log.hint(room).await?;
    let boundaries = log.boundaries(room).await?;
    let members = log.members(room).await?;
    let marks = log.marks(room).await?;
    let mut after = hint
        .as_ref()
        .map_or(Seq::ZERO, |hint| hint.head.minus(tail));
    let mut rows = Vec::new();
    loop {
        let page = log.entries(room, after, Seq::MAX, LOG_ROWS_MAX).await?;
        let full = page.len() >= LOG_ROWS_MAX;
        // A page may end between two epochs' rows of one seq: that seq is read again.
        let last = page.last().map(|row| row.entry.seq.prev());
        match last {
            Some(last) if full && last > after => {
                rows.extend(page.into_iter().filter(|row| row.entry.seq <= last));
                after = last;
            }
            _ => {
                rows.extend(page);
                return Ok(Loaded {
                    boundaries,
                    hint,
                    members,
                    marks,
                    rows,
                });
            }
        }
    }
}
