//! How far the device has come in each room, and the one rule of taking entries: the next one is
//! handed out, an old one dropped, a later one held while the gap before it is filled. Does no
//! I/O; knows no connection.

mod room;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use self::room::{Chase, Liveness, Room, is_join_of, room_of};
use crate::{
    client::{
        error::Error,
        event::{Event, RoomUpdate},
        limits::{
            CHASE_ATTEMPTS_MAX, CHASE_RETRY, CHASES_MAX, GAP_HOLD, HELD_ENTRIES_MAX,
            HELD_ENTRIES_PER_ROOM_MAX, HELLO_ROOMS_MAX, ROOMS_MAX,
        },
        progress::{Delivery, Step},
    },
    v1::{Entry, ListEntriesResponse, RoomCursor, RoomSync, State},
};

/// Asks for the entries of a room after a seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) room_id: i64,
    pub(crate) after_seq: i64,
    /// Which stream wanted to know: an answer for an earlier one is of no use.
    pub(crate) stream: u64,
}

/// All rooms of the device.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    rooms: BTreeMap<i64, Room>,
    /// When to ask for which room's gap.
    waiting: BTreeSet<(Instant, i64)>,
    held: usize,
    asked: usize,
    stream: u64,
    /// What comes now is live.
    caught_up: bool,
}

impl Rooms {
    pub(crate) fn new(state: &State) -> Self {
        let mut rooms = Self::default();
        for cursor in state.cursors.iter().take(ROOMS_MAX) {
            let room = rooms.rooms.entry(cursor.room_id).or_default();
            room.cursor = cursor.seq.max(0);
            room.read = cursor.read_seq;
            room.head = room.cursor;
        }
        rooms
    }

