//! One room of the device: how far it has come, and the handing out of what is next. Knows no other
//! room, and no time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use crate::{
    client::{
        event::Event,
        progress::{Delivery, Step},
    },
    v1::{Entry, MemberChangeKind},
};

#[derive(Debug, Default)]
pub(super) struct Room {
    /// Everything up to here was handed out.
    pub(super) cursor: i64,
    /// The highest seq heard of.
    pub(super) head: i64,
    /// The account's own read mark, as far as the program was told.
    pub(super) read: i64,
    /// The highest seq that came but could not be handed out yet.
    pub(super) wanted: i64,
    pub(super) held: BTreeMap<i64, Entry>,
    pub(super) liveness: Liveness,
    pub(super) chase: Chase,
    pub(super) attempts: u32,
    /// The membership is over, and all of it was handed out. Kept until the next Hello leaves it
    /// out: a stream that is being opened meanwhile may still bring what its own Hello lacked.
    pub(super) over: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Liveness {
    /// This stream has not said yet: its RoomSync comes, or it is at its head.
    #[default]
    Unknown,
    Live,
    /// No events follow; a gap is none of ours to fill.
    Former,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chase {
    #[default]
    None,
    Waiting(Instant),
    Asked,
}

impl Room {
    /// Hands out the next entry.
    pub(super) fn hand_out(&mut self, entry: Entry, user_id: i64, out: &mut VecDeque<Delivery>) {
        self.cursor = entry.seq;
        if entry.is_message_of(user_id) {
            // Sending moves the own read mark.
            self.read = self.read.max(entry.seq);
        }
        self.over = match entry.membership_change_of(user_id) {
            Some(MemberChangeKind::Joined) => false,
            Some(MemberChangeKind::Left | MemberChangeKind::Removed) => true,
            Some(MemberChangeKind::RoleChanged | MemberChangeKind::Unspecified) | None => self.over,
        };
        let step = Step::Cursor {
            room_id: entry.room_id,
            seq: entry.seq,
        };
        let event = Event::Entry(Box::new(entry));
        out.push_back(Delivery { event, step });
    }

    /// Hands out of the entries those that are new, and moves the cursor to the page's end.
    pub(super) fn take_page(
        &mut self,
        room_id: i64,
        entries: Vec<Entry>,
        through_seq: i64,
        user_id: i64,
        out: &mut VecDeque<Delivery>,
    ) {
        let before = self.cursor;
        for entry in entries {
            // Within a complete page a missing seq is none that the account may see.
            if entry.seq > self.cursor && entry.seq <= through_seq && entry.room_id == room_id {
                self.hand_out(entry, user_id, out);
            }
        }
        if through_seq > self.cursor {
            self.cursor = through_seq;
            let seq = self.cursor;
            let step = Step::Cursor { room_id, seq };
            match out.back_mut() {
                // The frame's RoomUpdated, or its last entry, carries the step.
                Some(last)
                    if room_of(last) == Some(room_id)
                        && !matches!(last.event, Event::Stale { .. }) =>
                {
                    last.step = step;
                }
                _ => out.push_back(stale(room_id, before, seq)),
            }
        }
    }

    /// Gives up the entries up to `through_seq`, and says so.
    pub(super) fn jump(&mut self, room_id: i64, through_seq: i64, out: &mut VecDeque<Delivery>) {
        if through_seq > self.cursor {
            out.push_back(stale(room_id, self.cursor, through_seq));
            self.cursor = through_seq;
        }
    }
}

/// The room of what a frame handed out.
pub(super) fn room_of(delivery: &Delivery) -> Option<i64> {
    match &delivery.event {
        Event::RoomUpdated(update) => Some(update.summary.room_id),
        Event::Entry(entry) => Some(entry.room_id),
        Event::Stale { room_id, .. } => Some(*room_id),
        _ => None,
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

pub(super) fn is_join_of(entry: &Entry, user_id: i64) -> bool {
    entry.membership_change_of(user_id) == Some(MemberChangeKind::Joined)
}
