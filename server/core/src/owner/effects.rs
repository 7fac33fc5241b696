//! What follows from durable entries: answers, events, room lists, and the hints that spare the next
//! owner their search.

use std::sync::Arc;

use super::{
    Head, Output, Owner, RoomListChange, State, WriteNo,
    pipeline::{Active, Held},
};
use crate::{
    command::Answer,
    entry::{Entry, Shared},
    ids::{RoomId, Seq, UserId},
    limits::{SWEEP_INTERVAL, millis},
    link::ToEdge,
    rows::{Marks, Row},
    time::Now,
};

impl<T> Owner<T> {
    /// Takes in the fence's state: lets go what was ready when it was asked for.
    pub(super) fn fence_read(&mut self, fenced: bool, now: Now) {
        let Some(ready) = self.fencing.take() else {
            return;
        };
        if fenced {
            let why = "another owner has taken over".to_owned();
            return self.outputs.push_back(Output::Halt(why));
        }
        for (room, no) in ready {
            self.certify(room, no, now);
            self.take_waiting(room, now);
        }
    }

    fn certify(&mut self, room: RoomId, no: WriteNo, now: Now) {
        let Some(State::Active(active)) = self.rooms.get_mut(&room) else {
            return;
        };
        active.certify(no);
        active.used = now.instant;
        if let Some((_, covered)) = active.hint_in.take_if(|(hint, _)| *hint <= no) {
            let done = self.slots.hinted(room, covered);
            self.finish(done);
        }
        while let Some(entry) = self.next_certified(room) {
            self.publish(room, &entry);
        }
        self.release(room);
        self.try_hint(room);
    }

    fn next_certified(&mut self, room: RoomId) -> Option<Arc<Entry>> {
        let Some(State::Active(active)) = self.rooms.get_mut(&room) else {
            return None;
        };
        let entry = active.next_certified()?;
        active.room.show(entry.clone(), &self.limits);
        Some(entry)
    }

    fn publish(&mut self, room: RoomId, entry: &Arc<Entry>) {
        self.heads.insert(
            room,
            Head {
                seq: entry.seq,
                time: entry.time,
            },
        );
        self.tell_edges(
            room,
            &ToEdge::Entry {
                room,
                entry: entry.clone(),
                shared: Shared::default(),
            },
        );
        if !entry.body.changes().is_empty() {
            self.start_effect(room, entry);
        }
    }

    /// Lets go what waited for what is certified now.
    pub(super) fn release(&mut self, room: RoomId) {
        while let Some(State::Active(active)) = self.rooms.get_mut(&room)
            && let Some(held) = active.next_held()
        {
            match held {
                Held::Reply(token, Ok(answer)) => self.answer(room, token, answer),
                Held::Reply(token, refusal) => {
                    self.outputs.push_back(Output::Reply(token, refusal));
                }
                Held::Marked(user, marks) => self.marked(room, user, marks),
            }
        }
    }

    /// Answers, but not before the room lists show what the answer says.
    fn answer(&mut self, room: RoomId, token: T, answer: Answer) {
        if let (Some(State::Active(active)), Answer::Appended { seq, .. }) =
            (self.rooms.get_mut(&room), &answer)
            && let Some(waiting) = active.effects.get_mut(seq)
        {
            waiting.push((token, answer));
        } else {
            self.outputs.push_back(Output::Reply(token, Ok(answer)));
        }
    }

    /// Starts bringing the members' room lists up to date.
    pub(super) fn start_effect(&mut self, room: RoomId, entry: &Entry) {
        let Some(State::Active(active)) = self.rooms.get_mut(&room) else {
            return;
        };
        active.effects.insert(entry.seq, Vec::new());
        self.outputs.push_back(Output::Effect(RoomListChange {
            room,
            kind: active.room.settings().kind,
            seq: entry.seq,
            changes: entry.body.changes().to_vec(),
        }));
    }

