//! One run of a node: its owners and edges, what waits for each, and what was asked of others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use magpie_core::{
    edge::{Account, Call, Edge, Input as EdgeInput},
    ids::{EdgeId, Epoch, Partition, RoomId, SessionId, UserId},
    limits::Limits,
    owner::{Head, Input as OwnerInput, Owner},
    time::Instant,
    users::{Input as UserInput, Users},
};

use crate::link::{Encoded, LinkId, Queue, Uncoded};

/// How many owners and edges a node has.
pub(crate) const PARTS: usize = 2;

/// The deployment's generation.
pub(crate) const GENERATION: u64 = 1;

/// One of a node's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    Owner(usize),
    Edge(usize),
}

/// Who asked a room for something.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    Session(Call),
    /// A unary call, by its number.
    Call(u64),
}

/// What an owner's task is told.
#[derive(Debug)]
pub(crate) enum ToOwner {
    Room(OwnerInput<Origin>),
    User(UserInput),
    /// The heads of these rooms, for the reading of an account.
    Heads(u64, Vec<RoomId>),
}

/// The task of an owner.
#[derive(Debug)]
pub(crate) struct OwnerTask {
    pub(crate) owner: Owner<Origin>,
    pub(crate) users: Users,
    pub(crate) inbox: VecDeque<ToOwner>,
}

/// The task of an edge.
#[derive(Debug)]
pub(crate) struct EdgeTask {
    pub(crate) edge: Edge<Uncoded, Queue>,
    pub(crate) inbox: VecDeque<EdgeInput<Queue>>,
}

/// An account that is being read for a session.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) session: SessionId,
    pub(crate) user: UserId,
    pub(crate) since: u64,
    pub(crate) account: Account,
    /// Owners that have not told their heads yet.
    pub(crate) awaited: usize,
}

/// One run of a node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) epoch: Epoch,
    pub(crate) owners: Vec<OwnerTask>,
    pub(crate) edges: Vec<EdgeTask>,
    /// Tasks that will run.
    pub(crate) due: BTreeSet<Task>,
    /// Whether it has finished what the run before left, and takes calls.
    pub(crate) serving: bool,
    pub(crate) readings: BTreeMap<u64, Reading>,
    pub(crate) next_reading: u64,
    pub(crate) sessions: BTreeMap<SessionId, LinkId>,
    next_session: u64,
}

impl Node {
    pub(crate) fn new(epoch: Epoch, limits: &Limits, now: Instant) -> Self {
        let owner = |_| OwnerTask {
            owner: Owner::new(epoch, limits.clone()),
            users: Users::new(limits.clone(), epoch == Epoch(1), now),
            inbox: VecDeque::new(),
        };
        let edge = |index| EdgeTask {
            edge: Edge::new(EdgeId(index), GENERATION, limits.clone(), Uncoded),
            inbox: VecDeque::new(),
        };
        Self {
            epoch,
            owners: (0..PARTS).map(owner).collect(),
            edges: (0..PARTS as u32).map(edge).collect(),
            due: BTreeSet::new(),
            serving: false,
            readings: BTreeMap::new(),
            next_reading: 0,
            sessions: BTreeMap::new(),
            next_session: 0,
        }
    }

    /// A number for a session of a user. All of a user's are on one edge.
    pub(crate) fn new_session(&mut self, user: UserId, link: LinkId) -> SessionId {
        let edge = user.get().unsigned_abs() % PARTS as u64;
        self.next_session += 1;
        let session = SessionId(self.next_session * PARTS as u64 + edge);
        self.sessions.insert(session, link);
        session
    }

    /// Whether everything that the run before left unfinished is finished.
    pub(crate) fn is_recovered(&self) -> bool {
        self.owners.iter().all(|task| task.owner.is_recovered())
    }

    pub(crate) fn head(&self, room: RoomId) -> Option<Head> {
        self.owners[owner_of_room(room)].owner.head(room)
    }
}

pub(crate) fn edge_of(session: SessionId) -> usize {
    (session.0 % PARTS as u64) as usize
}

pub(crate) fn owner_of(partition: Partition) -> usize {
    usize::from(partition.0) % PARTS
}

pub(crate) fn owner_of_room(room: RoomId) -> usize {
    owner_of(Partition::of_room(room))
}

pub(crate) fn owner_of_user(user: UserId) -> usize {
    owner_of(Partition::of_user(user))
}

/// A frame that arrives at one end of a stream.
#[derive(Debug)]
pub(crate) enum Arriving {
    Frame(Encoded),
    End,
}
