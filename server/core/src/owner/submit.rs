//! Commands: recognised as retries, decided, appended, and answered once durable.

use std::{mem, time::Duration};

use super::{
    Output, Owner, State, Waiting, WriteNo, WriteOutcome,
    pipeline::{Active, Held, Pending},
    window::{Fetch, Purpose, Reading, Window},
};
use crate::{
    command::{Answer, Append, Command, Submit, What},
    entry::{ChangeKind, Entry},
    ids::RoomId,
    link::ToEdge,
    rate::Rate,
    refusal::{Effect, Reason, Refusal},
    room::{Decision, Duplicate, Room, cursor_ahead, overloaded, room_not_found},
    rows::Marks,
    time::Now,
};

/// A command whose earlier copy is searched in the store.
#[derive(Debug)]
pub(super) struct Lookup<T> {
    pub(super) token: T,
    pub(super) submit: Submit,
}

/// What a search for an earlier copy found.
enum Earlier {
    None,
    Same(Answer),
    Other,
    TooOld,
}

impl<T> Owner<T> {
    pub(super) fn submit(&mut self, token: T, submit: Submit, now: Now) {
        let room = submit.room;
        let waiting_max = self.limits.room_waiting_max;
        match self.rooms.get_mut(&room) {
            Some(State::Active(active)) => {
                active.used = now.instant;
                let queue = active.queue.len() as u64;
                if queue == 0 && active.accepts(self.limits.room_in_flight_max) {
                    self.take(token, submit, now);
                } else if queue < waiting_max {
                    active.queue.push_back((token, submit));
                } else {
                    self.outputs
                        .push_back(Output::Reply(token, Err(overloaded())));
                }
            }
            Some(State::Loading(waiting)) if (waiting.len() as u64) < waiting_max => {
                waiting.push(Waiting::Submit(token, submit));
            }
            Some(State::Loading(_)) => {
                self.outputs
                    .push_back(Output::Reply(token, Err(overloaded())));
            }
            None if self.heads.contains_key(&room) || creates(&submit) => {
                self.load(room).push(Waiting::Submit(token, submit));
            }
            None => {
                let refusal = room_not_found().with_effect(Effect::None);
                self.outputs.push_back(Output::Reply(token, Err(refusal)));
            }
        }
    }

    /// Takes the commands that waited, as far as the room accepts them.
    pub(super) fn take_waiting(&mut self, room: RoomId, now: Now) {
        loop {
            let in_flight_max = self.limits.room_in_flight_max;
            let Some(State::Active(active)) = self.rooms.get_mut(&room) else {
                return;
            };
            if !active.accepts(in_flight_max) {
                return;
            }
            let Some((token, submit)) = active.queue.pop_front() else {
                return;
            };
            self.take(token, submit, now);
        }
    }

    fn take(&mut self, token: T, submit: Submit, now: Now) {
        self.touched.insert(submit.room);
        match &submit.command {
            Command::Append(_) => {
                let room = submit.room;
                self.read(
                    room,
                    Purpose::Lookup(Box::new(Lookup { token, submit })),
                    now,
                );
            }
            Command::Mark(marks) => {
                let marks = *marks;
                self.mark(token, &submit, marks);
            }
            Command::Typing => self.typing(token, &submit),
        }
    }

    /// Goes on with a command as far as memory reaches.
    pub(super) fn advance_lookup(
        &mut self,
        mut reading: Reading<T>,
        now: Now,
    ) -> Option<(Reading<T>, Fetch)> {
        let Purpose::Lookup(lookup) = &mut reading.purpose else {
            return None;
        };
        let Some(State::Active(active)) = self.rooms.get_mut(&reading.room) else {
            return None;
        };
        let Command::Append(append) = &lookup.submit.command else {
            return None;
        };
        let window = Window {
            room: &active.room,
            fetched: &reading.fetched,
            limits: &self.limits,
        };
        let was_looking_up = mem::take(&mut active.looking_up);
        match earlier(&window, active, &lookup.submit, append, &self.limits) {
            Err(fetch) => {
                active.looking_up = true;
                return Some((reading, fetch));
            }
            Ok(earlier) => {
                let Purpose::Lookup(lookup) = reading.purpose else {
                    return None;
                };
                self.settle(*lookup, earlier, now);
            }
        }
        if was_looking_up {
            self.take_waiting(reading.room, now);
        }
        None
    }