    /// Takes in that the room lists are up to date with an entry.
    pub(super) fn effect_done(&mut self, room: RoomId, seq: Seq) {
        let Some(State::Active(active)) = self.rooms.get_mut(&room) else {
            return;
        };
        for (token, answer) in active.effects.remove(&seq).unwrap_or_default() {
            self.outputs.push_back(Output::Reply(token, Ok(answer)));
        }
        self.try_hint(room);
    }

    /// Shows a user's other devices its marks at once, and the other members' sessions soon.
    fn marked(&mut self, room: RoomId, user: UserId, marks: Marks) {
        let Some(State::Active(active)) = self.rooms.get_mut(&room) else {
            return;
        };
        if active.marked.is_empty() {
            active.marked_at = active.used;
        }
        active.marked.insert(user);
        self.marked.insert(room);
        let marks = Arc::new([(user, active.room.show_marks(user, marks))]);
        self.tell_edges(
            room,
            &ToEdge::Marks {
                room,
                marks,
                only: Some(user),
            },
        );
    }

    /// Shows the members' marks to all who follow the room, where it shows receipts.
    fn show_marks(&mut self, room: RoomId) {
        let Some(State::Active(active)) = self.rooms.get_mut(&room) else {
            return;
        };
        let users = std::mem::take(&mut active.marked);
        let shown = active.room.members().count() as u64 <= self.limits.room_receipts_members_max;
        if users.is_empty() || !shown {
            return;
        }
        let members = active.room.members();
        let marks = users
            .into_iter()
            .map(|user| (user, members.marks(user)))
            .collect();
        self.tell_edges(
            room,
            &ToEdge::Marks {
                room,
                marks,
                only: None,
            },
        );
    }

    /// Takes in that time has passed.
    pub(super) fn tick(&mut self, now: Now) {
        self.write_again();
        for room in self.slots.due(now.instant) {
            match self.rooms.get_mut(&room) {
                Some(State::Active(active)) => active.hint_wanted = active.hint_in.is_none(),
                Some(State::Loading(_)) => {}
                None => drop(self.load(room)),
            }
            self.try_hint(room);
        }
        let delay = millis(self.limits.marks_delay_millis);
        let is_due = |active: &Active<T>| {
            !active.marked.is_empty() && now.instant.since(active.marked_at) >= delay
        };
        let marked = self.marked.iter().copied();
        let due: Vec<_> = marked
            .filter(|room| match self.rooms.get(room) {
                Some(State::Active(active)) => is_due(active),
                Some(State::Loading(_)) | None => true,
            })
            .collect();
        for room in due {
            self.marked.remove(&room);
            self.show_marks(room);
        }
        if now.instant >= self.evict_at {
            self.evict_at = now.instant + SWEEP_INTERVAL;
            self.evict(now);
        }
    }

    /// Sends the writes again that were refused for want of space.
    fn write_again(&mut self) {
        for room in std::mem::take(&mut self.refused) {
            if let Some(State::Active(active)) = self.rooms.get_mut(&room) {
                for (no, mut rows) in active.again() {
                    for row in &mut rows {
                        // A later write may have gone through with newer marks.
                        if let Row::Marks(_, user, _) = row {
                            *row = active.room.marks_row(*user);
                        }
                    }
                    self.outputs.push_back(Output::Write(room, no, rows));
                }
            }
        }
    }

    /// Writes a room's hint where one is wanted and everything before it is done.
    pub(super) fn try_hint(&mut self, room: RoomId) {
        let Some(State::Active(active)) = self.rooms.get_mut(&room) else {
            return;
        };
        if !active.hint_wanted || !active.is_settled() || !active.effects.is_empty() {
            return;
        }
        active.hint_wanted = false;
        if active.room.head() == Seq::ZERO {
            // The former owner noted it and died before anything was durable.
            let done = self.slots.hinted(room, self.slots.covered(room));
            return self.finish(done);
        }
        let rows = active.room.hint(active.room.certified());
        active.rows.extend(rows);
        active.hint_in = Some((active.current(), self.slots.covered(room)));
        self.touched.insert(room);
    }

    fn finish(&mut self, rows: Vec<Row>) {
        if !rows.is_empty() {
            self.outputs.push_back(Output::Finish(rows));
        }
    }
}
