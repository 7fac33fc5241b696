//! A room in memory with what is on its way to the store: nothing leaves before what it depends on
//! is durable.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::WriteNo;
use crate::{
    command::{Answer, Submit},
    entry::Entry,
    ids::{Seq, Slot, UserId},
    rate::Bucket,
    refusal::Refusal,
    room::Room,
    rows::{Marks, Row},
    time::Instant,
};

/// A room and its writes.
#[derive(Debug)]
pub(super) struct Active<T> {
    pub(super) room: Room,
    /// Rows for the next write.
    pub(super) rows: Vec<Row>,
    /// Writes that were sent out and are not certified, oldest first.
    writes: VecDeque<Write>,
    /// The number of the next write.
    next: WriteNo,
    /// The last certified write.
    certified: WriteNo,
    /// Entries that are not certified, oldest first.
    pub(super) pending: VecDeque<Pending>,
    /// What leaves once a write is certified, in order.
    held: VecDeque<(WriteNo, Held<T>)>,
    /// Commands that wait for their turn.
    pub(super) queue: VecDeque<(T, Submit)>,
    /// The store is being asked whether the command before those in the queue is a retry.
    pub(super) looking_up: bool,
    /// A hint is wanted: no command is taken until what is in flight is certified, unless effects
    /// are late, which must not stop the room.
    pub(super) hint_wanted: bool,
    /// The write that holds the hint, and the first slot that the hint does not cover.
    pub(super) hint_in: Option<(WriteNo, Slot)>,
    /// Entries whose effects are not done, with the answers that wait for them.
    pub(super) effects: BTreeMap<Seq, Vec<(T, Answer)>>,
    /// Users whose marks others have not been shown.
    pub(super) marked: BTreeSet<UserId>,
    /// When the first of these moved.
    pub(super) marked_at: Instant,
    /// How fast each member may send.
    pub(super) rates: BTreeMap<UserId, Bucket>,
    /// How many readings are under way.
    pub(super) readings: usize,
    /// The last use.
    pub(super) used: Instant,
}

/// An entry that is not certified.
#[derive(Debug)]
pub(super) struct Pending {
    /// The write that holds it.
    pub(super) write: WriteNo,
    pub(super) entry: Arc<Entry>,
    /// The whole body of a long message.
    pub(super) whole: Option<Bytes>,
}

#[derive(Debug)]
struct Write {
    no: WriteNo,
    rows: Vec<Row>,
    state: WriteState,
}

#[derive(Debug, PartialEq, Eq)]
enum WriteState {
    Sent,
    Done,
    /// Refused for want of space; to be sent again with the same content.
    Refused,
}

/// What leaves once a write is certified.
#[derive(Debug)]
pub(super) enum Held<T> {
    Reply(T, Result<Answer, Refusal>),
    Marked(UserId, Marks),
}

impl<T> Active<T> {
    pub(super) fn new(room: Room, now: Instant) -> Self {
        Self {
            room,
            rows: Vec::new(),
            writes: VecDeque::new(),
            next: WriteNo(1),
            certified: WriteNo(0),
            pending: VecDeque::new(),
            held: VecDeque::new(),
            queue: VecDeque::new(),
            looking_up: false,
            hint_wanted: false,
            hint_in: None,
            effects: BTreeMap::new(),
            marked: BTreeSet::new(),
            marked_at: now,
            rates: BTreeMap::new(),
            readings: 0,
            used: now,
        }
    }

    /// The write that holds everything decided so far.
    pub(super) fn current(&self) -> WriteNo {
        if self.rows.is_empty() {
            WriteNo(self.next.0 - 1)
        } else {
            self.next
        }
    }

    /// Keeps something until everything decided so far is certified.
    pub(super) fn hold(&mut self, held: Held<T>) {
        self.held.push_back((self.current(), held));
    }

    /// Whether a command may be taken now.
    pub(super) fn accepts(&self, in_flight_max: u64) -> bool {
        let hint_is_next = self.hint_wanted && self.effects.is_empty();
        !self.looking_up
            && !hint_is_next
            && !self.has_refused()
            && (self.pending.len() as u64) < in_flight_max
    }

    /// Makes one write of the collected rows.
    pub(super) fn flush(&mut self) -> Option<(WriteNo, Vec<Row>)> {
        if self.rows.is_empty() {
            return None;
        }
        let (no, rows) = (self.next, std::mem::take(&mut self.rows));
        self.next = WriteNo(no.0 + 1);
        self.writes.push_back(Write {
            no,
            rows: rows.clone(),
            state: WriteState::Sent,
        });
        Some((no, rows))
    }

    /// Takes in that a write is durable. Returns the last write of the durable prefix.
    pub(super) fn done(&mut self, no: WriteNo) -> Option<WriteNo> {
        if let Some(write) = self.writes.iter_mut().find(|write| write.no == no) {
            write.state = WriteState::Done;
        }
        let done = self
            .writes
            .iter()
            .take_while(|write| write.state == WriteState::Done);
        done.last().map(|write| write.no)
    }

    /// Takes in that a write was refused for want of space.
    pub(super) fn refused(&mut self, no: WriteNo) {
        if let Some(write) = self.writes.iter_mut().find(|write| write.no == no) {
            write.state = WriteState::Refused;
        }
    }

    /// Whether a write was refused. It goes out again before anything after it.
    fn has_refused(&self) -> bool {
        self.writes
            .iter()
            .any(|write| write.state == WriteState::Refused)
    }

    /// The refused writes, to be sent again.
    pub(super) fn again(&mut self) -> Vec<(WriteNo, Vec<Row>)> {
        let refused = self
            .writes
            .iter_mut()
            .filter(|write| write.state == WriteState::Refused);
        refused
            .map(|write| {
                write.state = WriteState::Sent;
                (write.no, write.rows.clone())
            })
            .collect()
    }

    /// Takes in that everything through a write is certified.
    pub(super) fn certify(&mut self, no: WriteNo) {
        self.certified = self.certified.max(no);
        while self.writes.front().is_some_and(|write| write.no <= no) {
            self.writes.pop_front();
        }
    }

    /// The next entry that is certified and was not shown yet.
    pub(super) fn next_certified(&mut self) -> Option<Arc<Entry>> {
        let certified = self.certified;
        self.pending
            .pop_front_if(|pending| pending.write <= certified)
            .map(|pending| pending.entry)
    }

    /// The next thing that may leave.
    pub(super) fn next_held(&mut self) -> Option<Held<T>> {
        let certified = self.certified;
        self.held
            .pop_front_if(|(no, _)| *no <= certified)
            .map(|(_, held)| held)
    }

    /// Takes out the answers to commands that are on their way, to give them another answer.
    pub(super) fn take_replies(&mut self) -> Vec<T> {
        let held = std::mem::take(&mut self.held);
        let mut tokens = Vec::new();
        for (no, held) in held {
            match held {
                Held::Reply(token, _) => tokens.push(token),
                marked @ Held::Marked(..) => self.held.push_back((no, marked)),
            }
        }
        tokens
    }

    /// Whether nothing is on its way to the store.
    pub(super) fn is_settled(&self) -> bool {
        self.rows.is_empty() && self.writes.is_empty() && self.pending.is_empty()
    }

    /// Whether it may be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.is_settled()
            && self.held.is_empty()
            && self.queue.is_empty()
            && self.effects.is_empty()
            && self.marked.is_empty()
            && self.readings == 0
            && !self.looking_up
            && self.hint_in.is_none()
    }
}
