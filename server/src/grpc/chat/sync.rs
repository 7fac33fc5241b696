//! `Sync`: a session for one step, whose frames are the answer of a unary call.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::StreamExt;
use magpie::v1::{self, MemberChangeKind, server_frame::Frame};
use prost::Message;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::{
    super::{
        hello, requests,
        services::{Services, refused, unfitting},
        status,
    },
    begin,
};
use crate::{
    auth::Caller,
    limits::{SYNC_CATCH_UP_MAX, SYNC_WAIT_MAX},
    listen::Budget,
    metrics::StreamKind,
};

/// One step.
pub(super) async fn step(
    services: &Services,
    caller: Caller,
    request: v1::SyncRequest,
    budget: Arc<Budget>,
) -> Result<v1::SyncResponse, Status> {
    let limits = &services.limits;
    let wait = requests::wait(request.wait, SYNC_WAIT_MAX).map_err(refused)?;
    let mut hello =
        hello::state(request.state.as_ref(), &request.marks, limits).map_err(refused)?;
    hello.idle = true;
    hello.linger_millis = Some(hello::poll_linger(wait, limits));
    let (_, mut frames) = begin(services, caller, hello, budget, StreamKind::Sync)?;
    let mut step = Step::new(request.state.unwrap_or_default(), caller.user.get());
    let started = Instant::now();
    let mut deadline = started + SYNC_CATCH_UP_MAX;
    let bytes_max = usize::try_from(limits.page_bytes_max).unwrap_or(usize::MAX);
    while step.bytes < bytes_max {
        let Ok(next) = timeout_at(deadline, frames.next()).await else {
            break;
        };
        let Some(Ok(encoded)) = next else { break };
        step.bytes += encoded.0.len();
        let frame = v1::ServerFrame::decode(encoded.0).map_err(|_| unfitting())?;
        step.take(frame)?;
        if step.caught_up {
            if !step.frames.is_empty() {
                // What is there already comes along; more is not waited for.
                deadline = Instant::now();
            } else {
                deadline = started + wait;
            }
        }
    }
    Ok(step.answer())
}

/// The frames of a step and the state after them.
struct Step {
    frames: Vec<v1::ServerFrame>,
    bytes: usize,
    caught_up: bool,
    generation: i64,
    revision: i64,
    cursors: BTreeMap<i64, v1::RoomCursor>,
    user_id: i64,
}

impl Step {
    fn new(state: v1::State, user_id: i64) -> Self {
        Self {
            frames: Vec::new(),
            bytes: 0,
            caught_up: false,
            generation: state.generation,
            revision: state.account_revision,
            cursors: state
                .cursors
                .into_iter()
                .map(|cursor| (cursor.room_id, cursor))
                .collect(),
            user_id,
        }
    }

    /// Takes in a frame as a client would.
    fn take(&mut self, frame: v1::ServerFrame) -> Result<(), Status> {
        match &frame.frame {
            Some(Frame::Welcome(welcome)) => {
                if welcome.generation != self.generation {
                    self.revision = 0;
                    self.cursors.clear();
                }
                self.generation = welcome.generation;
                return Ok(());
            }
            Some(Frame::CaughtUp(_)) => {
                self.caught_up = true;
                return Ok(());
            }
            Some(Frame::Closing(closing)) => return Err(status::of_closing(closing)),
            Some(Frame::AccountChanged(changed)) => {
                self.revision = changed.account_revision;
                for left in changed.rooms.iter().filter(|room| !room.member) {
                    let over = |cursor: &v1::RoomCursor| cursor.seq == left.left_seq;
                    if self.cursors.get(&left.room_id).is_some_and(over) {
                        self.cursors.remove(&left.room_id);
                    }
                }
            }
            Some(Frame::RoomSync(sync)) => self.synced(sync),
            Some(Frame::Event(event)) => {
                if let Some(entry) = &event.entry {
                    self.entered(entry);
                }
            }
            Some(Frame::MarksChanged(changed)) => {
                let own = changed
                    .marks
                    .iter()
                    .find(|marks| marks.user_id == self.user_id);
                if let Some(read) = own.map(|own| own.read_seq) {
                    self.cursor(changed.room_id).read_seq = read;
                }
            }
            // The rest concerns streams only.
            _ => return Ok(()),
        }
        self.frames.push(frame);
        Ok(())
    }

