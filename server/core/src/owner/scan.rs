//! Walks over a room's log that can be interrupted: each says what is missing, and goes on from there
//! once it was fetched, so a reading holds what it found and not what it passed.

use std::sync::Arc;

use super::{
    former::Former,
    window::{Fetch, Window},
};
use crate::{
    entry::{Body, Entry},
    ids::{Seq, UserId},
    limits::{UNREAD_MAX, UNREAD_SCAN_MAX},
    time::Timestamp,
};

/// What a reading found so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The last seq that the reader might see when the reading began.
    pub(super) visible: Option<Seq>,
    pub(super) unread: Option<Unread>,
    pub(super) bisection: Option<Bisection>,
    pub(super) down: Option<Walk>,
    pub(super) up: Option<Walk>,
    /// What is missed of a former membership, with the joining that came after it.
    pub(super) former: Option<(Seq, Former)>,
}

/// What of an interval belongs to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    All,
    Messages,
}

/// How much a page holds. At least one entry is given, however large.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// A walk in one direction that gathers entries.
#[derive(Debug)]
pub(super) struct Walk {
    /// Where it began.
    from: Seq,
    /// How far it is: what lies between here and where it began was looked at.
    pub(super) at: Seq,
    /// In the order of the walk.
    pub(super) entries: Vec<Arc<Entry>>,
    bytes: u64,
    full: bool,
}

impl Walk {
    /// A walk that begins beside this seq: above it upwards, at it downwards.
    pub(super) fn from(at: Seq) -> Self {
        Self {
            from: at,
            at,
            entries: Vec::new(),
            bytes: 0,
            full: false,
        }
    }

    /// Whether it began beside this seq.
    pub(super) fn is_from(&self, at: Seq) -> bool {
        self.from == at
    }

    /// Goes upwards through this seq, or until the page is full.
    pub(super) fn up(
        &mut self,
        window: &Window<'_>,
        through: Seq,
        pick: Pick,
        bounds: Bounds,
    ) -> Result<(), Fetch> {
        while self.at < through && !self.is_full(bounds) {
            let entry = window.forward(self.at.next())?;
            if self.take(entry, pick, bounds) {
                self.at = self.at.next();
            }
        }
        Ok(())
    }

    /// Goes downwards to this seq, exclusive, or until the page is full.
    pub(super) fn down(
        &mut self,
        window: &Window<'_>,
        after: Seq,
        pick: Pick,
        bounds: Bounds,
    ) -> Result<(), Fetch> {
        while self.at > after && !self.is_full(bounds) {
            let entry = window.backward(self.at)?;
            if self.take(entry, pick, bounds) {
                self.at = self.at.prev();
            }
        }
        Ok(())
    }

    fn is_full(&self, bounds: Bounds) -> bool {
        self.full || self.entries.len() as u64 >= bounds.entries
    }

    /// Takes an entry in or passes over it. False: it does not fit into the page any more.
    fn take(&mut self, entry: &Arc<Entry>, pick: Pick, bounds: Bounds) -> bool {
        let wanted = match pick {
            Pick::All => true,
            Pick::Messages => is_message(entry),
        };
        if !wanted {
            return true;
        }
        self.bytes += entry.cost() as u64;
        self.full = self.bytes > bounds.bytes && !self.entries.is_empty();
        if !self.full {
            self.entries.push(entry.clone());
        }
        !self.full
    }
}

/// A search for the last seq of before a time: entries' times never go back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bisection {
    low: Seq,
    high: Seq,
}

impl Bisection {
    /// Among the seqs up to this one.
    pub(super) fn through(high: Seq) -> Self {
        Self {
            low: Seq::ZERO,
            high,
        }
    }

    pub(super) fn run(&mut self, window: &Window<'_>, time: Timestamp) -> Result<Seq, Fetch> {
        while self.low < self.high {
            let middle = self.low.plus(self.high.since(self.low).div_ceil(2));
            if window.one(middle)?.time < time {
                self.low = middle;
            } else {
                self.high = middle.prev();
            }
        }
        Ok(self.low)
    }
}

/// A count of the messages by others after a read mark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    read: Seq,
    /// Below this, and above the mark, they are counted.
    at: Seq,
    count: u32,
}

impl Unread {
    /// After this mark.
    pub(super) fn after(read: Seq) -> Self {
        Self {
            read,
            at: read,
            count: 0,
        }
    }

    /// Whether it counts from another mark than this one.
    pub(super) fn is_of(&self, read: Seq) -> bool {
        self.read == read
    }

    /// At most [`UNREAD_MAX`]. What is in memory is counted first, since that is often enough.
    pub(super) fn run(
        &mut self,
        window: &Window<'_>,
        user: UserId,
        head: Seq,
    ) -> Result<u32, Fetch> {
        let counts = |entry: &Entry| u32::from(entry.actor != user && is_message(entry));
        let tail = window.room.tail();
        let shown = tail.iter().rev().skip_while(|entry| entry.seq > head);
        let new = shown.take_while(|entry| entry.seq > self.read);
        let in_tail: u32 = new.map(|entry| counts(entry)).sum();
        let end = tail.covers_from().min(self.read.plus(UNREAD_SCAN_MAX));
        while self.at < end && in_tail + self.count < UNREAD_MAX {
            self.count += counts(window.forward(self.at.next())?);
            self.at = self.at.next();
        }
        Ok((in_tail + self.count).min(UNREAD_MAX))
    }
}

pub(super) fn is_message(entry: &Entry) -> bool {
    matches!(entry.body, Body::Message(_))
}
