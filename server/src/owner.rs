//! The task of an owner: drives its machines against the stores. One task serves many rooms and
//! users, and never waits for the store with its inbox unread.

mod load;
mod take_over;
mod work;

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use magpie_core::{
    command::Answer,
    ids::{EdgeId, Epoch, RoomId, UserId},
    limits::Limits,
    link::{AccountRoom, ToEdge},
    owner::{Input, Output, Owner, RoomListChange, WriteOutcome},
    refusal::{Reason, Refusal},
    time::Timestamp,
    users::{Input as UserInput, Output as UserOutput, Users},
};
use magpie_store::{
    account::AccountStore,
    log::{LogStore, StoreError},
};
use tokio::time::{MissedTickBehavior, interval};

pub use self::take_over::TakeOverError;
use crate::{
    clock::Clock,
    drain::{Drain, Failure},
    edge::ToWorker,
    limits::{BATCH_MAX, TICK},
    metrics::Metrics,
    router::{Inbox, Origin, Router, ToOwner},
};

/// The epoch of a data directory's first run.
const FIRST: Epoch = Epoch(1);

/// What an owner works with.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) router: Arc<Router>,
    pub(crate) log: Arc<dyn LogStore>,
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) drain: Drain,
    pub(crate) metrics: Arc<Metrics>,
}

/// What came back from a store.
enum Done {
    Room(Input<Origin>),
    /// A room could not be read.
    NotLoaded(RoomId, StoreError),
    Effect(RoomListChange, Vec<(UserId, u64, AccountRoom)>),
    SeenRecorded,
    Nothing,
}

/// The task's state.
pub(crate) struct Task {
    parts: Parts,
    owner: Owner<Origin>,
    users: Users,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Users whose last sight is to be stored, and whether a storing is under way.
    seen: Vec<(UserId, Timestamp)>,
    recording: bool,
    /// Rooms and users as the gauges hold them.
    counted: (usize, usize),
    /// The store refused the last write for want of space.
    full: bool,
}

