//! Messages on their way out: one queue a room, in order, each retried under its id until its
//! fate is known. Does no I/O; knows no connection but whether one is there.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    ops::Bound::{Excluded, Unbounded},
    time::{Duration, Instant},
};

use prost::Message;

use crate::{
    client::{
        error::Refusal,
        event::{Event, MessageId, SendError, Sent},
        limits::{
            SEND_RETRY_DEFAULT, SENDS_IN_FLIGHT_PER_ROOM_MAX, SENDS_QUEUED_BYTES_MAX,
            SENDS_QUEUED_MAX, SENDS_QUEUED_PER_ROOM_MAX,
        },
        pending::PendingSend,
    },
    v1::{Effect, Reason, SendMessageRequest, SendMessageResponse},
};

/// What became of a message.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) room_id: i64,
    pub(crate) client_message_id: MessageId,
    pub(crate) result: Result<Sent, SendError>,
}

/// A message to transmit now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transmission {
    pub(crate) request: SendMessageRequest,
    /// The first one: what to store before it.
    pub(crate) first: Option<PendingSend>,
}

/// All queues.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    queues: BTreeMap<i64, Queue>,
    ids: HashSet<MessageId>,
    bytes: usize,
    in_flight: HashMap<u64, (i64, MessageId)>,
    outcomes: VecDeque<Outcome>,
    /// The room served last: the next one is served next.
    turn: i64,
}

#[derive(Debug)]
struct Queue {
    sends: VecDeque<Item>,
    in_flight: usize,
    /// How many may be in flight: one after a refusal that passes, since each that is sent behind a
    /// refused one is sent in vain, and one more after each that is taken.
    window: usize,
    /// A message was refused and is to be retried: nothing goes out before this moment, and not
    /// before all that is in flight is answered. Then the oldest goes first, which keeps order.
    held_until: Option<Instant>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            sends: VecDeque::new(),
            in_flight: 0,
            window: SENDS_IN_FLIGHT_PER_ROOM_MAX,
            held_until: None,
        }
    }
}

#[derive(Debug)]
struct Item {
    pending: PendingSend,
    give_up_at: Instant,
    in_flight: bool,
    /// An attempt was never answered, so a later refusal does not settle what became of it.
    unsettled: bool,
    /// Why it was refused for now, as the program was told last.
    delayed: Option<Reason>,
    /// It changed since it was stored.
    store_again: bool,
}

impl Outgoing {
    /// Whether the message may be queued.
    pub(crate) fn check(&self, pending: &PendingSend) -> Result<(), SendError> {
        let draft = &pending.draft;
        let queued = self.queues.get(&draft.room_id);
        let full = self.ids.len() >= SENDS_QUEUED_MAX
            || self.bytes + draft.text.len() > SENDS_QUEUED_BYTES_MAX
            || queued.is_some_and(|queue| queue.sends.len() >= SENDS_QUEUED_PER_ROOM_MAX);
        if full && !self.contains(draft.client_message_id) {
            return Err(SendError::QueueFull);
        }
        Ok(())
    }

    pub(crate) fn contains(&self, client_message_id: MessageId) -> bool {
        self.ids.contains(&client_message_id)
    }

