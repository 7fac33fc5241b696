//! The owner of rooms: sequences commands, answers and publishes what is durable, brings readers
//! up to date, and keeps hints and effects going. Drives stores and edges by outputs only.

mod attach;
mod effects;
mod former;
mod load;
mod pipeline;
mod query;
mod scan;
mod submit;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use self::{pipeline::Active, window::Reading};
pub use self::{
    query::{EntriesPage, MessagesPage, Position, Query, View},
    window::{Fetch, Fetched},
};
use crate::{
    command::{Answer, Submit},
    entry::{MemberChange, RoomKind},
    ids::{EdgeId, Epoch, Partition, RoomId, Seq, Slot, UserId},
    limits::{Limits, millis},
    link::{Attach, ToEdge},
    refusal::Refusal,
    room::Loaded,
    rows::{Hint, Row},
    slots::Slots,
    time::{Instant, Now, Timestamp},
};

/// What an owner is told. `T` is what the node needs to deliver an answer.
#[derive(Debug)]
pub enum Input<T> {
    /// Somebody asks a room to do something.
    Submit(T, Submit),
    /// Somebody asks to see something.
    Query(T, RoomId, UserId, Query),
    /// A session wants to follow a room.
    Attach(Attach),
    /// An edge has no session left that follows the room.
    Detach(EdgeId, RoomId),
    /// What the store holds of a room. None: it could not be read.
    Loaded(RoomId, Option<Box<Loaded>>),
    /// A write ended.
    Written(RoomId, WriteNo, WriteOutcome),
    /// The fence was read after the writes that were ready when it was asked for.
    FenceRead {
        /// Another owner has taken over: nothing more may leave.
        fenced: bool,
    },
    /// What the store holds for a reading. None: it could not be read.
    Fetched(ReadNo, Option<Fetched>),
    /// The effects of an entry are done.
    EffectDone(RoomId, Seq),
    /// Time has passed.
    Tick,
}

/// What an owner wants done.
#[derive(Debug)]
pub enum Output<T> {
    /// Read a room; answer with [`Input::Loaded`].
    Load(RoomId),
    /// Make these rows durable; answer with [`Input::Written`].
    Write(RoomId, WriteNo, Vec<Row>),
    /// Make these rows durable sometime; they finish slots.
    Finish(Vec<Row>),
    /// Read the fence; answer with [`Input::FenceRead`].
    ReadFence,
    /// Read something of a room; answer with [`Input::Fetched`].
    Fetch(ReadNo, RoomId, Fetch),
    /// Answer a command.
    Reply(T, Result<Answer, Refusal>),
    /// Answer a query.
    View(T, Result<View, Refusal>),
    /// Bring the members' room lists up to date; answer with [`Input::EffectDone`]. Idempotent.
    Effect(RoomListChange),
    /// Tell an edge.
    Edge(EdgeId, ToEdge),
    /// This owner was fenced, or its log is damaged: it must not go on.
    Halt(String),
}

/// A change of membership, for the members' room lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomListChange {
    /// The room.
    pub room: RoomId,
    /// Direct or group.
    pub kind: RoomKind,
    /// The entry.
    pub seq: Seq,
    /// What it changed.
    pub changes: Vec<MemberChange>,
}

/// A write of one room. Ascending per room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteNo(pub u64);

/// A reading of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadNo(pub u64);

/// How a write ended. One that failed otherwise has an unknown outcome and ends the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is durable.
    Done,
    /// Nothing was written for want of space.
    Full,
}

/// The last entry of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its seq.
    pub seq: Seq,
    /// Its time.
    pub time: Timestamp,
}

/// The owner of some partitions' rooms.
#[derive(Debug)]
pub struct Owner<T> {
    limits: Limits,
    epoch: Epoch,
    /// All rooms that have an entry.
    heads: HashMap<RoomId, Head>,
    rooms: BTreeMap<RoomId, State<T>>,
    attached: HashMap<RoomId, BTreeSet<EdgeId>>,
    /// Users taken on trust, of rooms that are not in memory.
    unverified: HashMap<RoomId, BTreeSet<(EdgeId, UserId)>>,
    slots: Slots,
    /// Readings that wait for the store, and those that wait until it may be asked.
    reading: BTreeMap<ReadNo, Reading<T>>,
    read_next: u64,
    to_read: VecDeque<(Reading<T>, Fetch)>,
    /// How many rooms are being loaded, and those that wait until the store may be asked.
    loading: u64,
    to_load: VecDeque<RoomId>,
    /// Rooms whose members' marks moved, which the others have not been shown.
    marked: BTreeSet<RoomId>,
    /// When to look next for rooms that can be forgotten.
    evict_at: Instant,
    /// Rooms with something to write or to answer.
    touched: BTreeSet<RoomId>,
    /// Writes that ended and wait for the fence to be read.
    ready: BTreeMap<RoomId, WriteNo>,
    /// Those for which it is being read.
    fencing: Option<BTreeMap<RoomId, WriteNo>>,
    /// Set while the store has no space.
    full: bool,
    /// Rooms with a write that was refused.
    refused: BTreeSet<RoomId>,
    outputs: VecDeque<Output<T>>,
}

