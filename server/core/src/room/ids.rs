//! The ids of a room's latest commands: by them a retry is recognised without the store.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    entry::Entry,
    ids::{MessageId, Seq, UserId},
    limits::Limits,
};

/// Ids by sender. A map ordered by key, since clients choose the ids and could aim at a hash.
#[derive(Debug, Default)]
pub(super) struct Ids {
    seqs: BTreeMap<(UserId, MessageId), Seq>,
    order: VecDeque<(Seq, UserId, MessageId)>,
}

impl Ids {
    pub(super) fn insert(&mut self, entry: &Entry, limits: &Limits) {
        self.seqs.insert((entry.actor, entry.id), entry.seq);
        self.order.push_back((entry.seq, entry.actor, entry.id));
        while self.order.len() > limits.room_ids_max as usize {
            if let Some((seq, actor, id)) = self.order.pop_front()
                && self.seqs.get(&(actor, id)) == Some(&seq)
            {
                self.seqs.remove(&(actor, id));
            }
        }
    }

    /// Bytes held, about: a key and a seq in the map, whose nodes are half empty at the worst, and
    /// both again in the order.
    pub(super) fn bytes(&self) -> usize {
        const ID: usize = 96;
        self.order.len() * ID
    }

    pub(super) fn get(&self, actor: UserId, id: MessageId) -> Option<Seq> {
        self.seqs.get(&(actor, id)).copied()
    }

    /// The lowest cursor after which all ids are held.
    pub(super) fn covers_from(&self, head: Seq) -> Seq {
        self.order.front().map_or(head, |(seq, _, _)| seq.prev())
    }
}
