//! The world of one schedule: time, what happens next, the stores, one node that may die and come
//! back, streams, and people with devices. Everything in it follows from the seed.

mod node;
mod people;
mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use magpie_core::{
    edge::FrameIn,
    ids::{Epoch, MessageId, RoomId, UserId},
    limits::Limits,
    owner::{Input as OwnerInput, RoomListChange},
    time::{Instant, Now, Timestamp},
};

use self::people::Call;
pub(crate) use self::plan::{LIVELY, NOTICED, SETTLED};
use crate::{
    accounts::Accounts,
    chance::Chance,
    device::Device,
    facts::Facts,
    link::{Changed, Link, LinkId},
    log::Log,
    node::{Arriving, Node, Origin, Task},
};

/// How often machines are told that time has passed.
const TICK: u64 = 250;
/// The wall clock at the beginning.
const EPOCH_MILLIS: u64 = 1_800_000_000_000;

/// Something that happens. What concerns a run of the node happens only while that run lasts.
#[derive(Debug)]
pub(crate) enum Event {
    Run(Epoch, Task),
    Tick(Epoch),
    /// The sync that is under way ends.
    Synced(Epoch),
    /// The store answers an owner.
    Stored(Epoch, usize, OwnerInput<Origin>),
    /// The account store takes a change of membership in.
    Effect(Epoch, usize, RoomListChange),
    /// The account store is read, for a session.
    ReadAccount(Epoch, u64),
    /// A session's watch is checked against who shares rooms.
    Watch(Epoch, magpie_core::ids::SessionId, UserId, Vec<UserId>),
    /// The client's Hello arrives.
    Hello(LinkId, Box<magpie_core::edge::Hello>),
    /// A frame of the client arrives.
    Up(LinkId, FrameIn),
    /// A frame of the server arrives.
    Down(LinkId, Arriving),
    /// The client, or the server, learns that a stream is gone.
    Missed(LinkId),
    Gone(Epoch, LinkId),
    /// A device does what is due.
    Wake(usize),
    /// A unary call arrives, and its answer.
    Called(u64),
    Answered(u64, people::Outcome),
    /// A person or a fault acts.
    Act(plan::Act),
    Crash,
    Start,
    Full(bool),
}

/// The world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    chance: Chance,
    pub(crate) limits: Limits,
    pub(crate) log: Log,
    pub(crate) accounts: Accounts,
    pub(crate) node: Option<Node>,
    /// The last run, and how far its wall clock is off.
    run: Epoch,
    skew: u64,
    links: BTreeMap<LinkId, Link>,
    changed: Changed,
    next_link: u64,
    pub(crate) devices: Vec<Device>,
    /// Devices that will wake, and when.
    wakes: BTreeSet<(u64, usize)>,
    calls: BTreeMap<u64, Call>,
    next_call: u64,
    next_room: i64,
    pub(crate) facts: Facts,
    /// How slow the account store is at the most, in milliseconds.
    effect_delay: u64,
    /// How many rows of an account are read at a time.
    account_rows_max: usize,
    /// While people and faults act.
    pub(crate) lively: bool,
    trace: String,
}

impl World {
    /// A world with a node that has just started for the first time.
    pub(crate) fn new(mut chance: Chance) -> Self {
        let limits = plan::limits(&mut chance);
        let effect_delay = chance.pick(&[5, 50, 2_000, 20_000]);
        let account_rows_max = chance.pick(&[1, 2, 512]);
        let mut world = Self {
            now: 0,
            queue: BTreeMap::new(),
            scheduled: 0,
            limits,
            log: Log::default(),
            accounts: Accounts::default(),
            node: None,
            run: Epoch(0),
            skew: 0,
            links: BTreeMap::new(),
            changed: Changed::default(),
            next_link: 0,
            devices: plan::devices(&mut chance),
            wakes: BTreeSet::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            next_room: 0,
            facts: Facts::default(),
            effect_delay,
            account_rows_max,
            lively: true,
            trace: String::new(),
            chance,
        };
        world.start();
        world
    }

    /// Lets everything happen that is due before a time.
    pub(crate) fn run_until(&mut self, time: u64) {
        while let Some(next) = self.queue.first_entry() {
            if next.key().0 >= time || !self.facts.complaints.is_empty() {
                break;
            }
            let ((at, _), event) = next.remove_entry();
            self.now = at;
            self.happen(event);
            self.pump_links();
        }
        self.now = self.now.max(time);
    }

