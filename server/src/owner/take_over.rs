//! The start of an owner: it takes over its partitions as a former run left them. Nobody is served
//! before every room of an unfinished slot is in memory, since only then its head is known; what
//! finishes the slots may come later, as when the disk is full.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream::FuturesUnordered};
use magpie_core::{
    ids::{Epoch, Partition, RoomId},
    owner::{Input, Owner},
    users::Users,
};
use magpie_store::log::StoreError;
use tokio::time::{MissedTickBehavior, interval};

use super::{Done, FIRST, Parts, Task};
use crate::{drain::Failure, limits::TICK};

/// Why partitions could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// The node cannot go on.
    #[error(transparent)]
    Failed(Failure),
}

impl Task {
    /// A task that has taken over what the store holds of its partitions. What a former owner left
    /// unfinished is finished too when this returns, unless the disk is full.
    pub(crate) async fn start(
        parts: Parts,
        index: usize,
        epoch: Epoch,
    ) -> Result<Self, TakeOverError> {
        let owner = Owner::new(epoch, parts.limits.clone());
        let users = Users::new(
            parts.limits.clone(),
            epoch == FIRST,
            parts.clock.now().instant,
        );
        let mut task = Self {
            parts,
            owner,
            users,
            work: FuturesUnordered::new(),
            seen: Vec::new(),
            recording: false,
            counted: (0, 0),
            full: false,
        };
        let mut unread = BTreeSet::new();
        let router = task.parts.router.clone();
        for partition in Partition::all().filter(|p| router.owner_of(*p) == index) {
            let hints = task.parts.log.hints(partition).await?;
            let pending = task.parts.log.pending(partition).await?;
            unread.extend(pending.iter().map(|(_, _, room)| *room));
            task.owner.inherit(partition, hints, pending);
        }
        let drain = task.parts.drain.clone();
        tokio::select! {
            // A failure counts before what it made come back.
            biased;
            failure = drain.failed() => return Err(TakeOverError::Failed(failure)),
            taken_over = task.take_over(unread) => taken_over?,
        }
        // Damage may have been found in the last step.
        match drain.failure() {
            Some(failure) => Err(TakeOverError::Failed(failure)),
            None => Ok(task),
        }
    }

    /// Has the rooms of unfinished slots read, and finishes the slots as far as the disk has room.
    async fn take_over(&mut self, mut unread: BTreeSet<RoomId>) -> Result<(), StoreError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.perform();
            if unread.is_empty() && (self.owner.is_recovered() || self.full) {
                return Ok(());
            }
            tokio::select! {
                Some(done) = self.work.next() => {
                    match &done {
                        // Reading it again would find the same.
                        Done::NotLoaded(_, error) => return Err(error.clone()),
                        Done::Room(Input::Loaded(room, _)) => drop(unread.remove(room)),
                        Done::Room(_) | Done::Effect(..) | Done::SeenRecorded | Done::Nothing => {}
                    }
                    self.done(done);
                }
                _ = tick.tick() => self.owner.handle(Input::Tick, self.parts.clock.now()),
            }
        }
    }
}
