//! What a device says in rooms: one queue a room, oldest first, and after a refusal nothing new until
//! all that was said is answered.

use std::collections::VecDeque;

use bytes::Bytes;
use magpie_core::{
    command::{Append, Command as ToRoom, What},
    edge::FrameIn,
    ids::{MessageId, RoomId, Seq},
    refusal::{Effect, Refusal},
};

use super::{Device, frame, submit};
use crate::facts::Facts;

/// Messages of a room that are unanswered at a time.
const PIPELINE: usize = 4;

/// A message that waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    id: MessageId,
    after: Option<Seq>,
    text: Bytes,
    long: bool,
    /// The request under which it was said on the present stream.
    asked: Option<u64>,
}

/// What is to be said in a room, oldest first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    drafts: VecDeque<Draft>,
    /// After a refusal: nothing before this time, nor before all that was said is answered.
    not_before: u64,
    refused: bool,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }
}

impl Device {
    pub(super) fn unsay(&mut self) {
        for queue in self.queues.values_mut() {
            queue.refused = false;
            for draft in &mut queue.drafts {
                draft.asked = None;
            }
        }
    }

    /// Queues a message.
    pub(crate) fn queue(
        &mut self,
        room: RoomId,
        id: MessageId,
        text: Bytes,
        long: bool,
        says_after: bool,
    ) {
        let after = says_after.then(|| self.cursor(room));
        self.queues
            .entry(room)
            .or_default()
            .drafts
            .push_back(Draft {
                id,
                after,
                text,
                long,
                asked: None,
            });
    }

    /// What it says now of what is queued.
    pub(crate) fn say(&mut self, now: u64, facts: &mut Facts) -> Vec<FrameIn> {
        let mut frames = Vec::new();
        if !self.welcomed {
            return frames;
        }
        let (user, device) = (self.user, self.id);
        for (room, queue) in &mut self.queues {
            let asked = queue
                .drafts
                .iter()
                .filter(|draft| draft.asked.is_some())
                .count();
            if queue.refused && asked == 0 {
                queue.refused = false;
            }
            if queue.refused || now < queue.not_before {
                continue;
            }
            for draft in queue
                .drafts
                .iter_mut()
                .take(PIPELINE)
                .filter(|d| d.asked.is_none())
            {
                draft.asked = Some(self.next_request);
                facts.transmitted(draft.id);
                let append = Append {
                    id: draft.id,
                    after: draft.after,
                    what: message(&draft.text, draft.long),
                };
                let command = ToRoom::Append(append);
                frames.push(frame(
                    self.next_request,
                    submit(*room, user, device, command),
                ));
                self.next_request += 1;
            }
        }
        frames
    }

    /// When it has something to say again after a refusal.
    pub(crate) fn says_at(&self) -> Option<u64> {
        let waiting = self
            .queues
            .values()
            .filter(|queue| !queue.drafts.is_empty());
        waiting.map(|queue| queue.not_before).min()
    }

    pub(super) fn sent(&mut self, request: u64, seq: Seq, facts: &mut Facts) {
        let found = self.queues.iter().find_map(|(room, queue)| {
            let draft = queue
                .drafts
                .iter()
                .find(|draft| draft.asked == Some(request));
            draft.map(|draft| (*room, draft.id))
        });
        if let Some((room, id)) = found {
            self.settle(room, id, seq, facts);
        }
    }

    pub(super) fn settle(&mut self, room: RoomId, id: MessageId, seq: Seq, facts: &mut Facts) {
        if let Some(queue) = self.queues.get_mut(&room)
            && let Some(place) = queue.drafts.iter().position(|draft| draft.id == id)
        {
            queue.drafts.remove(place);
            facts.appended(id, seq);
        }
    }

    pub(super) fn refused(&mut self, request: u64, refusal: &Refusal, now: u64, facts: &mut Facts) {
        if let Some(room) = self.marks_asked.remove(&request) {
            self.unconfirmed.remove(&room);
        }
        for queue in self.queues.values_mut() {
            let Some(place) = queue.drafts.iter().position(|d| d.asked == Some(request)) else {
                continue;
            };
            let draft = &mut queue.drafts[place];
            draft.asked = None;
            facts.refused(draft.id, refusal.effect == Effect::None);
            if refusal.reason.may_retry() {
                let wait = refusal.retry_after.unwrap_or_default().as_millis() as u64;
                queue.not_before = now + wait.max(20);
                queue.refused = true;
            } else {
                queue.drafts.remove(place);
            }
        }
    }
}

/// A message; a long one has its whole text beside a preview.
pub(crate) fn message(text: &Bytes, long: bool) -> What {
    let (wire, whole) = if long {
        (text.slice(..text.len() / 2), Some(text.clone()))
    } else {
        (text.clone(), None)
    };
    What::Message {
        wire,
        whole,
        reply_to: None,
    }
}