    /// What devices were shown, in order: two runs of one seed have the same.
    pub(crate) fn trace(&self) -> &str {
        &self.trace
    }

    fn note(&mut self, what: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        writeln!(self.trace, "{:>8} {what}", self.now).expect("a string takes all");
    }

    fn later(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    fn at(&mut self, time: u64, event: Event) {
        self.scheduled += 1;
        self.queue
            .insert((time.max(self.now), self.scheduled), event);
    }

    /// Schedules something at a random time within a delay.
    fn within(&mut self, delay_max: u64, event: Event) {
        let delay = self.chance.between(0, delay_max);
        self.later(delay, event);
    }

    fn clock(&self) -> Now {
        Now {
            instant: Instant(self.now),
            wall: Timestamp(EPOCH_MILLIS + self.skew + self.now),
        }
    }

    fn is_current(&self, run: Epoch) -> bool {
        self.node.as_ref().is_some_and(|node| node.epoch == run)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Run(run, _)
            | Event::Tick(run)
            | Event::Synced(run)
            | Event::Stored(run, ..)
            | Event::Effect(run, ..)
            | Event::ReadAccount(run, _)
            | Event::Watch(run, ..)
            | Event::Gone(run, _)
                if !self.is_current(run) => {}
            Event::Run(_, task) => self.run_task(task),
            Event::Tick(run) => self.tick(run),
            Event::Synced(_) => self.synced(),
            Event::Stored(_, owner, input) => {
                self.tell_owner(owner, crate::node::ToOwner::Room(input));
            }
            Event::Effect(_, owner, change) => self.effect(owner, &change),
            Event::ReadAccount(_, reading) => self.read_account(reading),
            Event::Watch(_, session, user, users) => self.watch(session, user, users),
            Event::Hello(link, hello) => self.opened(link, *hello),
            Event::Up(link, frame) => self.said(link, frame),
            Event::Down(link, arriving) => self.arrived(link, arriving),
            Event::Missed(link) => self.missed(link),
            Event::Gone(_, link) => self.gone(link),
            Event::Wake(device) => self.wake(device),
            Event::Called(call) => self.called(call),
            Event::Answered(call, outcome) => self.answered(call, outcome),
            Event::Act(act) => self.act(act),
            Event::Crash => self.crash(),
            Event::Start => self.start(),
            Event::Full(full) => self.log.full = full,
        }
    }

    /// The power fails.
    fn crash(&mut self) {
        let Some(node) = self.node.take() else {
            return;
        };
        self.note(format_args!("crash of run {}", node.epoch.0));
        let kept = self.chance.between(0, self.log.unsynced() as u64);
        self.log.crash(kept as usize);
        // Transactions of the account store may have been committed without anybody knowing.
        let effects = self.queue.values().filter_map(|event| match event {
            Event::Effect(_, _, change) => Some(change.clone()),
            _ => None,
        });
        let effects: Vec<_> = effects.collect();
        for change in effects {
            if self.chance.one_in(3) {
                self.accounts.apply(&change);
            }
        }
        let links: Vec<_> = self.links.keys().copied().collect();
        for link in links {
            self.cut(link);
        }
        let calls: Vec<_> = self.calls.keys().copied().collect();
        for call in calls {
            self.within(200, Event::Answered(call, people::Outcome::Lost));
        }
    }

    /// A run of the node starts: it takes over what the one before left.
    fn start(&mut self) {
        if self.node.is_some() {
            return;
        }
        self.run = Epoch(self.run.0 + 1);
        self.skew = self.chance.between(0, 7_200_000);
        let run = self.run.0;
        self.note(format_args!("run {run} starts"));
        let mut node = Node::new(self.run, &self.limits, Instant(self.now));
        for partition in self.log.partitions() {
            let owner = &mut node.owners[crate::node::owner_of(partition)].owner;
            owner.inherit(
                partition,
                self.log.hints(partition),
                self.log.pending(partition),
            );
        }
        node.serving = node.is_recovered();
        self.node = Some(node);
        for task in (0..crate::node::PARTS).map(Task::Owner) {
            self.wake_task(task);
        }
        self.later(TICK, Event::Tick(self.run));
    }

    /// A new id of a command.
    fn new_id(&mut self) -> MessageId {
        MessageId(self.chance.id())
    }

    fn new_room(&mut self) -> RoomId {
        self.next_room += 1;
        RoomId::new(self.next_room).expect("positive")
    }
}
