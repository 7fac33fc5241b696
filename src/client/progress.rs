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
}

/// The state as of the last event taken.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    generation: i64,
    account_revision: i64,
    cursors: BTreeMap<i64, i64>,
}

impl Progress {
    pub(crate) fn new(state: &State) -> Self {
        Self {
            generation: state.generation,
            account_revision: state.account_revision,
            cursors: state
                .cursors
                .iter()
                .map(|cursor| (cursor.room_id, cursor.seq))
                .collect(),
        }
    }

    pub(crate) fn apply(&mut self, delivery: &Delivery) {
        match delivery.step {
            Step::None => {}
            Step::Generation(generation) => self.generation = generation,
            Step::Drop(generation) => {
                *self = Self {
                    generation,
                    ..Self::default()
                };
            }
            Step::Revision(revision) => self.account_revision = revision,
            Step::Cursor { room_id, seq } => {
                self.cursors.insert(room_id, seq);
            }
        }
    }

    /// Of more rooms than a Hello may name, those that were joined last: ids are ordered by time.
    pub(crate) fn state(&self) -> State {
        State {
            generation: self.generation,
            account_revision: self.account_revision,
            cursors: cursors(&self.cursors),
        }
    }
}

fn cursors(all: &BTreeMap<i64, i64>) -> Vec<RoomCursor> {
    let latest = all.iter().rev().take(HELLO_ROOMS_MAX);
    latest
        .map(|(&room_id, &seq)| RoomCursor { room_id, seq })
        .collect()
}
