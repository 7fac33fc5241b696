//! The task of an edge: drives its machine, which holds sessions, against streams and owners.

mod account;
mod outlet;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use magpie_core::{
    edge::{Edge, FrameIn, Input, Output},
    frame::Wire,
    ids::{DeviceId, Partition, SessionId, UserId},
    limits::Limits,
    owner::Input as RoomInput,
    refusal::{Reason, Refusal},
    users::{Input as UserInput, SessionKey, Stored},
};
use magpie_store::account::AccountStore;
use tokio::{
    sync::{broadcast::error::RecvError, oneshot},
    time::{MissedTickBehavior, interval},
};

pub(crate) use self::{
    account::account_room,
    outlet::{Frames, Outlet},
};
use crate::{
    auth::Revocations,
    clock::Clock,
    metrics::Metrics,
    presence::Presences,
    router::{Inbox, Origin, Router, ToOwner},
};

/// How often the machine is told that time has passed.
const TICK: Duration = Duration::from_millis(250);
/// Messages taken at a time.
const BATCH_MAX: usize = 1_024;

/// What the task of an edge is told.
#[derive(Debug)]
pub(crate) enum ToWorker {
    Input(Input<Outlet>),
    /// A frame for a session, if it is that device's.
    Signal(
        SessionId,
        DeviceId,
        FrameIn,
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

/// The task's state.
pub(crate) struct Task<W: Wire<Encoded = Bytes>> {
    parts: Parts,
    edge: Edge<W, Outlet>,
    work: FuturesUnordered<BoxFuture<'static, Option<Input<Outlet>>>>,
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
                Some(input) = self.work.next() => self.input(input),
                device = revoked.recv() => self.revoked(device),
                _ = tick.tick() => self.input(Some(Input::Tick)),
            }
            self.perform();
        }
    }

    fn message(&mut self, message: ToWorker) {
        match message {
            ToWorker::Input(input) => self.input(Some(input)),
            ToWorker::Signal(session, device, frame, reply) => {
                let known = self.edge.device_of(session) == Some(device);
                if known {
                    self.input(Some(Input::Frame(session, frame)));
                }
                let gone = "there is no such session of this device here; open a new one";
                let result = if known {
                    Ok(())
                } else {
                    Err(Refusal::new(Reason::SessionGone, gone))
                };
                // Whoever asked may have gone.
                drop(reply.send(result));
            }
        }
    }

    /// Ends the sessions of a device. Where the news came too thick to be kept, all are looked at.
    fn revoked(&mut self, device: Result<DeviceId, RecvError>) {
        match device {
            Ok(device) => self.input(Some(Input::Revoked(device))),
            Err(RecvError::Lagged(_)) => {
                let revocations = self.parts.revocations.clone();
                for device in self.edge.devices() {
                    if revocations.is_revoked(device) {
                        self.input(Some(Input::Revoked(device)));
                    }
                }
            }
            Err(RecvError::Closed) => {}
        }
    }

    fn input(&mut self, input: Option<Input<Outlet>>) {
        if let Some(input) = input {
            self.edge.handle(input, self.parts.clock.now());
        }
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
                    async move { Some(Input::Account(session, read.await.map(Box::new))) }.boxed(),
                );
            }
            Output::Watch(session, user, users) => {
                let watch = watch(self.parts.clone(), (self.edge.id(), session), user, users);
                self.work.push(watch.map(|()| None).boxed());
            }
            Output::Ask(call, user, ask) => {
                let presences = self.parts.presences.clone();
                self.work.push(
                    async move { Some(Input::Asked(call, presences.answer(user, ask).await)) }
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

/// Follows the presence of those users whom the caller may see.
async fn watch(parts: Parts, session: SessionKey, user: UserId, users: Vec<UserId>) {
    let seen = match parts.presences.visible(user, users).await {
        Ok(seen) => seen,
        Err(refusal) => return tracing::warn!(%refusal, "a watch was not set"),
    };
    let owners = parts.router.owners();
    let mut by_owner: Vec<Vec<(UserId, Stored)>> = (0..owners).map(|_| Vec::new()).collect();
    for (user, stored) in seen {
        by_owner[parts.router.owner_of(Partition::of_user(user))].push((user, stored));
    }
    for (owner, users) in by_owner.into_iter().enumerate() {
        parts
            .router
            .to_owner(owner, ToOwner::User(UserInput::Watch(session, users)));
    }
}