    /// The store could not tell whether a command is a retry.
    pub(super) fn lookup_failed(&mut self, lookup: Lookup<T>, refusal: Refusal, now: Now) {
        let room = lookup.submit.room;
        if let Some(State::Active(active)) = self.rooms.get_mut(&room) {
            active.looking_up = false;
        }
        self.outputs
            .push_back(Output::Reply(lookup.token, Err(refusal)));
        // Nothing else may come to wake those that waited for it.
        self.take_waiting(room, now);
    }

    fn settle(&mut self, lookup: Lookup<T>, earlier: Earlier, now: Now) {
        let Lookup { token, submit } = lookup;
        let room = submit.room;
        self.touched.insert(room);
        let result = match earlier {
            Earlier::Same(answer) => self.repeat(room, answer),
            Earlier::Other => Err(Refusal::new(
                Reason::IdReused,
                "this client_message_id was used for another command; make a new one",
            )),
            Earlier::TooOld => Err(Refusal::new(
                Reason::TooOldToRetry,
                "too much was written since the first attempt to tell whether it took effect",
            )),
            Earlier::None => {
                let effect = self.effect_of_none(&submit);
                let result = self.append(submit, now);
                result.map_err(|refusal| refusal.with_effect(effect))
            }
        };
        if let Some(State::Active(active)) = self.rooms.get_mut(&room) {
            active.hold(Held::Reply(token, result));
        }
    }

    /// What a refusal can say of a command of which no earlier copy was found.
    fn effect_of_none(&self, submit: &Submit) -> Effect {
        match (self.rooms.get(&submit.room), &submit.command) {
            (Some(State::Active(active)), Command::Append(append))
                if !active.room.searches_all(append, &self.limits) =>
            {
                Effect::AttemptNone
            }
            _ => Effect::None,
        }
    }

    /// The answer to a retry: that of the first attempt, once it is durable.
    fn repeat(&self, room: RoomId, answer: Answer) -> Result<Answer, Refusal> {
        let Some(State::Active(active)) = self.rooms.get(&room) else {
            return Ok(answer);
        };
        let waits =
            matches!(&answer, Answer::Appended { seq, .. } if *seq > active.room.certified());
        if waits && self.full {
            Err(storage_full(Effect::Unknown))
        } else {
            Ok(answer)
        }
    }

    fn append(&mut self, submit: Submit, now: Now) -> Result<Answer, Refusal> {
        let Some(State::Active(active)) = self.rooms.get_mut(&submit.room) else {
            return Err(room_not_found());
        };
        let Command::Append(append) = submit.command else {
            return Ok(Answer::Unchanged);
        };
        let Decision::Append(body) =
            active
                .room
                .decide(submit.actor, &append.what, &self.limits)?
        else {
            return Ok(Answer::Unchanged);
        };
        if self.full {
            return Err(storage_full(Effect::AttemptNone));
        }
        if let Some(refusal) = submit.unless_retry {
            return Err(*refusal);
        }
        let rate = Rate {
            burst: self.limits.room_send_burst,
            per_minute: self.limits.room_sends_per_minute,
        };
        let bucket = active.rates.entry(submit.actor).or_default();
        bucket
            .take(rate, append.weight(), now.instant)
            .map_err(too_fast)?;
        let entry = Room::entry(submit.actor, submit.device, &append, body, now.wall);
        let whole = match append.what {
            What::Message { whole, .. } => whole,
            _ => None,
        };
        let (entry, rows) = active
            .room
            .append(self.epoch, entry, whole.clone(), &self.limits);
        active.rows.extend(rows);
        active
            .rows
            .extend(self.slots.note(submit.room, now.instant));
        let answer = answer_of(&entry);
        active.pending.push_back(Pending {
            write: active.current(),
            entry,
            whole,
        });
        Ok(answer)
    }

    fn mark(&mut self, token: T, submit: &Submit, marks: Marks) {
        let full = self.full;
        let Some(State::Active(active)) = self.rooms.get_mut(&submit.room) else {
            return;
        };
        let certified = active.room.certified();
        let result = active.room.role_of(submit.actor).and_then(|_| {
            if marks.read.max(marks.delivered) > certified {
                return Err(cursor_ahead(certified));
            }
            if full {
                Err(storage_full(Effect::AttemptNone))
            } else {
                Ok(())
            }
        });
        let result = result.map(|()| {
            let (marks, row) = active.room.mark(submit.actor, marks);
            if let Some(row) = row {
                active.rows.push(row);
                active.hold(Held::Marked(submit.actor, marks));
            }
            Answer::Marks(marks)
        });
        active.hold(Held::Reply(token, result));
    }