    /// Queues a message. The caller has checked that there is room, or restores stored ones, which
    /// are not turned away.
    pub(crate) fn enqueue(&mut self, pending: PendingSend, give_up_at: Instant) {
        if !self.ids.insert(pending.draft.client_message_id) {
            return;
        }
        self.bytes += pending.draft.text.len();
        let queue = self.queues.entry(pending.draft.room_id).or_default();
        queue.sends.push_back(Item {
            give_up_at,
            in_flight: false,
            unsettled: pending.transmitted,
            delayed: None,
            store_again: false,
            pending,
        });
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The next message to transmit under `request_id`. `head` tells the known head of a room,
    /// `frame_bytes_max` what the server takes.
    pub(crate) fn poll(
        &mut self,
        request_id: u64,
        now: Instant,
        frame_bytes_max: usize,
        head: impl Fn(i64) -> Option<i64>,
    ) -> Option<Transmission> {
        let room_id = self.next_room(now)?;
        self.turn = room_id;
        let queue = self.queues.get_mut(&room_id)?;
        queue.held_until = None;
        let item = queue.sends.iter_mut().find(|item| !item.in_flight)?;
        let id = item.pending.draft.client_message_id;
        let mut first = None;
        if !item.pending.transmitted {
            item.pending.transmitted = true;
            item.pending.after_seq = head(room_id);
            item.store_again = true;
        }
        if std::mem::take(&mut item.store_again) {
            first = Some(item.pending.clone());
        }
        let request = item.pending.request();
        if request.encoded_len() + FRAME_OVERHEAD_BYTES > frame_bytes_max {
            // It would end the stream, and the next one again.
            self.settle(room_id, id, Err(SendError::Refused(too_large())));
            return self.poll(request_id, now, frame_bytes_max, head);
        }
        item.in_flight = true;
        queue.in_flight += 1;
        self.in_flight.insert(request_id, (room_id, id));
        Some(Transmission { request, first })
    }

    /// Whether the answer to this frame is one for a message.
    pub(crate) fn is_asked(&self, request_id: u64) -> bool {
        self.in_flight.contains_key(&request_id)
    }

    pub(crate) fn handle_sent(&mut self, request_id: u64, answer: SendMessageResponse) {
        let Some((room_id, id)) = self.land(request_id) else {
            return;
        };
        if let Some(queue) = self.queues.get_mut(&room_id) {
            queue.window = SENDS_IN_FLIGHT_PER_ROOM_MAX.min(queue.window + 1);
        }
        let sent = Sent {
            room_id,
            client_message_id: id,
            seq: answer.seq,
            create_time: answer.create_time,
        };
        self.settle(room_id, id, Ok(sent));
    }

    /// Returns what the program is to be told of a message that is tried again.
    pub(crate) fn handle_refused(
        &mut self,
        request_id: u64,
        refusal: Refusal,
        now: Instant,
    ) -> Option<Event> {
        let (room_id, id) = self.land(request_id)?;
        if refusal.is_retriable() {
            // Behind an earlier one there is nothing more to wait for than that.
            let behind =
                refusal.reason == Reason::EarlierSendRefused && !self.is_oldest(room_id, id);
            let otherwise = if behind {
                Duration::ZERO
            } else {
                SEND_RETRY_DEFAULT
            };
            let wait = refusal.retry_after.unwrap_or(otherwise);
            self.retry(room_id, id, refusal.effect, now + wait);
            return self.delayed(room_id, id, refusal);
        }
        let unsettled = self.item(room_id, id).is_some_and(|item| item.unsettled);
        let settled = refusal.effect == Effect::None || !unsettled;
        let error = match refusal.reason {
            Reason::TooOldToRetry => SendError::Unknown(Some(refusal)),
            _ if settled => SendError::Refused(refusal),
            _ => SendError::Unknown(Some(refusal)),
        };
        self.settle(room_id, id, Err(error));
        None
    }

    /// What this transmission needs could not be stored, so it must not be made.
    pub(crate) fn withdraw(&mut self, request_id: u64, error: SendError) {
        if let Some((room_id, id)) = self.land(request_id) {
            let unsettled = self.item(room_id, id).is_some_and(|item| item.unsettled);
            let error = if unsettled {
                SendError::Unknown(None)
            } else {
                error
            };
            self.settle(room_id, id, Err(error));
        }
    }

    /// The server was restored from a backup: the heads that were known are of another log. An earlier
    /// copy may lie anywhere.
    pub(crate) fn forget_heads(&mut self) {
        for item in self.queues.values_mut().flat_map(|queue| &mut queue.sends) {
            if item.pending.transmitted {
                item.pending.after_seq = Some(0);
                item.store_again = true;
            }
        }
    }

    /// The stream is lost: what was in flight goes out again, oldest first.
    pub(crate) fn handle_lost(&mut self) {
        self.in_flight.clear();
        for queue in self.queues.values_mut() {
            queue.in_flight = 0;
            for item in &mut queue.sends {
                item.unsettled |= item.in_flight;
                item.in_flight = false;
            }
        }
    }

    /// Gives up what was retried for too long.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let over: Vec<_> = self
            .queues
            .iter()
            .flat_map(|(&room_id, queue)| {
                let old = queue.sends.iter().filter(|item| item.give_up_at <= now);
                old.filter(|item| !item.in_flight)
                    .map(move |item| (room_id, item.pending.draft.client_message_id))
            })
            .collect();
        for (room_id, id) in over {
            self.settle(room_id, id, Err(SendError::Unknown(None)));
        }
    }

