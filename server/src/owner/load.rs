//! Reads a room from the log store.

use magpie_core::{
    ids::{RoomId, Seq},
    limits::Limits,
    room::Loaded,
    rows::Span,
};
use magpie_store::log::{LogStore, StoreError};

use crate::limits::LOG_ROWS_MAX;

/// All that an owner needs of a room: what its tail holds of before the hint's head, and all after
/// it, which is what the room took in within a slot or two.
pub(super) async fn room(
    log: &dyn LogStore,
    room: RoomId,
    limits: &Limits,
) -> Result<Loaded, StoreError> {
    let hint = log.hint(room).await?;
    let boundaries = log.boundaries(room).await?;
    let members = log.members(room).await?;
    let marks = log.marks(room).await?;
    let head = hint.as_ref().map_or(Seq::ZERO, |hint| hint.head);
    let mut rows = log.entries(room, Span::tail(head, limits)).await?;
    rows.reverse();
    let mut after = head;
    loop {
        let later = Span {
            rows_max: LOG_ROWS_MAX,
            bytes_max: limits.fetch_bytes_max,
            ..Span::above(after)
        };
        let page = log.entries(room, later).await?;
        let Some(last) = page.last() else {
            return Ok(Loaded {
                boundaries,
                hint,
                members,
                marks,
                rows,
            });
        };
        after = last.entry.seq;
        rows.extend(page);
    }
}
