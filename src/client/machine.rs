//! The session as a machine: streams' frames, commands and time go in; frames, events and wishes
//! come out. It does no I/O and reads no clock; it knows neither tonic nor tokio.

mod frames;
mod stream;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant, SystemTime},
};

use rand::{SeedableRng, rngs::StdRng};

use self::stream::{Link, Open};
use crate::{
    client::{
        backoff::{Backoff, Profile},
        error::Error,
        event::{Event, SendError},
        limits::{
            CLIENT_CHARACTERS_MAX, EVENTS_QUEUED_MAX, SEND_RETRY_MAX, TYPING_INTERVAL,
            TYPING_ROOMS_MAX, WATCH_USERS_MAX,
        },
        marks::{Kind, Marks},
        outgoing::{Outcome, Outgoing},
        pending::PendingSend,
        progress::{Delivery, Step},
        rooms::{Ask, Rooms},
    },
    v1::{ListEntriesResponse, Reason, State},
};

pub(crate) use self::{frames::Transmit, stream::Dial};

/// What a machine starts with.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) state: State,
    pub(crate) watch_user_ids: Vec<i64>,
    pub(crate) idle: bool,
    pub(crate) client: String,
    pub(crate) profile: Profile,
    /// Where the randomness comes from: the same seed, the same session.
    pub(crate) seed: u64,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Machine {
    generation: i64,
    account_revision: i64,
    user_id: i64,
    rooms: Rooms,
    outgoing: Outgoing,
    marks: Marks,
    link: Link,
    /// The stream that is being opened; numbers tell old streams' frames from new ones'.
    dialing: Option<u64>,
    dials: u64,
    /// Whether a stream ever opened.
    opened: bool,
    /// Whether the program was last told that it is connected.
    shown_connected: bool,
    session_id: String,
    alternatives: Vec<String>,
    backoff: Backoff,
    rng: StdRng,
    out: VecDeque<Delivery>,
    client: String,
    watch: Vec<i64>,
    idle: bool,
    /// What the server is to be told when there is a stream.
    say: Say,
    typed: BTreeMap<i64, Instant>,
    next_request_id: u64,
    renew_wanted: bool,
}

/// What a stream is told besides messages and marks.
#[derive(Debug, Default)]
struct Say {
    watch: bool,
    idle: bool,
    token: Option<String>,
    typing: BTreeSet<i64>,
    bye: bool,
}

impl Machine {
    pub(crate) fn new(setup: Setup, now: Instant) -> Self {
        let mut watch = setup.watch_user_ids;
        watch.truncate(WATCH_USERS_MAX);
        Self {
            generation: setup.state.generation,
            account_revision: setup.state.account_revision,
            user_id: 0,
            rooms: Rooms::new(&setup.state),
            outgoing: Outgoing::default(),
            marks: Marks::new(now),
            link: Link::Waiting { until: now },
            dialing: None,
            dials: 0,
            opened: false,
            shown_connected: false,
            session_id: String::new(),
            alternatives: Vec::new(),
            backoff: Backoff::new(setup.profile),
            rng: StdRng::seed_from_u64(setup.seed),
            out: VecDeque::new(),
            client: setup.client.chars().take(CLIENT_CHARACTERS_MAX).collect(),
            watch,
            idle: setup.idle,
            say: Say::default(),
            typed: BTreeMap::new(),
            next_request_id: 0,
            renew_wanted: false,
        }
    }

    /// Whether a message may be queued.
    pub(crate) fn check_send(&self, pending: &PendingSend) -> Result<(), SendError> {
        if self.is_ended() {
            return Err(SendError::SessionEnded);
        }
        if self.out.len() >= EVENTS_QUEUED_MAX {
            // Each message may make an event, and nobody takes them.
            return Err(SendError::QueueFull);
        }
        self.outgoing.check(pending)
    }

    pub(crate) fn has_send(&self, pending: &PendingSend) -> bool {
        self.outgoing.contains(pending.draft.client_message_id)
    }

    /// Queues a message; `wall` is the wall clock, for messages that are older than the process.
    pub(crate) fn handle_send(&mut self, pending: PendingSend, now: Instant, wall: SystemTime) {
        let age = wall.duration_since(pending.queue_time);
        let left = SEND_RETRY_MAX.saturating_sub(age.unwrap_or_default());
        self.outgoing.enqueue(pending, now + left);
    }

    pub(crate) fn handle_mark(&mut self, room_id: i64, kind: Kind, seq: i64, now: Instant) {
        self.marks.set(room_id, kind, seq, now);
    }