    /// When something may be due: a retry, where `open`, or a giving up.
    pub(crate) fn poll_timeout(&self, open: bool) -> Option<Instant> {
        let held = |queue: &Queue| {
            let waits = open && queue.in_flight == 0;
            waits.then_some(queue.held_until).flatten()
        };
        let give_up = |queue: &Queue| {
            let waiting = queue.sends.iter().filter(|item| !item.in_flight);
            waiting.map(|item| item.give_up_at).min()
        };
        let each = |queue| [held(queue), give_up(queue)];
        self.queues.values().flat_map(each).flatten().min()
    }

    pub(crate) fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// All messages whose fate is not known, oldest first within a room.
    pub(crate) fn pending(&self) -> Vec<PendingSend> {
        let mut pending: Vec<_> = self
            .queues
            .values()
            .flat_map(|queue| queue.sends.iter().map(|item| item.pending.clone()))
            .collect();
        // A stable sort: equal times keep their order.
        pending.sort_by_key(|pending| pending.queue_time);
        pending
    }

    fn next_room(&self, now: Instant) -> Option<i64> {
        let ready = |queue: &Queue| match queue.held_until {
            Some(until) => queue.in_flight == 0 && until <= now,
            None => queue.in_flight < queue.window && queue.sends.len() > queue.in_flight,
        };
        let after = self.queues.range((Excluded(self.turn), Unbounded));
        let upto = self.queues.range(..=self.turn);
        after
            .chain(upto)
            .find(|(_, queue)| ready(queue))
            .map(|(&room_id, _)| room_id)
    }

    fn retry(&mut self, room_id: i64, id: MessageId, effect: Effect, at: Instant) {
        if let Some(item) = self.item(room_id, id) {
            item.unsettled |= effect == Effect::Unknown;
        }
        if let Some(queue) = self.queues.get_mut(&room_id) {
            queue.held_until = queue.held_until.max(Some(at));
            queue.window = 1;
        }
    }

    fn delayed(&mut self, room_id: i64, id: MessageId, refusal: Refusal) -> Option<Event> {
        let item = self.item(room_id, id)?;
        if refusal.reason == Reason::EarlierSendRefused || item.delayed == Some(refusal.reason) {
            return None;
        }
        item.delayed = Some(refusal.reason);
        Some(Event::SendDelayed {
            room_id,
            client_message_id: id,
            refusal,
        })
    }

    /// An answer came: the message is no longer in flight.
    fn land(&mut self, request_id: u64) -> Option<(i64, MessageId)> {
        let (room_id, id) = self.in_flight.remove(&request_id)?;
        self.queues.get_mut(&room_id)?.in_flight -= 1;
        self.item(room_id, id)?.in_flight = false;
        Some((room_id, id))
    }

    fn is_oldest(&self, room_id: i64, id: MessageId) -> bool {
        let oldest = self
            .queues
            .get(&room_id)
            .and_then(|queue| queue.sends.front());
        oldest.is_some_and(|item| item.pending.draft.client_message_id == id)
    }

    fn item(&mut self, room_id: i64, id: MessageId) -> Option<&mut Item> {
        let sends = &mut self.queues.get_mut(&room_id)?.sends;
        let is_it = |item: &&mut Item| item.pending.draft.client_message_id == id;
        sends.iter_mut().find(is_it)
    }

    fn settle(&mut self, room_id: i64, id: MessageId, result: Result<Sent, SendError>) {
        let Some(queue) = self.queues.get_mut(&room_id) else {
            return;
        };
        let is_it = |item: &Item| item.pending.draft.client_message_id == id;
        let Some(item) = queue
            .sends
            .iter()
            .position(is_it)
            .and_then(|at| queue.sends.remove(at))
        else {
            return;
        };
        if queue.sends.is_empty() {
            self.queues.remove(&room_id);
        }
        self.ids.remove(&id);
        self.bytes -= item.pending.draft.text.len();
        self.outcomes.push_back(Outcome {
            room_id,
            client_message_id: id,
            result,
        });
    }
}

/// What a frame adds to its request, with something to spare.
const FRAME_OVERHEAD_BYTES: usize = 64;

fn too_large() -> Refusal {
    Refusal {
        reason: Reason::TooLarge,
        message: "the message is larger than a frame may be: shorten it".to_owned(),
        effect: Effect::None,
        retry_after: None::<Duration>,
        violations: Vec::new(),
    }
}
