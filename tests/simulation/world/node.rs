//! The node in the world: its tasks run when something waits for them, and what they want done of
//! stores and of each other is done later.

use magpie_core::{
    edge::{Input as EdgeInput, Output as EdgeOutput},
    ids::{EdgeId, Epoch, RoomId, SessionId, UserId},
    link::ToEdge,
    owner::{Input as OwnerInput, Output as OwnerOutput, RoomListChange, WriteOutcome},
    users::{Input as UserInput, Output as UserOutput, Status},
};

use super::{Event, TICK, World, people::Outcome};
use crate::{
    link::Queue,
    node::{Origin, PARTS, Reading, Task, ToOwner, edge_of, owner_of_room, owner_of_user},
};

/// How long a task waits for its turn, and a store for its answer, at the most.
const TURN: u64 = 3;
const STORE: u64 = 15;

impl World {
    pub(super) fn tell_owner(&mut self, owner: usize, message: ToOwner) {
        if let Some(node) = &mut self.node {
            node.owners[owner].inbox.push_back(message);
            self.wake_task(Task::Owner(owner));
        }
    }

    fn tell_room(&mut self, room: RoomId, input: OwnerInput<Origin>) {
        self.tell_owner(owner_of_room(room), ToOwner::Room(input));
    }

    fn tell_user(&mut self, user: UserId, input: UserInput) {
        self.tell_owner(owner_of_user(user), ToOwner::User(input));
    }

    pub(super) fn tell_edge(&mut self, edge: usize, input: EdgeInput<Queue>) {
        if let Some(node) = &mut self.node {
            node.edges[edge].inbox.push_back(input);
            self.wake_task(Task::Edge(edge));
        }
    }

    pub(super) fn tell_session(&mut self, session: SessionId, input: EdgeInput<Queue>) {
        self.tell_edge(edge_of(session), input);
    }

    pub(super) fn wake_task(&mut self, task: Task) {
        let Some(node) = &mut self.node else { return };
        if node.due.insert(task) {
            let run = node.epoch;
            self.within(TURN, Event::Run(run, task));
        }
    }

    /// A task takes some of what waits for it, and does what follows.
    pub(super) fn run_task(&mut self, task: Task) {
        let now = self.clock();
        let batch = self.chance.between(1, 8) as usize;
        let Some(node) = &mut self.node else { return };
        node.due.remove(&task);
        let left = match task {
            Task::Owner(index) => {
                let task = &mut node.owners[index];
                let mut heads = Vec::new();
                for message in task.inbox.drain(..batch.min(task.inbox.len())) {
                    match message {
                        ToOwner::Room(input) => task.owner.handle(input, now),
                        ToOwner::User(input) => task.users.handle(input, now),
                        ToOwner::Heads(reading, rooms) => heads.push((reading, rooms)),
                    }
                }
                let left = task.inbox.len();
                for (reading, rooms) in heads {
                    self.heads(reading, &rooms);
                }
                self.perform_owner(index);
                left
            }
            Task::Edge(index) => {
                let task = &mut node.edges[index];
                for input in task.inbox.drain(..batch.min(task.inbox.len())) {
                    task.edge.handle(input, now);
                }
                let left = task.inbox.len();
                self.perform_edge(index);
                left
            }
        };
        if left > 0 {
            self.wake_task(task);
        }
    }

    pub(super) fn tick(&mut self, run: Epoch) {
        let now = self.clock();
        let Some(node) = &mut self.node else { return };
        for task in &mut node.owners {
            task.owner.handle(OwnerInput::Tick, now);
            task.users.handle(UserInput::Tick, now);
        }
        for task in &mut node.edges {
            task.edge.handle(EdgeInput::Tick, now);
        }
        node.serving |= node.is_recovered();
        for index in 0..PARTS {
            self.perform_owner(index);
            self.perform_edge(index);
        }
        self.later(TICK, Event::Tick(run));
    }

