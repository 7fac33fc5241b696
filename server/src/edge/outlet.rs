//! The path from a session's queues to its stream: what the edge puts in, the transport takes out.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::task::AtomicWaker;
use magpie_core::{
    edge::Input,
    ids::SessionId,
    limits::Limits,
    outbox::{Next, Outbox},
};

use super::ToWorker;
use crate::{
    listen::{Budget, Charge},
    router::Router,
};

/// Bytes of events that a session may queue without taking from its connection's budget: the number
/// of calls of a connection bounds them.
const FREE_BYTES: usize = 16 << 10;

/// Where the edge puts a session's frames.
#[derive(Clone, Debug)]
pub(crate) struct Outlet(Arc<Shared>);

/// The session's frames as the transport takes them. The session ends when it is dropped: that is
/// the one sure sign that the client is gone.
pub(crate) struct Frames {
    shared: Arc<Shared>,
    router: Arc<Router>,
    session: SessionId,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    waker: AtomicWaker,
    budget: Arc<Budget>,
    /// What to take from the budget: all that the queue may hold.
    charge_bytes: usize,
}

#[derive(Debug)]
struct Queue {
    outbox: Outbox<Bytes>,
    charge: Option<Charge>,
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
                charge: None,
            }),
            waker: AtomicWaker::new(),
            budget,
            charge_bytes: usize::try_from(limits.session_queue_bytes_max).unwrap_or(usize::MAX),
        });
        (
            Self(shared.clone()),
            Frames {
                shared,
                router,
                session,
            },
        )
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the queue may hold so many bytes more.
    fn may_hold(&self, queue: &mut Queue, bytes: usize) -> bool {
        if queue.charge.is_some() || queue.outbox.bytes() + bytes <= FREE_BYTES {
            return true;
        }
        queue.charge = self.budget.try_take(self.charge_bytes);
        queue.charge.is_some()
    }
}

impl magpie_core::frame::Outlet<Bytes> for Outlet {
    fn event(&self, encoded: Bytes, bytes: usize) -> bool {
        let mut queue = self.0.queue();
        let taken = (self.0.may_hold(&mut queue, bytes) || queue.outbox.hold_back())
            && queue.outbox.push_event(encoded, bytes);
        drop(queue);
        self.0.waker.wake();
        taken
    }

    fn ephemeral(&self, encoded: Bytes, bytes: usize) {
        let has_room = self.0.queue().outbox.has_room();
        if has_room {
            self.event(encoded, bytes);
        }
    }

    fn control(&self, encoded: Bytes, _bytes: usize, reply: bool) -> bool {
        let taken = self.0.queue().outbox.push_control(encoded, reply);
        self.0.waker.wake();
        taken
    }

    fn replies(&self) -> usize {
        self.0.queue().outbox.replies()
    }

    fn has_room(&self) -> bool {
        let queue = self.0.queue();
        queue.outbox.has_room() && !queue.outbox.is_lagging()
    }

    fn close(&self) {
        self.0.queue().outbox.close();
        self.0.waker.wake();
    }
}

impl Stream for Frames {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut queue = self.shared.queue();
        let (mut next, mut drained) = queue.outbox.pop();
        if next == Next::Wait {
            // Registered before looking again, so that no frame falls between the two.
            self.shared.waker.register(cx.waker());
            let (again, drained_again) = queue.outbox.pop();
            (next, drained) = (again, drained || drained_again);
        }
        if queue.outbox.bytes() == 0 {
            queue.charge = None;
        }
        drop(queue);
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
        self.router
            .to_session(self.session, ToWorker::Input(Input::Gone(self.session)));
    }
}
