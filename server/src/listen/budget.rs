//! The bytes that all calls of one connection may hold together. It is one sum for a connection, as
//! a client may open many calls and leave each half done.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::BUDGET_EVENTS_BYTES;

/// What one connection may hold.
#[derive(Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    /// The part of it that frames of streams may take.
    frames: Arc<Semaphore>,
    size: usize,
}

/// A part of a budget in use; given back when dropped.
#[derive(Debug)]
pub struct Charge(OwnedSemaphorePermit);

/// The same, of a stream's frame.
#[derive(Debug)]
pub struct FrameCharge {
    _of_frames: OwnedSemaphorePermit,
    _of_all: Charge,
}

impl Charge {
    /// Joins another charge of the same connection to this one.
    pub fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}

impl Budget {
    /// A budget of that many bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bytes)),
            frames: Arc::new(Semaphore::new(frames_share(bytes))),
            size: bytes,
        }
    }

    /// Takes bytes if they are free. A request for more than there is asks for all.
    pub fn try_take(&self, bytes: usize) -> Option<Charge> {
        let permits = Arc::clone(&self.free).try_acquire_many_owned(self.permits(bytes));
        permits.ok().map(Charge)
    }

    /// Takes bytes as soon as they are free, in the order of asking.
    pub async fn take(&self, bytes: usize) -> Charge {
        let permits = Arc::clone(&self.free)
            .acquire_many_owned(self.permits(bytes))
            .await;
        Charge(permits.expect("the semaphore is never closed"))
    }

    /// Takes bytes for a frame of a stream as soon as they are free.
    pub async fn take_for_frame(&self, bytes: usize) -> FrameCharge {
        let permits = self.permits(bytes.min(frames_share(self.size)));
        let of_frames = Arc::clone(&self.frames).acquire_many_owned(permits).await;
        FrameCharge {
            _of_frames: of_frames.expect("the semaphore is never closed"),
            _of_all: self.take(bytes).await,
        }
    }

    /// Bytes that are free now.
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.size)).unwrap_or(u32::MAX)
    }
}

fn frames_share(bytes: usize) -> usize {
    bytes.saturating_sub(BUDGET_EVENTS_BYTES).max(bytes / 2)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn charge_is_given_back_when_dropped() {
        let budget = Budget::new(100);
        let first = budget.try_take(60).expect("free");
        assert!(budget.try_take(60).is_none());
        assert!(budget.take(60).now_or_never().is_none());
        drop(first);
        let _all = budget.take(1_000).await;
        assert_eq!(budget.free(), 0);
    }

    #[tokio::test]
    async fn frames_leave_room_for_events() {
        let budget = Budget::new(960 << 10);
        let first = budget.take_for_frame(500 << 10).await;
        assert!(budget.take_for_frame(500 << 10).now_or_never().is_none());
        assert!(budget.try_take(BUDGET_EVENTS_BYTES).is_some());
        drop(first);
        let _second = budget.take_for_frame(500 << 10).await;
    }
}
