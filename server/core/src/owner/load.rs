//! Bringing rooms into memory, and letting them go.

use super::{Input, Output, Owner, State, Waiting, pipeline::Active, window::Purpose};
use crate::{
    ids::RoomId,
    limits::millis,
    refusal::{Reason, Refusal},
    room::{Loaded, Recovered, Room},
    time::Now,
};

impl<T> Owner<T> {
    /// Asks for a room that is not in memory, in its turn.
    pub(super) fn load(&mut self, room: RoomId) -> &mut Vec<Waiting<T>> {
        let state = self.rooms.entry(room).or_insert_with(|| {
            self.to_load.push_back(room);
            State::Loading(Vec::new())
        });
        let State::Loading(waiting) = state else {
            unreachable!("only rooms that are not in memory are loaded");
        };
        while self.loading < self.limits.owner_reads_max
            && let Some(room) = self.to_load.pop_front()
        {
            self.loading += 1;
            self.outputs.push_back(Output::Load(room));
        }
        waiting
    }

    /// Takes in what the store holds of a room, and lets go what waited for it.
    pub(super) fn loaded(&mut self, room: RoomId, loaded: Option<Box<Loaded>>, now: Now) {
        match self.to_load.pop_front() {
            Some(next) => self.outputs.push_back(Output::Load(next)),
            None => self.loading -= 1,
        }
        let Some(State::Loading(waiting)) = self.rooms.remove(&room) else {
            return;
        };
        let Some(loaded) = loaded else {
            return self.not_loaded(waiting);
        };
        match Room::recover(room, *loaded, &self.limits) {
            Ok(recovered) => self.activate(recovered, now),
            Err(seq) => {
                let halt = format!("room {room} is damaged: its log ends after {seq}");
                self.outputs.push_back(Output::Halt(halt));
                return self.not_loaded(waiting);
            }
        }
        for waiting in waiting {
            match waiting {
                Waiting::Submit(token, submit) => {
                    self.handle(Input::Submit(token, submit), now);
                }
                Waiting::Query(token, user, query) => {
                    self.read(room, Purpose::Query(token, user, query), now);
                }
                Waiting::Attach(attach) => self.read(room, Purpose::Attach(attach), now),
            }
        }
    }

    fn activate(&mut self, recovered: Recovered, now: Now) {
        let Recovered { room, unlisted } = recovered;
        let id = room.id();
        if room.head() > crate::ids::Seq::ZERO {
            self.heads.insert(
                id,
                super::Head {
                    seq: room.head(),
                    time: room.time(),
                },
            );
        }
        let mut active = Active::new(room, now.instant);
        active.hint_wanted = self.slots.names(id);
        self.rooms.insert(id, State::Active(Box::new(active)));
        for entry in unlisted {
            self.start_effect(id, &entry);
        }
        self.drop_strangers(id);
        self.try_hint(id);
    }

    fn not_loaded(&mut self, waiting: Vec<Waiting<T>>) {
        let refusal = Refusal::new(Reason::Internal, "the room could not be read; try again");
        for waiting in waiting {
            match waiting {
                Waiting::Submit(token, _) => {
                    self.outputs
                        .push_back(Output::Reply(token, Err(refusal.clone())));
                }
                Waiting::Query(token, ..) => {
                    self.outputs
                        .push_back(Output::View(token, Err(refusal.clone())));
                }
                Waiting::Attach(attach) => self.attach_failed(&attach),
            }
        }
    }

    /// Forgets rooms that were not used for a while, or the longest unused ones where all together
    /// take too much memory.
    pub(super) fn evict(&mut self, now: Now) {
        let idle = millis(self.limits.room_idle_millis);
        let mut bytes = 0;
        let mut by_use = Vec::new();
        for (room, state) in &self.rooms {
            let State::Active(active) = state else {
                continue;
            };
            let size = active.room.bytes() as u64;
            bytes += size;
            if active.is_idle() && !self.slots.names(*room) {
                by_use.push((active.used, *room, size));
            }
        }
        by_use.sort_unstable();
        for (used, room, size) in by_use {
            if bytes > self.limits.rooms_bytes_max || now.instant.since(used) >= idle {
                self.rooms.remove(&room);
                bytes -= size;
            }
        }
    }
}