    /// Forgets all rooms, but not which answers are out.
    pub(crate) fn clear(&mut self) {
        self.rooms.clear();
        self.begin_stream();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// Of more rooms than a Hello may name, those that were joined last. A room whose membership is
    /// over has nothing more to bring, so it is neither named nor kept: who joins again begins
    /// with the entry that says so.
    pub(crate) fn cursors(&mut self) -> Vec<RoomCursor> {
        self.forget_over();
        let latest = self.rooms.iter().rev().take(HELLO_ROOMS_MAX);
        latest
            .map(|(&room_id, room)| RoomCursor {
                room_id,
                seq: room.cursor,
                read_seq: room.read,
            })
            .collect()
    }

    /// The head of a room as far as it is known.
    pub(crate) fn head(&self, room_id: i64) -> Option<i64> {
        self.rooms.get(&room_id).map(|room| room.head)
    }

    /// A stream ended or another began: what was held is sent again, from the cursors.
    pub(crate) fn begin_stream(&mut self) {
        self.stream += 1;
        self.waiting.clear();
        self.held = 0;
        self.asked = 0;
        self.caught_up = false;
        for room in self.rooms.values_mut() {
            room.held = BTreeMap::new();
            room.wanted = 0;
            room.liveness = Liveness::Unknown;
            room.chase = Chase::None;
            room.attempts = 0;
        }
    }

    /// Whatever the stream has not spoken of was at its head.
    pub(crate) fn handle_caught_up(&mut self, now: Instant) {
        self.caught_up = true;
        for (&room_id, room) in &mut self.rooms {
            if room.liveness == Liveness::Unknown {
                room.liveness = Liveness::Live;
                Self::consider_chase(&mut self.waiting, room_id, room, now);
            }
        }
    }

    /// Takes an entry that happened. `user_id` is the account.
    pub(crate) fn handle_entry(
        &mut self,
        entry: Entry,
        user_id: i64,
        now: Instant,
        out: &mut VecDeque<Delivery>,
    ) -> Result<(), Error> {
        let (room_id, seq) = (entry.room_id, entry.seq);
        let caught_up = self.caught_up;
        let room = self.room(room_id)?;
        room.head = room.head.max(seq);
        if caught_up && room.liveness == Liveness::Unknown {
            room.liveness = Liveness::Live;
        }
        if seq <= room.cursor {
            return Ok(());
        }
        // A member's own joining sets the cursor: what came before it was never the member's.
        let joins = room.wanted <= room.cursor && is_join_of(&entry, user_id);
        if seq == room.cursor + 1 || joins {
            room.hand_out(entry, user_id, out);
            self.release(room_id, user_id, out);
        } else {
            self.hold(room_id, entry);
        }
        self.say_over(room_id, out);
        self.consider(room_id, now);
        Ok(())
    }

    /// The account says that its membership ended with this entry. A device that lacks entries up
    /// to there is still brought them.
    pub(crate) fn handle_left(&mut self, room_id: i64, left_seq: i64) {
        if let Some(room) = self.rooms.get_mut(&room_id) {
            room.over |= room.cursor == left_seq;
        }
    }

    /// Takes the account's own read mark; it only grows.
    pub(crate) fn handle_read(&mut self, room_id: i64, seq: i64) {
        if let Some(room) = self.rooms.get_mut(&room_id) {
            room.read = room.read.max(seq);
        }
    }

    /// Takes a room's present state with what was missed of it.
    pub(crate) fn handle_sync(
        &mut self,
        sync: RoomSync,
        user_id: i64,
        now: Instant,
        out: &mut VecDeque<Delivery>,
    ) -> Result<(), Error> {
        let summary = sync.summary.unwrap_or_default();
        let room_id = summary.room_id;
        let room = self.room(room_id)?;
        let joins = sync
            .entries
            .first()
            .is_some_and(|entry| is_join_of(entry, user_id));
        room.liveness = match sync.live {
            true => Liveness::Live,
            false => Liveness::Former,
        };
        room.over = !sync.live;
        room.head = room.head.max(summary.head_seq).max(sync.through_seq);
        room.read = summary.read_seq;
        let update = RoomUpdate {
            summary,
            live: sync.live,
        };
        out.push_back(Delivery {
            event: Event::RoomUpdated(Box::new(update)),
            step: Step::None,
        });
        if sync.stale {
            room.jump(room_id, sync.through_seq, out);
        } else if sync.after_seq > room.cursor && sync.live && !joins {
            // It does not join on to what was handed out: fill the gap first.
            room.wanted = room.wanted.max(sync.through_seq);
            for entry in sync.entries {
                self.hold(room_id, entry);
            }
        } else {
            room.cursor = room.cursor.max(sync.after_seq);
            room.take_page(room_id, sync.entries, sync.through_seq, user_id, out);
        }
        self.release(room_id, user_id, out);
        self.say_over(room_id, out);
        self.consider(room_id, now);
        Ok(())
    }

    /// The next gap to ask for.
    pub(crate) fn poll_ask(&mut self, now: Instant) -> Option<Ask> {
        let &(due, room_id) = self.waiting.first()?;
        if due > now || self.asked >= CHASES_MAX {
            return None;
        }
        self.waiting.pop_first();
        let room = self.rooms.get_mut(&room_id)?;
        room.chase = Chase::Asked;
        self.asked += 1;
        Some(Ask {
            room_id,
            after_seq: room.cursor,
            stream: self.stream,
        })
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let may_ask = self.asked < CHASES_MAX;
        may_ask.then(|| self.waiting.first().map(|&(due, _)| due))?
    }

    /// Takes the answer to an [`Ask`]; `None` where it failed.
    pub(crate) fn handle_page(
        &mut self,
        ask: Ask,
        page: Option<ListEntriesResponse>,
        user_id: i64,
        now: Instant,
        out: &mut VecDeque<Delivery>,
    ) {
        if ask.stream != self.stream {
            return;
        }
        self.asked -= 1;
        let Some(room) = self.rooms.get_mut(&ask.room_id) else {
            return;
        };
        // Of a room that was forgotten and joined again, another gap may wait its turn.
        if room.chase == Chase::Asked {
            room.chase = Chase::None;
        }
        let before = room.cursor;
        if let Some(page) = page
            && page.after_seq <= room.cursor
        {
            room.head = room.head.max(page.as_of_seq);
            room.take_page(ask.room_id, page.entries, page.through_seq, user_id, out);
        }
        let moved = room.cursor > before;
        room.attempts = if moved { 0 } else { room.attempts + 1 };
        if room.attempts >= CHASE_ATTEMPTS_MAX && room.wanted > room.cursor {
            // The server has nothing for this gap. Going on without it, and saying so, is better
            // than to be stuck before it.
            let through = room.held.keys().next().map_or(room.wanted, |seq| seq - 1);
            room.attempts = 0;
            room.jump(ask.room_id, through, out);
        }
        self.release(ask.room_id, user_id, out);
        self.say_over(ask.room_id, out);
        let Some(room) = self.rooms.get_mut(&ask.room_id) else {
            return;
        };
        let gap = room.wanted > room.cursor && room.liveness == Liveness::Live;
        if gap && room.chase == Chase::None {
            let due = if moved { now } else { now + CHASE_RETRY };
            room.chase = Chase::Waiting(due);
            self.waiting.insert((due, ask.room_id));
        }
    }

    fn hold(&mut self, room_id: i64, entry: Entry) {
        let Some(room) = self.rooms.get_mut(&room_id) else {
            return;
        };
        room.wanted = room.wanted.max(entry.seq);
        // What finds no place comes with the pages that fill the gap: they go on to `wanted`.
        if self.held < HELD_ENTRIES_MAX
            && room.held.len() < HELD_ENTRIES_PER_ROOM_MAX
            && entry.seq > room.cursor
            && room.held.insert(entry.seq, entry).is_none()
        {
            self.held += 1;
        }
    }

    /// Hands out what was held and is now next.
    fn release(&mut self, room_id: i64, user_id: i64, out: &mut VecDeque<Delivery>) {
        let Some(room) = self.rooms.get_mut(&room_id) else {
            return;
        };
        while let Some(first) = room.held.first_entry() {
            let seq = *first.key();
            if seq > room.cursor + 1 {
                break;
            }
            let entry = first.remove();
            self.held -= 1;
            if seq == room.cursor + 1 {
                room.hand_out(entry, user_id, out);
            }
        }
    }

    /// The state to resume from loses a room with the last of what it brought.
    fn say_over(&self, room_id: i64, out: &mut VecDeque<Delivery>) {
        if self.rooms.get(&room_id).is_some_and(|room| room.over)
            && let Some(last) = out.back_mut()
            && room_of(last) == Some(room_id)
        {
            last.step = Step::Left { room_id };
        }
    }

    fn consider(&mut self, room_id: i64, now: Instant) {
        if let Some(room) = self.rooms.get_mut(&room_id) {
            Self::consider_chase(&mut self.waiting, room_id, room, now);
        }
    }

    /// A gap is chased only in a live room: elsewhere a RoomSync closes it.
    fn consider_chase(
        waiting: &mut BTreeSet<(Instant, i64)>,
        room_id: i64,
        room: &mut Room,
        now: Instant,
    ) {
        let gap = room.wanted > room.cursor && room.liveness == Liveness::Live;
        match (gap, room.chase) {
            (true, Chase::None) => {
                room.chase = Chase::Waiting(now + GAP_HOLD);
                waiting.insert((now + GAP_HOLD, room_id));
            }
            (false, Chase::Waiting(due)) => {
                waiting.remove(&(due, room_id));
                room.chase = Chase::None;
            }
            (true, _) | (false, Chase::None | Chase::Asked) => {}
        }
    }

    /// The room of this id, new where there is none.
    fn room(&mut self, room_id: i64) -> Result<&mut Room, Error> {
        if room_id <= 0 {
            return Err(Error::Protocol("a room without an id"));
        }
        if self.rooms.len() >= ROOMS_MAX && !self.rooms.contains_key(&room_id) {
            self.forget_over();
            if self.rooms.len() >= ROOMS_MAX {
                return Err(Error::TooManyRooms);
            }
        }
        Ok(self.rooms.entry(room_id).or_default())
    }

    fn forget_over(&mut self) {
        let Self {
            rooms,
            held,
            waiting,
            ..
        } = self;
        rooms.retain(|&room_id, room| {
            if room.over {
                *held -= room.held.len();
                if let Chase::Waiting(due) = room.chase {
                    waiting.remove(&(due, room_id));
                }
            }
            !room.over
        });
    }
}
