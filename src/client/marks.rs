//! Read and delivered marks that are not yet known to be stored: said, coalesced, until they are.
//! Does no I/O.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use crate::{
    client::{
        error::Refusal,
        limits::{MARK_DELIVERED_INTERVAL, MARK_PAUSE, MARK_RETRY, MARKS_BURST, MARKS_MAX},
    },
    v1::{MarkDeliveredRequest, MarkReadRequest, RoomMarks, client_frame::Frame},
};

/// Which mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Read,
    Delivered,
}

/// The marks to say.
#[derive(Debug)]
pub(crate) struct Marks {
    wanted: BTreeMap<(i64, Kind), Mark>,
    in_flight: HashMap<u64, (i64, Kind)>,
    /// Marks that may be said at once, and since when the next one is earned.
    burst: u32,
    earned: Instant,
}

#[derive(Debug)]
struct Mark {
    seq: i64,
    due: Instant,
    in_flight: bool,
}

impl Marks {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            wanted: BTreeMap::new(),
            in_flight: HashMap::new(),
            burst: MARKS_BURST,
            earned: now,
        }
    }

    /// Wants a mark to be at `seq` at least.
    pub(crate) fn set(&mut self, room_id: i64, kind: Kind, seq: i64, now: Instant) {
        if let Some(mark) = self.wanted.get_mut(&(room_id, kind)) {
            mark.seq = mark.seq.max(seq);
            return;
        }
        if seq <= 0 {
            // There is nothing before the first entry.
            return;
        }
        if self.wanted.len() >= MARKS_MAX {
            tracing::debug!(room_id, "too many marks wait; one is left out");
            return;
        }
        let due = match kind {
            Kind::Read => now,
            Kind::Delivered => now + MARK_DELIVERED_INTERVAL,
        };
        let mark = Mark {
            seq,
            due,
            in_flight: false,
        };
        self.wanted.insert((room_id, kind), mark);
    }

    /// For a Hello: said again in case an answer was lost.
    pub(crate) fn all(&self) -> Vec<RoomMarks> {
        let mut rooms = BTreeMap::new();
        for (&(room_id, kind), mark) in &self.wanted {
            let marks = rooms.entry(room_id).or_insert_with(|| RoomMarks {
                room_id,
                ..RoomMarks::default()
            });
            match kind {
                Kind::Read => marks.read_seq = mark.seq,
                Kind::Delivered => marks.delivered_seq = mark.seq,
            }
        }
        rooms.into_values().collect()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn poll(&mut self, request_id: u64, now: Instant) -> Option<Frame> {
        self.earn(now);
        if self.burst == 0 {
            return None;
        }
        let due = |mark: &Mark| !mark.in_flight && mark.due <= now;
        let (&key, mark) = self.wanted.iter_mut().find(|(_, mark)| due(mark))?;
        mark.in_flight = true;
        let (room_id, kind) = key;
        let seq = mark.seq;
        self.burst -= 1;
        self.in_flight.insert(request_id, key);
        Some(match kind {
            Kind::Read => Frame::MarkRead(MarkReadRequest { room_id, seq }),
            Kind::Delivered => Frame::MarkDelivered(MarkDeliveredRequest { room_id, seq }),
        })
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.wanted.values().filter(|mark| !mark.in_flight);
        let due = waiting.map(|mark| mark.due).min()?;
        match self.burst {
            0 => Some(due.max(self.earned + MARK_PAUSE)),
            _ => Some(due),
        }
    }

    /// A mark is stored at `seq`. Returns its room.
    pub(crate) fn handle_stored(&mut self, request_id: u64, seq: i64, now: Instant) -> Option<i64> {
        let key = self.in_flight.remove(&request_id)?;
        if let Some(mark) = self.wanted.get_mut(&key) {
            mark.in_flight = false;
            mark.due = match key.1 {
                Kind::Read => now,
                Kind::Delivered => now + MARK_DELIVERED_INTERVAL,
            };
            if mark.seq <= seq {
                self.wanted.remove(&key);
            }
        }
        Some(key.0)
    }

    /// Whether the refused frame was a mark.
    pub(crate) fn handle_refused(
        &mut self,
        request_id: u64,
        refusal: &Refusal,
        now: Instant,
    ) -> bool {
        let Some(key) = self.in_flight.remove(&request_id) else {
            return false;
        };
        if !refusal.is_retriable() {
            tracing::debug!(room_id = key.0, %refusal, "a mark was refused");
            self.wanted.remove(&key);
        } else if let Some(mark) = self.wanted.get_mut(&key) {
            mark.in_flight = false;
            mark.due = now + refusal.retry_after.unwrap_or(MARK_RETRY);
        }
        true
    }

    pub(crate) fn handle_lost(&mut self) {
        self.in_flight.clear();
        for mark in self.wanted.values_mut() {
            mark.in_flight = false;
        }
    }

    /// The history that the marks point into is gone.
    pub(crate) fn clear(&mut self) {
        self.wanted.clear();
        self.in_flight.clear();
    }

    fn earn(&mut self, now: Instant) {
        while self.burst < MARKS_BURST && self.earned + MARK_PAUSE <= now {
            self.burst += 1;
            self.earned += MARK_PAUSE;
        }
        if self.burst == MARKS_BURST {
            self.earned = now;
        }
    }
}