    fn entered(&mut self, entry: &v1::Entry) {
        let user_id = self.user_id;
        let cursor = self.cursor(entry.room_id);
        cursor.seq = entry.seq;
        if entry.is_message_of(user_id) {
            cursor.read_seq = entry.seq;
        }
        if let Some(MemberChangeKind::Left | MemberChangeKind::Removed) =
            entry.membership_change_of(user_id)
        {
            self.cursors.remove(&entry.room_id);
        }
    }

    fn synced(&mut self, sync: &v1::RoomSync) {
        let Some(summary) = &sync.summary else { return };
        if sync.live {
            let cursor = self.cursor(summary.room_id);
            cursor.seq = sync.through_seq;
            cursor.read_seq = summary.read_seq;
        } else {
            // The membership is over, and this was the last of it.
            self.cursors.remove(&summary.room_id);
        }
    }

    fn cursor(&mut self, room_id: i64) -> &mut v1::RoomCursor {
        let none = v1::RoomCursor {
            room_id,
            ..v1::RoomCursor::default()
        };
        self.cursors.entry(room_id).or_insert(none)
    }

    fn answer(self) -> v1::SyncResponse {
        v1::SyncResponse {
            frames: self.frames,
            next_state: Some(v1::State {
                generation: self.generation,
                account_revision: self.revision,
                cursors: self.cursors.into_values().collect(),
            }),
            more: !self.caught_up,
            user_id: self.user_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use magpie::v1::entry::Body;

    use super::*;

    #[test]
    fn the_next_state_names_no_room_whose_membership_is_over() {
        let change = v1::MemberChange {
            user_id: 1,
            kind: MemberChangeKind::Removed.into(),
            ..v1::MemberChange::default()
        };
        let removed = Body::MembershipChanged(v1::MembershipChanged {
            changes: vec![change],
        });
        let told = Frame::Event(v1::Event {
            entry: Some(v1::Entry {
                room_id: 7,
                seq: 4,
                body: Some(removed),
                ..v1::Entry::default()
            }),
        });
        let row = v1::AccountRoom {
            room_id: 7,
            left_seq: 4,
            ..v1::AccountRoom::default()
        };
        let listed = Frame::AccountChanged(v1::AccountChanged {
            account_revision: 9,
            rooms: vec![row],
        });
        for (held, frame) in [(3, told), (4, listed)] {
            let cursor = v1::RoomCursor {
                room_id: 7,
                seq: held,
                ..v1::RoomCursor::default()
            };
            let state = v1::State {
                cursors: vec![cursor],
                ..v1::State::default()
            };
            let mut step = Step::new(state, 1);
            let frame = v1::ServerFrame {
                request_id: 0,
                frame: Some(frame),
            };
            step.take(frame).expect("a frame");
            let state = step.answer().next_state.expect("a state");
            assert_eq!(state.cursors, [], "held up to {held}");
        }
    }

    #[test]
    fn an_own_message_moves_the_read_mark_of_the_next_state() {
        let mut step = Step::new(v1::State::default(), 1);
        for (seq, actor_user_id) in [(1, 2), (2, 1), (3, 2)] {
            let entry = v1::Entry {
                room_id: 7,
                seq,
                actor_user_id,
                body: Some(Body::Message(v1::Message::default())),
                ..v1::Entry::default()
            };
            let event = Frame::Event(v1::Event { entry: Some(entry) });
            let frame = v1::ServerFrame {
                request_id: 0,
                frame: Some(event),
            };
            step.take(frame).expect("a frame");
        }
        let state = step.answer().next_state.expect("a state");
        assert_eq!((state.cursors[0].seq, state.cursors[0].read_seq), (3, 2));
    }
}
