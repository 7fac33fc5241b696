//! How far the device has come in each room, and the one rule of taking entries: the next one is
//! handed out, an old one dropped, a later one held while the gap before it is filled. Does no
//! I/O; knows no connection.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

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
    v1::{Entry, ListEntriesResponse, MemberChangeKind, RoomCursor, RoomSync, State, entry::Body},
};

/// Asks for the entries of a room after a seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) room_id: i64,
    pub(crate) after_seq: i64,
    /// Which stream wanted to know: an answer for an earlier one is of no use.
    stream: u64,
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

#[derive(Debug, Default)]
struct Room {
    /// Everything up to here was handed out.
    cursor: i64,
    /// The highest seq heard of.
    head: i64,
    /// The account's own read mark, as far as the program was told.
    read: i64,
    /// The highest seq that came but could not be handed out yet.
    wanted: i64,
    held: BTreeMap<i64, Entry>,
    liveness: Liveness,
    chase: Chase,
    attempts: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Liveness {
    /// This stream has not said yet: its RoomSync comes, or it is at its head.
    #[default]
    Unknown,
    Live,
    /// No events follow; a gap is none of ours to fill.
    Former,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Chase {
    #[default]
    None,
    Waiting(Instant),
    Asked,
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

    /// Of more rooms than a Hello may name, those that were joined last.
    pub(crate) fn cursors(&self) -> Vec<RoomCursor> {
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
        let room = Self::room(&mut self.rooms, room_id)?;
        room.head = room.head.max(seq);
        if self.caught_up && room.liveness == Liveness::Unknown {
            room.liveness = Liveness::Live;
        }
        if seq <= room.cursor {
            return Ok(());
        }
        // A member's own joining sets the cursor: what came before it was never the member's.
        let joins = room.wanted <= room.cursor && is_join_of(&entry, user_id);
        if seq == room.cursor + 1 || joins {
            room.cursor = seq;
            out.push_back(entry_delivery(entry, seq));
            self.release(room_id, out);
        } else {
            self.hold(room_id, entry);
        }
        self.consider(room_id, now);
        Ok(())
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
        let room = Self::room(&mut self.rooms, room_id)?;
        let joins = sync
            .entries
            .first()
            .is_some_and(|entry| is_join_of(entry, user_id));
        room.liveness = match sync.live {
            true => Liveness::Live,
            false => Liveness::Former,
        };
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
            Self::jump(room_id, room, sync.through_seq, out);
        } else if sync.after_seq > room.cursor && sync.live && !joins {
            // It does not join on to what was handed out: fill the gap first.
            room.wanted = room.wanted.max(sync.through_seq);
            for entry in sync.entries {
                self.hold(room_id, entry);
            }
        } else {
            room.cursor = room.cursor.max(sync.after_seq);
            Self::take_page(room_id, room, sync.entries, sync.through_seq, out);
        }
        self.release(room_id, out);
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
        now: Instant,
        out: &mut VecDeque<Delivery>,
    ) {
        if ask.stream != self.stream {
            return;
        }
        let Some(room) = self.rooms.get_mut(&ask.room_id) else {
            return;
        };
        self.asked -= 1;
        room.chase = Chase::None;
        let before = room.cursor;
        if let Some(page) = page
            && page.after_seq <= room.cursor
        {
            room.head = room.head.max(page.as_of_seq);
            Self::take_page(ask.room_id, room, page.entries, page.through_seq, out);
        }
        let moved = room.cursor > before;
        room.attempts = if moved { 0 } else { room.attempts + 1 };
        if room.attempts >= CHASE_ATTEMPTS_MAX && room.wanted > room.cursor {
            // The server has nothing for this gap. Going on without it, and saying so, is better
            // than to be stuck before it.
            let through = room.held.keys().next().map_or(room.wanted, |seq| seq - 1);
            room.attempts = 0;
            Self::jump(ask.room_id, room, through, out);
        }
        self.release(ask.room_id, out);
        let Some(room) = self.rooms.get_mut(&ask.room_id) else {
            return;
        };
        if room.wanted > room.cursor && room.liveness == Liveness::Live {
            let due = if moved { now } else { now + CHASE_RETRY };
            room.chase = Chase::Waiting(due);
            self.waiting.insert((due, ask.room_id));
        }
    }

    /// Hands out of the entries those that are new, and moves the cursor to the page's end.
    fn take_page(
        room_id: i64,
        room: &mut Room,
        entries: Vec<Entry>,
        through_seq: i64,
        out: &mut VecDeque<Delivery>,
    ) {
        let before = room.cursor;
        for entry in entries {
            // Within a complete page a missing seq is none that the account may see.
            if entry.seq > room.cursor && entry.seq <= through_seq && entry.room_id == room_id {
                room.cursor = entry.seq;
                let seq = entry.seq;
                out.push_back(entry_delivery(entry, seq));
            }
        }
        if through_seq > room.cursor {
            room.cursor = through_seq;
            let seq = room.cursor;
            let step = Step::Cursor { room_id, seq };
            match out.back_mut() {
                // The frame's RoomUpdated, or its last entry, carries the step.
                Some(last) if out_belongs(last, room_id) => last.step = step,
                _ => out.push_back(stale(room_id, before, seq)),
            }
        }
    }

    /// Gives up the entries up to `through_seq`, and says so.
    fn jump(room_id: i64, room: &mut Room, through_seq: i64, out: &mut VecDeque<Delivery>) {
        if through_seq > room.cursor {
            out.push_back(stale(room_id, room.cursor, through_seq));
            room.cursor = through_seq;
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
    fn release(&mut self, room_id: i64, out: &mut VecDeque<Delivery>) {
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
                room.cursor = seq;
                out.push_back(entry_delivery(entry, seq));
            }
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

    fn room(rooms: &mut BTreeMap<i64, Room>, room_id: i64) -> Result<&mut Room, Error> {
        if room_id <= 0 {
            return Err(Error::Protocol("a room without an id"));
        }
        if rooms.len() >= ROOMS_MAX && !rooms.contains_key(&room_id) {
            return Err(Error::TooManyRooms);
        }
        Ok(rooms.entry(room_id).or_default())
    }
}

fn out_belongs(delivery: &Delivery, room_id: i64) -> bool {
    match &delivery.event {
        Event::RoomUpdated(update) => update.summary.room_id == room_id,
        Event::Entry(entry) => entry.room_id == room_id,
        _ => false,
    }
}

fn entry_delivery(entry: Entry, seq: i64) -> Delivery {
    let room_id = entry.room_id;
    Delivery {
        event: Event::Entry(Box::new(entry)),
        step: Step::Cursor { room_id, seq },
    }
}

const fn stale(room_id: i64, after_seq: i64, through_seq: i64) -> Delivery {
    Delivery {
        event: Event::Stale {
            room_id,
            after_seq,
            through_seq,
        },
        step: Step::Cursor {
            room_id,
            seq: through_seq,
        },
    }
}

fn is_join_of(entry: &Entry, user_id: i64) -> bool {
    let changes = match &entry.body {
        Some(Body::MembershipChanged(changed)) => &changed.changes,
        Some(Body::RoomCreated(created)) => &created.changes,
        Some(Body::Message(_) | Body::RoomUpdated(_)) | None => return false,
    };
    let joined = |kind| kind == MemberChangeKind::Joined;
    changes
        .iter()
        .any(|change| change.user_id == user_id && joined(change.kind()))
}
