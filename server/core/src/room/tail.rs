//! The latest entries of a room, kept for catching up and for reading without the store.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    entry::{Body, Entry},
    ids::Seq,
    limits::Limits,
};

/// A contiguous run of entries that ends at the certified head.
#[derive(Debug, Default)]
pub struct Tail {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Tail {
    /// Adds the next entry, and forgets old ones beyond the limits.
    pub(super) fn push(&mut self, entry: Arc<Entry>, limits: &Limits) {
        if self.last().is_some_and(|last| last.next() != entry.seq) {
            self.entries.clear();
            self.bytes = 0;
        }
        self.bytes += entry.cost();
        self.entries.push_back(entry);
        let entries_max = limits.room_tail_entries_max as usize;
        let bytes_max = limits.room_tail_bytes_max as usize;
        while self.entries.len() > 1 && (self.entries.len() > entries_max || self.bytes > bytes_max)
        {
            self.bytes -= self.entries.pop_front().map_or(0, |entry| entry.cost());
        }
    }

    /// The last seq held.
    pub fn last(&self) -> Option<Seq> {
        self.entries.back().map(|entry| entry.seq)
    }

    /// The lowest cursor whose later entries are all held.
    pub fn covers_from(&self) -> Seq {
        self.entries
            .front()
            .map_or(Seq::ZERO, |entry| entry.seq.prev())
    }

    /// An entry that is held.
    pub fn get(&self, seq: Seq) -> Option<&Arc<Entry>> {
        let first = self.entries.front()?.seq;
        if seq < first {
            return None;
        }
        self.entries.get(usize::try_from(seq.since(first)).ok()?)
    }

    /// The entries that are held, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.entries.iter()
    }

    /// Bytes held, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Entry {
    /// About how many bytes it takes encoded or in memory.
    pub fn cost(&self) -> usize {
        const HEADER: usize = 96;
        HEADER
            + match &self.body {
                Body::Message(message) => message.wire.len(),
                Body::Created { title, changes, .. } => title.len() + changes.len() * 24,
                Body::Membership(changes) => changes.len() * 24,
                Body::Updated { title } => title.as_ref().map_or(0, String::len),
            }
    }
}