    fn perform_owner(&mut self, index: usize) {
        let Some(node) = &mut self.node else { return };
        let task = &mut node.owners[index];
        task.owner.flush();
        let outputs: Vec<_> = std::iter::from_fn(|| task.owner.poll()).collect();
        let told: Vec<_> = std::iter::from_fn(|| task.users.poll()).collect();
        for output in outputs {
            self.owner_output(index, output);
        }
        for output in told {
            match output {
                UserOutput::Edge(edge, message) => self.tell(edge, message),
                UserOutput::LastSeen(..) => {}
            }
        }
    }

    fn tell(&mut self, edge: EdgeId, message: ToEdge) {
        self.tell_edge(edge.0 as usize, EdgeInput::Owner(message));
    }

    fn owner_output(&mut self, index: usize, output: OwnerOutput<Origin>) {
        let run = self.run;
        match output {
            OwnerOutput::Edge(edge, message) => self.tell(edge, message),
            OwnerOutput::Reply(Origin::Session(call), result) => {
                self.tell_session(call.session, EdgeInput::Answered(call, result));
            }
            OwnerOutput::Reply(Origin::Call(call), result) => {
                self.within(STORE, Event::Answered(call, Outcome::Answered(result)));
            }
            OwnerOutput::View(..) => unreachable!("nobody asks for a view here"),
            OwnerOutput::Load(room) => {
                let loaded = self.log.load(room, &self.limits);
                let loaded = OwnerInput::Loaded(room, Some(Box::new(loaded)));
                self.within(STORE, Event::Stored(run, index, loaded));
            }
            OwnerOutput::Write(room, no, rows) => {
                if !self.log.write(rows, Some((index, room, no))) {
                    let full = OwnerInput::Written(room, no, WriteOutcome::Full);
                    self.within(STORE, Event::Stored(run, index, full));
                }
                self.sync();
            }
            OwnerOutput::Finish(rows) => {
                self.log.write(rows, None);
                self.sync();
            }
            OwnerOutput::ReadFence => {
                let fence = OwnerInput::FenceRead { fenced: false };
                self.within(TURN, Event::Stored(run, index, fence));
            }
            OwnerOutput::Fetch(read, room, fetch) => {
                let fetched = self.log.fetch(room, fetch);
                let fetched = OwnerInput::Fetched(read, Some(fetched));
                self.within(STORE, Event::Stored(run, index, fetched));
            }
            OwnerOutput::Effect(change) => {
                let delay_max = if self.lively {
                    self.effect_delay
                } else {
                    STORE
                };
                self.within(delay_max, Event::Effect(run, index, change));
            }
            OwnerOutput::Halt(why) => self.facts.complain(format!("the node halts: {why}")),
        }
    }

    fn sync(&mut self) {
        if self.log.begin_sync() {
            let run = self.run;
            self.within(STORE, Event::Synced(run));
        }
    }

    pub(super) fn synced(&mut self) {
        for (owner, room, no) in self.log.end_sync() {
            let done = OwnerInput::Written(room, no, WriteOutcome::Done);
            self.tell_owner(owner, ToOwner::Room(done));
        }
        self.sync();
    }

    pub(super) fn effect(&mut self, owner: usize, change: &RoomListChange) {
        for (user, revision, row) in self.accounts.apply(change) {
            let rows = vec![row];
            self.tell_user(
                user,
                UserInput::Account {
                    user,
                    revision,
                    rows,
                },
            );
        }
        let done = OwnerInput::EffectDone(change.room, change.seq);
        self.tell_owner(owner, ToOwner::Room(done));
    }

    fn perform_edge(&mut self, index: usize) {
        let Some(node) = &mut self.node else { return };
        let edge = &mut node.edges[index].edge;
        let outputs: Vec<_> = std::iter::from_fn(|| edge.poll()).collect();
        for output in outputs {
            self.edge_output(EdgeId(index as u32), output);
        }
    }