    pub(crate) fn handle_typing(&mut self, room_id: i64, now: Instant) {
        self.typed.retain(|_, said| now < *said + TYPING_INTERVAL);
        // It is of use at once or never.
        if self.open().is_some()
            && self.typed.len() < TYPING_ROOMS_MAX
            && !self.typed.contains_key(&room_id)
        {
            self.typed.insert(room_id, now);
            self.say.typing.insert(room_id);
        }
    }

    pub(crate) fn handle_watch(&mut self, mut user_ids: Vec<i64>) {
        user_ids.truncate(WATCH_USERS_MAX);
        self.watch = user_ids;
        self.say.watch = true;
    }

    pub(crate) fn handle_idle(&mut self, idle: bool) {
        self.idle = idle;
        self.say.idle = true;
    }

    /// The device has a newer access token than the stream was opened with.
    pub(crate) fn handle_token(&mut self, access_token: String) {
        if self.open().is_some() {
            self.say.token = Some(access_token);
        }
    }

    /// Ends the session cleanly.
    pub(crate) fn handle_bye(&mut self) {
        match self.link {
            Link::Open(_) => self.say.bye = true,
            Link::Waiting { .. } | Link::Dialing => self.end(None),
            Link::Leaving { .. } | Link::Ended => {}
        }
    }

    /// Takes the answer to an [`Ask`].
    pub(crate) fn handle_page(
        &mut self,
        ask: Ask,
        page: Result<ListEntriesResponse, Error>,
        now: Instant,
    ) {
        if let Err(error) = &page {
            tracing::debug!(room_id = ask.room_id, %error, "a gap could not be filled");
            if error.reason() == Some(Reason::CursorAhead) && self.open().is_some() {
                self.drop_cache(0);
                self.lose(error.clone(), now, Duration::ZERO);
                return;
            }
        }
        let page = page.ok();
        self.rooms
            .handle_page(ask, page, self.user_id, now, &mut self.out);
    }

    /// The next event for the program. While there is one, the stream is not to be read: see
    /// [`Machine::wants_frames`].
    pub(crate) fn poll_event(&mut self, now: Instant) -> Option<Delivery> {
        let delivery = self.out.pop_front()?;
        if self.out.is_empty() {
            // Silence while nobody listened is no silence of the server.
            self.handle_reading(now);
        }
        Some(delivery)
    }

    /// Whether there is no event to take.
    pub(crate) fn is_drained(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether the next frame may be read: all events are taken, or the frame makes none.
    pub(crate) fn wants_frames(&self) -> bool {
        self.is_drained() || self.open().is_some_and(|open| open.skipping)
    }

    pub(crate) fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outgoing.poll_outcome()
    }

    /// Hands an outcome to the program as an event.
    pub(crate) fn push_outcome(&mut self, outcome: Outcome) {
        let event = Event::SendOutcome {
            room_id: outcome.room_id,
            client_message_id: outcome.client_message_id,
            result: outcome.result,
        };
        let step = Step::None;
        // Nothing comes after Ended.
        let at =
            self.out.len() - usize::from(matches!(self.link, Link::Ended) && !self.out.is_empty());
        self.out.insert(at, Delivery { event, step });
    }

    /// The next gap to ask for.
    pub(crate) fn poll_ask(&mut self, now: Instant) -> Option<Ask> {
        let open = self.open()?;
        if open.skipping || !self.is_drained() {
            return None;
        }
        self.rooms.poll_ask(now)
    }

    /// Whether the access token is to be renewed now; says so once.
    pub(crate) fn poll_renewal(&mut self) -> bool {
        std::mem::take(&mut self.renew_wanted)
    }

    pub(crate) fn pending(&self) -> Vec<PendingSend> {
        self.outgoing.pending()
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.link, Link::Ended)
    }

    fn open(&self) -> Option<&Open> {
        match &self.link {
            Link::Open(open) => Some(open),
            Link::Waiting { .. } | Link::Dialing | Link::Leaving { .. } | Link::Ended => None,
        }
    }

    fn emit(&mut self, event: Event, step: Step) {
        self.out.push_back(Delivery { event, step });
    }

    fn drop_cache(&mut self, generation: i64) {
        self.rooms.clear();
        self.marks.clear();
        self.outgoing.forget_heads();
        self.account_revision = 0;
        self.generation = generation;
        self.emit(Event::CacheDropped { generation }, Step::Drop(generation));
    }

    fn end(&mut self, error: Option<Error>) {
        self.link = Link::Ended;
        self.dialing = None;
        self.outgoing.handle_lost();
        self.emit(Event::Ended { error }, Step::None);
    }
}