#[derive(Debug)]
enum State<T> {
    Loading(Vec<Waiting<T>>),
    Active(Box<Active<T>>),
}

/// What waits for a room to be loaded.
#[derive(Debug)]
enum Waiting<T> {
    Submit(T, Submit),
    Query(T, UserId, Query),
    Attach(Attach),
}

impl<T> Owner<T> {
    /// An owner that knows no room yet.
    pub fn new(epoch: Epoch, limits: Limits) -> Self {
        let slots = Slots::new(epoch, millis(limits.slot_millis));
        Self {
            limits,
            epoch,
            heads: HashMap::new(),
            rooms: BTreeMap::new(),
            attached: HashMap::new(),
            unverified: HashMap::new(),
            slots,
            reading: BTreeMap::new(),
            read_next: 0,
            to_read: VecDeque::new(),
            loading: 0,
            to_load: VecDeque::new(),
            marked: BTreeSet::new(),
            evict_at: Instant(0),
            touched: BTreeSet::new(),
            ready: BTreeMap::new(),
            fencing: None,
            full: false,
            refused: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes in a partition as its former owner left it. Before the first input.
    pub fn inherit(
        &mut self,
        partition: Partition,
        hints: Vec<(RoomId, Hint)>,
        pending: Vec<(Epoch, Slot, RoomId)>,
    ) {
        for (room, hint) in hints {
            self.heads.insert(
                room,
                Head {
                    seq: hint.head,
                    time: hint.time,
                },
            );
        }
        for (epoch, slot, room) in pending {
            self.slots.inherit(partition, epoch, slot, room);
            self.load(room);
        }
    }

    /// Whether everything that former owners left unfinished is finished.
    pub fn is_recovered(&self) -> bool {
        self.slots.inherited_nothing()
    }

    /// The head of a room; none if it does not exist. While a former owner's slots are unfinished it
    /// may be behind.
    pub fn head(&self, room: RoomId) -> Option<Head> {
        self.heads.get(&room).copied()
    }

    /// How many rooms are in memory.
    pub fn rooms_loaded(&self) -> usize {
        self.rooms.len()
    }

    /// Takes in one input.
    pub fn handle(&mut self, input: Input<T>, now: Now) {
        match input {
            Input::Submit(token, submit) => self.submit(token, submit, now),
            Input::Query(token, room, user, query) => self.query(token, room, user, query, now),
            Input::Attach(attach) => self.attach(attach, now),
            Input::Detach(edge, room) => self.detach(edge, room),
            Input::Loaded(room, loaded) => self.loaded(room, loaded, now),
            Input::Written(room, no, outcome) => self.written(room, no, outcome),
            Input::FenceRead { fenced } => self.fence_read(fenced, now),
            Input::Fetched(read, fetched) => self.fetched(read, fetched, now),
            Input::EffectDone(room, seq) => self.effect_done(room, seq),
            Input::Tick => self.tick(now),
        }
    }

    /// Ends a run of inputs: what they wrote goes out as one write a room.
    pub fn flush(&mut self) {
        for room in std::mem::take(&mut self.touched) {
            if let Some(State::Active(active)) = self.rooms.get_mut(&room)
                && let Some((no, rows)) = active.flush()
            {
                self.outputs.push_back(Output::Write(room, no, rows));
            }
            self.release(room);
        }
        if self.fencing.is_none() && !self.ready.is_empty() {
            self.fencing = Some(std::mem::take(&mut self.ready));
            self.outputs.push_back(Output::ReadFence);
        }
    }

    /// The next thing to do. Ask until there is none, after each [`Owner::flush`].
    pub fn poll(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    fn tell_edges(&mut self, room: RoomId, message: &ToEdge) {
        if let Some(edges) = self.attached.get(&room) {
            for edge in edges {
                self.outputs.push_back(Output::Edge(*edge, message.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
