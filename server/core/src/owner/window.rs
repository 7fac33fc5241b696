//! Reading a room's log: from memory where it reaches, else by asking for what is missing and
//! trying again. Whatever reads is written as if all of the log were at hand, and keeps what it found
//! so far in [`Found`]: of the log itself, only what was fetched last is held.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{Output, Owner, Query, ReadNo, State, scan::Found, submit::Lookup};
use crate::{
    entry::Entry,
    ids::{Epoch, MessageId, RoomId, Seq, UserId},
    limits::{FETCH_ENTRIES_MAX, Limits},
    link::Attach,
    refusal::{Reason, Refusal},
    room::Room,
    rows::{Order, Pointer, Span, StoredEntry},
    time::Now,
};

/// What is missing from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// The rows of a span, of all epochs.
    Entries(Span),
    /// The whole body of a long message.
    Body {
        /// The entry.
        seq: Seq,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The pointers of a command in `(after, through]`.
    Pointers {
        /// The sender.
        sender: UserId,
        /// The command.
        id: MessageId,
        /// Exclusive.
        after: Seq,
        /// Inclusive.
        through: Seq,
    },
}

/// What was fetched.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// For [`Fetch::Entries`].
    Entries(Vec<StoredEntry>),
    /// For [`Fetch::Body`].
    Body(Option<Bytes>),
    /// For [`Fetch::Pointers`].
    Pointers(Vec<Pointer>),
}

/// A reading under way.
#[derive(Debug)]
pub(super) struct Reading<T> {
    pub(super) room: RoomId,
    pub(super) purpose: Purpose<T>,
    pub(super) fetched: Cache,
    pub(super) found: Found,
    /// What was asked for last: if it is missing again, the log has a hole.
    asked: Option<Fetch>,
}

/// What a reading is for.
#[derive(Debug)]
pub(super) enum Purpose<T> {
    Query(T, UserId, Query),
    Attach(Attach),
    Lookup(Box<Lookup<T>>),
}

/// What was fetched last, of each kind.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: BTreeMap<Seq, Arc<Entry>>,
    body: Option<(Seq, Bytes)>,
    pointers: Option<Vec<Pointer>>,
}

#[cfg(test)]
impl Cache {
    /// Bytes of entries held.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.cost() as u64).sum()
    }
}

/// A room's log as a reading sees it.
#[derive(Debug)]
pub(super) struct Window<'a> {
    pub(super) room: &'a Room,
    pub(super) fetched: &'a Cache,
    pub(super) limits: &'a Limits,
}

impl<'a> Window<'a> {
    /// An entry, for reading towards higher seqs.
    pub(super) fn forward(&self, seq: Seq) -> Result<&'a Arc<Entry>, Fetch> {
        let through = seq.plus(FETCH_ENTRIES_MAX as u64 - 1);
        let through = through.min(self.room.certified());
        self.entry(seq, seq.prev(), through, Order::Ascending)
    }

    /// An entry, for reading towards lower seqs.
    pub(super) fn backward(&self, seq: Seq) -> Result<&'a Arc<Entry>, Fetch> {
        let after = seq.minus(FETCH_ENTRIES_MAX as u64);
        self.entry(seq, after, seq, Order::Descending)
    }

    /// One entry.
    pub(super) fn one(&self, seq: Seq) -> Result<&'a Arc<Entry>, Fetch> {
        self.entry(seq, seq.prev(), seq, Order::Ascending)
    }

    /// The whole body of a long message.
    pub(super) fn body(&self, seq: Seq) -> Result<&'a Bytes, Fetch> {
        let epoch = self.room.lineage().epoch_of(seq).unwrap_or_default();
        match &self.fetched.body {
            Some((at, body)) if *at == seq => Ok(body),
            _ => Err(Fetch::Body { seq, epoch }),
        }
    }

    /// The seq of a command's entry, by the pointers that the lineage confirms.
    pub(super) fn pointer(
        &self,
        sender: UserId,
        id: MessageId,
        after: Seq,
        through: Seq,
    ) -> Result<Option<Seq>, Fetch> {
        let Some(pointers) = &self.fetched.pointers else {
            return Err(Fetch::Pointers {
                sender,
                id,
                after,
                through,
            });
        };
        let confirmed = |p: &&Pointer| self.room.lineage().epoch_of(p.seq) == Some(p.epoch);
        let seqs = pointers.iter().filter(confirmed).map(|pointer| pointer.seq);
        Ok(seqs.filter(|seq| *seq <= self.room.certified()).min())
    }

    /// An entry from memory, or the span to ask for that begins with it.
    fn entry(
        &self,
        seq: Seq,
        after: Seq,
        through: Seq,
        order: Order,
    ) -> Result<&'a Arc<Entry>, Fetch> {
        let held = self.room.tail().get(seq);
        let held = held.or_else(|| self.fetched.entries.get(&seq));
        held.ok_or(Fetch::Entries(Span {
            after,
            through,
            order,
            rows_max: FETCH_ENTRIES_MAX,
            bytes_max: self.limits.fetch_bytes_max,
        }))
    }
}

