//! What the services of rooms, messages and streams share.

use std::sync::Arc;

use magpie_core::{
    command::{Answer, Command, Submit},
    ids::UserId,
    limits::Limits,
    owner::{Query, View},
    refusal::{Reason, Refusal},
};
use magpie_discovery::Standalone;
use magpie_store::account::AccountStore;
use tonic::{Request, Status};

use super::status::to_status;
use crate::{
    auth::{Accounts, Authenticator, Caller},
    clock::Clock,
    drain::Drain,
    limits::{MARKS_AN_OPEN, SENDERS_MAX},
    listen::{Budget, ConnInfo},
    metrics::Metrics,
    presence::Presences,
    router::Router,
    shared_limiter::SharedLimiter,
};

/// The services of rooms, messages, presence, streams and discovery. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Services(Arc<Inner>);

/// The parts, shared.
#[derive(Debug)]
pub struct Inner {
    pub(super) router: Arc<Router>,
    pub(super) accounts: Arc<dyn AccountStore>,
    /// The rules for people, over the same store.
    pub(super) people: Accounts,
    pub(super) presences: Presences,
    pub(super) authenticator: Authenticator,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) drain: Drain,
    pub(super) metrics: Arc<Metrics>,
    /// Where clients are sent.
    pub(super) discovery: Standalone,
    /// How fast each user appends entries, over all rooms.
    writers: SharedLimiter<UserId>,
    /// How fast each user sets marks and the status and shows typing by unary calls.
    signs: SharedLimiter<UserId>,
    /// How fast each user claims rooms in the account store.
    claims: SharedLimiter<UserId>,
    /// How fast each user begins sessions.
    opens: SharedLimiter<UserId>,
}

/// What [`Services`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The ways to owners and edges.
    pub router: Arc<Router>,
    /// Accounts.
    pub accounts: Arc<dyn AccountStore>,
    /// The rules for people, over the same store.
    pub people: Accounts,
    /// Presence.
    pub presences: Presences,
    /// The core's limits.
    pub limits: Limits,
    /// The time.
    pub clock: Clock,
    /// The node's end.
    pub drain: Drain,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where clients are sent.
    pub discovery: Standalone,
}

impl std::ops::Deref for Services {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Services {
    /// Over these parts.
    pub fn new(parts: Parts) -> Self {
        let limits = &parts.limits;
        let limiter = |burst, per_minute| SharedLimiter::new(burst, per_minute, SENDERS_MAX);
        let signs = limits.session_control_per_minute;
        Self(Arc::new(Inner {
            writers: limiter(limits.user_send_burst, limits.user_sends_per_minute),
            signs: limiter(signs, signs),
            claims: limiter(limits.user_claim_burst, limits.user_claims_per_minute),
            opens: limiter(limits.user_opens_burst, limits.user_opens_per_minute),
            router: parts.router,
            accounts: parts.accounts,
            authenticator: parts.people.authenticator(),
            people: parts.people,
            presences: parts.presences,
            limits: parts.limits,
            clock: parts.clock,
            drain: parts.drain,
            metrics: parts.metrics,
            discovery: parts.discovery,
        }))
    }
}

impl Inner {
    /// Counts a command that appends an entry. Who appends more than one may over all rooms is refused
    /// by the room's owner, unless the command is a retry.
    pub(super) fn counted(&self, mut submit: Submit) -> Submit {
        if let Command::Append(append) = &submit.command {
            let why = "you send faster than you may; slow down";
            let taken = self.take(&self.writers, submit.actor, append.weight(), why);
            submit.unless_retry = taken.err().map(Box::new);
        }
        submit
    }

    /// Counts a room that is to be claimed.
    pub(super) fn counted_claim(&self, user: UserId) -> Result<(), Refusal> {
        let why = "you create or open rooms faster than you may; slow down";
        self.take(&self.claims, user, 1, why)
    }

    /// Counts what is set or shown by a unary call. On a stream the session counts it.
    pub(super) fn counted_sign(&self, user: UserId) -> Result<(), Refusal> {
        let why = "too many marks, statuses and signs of typing; slow down";
        self.take(&self.signs, user, 1, why)
    }

    /// Has a unary command done.
    pub(super) async fn command(&self, submit: Submit) -> Result<Answer, Status> {
        if let Command::Mark(_) | Command::Typing = &submit.command {
            self.counted_sign(submit.actor).map_err(refused)?;
        }
        let submit = self.counted(submit);
        self.router.command(submit).await.map_err(refused)
    }

    /// Counts a session that begins, and the marks that it says again.
    pub(super) fn counted_open(&self, user: UserId, marks: usize) -> Result<(), Refusal> {
        let tokens = 1 + marks as u64 / MARKS_AN_OPEN;
        let why = "you open streams or call Sync faster than you may; slow down";
        self.take(&self.opens, user, tokens, why)
    }

    fn take(
        &self,
        limiter: &SharedLimiter<UserId>,
        user: UserId,
        tokens: u64,
        why: &'static str,
    ) -> Result<(), Refusal> {
        let now = self.clock.now().instant;
        limiter
            .take(&user, tokens, now)
            .map_err(|wait| Refusal::new(Reason::RateLimited, why).with_retry_after(wait))
    }

    /// Reads of a room for a caller.
    pub(super) async fn view(
        &self,
        caller: Caller,
        room: magpie_core::ids::RoomId,
        query: Query,
    ) -> Result<View, Status> {
        self.router
            .query(room, caller.user, query)
            .await
            .map_err(refused)
    }
}

/// Who calls. The layer in front lets nobody else through.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .copied()
        .ok_or_else(|| {
            let why = "this call needs an access token: log in first";
            refused(Refusal::new(Reason::Unauthenticated, why))
        })
}

/// What the caller's connection may hold.
pub(super) fn budget<T>(request: &Request<T>) -> Result<Arc<Budget>, Status> {
    let connection = request.extensions().get::<ConnInfo>();
    connection
        .map(|connection| connection.budget.clone())
        .ok_or_else(unfitting)
}

/// The refusal of a call as its status.
pub(super) fn refused(refusal: Refusal) -> Status {
    to_status(&refusal)
}

/// An answer of another kind than the question: a fault of the node.
pub(super) fn unfitting() -> Status {
    refused(Refusal::new(
        Reason::Internal,
        "the node failed: its log has the details",
    ))
}
