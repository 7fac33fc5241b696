//! Which part of the node serves a room, a user or a session, and how the others reach it. With one
//! node every part is local; the rest of the node does not know that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use magpie_core::{
    command::{Answer, Submit},
    edge::{Call, Said},
    ids::{DeviceId, EdgeId, Partition, RoomId, SessionId, UserId},
    owner::{Head, Input as RoomInput, Query, View},
    refusal::{Effect, Reason, Refusal},
    users::{Input as UserInput, Presence},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    edge::{Outboxes, Outlet, ToWorker},
    limits::BACKLOG_MAX,
};

/// Who waits for an answer of an owner, and since when.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A session.
    Session(Call, Instant),
    /// A unary command.
    Command(oneshot::Sender<Result<Answer, Refusal>>, Instant),
    /// A unary read.
    Read(oneshot::Sender<Result<View, Refusal>>),
}

/// What the task of an owner is told.
#[derive(Debug)]
pub(crate) enum ToOwner {
    Room(RoomInput<Origin>),
    User(UserInput),
    Heads(Vec<RoomId>, oneshot::Sender<Vec<(RoomId, Option<Head>)>>),
    Presence(Vec<UserId>, oneshot::Sender<Vec<Presence>>),
    /// The node leaves: it is to be stored that who is there was last seen now.
    Leaving(oneshot::Sender<()>),
}

/// A way to a task, that knows how much waits there. The queue itself has no bound, since what
/// keeps sessions in step must not be lost; commands are refused beyond [`BACKLOG_MAX`], and all
/// else is bounded by the commands and sessions that cause it.
#[derive(Debug)]
pub(crate) struct Link<M> {
    queue: mpsc::UnboundedSender<M>,
    waiting: Arc<AtomicUsize>,
}

/// The other end of a [`Link`].
#[derive(Debug)]
pub(crate) struct Inbox<M> {
    queue: mpsc::UnboundedReceiver<M>,
    waiting: Arc<AtomicUsize>,
}

/// The parts of a node.
#[derive(Debug)]
pub struct Router {
    owners: Vec<Link<ToOwner>>,
    edges: Vec<Link<ToWorker>>,
    outboxes: Arc<Outboxes>,
    incarnation: u64,
    next_session: AtomicU64,
}

/// The other ends of a router's links, for the tasks.
#[derive(Debug)]
pub(crate) struct Inboxes {
    pub(crate) owners: Vec<Inbox<ToOwner>>,
    pub(crate) edges: Vec<Inbox<ToWorker>>,
}

impl Router {
    /// Links for so many owners and edges, and outboxes in which so many bytes may wait.
    pub(crate) fn new(
        owners: usize,
        edges: usize,
        outboxes_bytes_max: usize,
    ) -> (Arc<Self>, Inboxes) {
        let (owners, owner_inboxes) = (0..owners).map(|_| link()).unzip();
        let (edges, edge_inboxes) = (0..edges).map(|_| link()).unzip();
        let (incarnation, next_session) = (rand::random(), AtomicU64::new(1));
        let router = Self {
            owners,
            edges,
            outboxes: Outboxes::new(outboxes_bytes_max),
            incarnation,
            next_session,
        };
        (
            Arc::new(router),
            Inboxes {
                owners: owner_inboxes,
                edges: edge_inboxes,
            },
        )
    }

    /// A number of this run of the process: sessions of another run are not known here.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The outboxes of the sessions.
    pub(crate) fn outboxes(&self) -> &Arc<Outboxes> {
        &self.outboxes
    }

    /// How many messages wait for the owners.
    pub(crate) fn waiting_for_owners(&self) -> usize {
        let waiting = |owner: &Link<ToOwner>| owner.waiting.load(Ordering::Relaxed);
        self.owners.iter().map(waiting).sum()
    }

    /// How many owners there are.
    pub(crate) fn owners(&self) -> usize {
        self.owners.len()
    }

    /// Which owner has a partition.
    pub(crate) fn owner_of(&self, partition: Partition) -> usize {
        usize::from(partition.0) % self.owners.len()
    }

    pub(crate) fn to_owner(&self, owner: usize, message: ToOwner) {
        self.owners[owner].send(message);
    }

    pub(crate) fn to_room(&self, room: RoomId, input: RoomInput<Origin>) {
        self.to_owner(
            self.owner_of(Partition::of_room(room)),
            ToOwner::Room(input),
        );
    }

    pub(crate) fn to_user(&self, user: UserId, input: UserInput) {
        self.to_owner(
            self.owner_of(Partition::of_user(user)),
            ToOwner::User(input),
        );
    }

    pub(crate) fn to_edge(&self, edge: EdgeId, message: ToWorker) {
        self.edges[edge.0 as usize].send(message);
    }

    pub(crate) fn to_session(&self, session: SessionId, message: ToWorker) {
        self.to_edge(self.edge_of(session), message);
    }

    pub(crate) fn to_all_edges(&self, message: impl Fn() -> ToWorker) {
        for edge in &self.edges {
            edge.send(message());
        }
    }

    /// Passes a command on, or refuses it where too much waits.
    pub(crate) fn submit(&self, origin: Origin, submit: Submit) {
        let owner = self.owner_of(Partition::of_room(submit.room));
        if self.is_overloaded(owner) {
            return self.answer(origin, Err(overloaded()));
        }
        self.to_owner(owner, ToOwner::Room(RoomInput::Submit(origin, submit)));
    }

    pub(crate) fn answer(&self, origin: Origin, result: Result<Answer, Refusal>) {
        match origin {
            Origin::Session(call, _) => {
                let answered = magpie_core::edge::Input::Answered(call, result);
                self.to_session(call.session, ToWorker::Input(answered));
            }
            // Whoever asked may have gone; the command stands all the same.
            Origin::Command(reply, _) => drop(reply.send(result)),
            Origin::Read(_) => {}
        }
    }

