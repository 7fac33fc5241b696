//! The path from a session's queues to its stream: what the edge puts in, the transport takes out.
//! What waits takes from the budget of the session's connection, as a client may open many streams
//! and read none.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::{FutureExt, future::BoxFuture, task::AtomicWaker};
use magpie_core::{
    edge::Input,
    ids::SessionId,
    limits::Limits,
    outbox::{Next, Outbox},
};

use super::{Outboxes, ToWorker};
use crate::{
    limits::{
        CONTROL_BYTES_MAX, CONTROL_CHARGE_BYTES, CONTROL_FRAME_OVERHEAD_BYTES, CONTROL_FREE_BYTES,
        EVENTS_FREE_BYTES, count,
    },
    listen::{Budget, Charge},
    router::Router,
};

/// Where the edge puts a session's frames.
#[derive(Clone, Debug)]
pub(crate) struct Outlet(Arc<Shared>);

/// The session's frames as the transport takes them. The session ends when it is dropped: that is
/// the one sure sign that the client is gone.
pub(crate) struct Frames {
    shared: Arc<Shared>,
    router: Arc<Router>,
    session: SessionId,
    /// The room in the connection's budget that a starved session waits for.
    room: Option<BoxFuture<'static, Charge>>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    waker: AtomicWaker,
    budget: Arc<Budget>,
    /// What to take from the budget for events where it is free: all that the queue may hold.
    charge_bytes: usize,
    unanswered_max: usize,
}

#[derive(Debug)]
struct Queue {
    outbox: Outbox<Queued>,
    events: Held,
    events_waiting: usize,
    control: Held,
    control_waiting: usize,
    /// What the control frames that wait take.
    control_bytes: usize,
    /// The size of an event that the connection had no room for while nothing waited here. Until it
    /// has, no event is taken.
    starved: Option<usize>,
    closed: bool,
}

/// A frame that waits, and what it counts for where it is a control frame.
#[derive(Debug, PartialEq, Eq)]
struct Queued {
    frame: Bytes,
    control_bytes: Option<usize>,
}

/// What a queue has taken from the connection's budget, which counts for the node too.
#[derive(Debug)]
struct Held {
    charge: Option<Charge>,
    bytes: usize,
    node: Arc<Outboxes>,
}

impl Held {
    fn nothing(node: &Arc<Outboxes>) -> Self {
        Self {
            charge: None,
            bytes: 0,
            node: Arc::clone(node),
        }
    }

    /// Takes what is missing: more than needed where that is free, so that it is not asked for with
    /// every frame.
    fn cover(&mut self, budget: &Budget, needed: usize, gladly: usize) -> bool {
        if needed <= self.bytes {
            return true;
        }
        for wanted in [gladly.max(needed), needed] {
            if let Some(charge) = budget.try_take(wanted - self.bytes) {
                self.add(charge, wanted);
                return true;
            }
        }
        false
    }

    fn add(&mut self, charge: Charge, bytes: usize) {
        match &mut self.charge {
            Some(held) => held.merge(charge),
            None => self.charge = Some(charge),
        }
        self.node
            .give_back(std::mem::replace(&mut self.bytes, bytes));
        self.node.take(bytes);
    }

    fn release(&mut self) {
        self.charge = None;
        self.node.give_back(std::mem::take(&mut self.bytes));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

impl Outlet {
    /// Both ends of a session's queues.
    pub(crate) fn new(
        session: SessionId,
        router: Arc<Router>,
        budget: Arc<Budget>,
        limits: &Limits,
    ) -> (Self, Frames) {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                outbox: Outbox::new(limits),
                events: Held::nothing(router.outboxes()),
                events_waiting: 0,
                control: Held::nothing(router.outboxes()),
                control_waiting: 0,
                control_bytes: 0,
                starved: None,
                closed: false,
            }),
            waker: AtomicWaker::new(),
            budget,
            charge_bytes: count(limits.session_queue_bytes_max),
            unanswered_max: count(limits.session_unanswered_max),
        });
        router.outboxes().add(session, &shared);
        (
            Self(shared.clone()),
            Frames {
                shared,
                router,
                session,
                room: None,
            },
        )
    }
}

impl Shared {
    /// How many frames wait.
    pub(super) fn waiting(&self) -> usize {
        let queue = self.queue();
        queue.events_waiting + queue.control_waiting
    }

    /// How many bytes they take.
    pub(super) fn bytes(&self) -> usize {
        let queue = self.queue();
        queue.outbox.bytes() + queue.control_bytes
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the connection has room for an event of so many bytes behind those that wait.
    fn has_room_for(&self, queue: &mut Queue, bytes: usize) -> bool {
        let needed = (queue.outbox.bytes() + bytes).saturating_sub(EVENTS_FREE_BYTES);
        queue.events.cover(&self.budget, needed, self.charge_bytes)
    }
}

impl Queue {
    fn push_event(&mut self, frame: Bytes, bytes: usize) -> bool {
        let queued = Queued {
            frame,
            control_bytes: None,
        };
        let taken = self.outbox.push_event(queued, bytes);
        self.events_waiting += usize::from(taken && !self.closed);
        taken
    }

