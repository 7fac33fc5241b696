//! Fills what a session skipped: page by page, each handed on before the next is asked for, however
//! long the server takes. Prints nothing.

use std::future::Future;

use magpie::v1::{Entry, ListEntriesRequest};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::Follower;
use crate::{failure::Result, limits::FILL_WAIT, rooms};

/// Entries of a room that the reader has not: those of `(after_seq, through_seq]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) room_id: i64,
    pub(crate) after_seq: i64,
    pub(crate) through_seq: i64,
}

impl Gap {
    /// What the reader of a room is told who was not in it meanwhile.
    pub(crate) fn absence_words(&self, title: &str, program: &str) -> String {
        format!(
            "what was written while you were not in {} ({} to {}) is not shown: `{program} history {} \
             --after {}`",
            rooms::quoted(title),
            self.after_seq + 1,
            self.through_seq,
            self.room_id,
            self.after_seq
        )
    }

    /// The same for programs.
    pub(crate) fn facts(&self) -> Map<String, Value> {
        let mut facts = Map::new();
        facts.insert("room_id".to_owned(), json!(self.room_id.to_string()));
        facts.insert("after_seq".to_owned(), json!(self.after_seq));
        facts.insert("through_seq".to_owned(), json!(self.through_seq));
        facts
    }
}

impl Follower<'_> {
    /// The next entries of a gap that the reader has not; `None` at its end. A reader must miss
    /// nothing, so a server that cannot answer now is asked again.
    pub(crate) async fn next_page(&mut self, gap: &mut Gap) -> Result<Option<Vec<Entry>>> {
        let seen = self.seen.get(&gap.room_id).copied().unwrap_or_default();
        gap.after_seq = gap.after_seq.max(seen);
        if !self.is_wanted(gap.room_id) || gap.after_seq >= gap.through_seq {
            return Ok(None);
        }
        let request = ListEntriesRequest {
            room_id: gap.room_id,
            after_seq: gap.after_seq,
            page_size: 0,
        };
        let link = self.link;
        let page = patiently(|| {
            link.read(move |api| async move { api.messages().list_entries(request).await })
        })
        .await?;
        if page.through_seq <= gap.after_seq {
            return Ok(None);
        }
        gap.after_seq = page.through_seq;
        let mut entries = Vec::new();
        for entry in page.entries {
            if self.note(&entry).await {
                entries.push(entry);
            }
        }
        Ok(Some(entries))
    }
}

/// Asks until there is an answer, or a refusal that waiting does not mend.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    loop {
        match ask().await {
            Err(failure) if failure.is_passing() => sleep(FILL_WAIT).await,
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
