//! What an owner has the stores do, as futures that end with what its machines are told.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use magpie_core::{
    entry::ChangeKind,
    ids::{RoomId, UserId},
    limits::Limits,
    owner::{Fetch, Fetched, Input, ReadNo, RoomListChange, WriteNo, WriteOutcome},
};
use magpie_store::{
    account::{AccountStore, Membership},
    log::{LogStore, StoreError, StoreFuture},
};
use tokio::time::Instant;

use super::{Done, load as loading};
use crate::{
    drain::{Drain, Failure},
    limits::EFFECT_RETRY_INTERVAL,
};

pub(super) async fn load(log: Arc<dyn LogStore>, room: RoomId, limits: Limits) -> Done {
    match loading::room(&*log, room, &limits).await {
        Ok(loaded) => Done::Room(Input::Loaded(room, Some(Box::new(loaded)))),
        Err(error) => Done::NotLoaded(room, error),
    }
}

pub(super) async fn write(write: StoreFuture<()>, room: RoomId, no: WriteNo, drain: Drain) -> Done {
    let outcome = match write.await {
        Ok(()) => WriteOutcome::Done,
        Err(StoreError::Full { .. }) => WriteOutcome::Full,
        Err(error) => {
            drain.fail(Failure::Disk(error.to_string()));
            return Done::Nothing;
        }
    };
    Done::Room(Input::Written(room, no, outcome))
}

pub(super) async fn fence(fenced: StoreFuture<bool>, drain: Drain) -> Done {
    match fenced.await {
        Ok(fenced) => Done::Room(Input::FenceRead { fenced }),
        Err(error) => {
            drain.fail(Failure::Disk(error.to_string()));
            Done::Nothing
        }
    }
}

pub(super) async fn fetch(
    log: Arc<dyn LogStore>,
    read: ReadNo,
    room: RoomId,
    fetch: Fetch,
) -> Done {
    let fetched = fetched(&*log, room, fetch)
        .await
        .inspect_err(read_failed)
        .ok();
    Done::Room(Input::Fetched(read, fetched))
}

pub(super) fn read_failed(error: &StoreError) {
    tracing::error!(%error, "the log could not be read");
}

fn fetched(
    log: &dyn LogStore,
    room: RoomId,
    fetch: Fetch,
) -> BoxFuture<'static, Result<Fetched, StoreError>> {
    match fetch {
        Fetch::Entries(span) => log
            .entries(room, span)
            .map(|rows| rows.map(Fetched::Entries))
            .boxed(),
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
pub(super) async fn effect(accounts: Arc<dyn AccountStore>, change: RoomListChange) -> Done {
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
                tokio::time::sleep(EFFECT_RETRY_INTERVAL).await;
            }
        }
    }
}