    fn edge_output(&mut self, edge: EdgeId, output: EdgeOutput) {
        match output {
            EdgeOutput::Submit(call, submit) => {
                let room = submit.room;
                self.tell_room(room, OwnerInput::Submit(Origin::Session(call), submit));
            }
            EdgeOutput::Attach(attach) => self.tell_room(attach.room, OwnerInput::Attach(attach)),
            EdgeOutput::Detach(room) => self.tell_room(room, OwnerInput::Detach(edge, room)),
            EdgeOutput::Idle(session, user, idle) => {
                let session = (edge, session);
                self.tell_user(
                    user,
                    UserInput::Idle {
                        session,
                        user,
                        idle,
                    },
                );
            }
            EdgeOutput::Down(session, user, linger_millis) => {
                let session = (edge, session);
                for owner in 0..PARTS {
                    let nobody = UserInput::Watch(session, Vec::new());
                    self.tell_owner(owner, ToOwner::User(nobody));
                }
                self.tell_user(
                    user,
                    UserInput::Down {
                        session,
                        user,
                        linger_millis,
                    },
                );
            }
            EdgeOutput::ReadAccount {
                session,
                caller,
                since,
                up,
            } => {
                if let Some(idle) = up {
                    let (user, device) = (caller.user, caller.device);
                    let up = UserInput::Up {
                        session: (edge, session),
                        user,
                        device,
                        idle,
                    };
                    self.tell_user(user, up);
                }
                let Some(node) = &mut self.node else { return };
                let (user, account) = (caller.user, magpie_core::edge::Account::default());
                node.next_reading += 1;
                let reading = Reading {
                    session,
                    user,
                    since,
                    account,
                    awaited: 0,
                };
                let (no, run) = (node.next_reading, node.epoch);
                node.readings.insert(no, reading);
                self.within(STORE, Event::ReadAccount(run, no));
            }
            EdgeOutput::Watch(session, user, users) => {
                let run = self.run;
                self.within(STORE, Event::Watch(run, session, user, users));
            }
            EdgeOutput::Ask(..) | EdgeOutput::Refused(_) | EdgeOutput::CatchUp => {}
        }
    }

    /// Reads what changed of an account and which rooms it has; then asks the owners for heads.
    pub(super) fn read_account(&mut self, no: u64) {
        let Some(node) = &mut self.node else { return };
        let Some(reading) = node.readings.get_mut(&no) else {
            return;
        };
        let rows_max = self.account_rows_max;
        let account = self
            .accounts
            .changed_since(reading.user, reading.since, rows_max);
        reading.account = account;
        let rooms = self.accounts.rooms_of(reading.user);
        reading.awaited = PARTS;
        for owner in 0..PARTS {
            let of = |room: &RoomId| owner_of_room(*room) == owner;
            let theirs = rooms.iter().copied().filter(of).collect();
            self.tell_owner(owner, ToOwner::Heads(no, theirs));
        }
    }

    fn heads(&mut self, no: u64, rooms: &[RoomId]) {
        let Some(node) = &mut self.node else { return };
        let heads: Vec<_> = rooms.iter().map(|room| (*room, node.head(*room))).collect();
        let Some(reading) = node.readings.get_mut(&no) else {
            return;
        };
        reading.account.rooms.extend(heads);
        reading.awaited -= 1;
        if reading.awaited == 0
            && let Some(reading) = node.readings.remove(&no)
        {
            let account = Some(Box::new(reading.account));
            self.tell_session(
                reading.session,
                EdgeInput::Account(reading.session, account),
            );
        }
    }

    pub(super) fn watch(&mut self, session: SessionId, user: UserId, users: Vec<UserId>) {
        let key = (EdgeId(edge_of(session) as u32), session);
        for owner in 0..PARTS {
            let seen = users.iter().filter(|other| owner_of_user(**other) == owner);
            let seen = seen.filter(|other| self.accounts.share_room(user, **other));
            let seen = seen
                .map(|other| (*other, (Status::default(), None)))
                .collect();
            self.tell_owner(owner, ToOwner::User(UserInput::Watch(key, seen)));
        }
    }

    /// A unary call's command goes to its room.
    pub(super) fn submit_call(&mut self, call: u64, submit: magpie_core::command::Submit) {
        let room = submit.room;
        self.tell_room(room, OwnerInput::Submit(Origin::Call(call), submit));
    }
}