    /// Has a command done.
    pub async fn command(&self, submit: Submit) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.submit(Origin::Command(reply, Instant::now()), submit);
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Reads of a room.
    pub async fn query(&self, room: RoomId, user: UserId, query: Query) -> Result<View, Refusal> {
        let owner = self.owner_of(Partition::of_room(room));
        if self.is_overloaded(owner) {
            return Err(overloaded());
        }
        let (reply, view) = oneshot::channel();
        self.to_room(
            room,
            RoomInput::Query(Origin::Read(reply), room, user, query),
        );
        view.await
            .unwrap_or_else(|_| Err(stopped().with_effect(Effect::AttemptNone)))
    }

    /// The heads of rooms.
    pub(crate) async fn heads(&self, rooms: Vec<RoomId>) -> Vec<(RoomId, Option<Head>)> {
        let owner = |room: &RoomId| self.owner_of(Partition::of_room(*room));
        self.gather(rooms, owner, ToOwner::Heads).await
    }

    /// Has it stored that those who are there were last seen now.
    pub(crate) async fn leaving(&self) {
        let told = (0..self.owners.len()).map(|owner| {
            let (reply, done) = oneshot::channel();
            self.to_owner(owner, ToOwner::Leaving(reply));
            done
        });
        for done in told.collect::<Vec<_>>() {
            // An owner that is gone has nothing to store.
            drop(done.await);
        }
    }

    /// The presence of users, of those of whom it is known.
    pub(crate) async fn presence(&self, users: Vec<UserId>) -> Vec<Presence> {
        let owner = |user: &UserId| self.owner_of(Partition::of_user(*user));
        self.gather(users, owner, ToOwner::Presence).await
    }

    /// Hands a user a session id and its edge. All sessions of a user are on one edge.
    pub(crate) fn new_session(&self, user: UserId) -> SessionId {
        let edges = self.edges.len() as u64;
        let edge = user.get().unsigned_abs() % edges;
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed) * edges + edge)
    }

    /// Tells a session something, if it is that device's.
    pub async fn signal(
        &self,
        session: SessionId,
        device: DeviceId,
        said: Said,
    ) -> Result<(), Refusal> {
        let (reply, done) = oneshot::channel();
        self.to_session(session, ToWorker::Signal(session, device, said, reply));
        done.await
            .unwrap_or_else(|_| Err(stopped().with_effect(Effect::AttemptNone)))
    }

    pub(crate) fn open(
        &self,
        session: SessionId,
        caller: magpie_core::edge::Caller,
        hello: magpie_core::edge::Hello,
        outlet: Outlet,
    ) {
        let hello = Box::new(hello);
        let open = magpie_core::edge::Input::Open {
            session,
            caller,
            hello,
            outlet,
        };
        self.to_session(session, ToWorker::Input(open));
    }

    fn edge_of(&self, session: SessionId) -> EdgeId {
        let edge = session.0 % self.edges.len() as u64;
        EdgeId(u32::try_from(edge).unwrap_or(0))
    }

    fn is_overloaded(&self, owner: usize) -> bool {
        let full = |waiting: &Arc<AtomicUsize>| waiting.load(Ordering::Relaxed) >= BACKLOG_MAX;
        full(&self.owners[owner].waiting) || self.edges.iter().any(|edge| full(&edge.waiting))
    }

    async fn gather<K, V>(
        &self,
        keys: Vec<K>,
        owner_of: impl Fn(&K) -> usize,
        message: impl Fn(Vec<K>, oneshot::Sender<Vec<V>>) -> ToOwner,
    ) -> Vec<V> {
        let mut by_owner: Vec<Vec<K>> = (0..self.owners.len()).map(|_| Vec::new()).collect();
        for key in keys {
            by_owner[owner_of(&key)].push(key);
        }
        let asked = by_owner
            .into_iter()
            .enumerate()
            .filter(|(_, keys)| !keys.is_empty());
        let replies: Vec<_> = asked
            .map(|(owner, keys)| {
                let (reply, answer) = oneshot::channel();
                self.to_owner(owner, message(keys, reply));
                answer
            })
            .collect();
        let mut values = Vec::new();
        for reply in replies {
            values.extend(reply.await.unwrap_or_default());
        }
        values
    }
}

fn link<M>() -> (Link<M>, Inbox<M>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (
        Link {
            queue: sender,
            waiting: waiting.clone(),
        },
        Inbox {
            queue: receiver,
            waiting,
        },
    )
}

impl Origin {
    /// When a command came in.
    pub(crate) fn since(&self) -> Option<Instant> {
        match self {
            Self::Session(_, since) | Self::Command(_, since) => Some(*since),
            Self::Read(_) => None,
        }
    }
}

impl<M> Link<M> {
    fn send(&self, message: M) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // After the end of the node nobody waits for it.
        drop(self.queue.send(message));
    }
}

impl<M> Inbox<M> {
    /// Takes all that waits, up to so many. Zero: nothing will ever come.
    pub(crate) async fn take(&mut self, messages: &mut Vec<M>, max: usize) -> usize {
        let taken = self.queue.recv_many(messages, max).await;
        self.waiting.fetch_sub(taken, Ordering::Relaxed);
        taken
    }
}

fn overloaded() -> Refusal {
    Refusal::new(
        Reason::Overloaded,
        "the node has more work than it can take; try again later",
    )
    .with_retry_after(std::time::Duration::from_secs(1))
}

fn stopped() -> Refusal {
    Refusal::new(
        Reason::Draining,
        "the node has stopped; go to another or come back",
    )
    .with_effect(Effect::Unknown)
    .with_retry_after(std::time::Duration::from_secs(1))
}