impl Task {
    /// Runs until nobody can reach it any more.
    pub(crate) async fn run(mut self, mut inbox: Inbox<ToOwner>) {
        let mut messages = Vec::with_capacity(BATCH_MAX);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                taken = inbox.take(&mut messages, BATCH_MAX) => {
                    if taken == 0 {
                        return;
                    }
                    for message in messages.drain(..) {
                        self.message(message);
                    }
                }
                Some(done) = self.work.next() => self.done(done),
                _ = tick.tick() => self.tick(),
            }
            // What ended meanwhile goes into the same round.
            while let Some(Some(done)) = self.work.next().now_or_never() {
                self.done(done);
            }
            self.perform();
        }
    }

    fn message(&mut self, message: ToOwner) {
        let now = self.parts.clock.now();
        match message {
            ToOwner::Room(input) => self.owner.handle(input, now),
            ToOwner::User(input) => self.users.handle(input, now),
            ToOwner::Heads(rooms, reply) => {
                let heads = rooms.into_iter().map(|room| (room, self.owner.head(room)));
                // Whoever asked may have gone.
                drop(reply.send(heads.collect()));
            }
            ToOwner::Presence(users, reply) => {
                let known = users
                    .into_iter()
                    .filter_map(|user| self.users.presence(user));
                drop(reply.send(known.collect()));
            }
            ToOwner::Leaving(reply) => {
                let there = self.users.there().map(|user| (user, now.wall));
                self.seen.extend(there);
                let recorded = self.record_seen();
                let told = recorded.map(|done| {
                    // Whoever asked may have given up.
                    reply.send(()).unwrap_or_default();
                    done
                });
                self.work.push(told.boxed());
            }
        }
    }

    /// Stores when users were last seen.
    fn record_seen(&mut self) -> BoxFuture<'static, Done> {
        let seen = std::mem::take(&mut self.seen);
        let recorded = self.parts.accounts.record_last_seen(seen);
        async move {
            if let Err(error) = recorded.await {
                tracing::warn!(%error, "when users were last seen was not stored");
            }
            Done::SeenRecorded
        }
        .boxed()
    }

    fn tick(&mut self) {
        let now = self.parts.clock.now();
        self.owner.handle(Input::Tick, now);
        self.users.handle(UserInput::Tick, now);
        self.count();
        if !self.recording && !self.seen.is_empty() {
            self.recording = true;
            let recorded = self.record_seen();
            self.work.push(recorded);
        }
    }

    /// Brings the gauges, which all owners share, up to date.
    fn count(&mut self) {
        let (rooms, users) = (self.owner.rooms_loaded(), self.users.online());
        let change =
            |now: usize, before: usize| now.cast_signed() as i64 - before.cast_signed() as i64;
        self.parts
            .metrics
            .rooms
            .inc_by(change(rooms, self.counted.0));
        self.parts
            .metrics
            .users_online
            .inc_by(change(users, self.counted.1));
        self.counted = (rooms, users);
    }

    fn done(&mut self, done: Done) {
        let now = self.parts.clock.now();
        match done {
            Done::Room(input) => {
                self.note_space(&input);
                self.owner.handle(input, now);
            }
            Done::NotLoaded(room, error) => {
                work::read_failed(&error);
                self.owner.handle(Input::Loaded(room, None), now);
            }
            Done::Effect(change, rows) => {
                for (user, revision, row) in rows {
                    let rows = vec![row];
                    let account = UserInput::Account {
                        user,
                        revision,
                        rows,
                    };
                    self.parts.router.to_user(user, account);
                }
                self.owner
                    .handle(Input::EffectDone(change.room, change.seq), now);
            }
            Done::SeenRecorded => self.recording = false,
            Done::Nothing => {}
        }
    }

    /// Says once that writes are refused, and once that they are taken again.
    fn note_space(&mut self, input: &Input<Origin>) {
        let Input::Written(_, _, outcome) = input else {
            return;
        };
        let full = match outcome {
            WriteOutcome::Full => true,
            WriteOutcome::Done => false,
        };
        if full && !self.full {
            tracing::warn!(
                "the disk has less free space than --free-space-min: no message, room or mark is \
                 taken until there is more; reading and logging in go on"
            );
        } else if self.full && !full {
            tracing::info!("the disk has free space again");
        }
        self.full = full;
    }

    /// Does what the machines want done.
    fn perform(&mut self) {
        self.owner.flush();
        while let Some(output) = self.owner.poll() {
            self.output(output);
        }
        while let Some(output) = self.users.poll() {
            match output {
                UserOutput::Edge(edge, message) => self.tell(edge, message),
                UserOutput::LastSeen(user, time) => self.seen.push((user, time)),
            }
        }
    }

    fn tell(&self, edge: EdgeId, message: ToEdge) {
        let input = magpie_core::edge::Input::Owner(message);
        self.parts.router.to_edge(edge, ToWorker::Input(input));
    }

    fn output(&mut self, output: Output<Origin>) {
        let log = self.parts.log.clone();
        match output {
            Output::Edge(edge, message) => self.tell(edge, message),
            Output::Reply(origin, result) => {
                if matches!(result, Ok(Answer::Appended { .. })) {
                    self.parts.metrics.sends.inc();
                }
                if let Some(since) = origin.since() {
                    self.parts
                        .metrics
                        .answer_seconds
                        .observe(since.elapsed().as_secs_f64());
                }
                self.parts.router.answer(origin, result);
            }
            Output::View(Origin::Read(reply), view) => drop(reply.send(view)),
            Output::View(origin, _) => {
                let refusal = Refusal::new(Reason::Internal, "the answer does not fit the call");
                self.parts.router.answer(origin, Err(refusal));
            }
            Output::Load(room) => {
                let limits = self.parts.limits.clone();
                self.work.push(work::load(log, room, limits).boxed());
            }
            Output::Write(room, no, rows) => {
                let drain = self.parts.drain.clone();
                self.work
                    .push(work::write(log.write(rows), room, no, drain).boxed());
            }
            Output::Finish(rows) => {
                let write = log.write(rows);
                // Slots that stay unfinished only make the next start slower.
                self.work.push(write.map(|_| Done::Nothing).boxed());
            }
            Output::ReadFence => {
                let drain = self.parts.drain.clone();
                self.work.push(work::fence(log.fenced(), drain).boxed());
            }
            Output::Fetch(read, room, fetch) => {
                self.work.push(work::fetch(log, read, room, fetch).boxed());
            }
            Output::Effect(change) => {
                let accounts = self.parts.accounts.clone();
                self.work.push(work::effect(accounts, change).boxed());
            }
            Output::Halt(why) => self.parts.drain.fail(Failure::Damage(why)),
        }
    }
}
