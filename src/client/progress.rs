//! How far the program has come: the state to resume from, moved by the events it has taken.

use std::collections::BTreeMap;

use crate::{
    client::{event::Event, limits::HELLO_ROOMS_MAX},
    v1::{RoomCursor, State},
};

/// An event, with what it means for the state once it is taken.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) event: Event,
    pub(crate) step: Step,
}

/// What an event moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    None,
    /// The generation under which the rest is learnt.
    Generation(i64),
    /// Everything is dropped.
    Drop(i64),
    /// The account's revision.
    Revision(i64),
    /// A room's cursor.
    Cursor { room_id: i64, seq: i64 },
    /// The account's membership of a room is over, and this was the last of it.
    Left { room_id: i64 },
}

/// The state as of the last event taken.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    generation: i64,
    account_revision: i64,
    rooms: BTreeMap<i64, Position>,
    user_id: i64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Position {
    seq: i64,
    read_seq: i64,
}

impl Progress {
    pub(crate) fn new(state: &State) -> Self {
        Self {
            generation: state.generation,
            account_revision: state.account_revision,
            rooms: state
                .cursors
                .iter()
                .map(
                    |&RoomCursor {
                         room_id,
                         seq,
                         read_seq,
                     }| (room_id, Position { seq, read_seq }),
                )
                .collect(),
            user_id: 0,
        }
    }

    pub(crate) fn apply(&mut self, delivery: &Delivery) {
        match delivery.step {
            Step::None => {}
            Step::Generation(generation) => self.generation = generation,
            Step::Drop(generation) => {
                *self = Self {
                    generation,
                    user_id: self.user_id,
                    ..Self::default()
                };
            }
            Step::Revision(revision) => self.account_revision = revision,
            Step::Cursor { room_id, seq } => {
                self.rooms.entry(room_id).or_default().seq = seq;
            }
            Step::Left { room_id } => {
                self.rooms.remove(&room_id);
            }
        }
        self.learn(&delivery.event);
    }

    /// The own read marks that the program was told, and the rooms that it has no more to learn of.
    fn learn(&mut self, event: &Event) {
        match event {
            Event::Connected(connected) => self.user_id = connected.user_id,
            Event::AccountChanged(changed) => {
                for left in changed.rooms.iter().filter(|room| !room.member) {
                    let over = |room: &Position| room.seq == left.left_seq;
                    if self.rooms.get(&left.room_id).is_some_and(over) {
                        self.rooms.remove(&left.room_id);
                    }
                }
            }
            Event::RoomUpdated(update) => {
                let room_id = update.summary.room_id;
                if let Some(room) = self.rooms.get_mut(&room_id) {
                    room.read_seq = update.summary.read_seq;
                }
            }
            Event::Entry(entry) if entry.is_message_of(self.user_id) => {
                if let Some(room) = self.rooms.get_mut(&entry.room_id) {
                    room.read_seq = room.read_seq.max(entry.seq);
                }
            }
            Event::Marks { room_id, marks } => {
                let own = marks.iter().find(|mark| mark.user_id == self.user_id);
                if let (Some(own), Some(room)) = (own, self.rooms.get_mut(room_id)) {
                    room.read_seq = own.read_seq;
                }
            }
            _ => {}
        }
    }

    /// Of more rooms than a Hello may name, those that were joined last: ids are ordered by time.
    pub(crate) fn state(&self) -> State {
        State {
            generation: self.generation,
            account_revision: self.account_revision,
            cursors: self
                .rooms
                .iter()
                .rev()
                .take(HELLO_ROOMS_MAX)
                .map(|(&room_id, &Position { seq, read_seq })| RoomCursor {
                    room_id,
                    seq,
                    read_seq,
                })
                .collect(),
        }
    }
}
