//! The task of an edge: drives its machine, which holds sessions, against streams and owners.

mod account;
mod outboxes;
mod outlet;
mod watch;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use magpie_core::{
    edge::{Edge, FrameIn, Input, Output, Said},
    frame::Wire,
    ids::{DeviceId, SessionId, UserId},
    limits::Limits,
    owner::Input as RoomInput,
    refusal::Refusal,
    users::{Input as UserInput, SessionKey, Stored},
};
use magpie_store::account::AccountStore;
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast::error::RecvError, oneshot},
    time::{MissedTickBehavior, interval},
};

use self::watch::Watches;
pub(crate) use self::{
    account::account_room,
    outboxes::{Outboxes, keep_within},
    outlet::{Frames, Outlet},
};
use crate::{
    auth::Revocations,
    clock::Clock,
    limits::{BATCH_MAX, TICK},
    metrics::Metrics,
    presence::Presences,
    router::{Inbox, Origin, Router, ToOwner},
};

/// What the task of an edge is told.
#[derive(Debug)]
pub(crate) enum ToWorker {
    Input(Input<Outlet>),
    /// A frame of a session's own stream, with its place among those that are not handled yet.
    Frame(SessionId, FrameIn, OwnedSemaphorePermit),
    /// What a device says to its session by a call of its own.
    Signal(
        SessionId,
        DeviceId,
        Said,
        oneshot::Sender<Result<(), Refusal>>,
    ),
}

/// What an edge works with.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) router: Arc<Router>,
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) presences: Presences,
    pub(crate) revocations: Revocations,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
}

/// What came back from the stores.
enum Done {
    Input(Input<Outlet>),
    /// Whom a session may watch of those it asked for, by the number of its watch.
    Watch(SessionId, u64, Option<Vec<(UserId, Stored)>>),
}

/// The task's state.
pub(crate) struct Task<W: Wire<Encoded = Bytes>> {
    parts: Parts,
    edge: Edge<W, Outlet>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    watches: Watches,
    delivered: u64,
}

impl<W: Wire<Encoded = Bytes> + Send + 'static> Task<W> {
    pub(crate) fn new(parts: Parts, index: u32, generation: u64, wire: W) -> Self {
        let id = magpie_core::ids::EdgeId(index);
        let edge = Edge::new(id, generation, parts.limits.clone(), wire);
        Self {
            parts,
            edge,
            work: FuturesUnordered::new(),
            watches: Watches::default(),
            delivered: 0,
        }
    }

    /// Runs until nobody can reach it any more.
    pub(crate) async fn run(mut self, mut inbox: Inbox<ToWorker>) {
        let mut revoked = self.parts.revocations.subscribe();
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
                device = revoked.recv() => self.revoked(device),
                _ = tick.tick() => self.input(Input::Tick),
            }
            self.perform();
        }
    }

    fn message(&mut self, message: ToWorker) {
        match message {
            ToWorker::Input(input) => {
                let opens = if let Input::Open { caller, .. } = &input {
                    Some(caller.device)
                } else {
                    None
                };
                self.input(input);
                // Its token was checked when the call began; news of later revocations found no
                // session to end.
                if let Some(device) = opens.filter(|device| self.is_revoked(*device)) {
                    self.input(Input::Revoked(device));
                }
            }
            ToWorker::Frame(session, frame, _place) => self.input(Input::Frame(session, frame)),
            ToWorker::Signal(session, device, said, reply) => {
                let now = self.parts.clock.now();
                let result = self.edge.signal(session, device, said, now);
                // Whoever asked may have gone.
                drop(reply.send(result));
            }
        }
    }

    /// Ends the sessions of a device. Where the news came too thick to be kept, all are looked at.
    fn revoked(&mut self, device: Result<DeviceId, RecvError>) {
        match device {
            Ok(device) => self.input(Input::Revoked(device)),
            Err(RecvError::Lagged(_)) => {
                for device in self.edge.devices() {
                    if self.is_revoked(device) {
                        self.input(Input::Revoked(device));
                    }
                }
            }
            Err(RecvError::Closed) => {}
        }
    }

    fn is_revoked(&self, device: DeviceId) -> bool {
        self.parts.revocations.is_revoked(device)
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Input(input) => self.input(input),
            Done::Watch(session, watch, seen) => {
                if let (true, Some(seen)) = (self.watches.read(session, watch), seen) {
                    watch::tell(&self.parts.router, (self.edge.id(), session), seen);
                }
            }
        }
    }

    fn input(&mut self, input: Input<Outlet>) {
        self.edge.handle(input, self.parts.clock.now());
    }

    fn perform(&mut self) {
        while let Some(output) = self.edge.poll() {
            self.output(output);
        }
        let delivered = self.edge.delivered();
        self.parts
            .metrics
            .deliveries
            .inc_by(delivered - self.delivered);
        self.delivered = delivered;
    }

    fn output(&mut self, output: Output) {
        let router = &self.parts.router;
        match output {
            Output::Submit(call, submit) => {
                router.submit(Origin::Session(call, Instant::now()), submit)
            }
            Output::Attach(attach) => router.to_room(attach.room, RoomInput::Attach(attach)),
            Output::Detach(room) => {
                let edge = self.edge.id();
                router.to_room(room, RoomInput::Detach(edge, room));
            }
            Output::Idle(session, user, idle) => {
                let session = (self.edge.id(), session);
                router.to_user(
                    user,
                    UserInput::Idle {
                        session,
                        user,
                        idle,
                    },
                );
            }
            Output::Down(session, user, linger_millis) => {
                self.watches.end(session);
                self.down((self.edge.id(), session), user, linger_millis);
            }
            Output::Refused(reason) => self.parts.metrics.refusal(reason),
            Output::CatchUp => drop(self.parts.metrics.catch_ups.inc()),
            Output::ReadAccount {
                session,
                caller,
                since,
                up,
            } => {
                if let Some(idle) = up {
                    // At once, and not with the reading: the end of the session must come after it.
                    let (user, device) = (caller.user, caller.device);
                    let session = (self.edge.id(), session);
                    router.to_user(
                        user,
                        UserInput::Up {
                            session,
                            user,
                            device,
                            idle,
                        },
                    );
                }
                let read = account::read(self.parts.clone(), caller, since, up.is_some());
                self.work.push(
                    async move { Done::Input(Input::Account(session, read.await.map(Box::new))) }
                        .boxed(),
                );
            }
            Output::Watch(session, user, users) => {
                let no = self.watches.begin(session);
                let seen = watch::visible(self.parts.clone(), user, users);
                self.work
                    .push(async move { Done::Watch(session, no, seen.await) }.boxed());
            }
            Output::Ask(call, user, ask) => {
                let presences = self.parts.presences.clone();
                self.work.push(
                    async move { Done::Input(Input::Asked(call, presences.answer(user, ask).await)) }
                        .boxed(),
                );
            }
        }
    }

    /// Tells the owners that a session is over: its user's, and those of whom it watched.
    fn down(&self, session: SessionKey, user: UserId, linger_millis: u64) {
        let router = &self.parts.router;
        for owner in 0..router.owners() {
            let nobody = UserInput::Watch(session, Vec::new());
            router.to_owner(owner, ToOwner::User(nobody));
        }
        router.to_user(
            user,
            UserInput::Down {
                session,
                user,
                linger_millis,
            },
        );
    }
}

#[cfg(test)]
mod tests;
