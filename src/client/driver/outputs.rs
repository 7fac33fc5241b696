//! What the machine of a session gives out, carried out as far as there is room for it.

use std::{sync::Arc, time::Instant};

use rand::RngExt;
use tokio::sync::mpsc;

use super::{
    Driver,
    dial::{Route, dial},
};
use crate::{
    client::{
        error::{BoxError, Error},
        event::SendError,
        limits::SKIP_AFTER,
        machine::{Dial, Transmit},
        rooms::Ask,
    },
    v1::ListEntriesRequest,
};

impl Driver {
    /// Takes from the machine all that it has to give, as far as there is room for it.
    pub(super) fn advance(&mut self, now: Instant) {
        self.machine.handle_timeout(now);
        self.notice_stuck(now);
        self.pass_outcomes();
        self.pass_events(now);
        let current = self.machine.current();
        if let Some(stream) = &self.stream
            && current != Some(stream.number)
        {
            self.stream = None;
        }
        if let Some((number, _)) = self.dialing
            && !self.machine.is_dialing(number)
        {
            self.dialing = None;
        }
        if let Some(wish) = self.machine.poll_dial(now) {
            self.dial(wish);
        }
        while let Some(ask) = self.machine.poll_ask(now) {
            self.ask(ask);
        }
        self.renew(now);
        self.pass_frames(now);
        // A frame that could not go out, or bye, may have settled something.
        self.pass_outcomes();
        self.pass_events(now);
    }

    fn notice_stuck(&mut self, now: Instant) {
        if self.waiters.is_empty() || self.machine.wants_frames() {
            self.stuck_since = None;
            return;
        }
        let since = *self.stuck_since.get_or_insert(now);
        if now >= since + SKIP_AFTER {
            self.machine.handle_stuck();
        }
    }

    fn pass_outcomes(&mut self) {
        while let Some(outcome) = self.machine.poll_outcome() {
            let id = outcome.client_message_id;
            // A message whose fate is unknown is settled too: it is not retried any more.
            if let Err(error) = self.outbox.remove(id) {
                tracing::error!(%error, "the outbox could not forget a message");
            }
            let waiters = self.waiters.remove(&id).unwrap_or_default();
            let mut told = false;
            for waiter in waiters {
                told |= waiter.send(outcome.result.clone()).is_ok();
            }
            if !told {
                self.machine.push_outcome(outcome);
            }
        }
    }

    fn pass_events(&mut self, now: Instant) {
        while !self.machine.is_drained() {
            match self.events.try_reserve() {
                Ok(permit) => {
                    if let Some(delivery) = self.machine.poll_event(now) {
                        permit.send(delivery);
                    }
                }
                Err(mpsc::error::TrySendError::Full(())) => return,
                // Nobody listens: a program that only sends.
                Err(mpsc::error::TrySendError::Closed(())) => {
                    drop(self.machine.poll_event(now));
                }
            }
        }
    }

    fn pass_frames(&mut self, now: Instant) {
        let Some(stream) = &self.stream else {
            return;
        };
        while let Ok(permit) = stream.frames.try_reserve() {
            let Some(Transmit { frame, first }) = self.machine.poll_frame(now) else {
                return;
            };
            if let Some(first) = first
                && let Err(error) = self.outbox.put(&first)
            {
                self.machine.withdraw(frame.request_id, outbox_error(error));
                continue;
            }
            permit.send(frame);
        }
    }

    fn dial(&mut self, wish: Dial) {
        let route = self.route(&wish);
        let (number, hello) = (wish.number, wish.hello);
        let work = dial(self.api.clone(), number, route, hello);
        self.dialing = Some((number, Box::pin(async move { (number, work.await) })));
    }

    /// The first attempt goes where the credentials say; when that fails, the usual address is
    /// asked, and tried, in turn.
    fn route(&self, wish: &Dial) -> Route {
        if !wish.alternatives.is_empty() {
            let at = rand::rng().random_range(0..wish.alternatives.len());
            return Route::At(wish.alternatives[at].clone());
        }
        let credentials = self.api.credentials().unwrap_or_default();
        match (credentials.address.is_empty(), self.failures) {
            (true, _) if wish.number == 1 => Route::Same,
            (true, _) => Route::Anew,
            (false, 0..2) => Route::At(credentials.address),
            (false, failures) if failures % 2 == 0 => Route::Locate,
            (false, _) => Route::Anew,
        }
    }

    fn ask(&mut self, ask: Ask) {
        let api = self.api.clone();
        self.asks.start(ask, async move {
            let request = ListEntriesRequest {
                room_id: ask.room_id,
                after_seq: ask.after_seq,
                page_size: 0,
            };
            let answer = api.messages().list_entries(request).await;
            answer.map(tonic::Response::into_inner).map_err(Error::from)
        });
    }

    fn renew(&mut self, now: Instant) {
        let wanted = self.machine.poll_renewal();
        let due = self.renew_at().is_some_and(|at| at <= now);
        if self.renewal.is_none() && (wanted || due) && now >= self.renew_not_before {
            let api = self.api.clone();
            self.renewal = Some(Box::pin(async move { api.renew().await }));
        }
    }

    /// When the token of the open stream is to be renewed.
    fn renew_at(&self) -> Option<Instant> {
        self.stream.as_ref()?;
        if self.renewal.is_some() {
            return None;
        }
        let held = self.api.tokens().ok()?.held();
        Some(held.renew_at.max(self.renew_not_before))
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let stuck = self.stuck_since.map(|since| since + SKIP_AFTER);
        let stuck = stuck.filter(|_| !self.machine.wants_frames());
        let due = [self.machine.poll_timeout(), self.renew_at(), stuck];
        due.into_iter().flatten().min()
    }
}

pub(super) fn outbox_error(error: BoxError) -> SendError {
    SendError::Outbox(Arc::new(error))
}