impl<T> Owner<T> {
    /// Starts a reading, of a room in memory.
    pub(super) fn read(&mut self, room: RoomId, purpose: Purpose<T>, now: Now) {
        let reading = Reading {
            room,
            purpose,
            fetched: Cache::default(),
            found: Found::default(),
            asked: None,
        };
        self.advance(reading, now);
    }

    /// Takes in what a reading asked for, and goes on with it and with those that wait for their turn.
    pub(super) fn fetched(&mut self, read: ReadNo, fetched: Option<Fetched>, now: Now) {
        self.go_on(read, fetched, now);
        self.serve_readings();
    }

    /// Asks the store for those that wait, as many as it may be asked for.
    pub(super) fn serve_readings(&mut self) {
        while (self.reading.len() as u64) < self.limits.owner_reads_max
            && let Some((reading, fetch)) = self.to_read.pop_front()
        {
            self.fetch(reading, fetch);
        }
    }

    pub(super) fn go_on(&mut self, read: ReadNo, fetched: Option<Fetched>, now: Now) {
        let Some(mut reading) = self.reading.remove(&read) else {
            return;
        };
        let Some(State::Active(active)) = self.rooms.get_mut(&reading.room) else {
            return;
        };
        active.readings -= 1;
        match fetched {
            None => return self.give_up(reading, "the log could not be read; try again", now),
            Some(Fetched::Entries(rows)) => {
                let entries = active.room.lineage().filter(rows);
                let entries = entries.map(|entry| (entry.seq, Arc::new(entry)));
                reading.fetched.entries = entries.collect();
            }
            Some(Fetched::Body(body)) => {
                if let (Some(body), Some(Fetch::Body { seq, .. })) = (body, reading.asked) {
                    reading.fetched.body = Some((seq, body));
                }
            }
            Some(Fetched::Pointers(pointers)) => reading.fetched.pointers = Some(pointers),
        }
        self.advance(reading, now);
    }

    fn advance(&mut self, reading: Reading<T>, now: Now) {
        let Some(State::Active(active)) = self.rooms.get_mut(&reading.room) else {
            return self.give_up(reading, "the room is not in memory; try again", now);
        };
        active.used = now.instant;
        let missing = match &reading.purpose {
            Purpose::Query(..) => self.advance_query(reading),
            Purpose::Attach(..) => self.advance_attach(reading),
            Purpose::Lookup(..) => self.advance_lookup(reading, now),
        };
        let Some((mut reading, fetch)) = missing else {
            return;
        };
        if reading.asked == Some(fetch) {
            // Seqs are dense, so what is missing after it was read is lost: never pass over it.
            let halt = format!("room {} has a hole in its log: {fetch:?}", reading.room);
            self.outputs.push_back(Output::Halt(halt));
            return self.give_up(reading, "the log is damaged", now);
        }
        // One that was under way keeps its place before those that wait, and a new one comes after
        // them.
        let begun = reading.asked.replace(fetch).is_some();
        if let Some(State::Active(active)) = self.rooms.get_mut(&reading.room) {
            active.readings += 1;
        }
        let free = (self.reading.len() as u64) < self.limits.owner_reads_max;
        if begun || (free && self.to_read.is_empty()) {
            self.fetch(reading, fetch);
        } else {
            self.to_read.push_back((reading, fetch));
        }
    }

    fn fetch(&mut self, reading: Reading<T>, fetch: Fetch) {
        let no = ReadNo(self.read_next);
        self.read_next += 1;
        self.outputs
            .push_back(Output::Fetch(no, reading.room, fetch));
        self.reading.insert(no, reading);
    }

    fn give_up(&mut self, reading: Reading<T>, why: &'static str, now: Now) {
        let refusal = Refusal::new(Reason::Internal, why);
        match reading.purpose {
            Purpose::Query(token, ..) => self.outputs.push_back(Output::View(token, Err(refusal))),
            Purpose::Attach(attach) => self.attach_failed(&attach),
            Purpose::Lookup(lookup) => self.lookup_failed(*lookup, refusal, now),
        }
    }
}