    fn pop(&mut self) -> (Next<Bytes>, bool) {
        let (next, drained) = self.outbox.pop();
        let next = match next {
            Next::Frame(Queued {
                frame,
                control_bytes,
            }) => {
                match control_bytes {
                    Some(bytes) => {
                        self.control_waiting -= 1;
                        self.control_bytes -= bytes;
                    }
                    None => self.events_waiting -= 1,
                }
                Next::Frame(frame)
            }
            Next::Wait => Next::Wait,
            Next::End => Next::End,
        };
        if self.outbox.bytes() == 0 {
            self.events.release();
        }
        if self.control_bytes == 0 {
            self.control.release();
        }
        (next, drained)
    }
}

impl magpie_core::frame::Outlet<Bytes> for Outlet {
    fn event(&self, encoded: Bytes, bytes: usize) -> bool {
        let mut queue = self.0.queue();
        if queue.starved.is_some() || queue.outbox.is_lagging() {
            return false;
        }
        let taken = if self.0.has_room_for(&mut queue, bytes) {
            queue.push_event(encoded, bytes)
        } else {
            if queue.outbox.hold_back() {
                queue.starved = Some(bytes);
            }
            false
        };
        drop(queue);
        self.0.waker.wake();
        taken
    }

    fn ephemeral(&self, encoded: Bytes, bytes: usize) {
        let mut queue = self.0.queue();
        // It may be lost, so a lack of room for it is no sign of a slow reader.
        let queued = queue.starved.is_none()
            && !queue.outbox.is_lagging()
            && queue.outbox.has_room()
            && self.0.has_room_for(&mut queue, bytes)
            && queue.push_event(encoded, bytes);
        drop(queue);
        if queued {
            self.0.waker.wake();
        }
    }

    fn control(&self, encoded: Bytes, bytes: usize, reply: bool) -> bool {
        let mut queue = self.0.queue();
        if queue.closed {
            return true;
        }
        let bytes = bytes + CONTROL_FRAME_OVERHEAD_BYTES;
        let needed = (queue.control_bytes + bytes).saturating_sub(CONTROL_FREE_BYTES);
        // What the node says of itself is small and seldom, and its last word must get through.
        if reply
            && !queue
                .control
                .cover(&self.0.budget, needed, CONTROL_CHARGE_BYTES)
        {
            return false;
        }
        let queued = Queued {
            frame: encoded,
            control_bytes: Some(bytes),
        };
        let taken = queue.outbox.push_control(queued, reply);
        if taken {
            queue.control_waiting += 1;
            queue.control_bytes += bytes;
        }
        drop(queue);
        self.0.waker.wake();
        taken
    }

    /// Who leaves many bytes of answers unread counts as one who waits for as many as one may.
    fn replies(&self) -> usize {
        let queue = self.0.queue();
        let replies = queue.outbox.replies();
        if queue.control_bytes > CONTROL_BYTES_MAX {
            return replies.max(self.0.unanswered_max);
        }
        replies
    }

    fn has_room(&self) -> bool {
        let queue = self.0.queue();
        queue.outbox.has_room() && !queue.outbox.is_lagging() && queue.starved.is_none()
    }

    fn close(&self) {
        let mut queue = self.0.queue();
        queue.outbox.close();
        queue.closed = true;
        queue.events_waiting = 0;
        queue.events.release();
        queue.starved = None;
        drop(queue);
        self.0.waker.wake();
    }
}

impl Frames {
    /// Waits until the connection has room again for an event like the one that was not taken. True
    /// once it has: the session is to be brought up to date.
    fn poll_room(&mut self, bytes: usize, cx: &mut Context<'_>) -> bool {
        let budget = self.shared.budget.clone();
        let room = self
            .room
            .get_or_insert_with(|| async move { budget.take(bytes).await }.boxed());
        let Poll::Ready(charge) = room.poll_unpin(cx) else {
            return false;
        };
        self.room = None;
        let mut queue = self.shared.queue();
        queue.events.add(charge, bytes);
        queue.starved = None;
        true
    }
}

impl Stream for Frames {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut queue = self.shared.queue();
        let (mut next, mut drained) = queue.pop();
        if next == Next::Wait {
            // Registered before looking again, so that no frame falls between the two.
            self.shared.waker.register(cx.waker());
            let (again, drained_again) = queue.pop();
            (next, drained) = (again, drained || drained_again);
        }
        let starved = queue.starved.filter(|_| next == Next::Wait);
        drop(queue);
        if let Some(bytes) = starved {
            drained |= self.poll_room(bytes, cx);
        }
        if drained {
            let drained = Input::Drained(self.session);
            self.router
                .to_session(self.session, ToWorker::Input(drained));
        }
        match next {
            Next::Frame(frame) => Poll::Ready(Some(frame)),
            Next::End => Poll::Ready(None),
            Next::Wait => Poll::Pending,
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.router.outboxes().remove(self.session);
        self.router
            .to_session(self.session, ToWorker::Input(Input::Gone(self.session)));
    }
}

#[cfg(test)]
mod tests;
