//! The task of an owner: drives its machines against the stores. One task serves many rooms and
//! users, and never waits for the store with its inbox unread.

mod load;

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use magpie_core::{
    command::Answer,
    entry::ChangeKind,
    ids::{EdgeId, UserId},
    limits::Limits,
    link::{AccountRoom, ToEdge},
    owner::{Fetch, Fetched, Input, Output, Owner, RoomListChange, WriteOutcome},
    refusal::{Reason, Refusal},
    time::Timestamp,
    users::{Input as UserInput, Output as UserOutput, Users},
};
use magpie_store::{
    account::{AccountStore, Membership},
    log::{LogStore, StoreError},
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    clock::Clock,
    drain::Drain,
    edge::ToWorker,
    metrics::Metrics,
    router::{Inbox, Origin, Router, ToOwner},
};

/// How often the machines are told that time has passed.
const TICK: Duration = Duration::from_millis(250);
/// Messages taken at a time: what they write becomes one write a room.
const BATCH_MAX: usize = 1_024;
/// How long to wait before an effect is tried again.
const EFFECT_RETRY: Duration = Duration::from_secs(1);

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
}

impl Task {
    /// A task that takes over what the store holds of its partitions, and has finished what a
    /// former owner left unfinished when this returns.
    pub(crate) async fn start(
        parts: Parts,
        index: usize,
        epoch: magpie_core::ids::Epoch,
    ) -> Result<Self, StoreError> {
        let owner = Owner::new(epoch, parts.limits.clone());
        let users = Users::new(parts.limits.clone(), parts.clock.now().instant);
        let work = FuturesUnordered::new();
        let mut task = Self {
            parts,
            owner,
            users,
            work,
            seen: Vec::new(),
            recording: false,
        };
        let all = magpie_core::ids::Partition::all();
        let router = task.parts.router.clone();
        for partition in all.filter(|partition| router.owner_of(*partition) == index) {
            let hints = task.parts.log.hints(partition).await?;
            let pending = task.parts.log.pending(partition).await?;
            task.owner.inherit(partition, hints, pending);
        }
        task.perform();
        while !task.owner.is_recovered() {
            let now = task.parts.clock.now();
            task.owner.handle(Input::Tick, now);
            task.perform();
            match tokio::time::timeout(TICK, task.work.next()).await {
                Ok(Some(done)) => task.done(done),
                Ok(None) | Err(_) => {}
            }
            task.perform();
        }
        Ok(task)
    }

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
        }
    }

    fn tick(&mut self) {
        let now = self.parts.clock.now();
        self.owner.handle(Input::Tick, now);
        self.users.handle(UserInput::Tick, now);
        if !self.recording && !self.seen.is_empty() {
            self.recording = true;
            let recorded = self
                .parts
                .accounts
                .record_last_seen(std::mem::take(&mut self.seen));
            self.work.push(
                async move {
                    if let Err(error) = recorded.await {
                        tracing::warn!(%error, "when users were last seen was not stored");
                    }
                    Done::SeenRecorded
                }
                .boxed(),
            );
        }
    }

    fn done(&mut self, done: Done) {
        let now = self.parts.clock.now();
        match done {
            Done::Room(input) => self.owner.handle(input, now),
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
                let tail = self.parts.limits.room_tail_entries_max;
                self.work.push(
                    async move {
                        let loaded = load::room(&*log, room, tail).await;
                        let loaded = loaded.inspect_err(|error| read_failed(error)).ok();
                        Done::Room(Input::Loaded(room, loaded.map(Box::new)))
                    }
                    .boxed(),
                );
            }
            Output::Write(room, no, rows) => {
                let (write, drain) = (log.write(rows), self.parts.drain.clone());
                self.work.push(
                    async move {
                        let outcome = match write.await {
                            Ok(()) => WriteOutcome::Done,
                            Err(StoreError::Full { .. }) => WriteOutcome::Full,
                            Err(error) => {
                                drain.fail(error.to_string());
                                return Done::Nothing;
                            }
                        };
                        Done::Room(Input::Written(room, no, outcome))
                    }
                    .boxed(),
                );
            }
            Output::Finish(rows) => {
                let write = log.write(rows);
                // Slots that stay unfinished only make the next start slower.
                self.work.push(write.map(|_| Done::Nothing).boxed());
            }
            Output::ReadFence => {
                let (fenced, drain) = (log.fenced(), self.parts.drain.clone());
                self.work.push(
                    async move {
                        match fenced.await {
                            Ok(fenced) => Done::Room(Input::FenceRead { fenced }),
                            Err(error) => {
                                drain.fail(error.to_string());
                                Done::Nothing
                            }
                        }
                    }
                    .boxed(),
                );
            }
            Output::Fetch(read, room, fetch) => {
                let fetched = fetched(&*log, room, fetch);
                self.work.push(
                    async move {
                        let fetched = fetched.await.inspect_err(|error| read_failed(error)).ok();
                        Done::Room(Input::Fetched(read, fetched))
                    }
                    .boxed(),
                );
            }
            Output::Effect(change) => {
                let accounts = self.parts.accounts.clone();
                self.work.push(effect(accounts, change).boxed());
            }
            Output::Halt(why) => self.parts.drain.fail(why),
        }
    }
}

fn read_failed(error: &StoreError) {
    tracing::error!(%error, "the log could not be read");
}

fn fetched(
    log: &dyn LogStore,
    room: magpie_core::ids::RoomId,
    fetch: Fetch,
) -> BoxFuture<'static, Result<Fetched, StoreError>> {
    match fetch {
        Fetch::Entries { after, through } => {
            let rows = log.entries(room, after, through, load::ROWS_MAX);
            rows.map(|rows| rows.map(Fetched::Entries)).boxed()
        }
        Fetch::Body { seq, epoch } => log
            .body(room, seq, epoch)
            .map(|body| body.map(Fetched::Body))
            .boxed(),
        Fetch::Pointers {
            sender,
            id,
            after,
            through,
        } => {
            let pointers = log.pointers(room, sender, id, after, through);
            pointers
                .map(|pointers| pointers.map(Fetched::Pointers))
                .boxed()
        }
    }
}

/// Brings room lists up to date, however often it takes: the entry is durable, so this must follow.
async fn effect(accounts: Arc<dyn AccountStore>, change: RoomListChange) -> Done {
    let mut changes: Vec<(UserId, Membership)> = Vec::new();
    for member in &change.changes {
        let membership = match member.kind {
            ChangeKind::Joined(_) => Membership::Joined,
            ChangeKind::Left | ChangeKind::Removed => Membership::Left,
            ChangeKind::RoleChanged(_) => continue,
        };
        changes.push((member.user, membership));
    }
    let started = Instant::now();
    loop {
        let applied =
            accounts.apply_membership(change.room, change.kind, change.seq, changes.clone());
        match applied.await {
            Ok(changed) => {
                let row = |row: magpie_store::account::RoomListChange| {
                    let revision = row.revision.get().unsigned_abs();
                    (row.user, revision, crate::edge::account_room(&row.row))
                };
                return Done::Effect(change, changed.into_iter().map(row).collect());
            }
            Err(error) => {
                let (room, waited) = (change.room, started.elapsed());
                tracing::warn!(%error, %room, ?waited, "room lists wait for the account store");
                tokio::time::sleep(EFFECT_RETRY).await;
            }
        }
    }
}