    fn typing(&mut self, token: T, submit: &Submit) {
        let receipts_max = self.limits.room_receipts_members_max;
        let Some(State::Active(active)) = self.rooms.get_mut(&submit.room) else {
            return;
        };
        let result = active.room.role_of(submit.actor).map(|_| Answer::Typing);
        let shown = active.room.members().count() as u64 <= receipts_max;
        let granted = result.is_ok();
        active.hold(Held::Reply(token, result));
        if granted && shown {
            let typing = ToEdge::Typing {
                room: submit.room,
                user: submit.actor,
            };
            self.tell_edges(submit.room, &typing);
        }
    }

    /// Takes in how a write ended.
    pub(super) fn written(&mut self, room: RoomId, no: WriteNo, outcome: WriteOutcome) {
        let Some(State::Active(active)) = self.rooms.get_mut(&room) else {
            return;
        };
        match outcome {
            WriteOutcome::Done => {
                self.full = false;
                if let Some(ready) = active.done(no) {
                    let latest = self.ready.entry(room).or_insert(ready);
                    *latest = ready.max(*latest);
                }
            }
            // The same rows go out again at the next tick: a seq is never used for other content.
            // Whoever waits is told; the retry finds the entry by its id.
            WriteOutcome::Full => {
                self.full = true;
                self.refused.insert(room);
                active.refused(no);
                for token in active.take_replies() {
                    let refusal = storage_full(Effect::Unknown);
                    self.outputs.push_back(Output::Reply(token, Err(refusal)));
                }
                for (token, _) in active.queue.drain(..) {
                    let refusal = storage_full(Effect::AttemptNone);
                    self.outputs.push_back(Output::Reply(token, Err(refusal)));
                }
            }
        }
    }
}

fn earlier<T>(
    window: &Window<'_>,
    active: &Active<T>,
    submit: &Submit,
    append: &Append,
    limits: &crate::limits::Limits,
) -> Result<Earlier, Fetch> {
    let seq = match active.room.duplicate(submit.actor, append, limits) {
        Duplicate::At(seq) => seq,
        Duplicate::None => return Ok(Earlier::None),
        Duplicate::TooOld => return Ok(Earlier::TooOld),
        Duplicate::Search { after, through } => {
            match window.pointer(submit.actor, append.id, after, through)? {
                Some(seq) => seq,
                None => return Ok(Earlier::None),
            }
        }
    };
    let pending = active
        .pending
        .iter()
        .find(|pending| pending.entry.seq == seq);
    let entry = match pending {
        Some(pending) => &pending.entry,
        None => window.one(seq)?,
    };
    if !Room::matches(&append.what, submit.actor, entry) {
        return Ok(Earlier::Other);
    }
    if let What::Message {
        whole: Some(whole), ..
    } = &append.what
    {
        let same = match pending {
            Some(pending) => pending.whole.as_ref() == Some(whole),
            None => window.body(seq)? == whole,
        };
        if !same {
            return Ok(Earlier::Other);
        }
    }
    Ok(Earlier::Same(answer_of(entry)))
}

fn answer_of(entry: &Entry) -> Answer {
    let joined = entry.body.changes().iter();
    let joined = joined.filter(|change| matches!(change.kind, ChangeKind::Joined(_)));
    Answer::Appended {
        seq: entry.seq,
        time: entry.time,
        joined: joined.map(|change| change.user).collect(),
    }
}

fn creates(submit: &Submit) -> bool {
    matches!(
        &submit.command,
        Command::Append(Append {
            what: What::Create { .. },
            ..
        })
    )
}

fn storage_full(effect: Effect) -> Refusal {
    Refusal::new(
        Reason::StorageFull,
        "the node's disk has too little free space for writes; an operator must free some",
    )
    .with_effect(effect)
    .with_retry_after(Duration::from_secs(1))
}

fn too_fast(wait: Duration) -> Refusal {
    Refusal::new(
        Reason::RateLimited,
        "you write to this room faster than it allows; slow down",
    )
    .with_retry_after(wait)
}
