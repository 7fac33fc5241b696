//! Reads the lengths of messages as their bytes come in, and refuses what is too large for one
//! message or, over all calls, for one connection, before any of it is held.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use magpie_core::refusal::{Reason, Refusal};
use tonic::Status;

use super::status;
use crate::{
    limits::{BUSY_RETRY_AFTER, MESSAGE_FREE_BYTES},
    listen::{Budget, Charge},
};

/// gRPC's prefix: a flag and a length.
pub(super) const PREFIX: usize = 5;

/// What the messages of one call hold of their connection's budget.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The call has been answered, or its answers have begun: what it read is no longer its own.
    answered: bool,
    partial: Option<Charge>,
    read: Option<Charge>,
}

impl Share {
    pub(super) fn new(budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            budget,
            state: Mutex::default(),
        })
    }

    /// Gives back what was read. A call that answers once holds its request until here.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        state.answered = true;
        state.read = None;
    }

    fn begin(&self, bytes: usize) -> bool {
        if bytes <= MESSAGE_FREE_BYTES {
            return true;
        }
        let charge = self.budget.try_take(bytes);
        let taken = charge.is_some();
        self.state().partial = charge;
        taken
    }

    fn complete(&self) {
        let mut state = self.state();
        let Some(charge) = state.partial.take() else {
            return;
        };
        if state.answered {
            return;
        }
        match &mut state.read {
            Some(read) => read.merge(charge),
            None => state.read = Some(charge),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a request, watched.
pub(super) struct Intake {
    body: Body,
    share: Arc<Share>,
    message_max: usize,
    prefix: [u8; PREFIX],
    prefix_len: usize,
    /// Bytes of the present message that have not come.
    missing: usize,
    /// Whether a further message may begin.
    more: More,
}

/// How many messages a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    /// Any number.
    Any,
    /// One more.
    One,
    /// No more.
    None,
}

impl Intake {
    pub(super) fn new(body: Body, share: Arc<Share>, message_max: usize, more: More) -> Self {
        Self {
            body,
            share,
            message_max,
            prefix: [0; PREFIX],
            prefix_len: 0,
            missing: 0,
            more,
        }
    }

    fn watch(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        while !bytes.is_empty() {
            if self.missing > 0 {
                let taken = self.missing.min(bytes.len());
                bytes = &bytes[taken..];
                self.missing -= taken;
                if self.missing == 0 {
                    self.share.complete();
                }
                continue;
            }
            let taken = (PREFIX - self.prefix_len).min(bytes.len());
            self.prefix[self.prefix_len..self.prefix_len + taken].copy_from_slice(&bytes[..taken]);
            self.prefix_len += taken;
            bytes = &bytes[taken..];
            if self.prefix_len == PREFIX {
                self.prefix_len = 0;
                self.begin()?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Status> {
        self.more = match self.more {
            More::Any => More::Any,
            More::One => More::None,
            More::None => return Err(second()),
        };
        let [_, length @ ..] = self.prefix;
        let length = u32::from_be_bytes(length) as usize;
        if length > self.message_max {
            return Err(too_large(length, self.message_max));
        }
        if !self.share.begin(length) {
            return Err(too_much());
        }
        self.missing = length;
        Ok(())
    }
}

impl http_body::Body for Intake {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        if let Some(bytes) = frame.data_ref()
            && let Err(refused) = self.watch(bytes)
        {
            return Poll::Ready(Some(Err(refused.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        // The rest of the message will not come.
        self.share.state().partial = None;
    }
}

pub(super) fn too_large(bytes: usize, max: usize) -> Status {
    let text = format!("the message has {bytes} bytes, and at most {max} are accepted");
    status::to_status(&Refusal::new(Reason::TooLarge, text))
}

/// Only the first would be done, and nothing said of the others.
fn second() -> Status {
    let why = "a request of this call holds one message; make a call for each";
    status::to_status(&Refusal::new(Reason::Undecodable, why))
}

fn too_much() -> Status {
    let text = "the unfinished requests of this connection hold as many bytes as they may; wait \
                for answers";
    let refusal = Refusal::new(Reason::TooManyUnanswered, text).with_retry_after(BUSY_RETRY_AFTER);
    status::to_status(&refusal)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use magpie::v1;

    use super::*;

    const KIB: usize = 1024;

    fn budget() -> Arc<Budget> {
        Arc::new(Budget::new(960 * KIB))
    }

    fn intake(share: &Arc<Share>) -> Intake {
        Intake::new(Body::empty(), Arc::clone(share), 512 * KIB, More::Any)
    }

    fn prefix(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).expect("short").to_be_bytes());
        bytes
    }

    fn reason(refused: &Status) -> v1::Reason {
        status::error_of(refused).expect("a typed detail").reason()
    }

    #[test]
    fn half_a_message_in_each_of_many_calls_is_bounded() {
        let budget = budget();
        let shares: Vec<_> = (0..32).map(|_| Share::new(Arc::clone(&budget))).collect();
        let mut calls: Vec<_> = shares.iter().map(intake).collect();
        let results: Vec<_> = calls
            .iter_mut()
            .map(|call| call.watch(&prefix(400 * KIB)))
            .collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2);
        let refused = results[2].as_ref().expect_err("over the budget");
        assert_eq!(reason(refused), v1::Reason::TooManyUnanswered);
        drop(calls);
        assert_eq!(budget.free(), 960 * KIB);
    }

    #[test]
    fn message_over_the_limit_is_refused_by_its_length() {
        let share = Share::new(budget());
        let refused = intake(&share)
            .watch(&prefix(512 * KIB + 1))
            .expect_err("refused");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert_eq!(reason(&refused), v1::Reason::TooLarge);
    }

    #[test]
    fn request_is_held_until_its_answer_and_a_stream_frame_until_it_is_read() {
        let budget = budget();
        let share = Share::new(Arc::clone(&budget));
        let mut call = intake(&share);
        let mut message = prefix(100 * KIB);
        message.resize(PREFIX + 100 * KIB, 0);
        call.watch(&message).expect("fits");
        assert_eq!(budget.free(), 860 * KIB);
        share.answered();
        assert_eq!(budget.free(), 960 * KIB);
        call.watch(&message[..1_000]).expect("fits");
        assert_eq!(budget.free(), 860 * KIB);
        call.watch(&message[1_000..]).expect("fits");
        assert_eq!(budget.free(), 960 * KIB);
    }

    #[test]
    fn prefix_may_come_byte_by_byte() {
        let share = Share::new(budget());
        let mut call = intake(&share);
        let bytes = [prefix(3), vec![1, 2, 3], prefix(600 * KIB)].concat();
        let results: Vec<_> = bytes.chunks(1).map(|byte| call.watch(byte)).collect();
        assert!(results[..bytes.len() - 1].iter().all(Result::is_ok));
        assert!(results[bytes.len() - 1].is_err());
    }

    #[tokio::test]
    async fn second_message_of_a_call_that_takes_one_is_refused() {
        let share = Share::new(budget());
        let one = [prefix(3), vec![1, 2, 3]].concat();
        let read = async |bytes: Vec<u8>| {
            let body = Intake::new(Body::from(bytes), Arc::clone(&share), 512 * KIB, More::One);
            Body::new(body).collect().await
        };
        assert!(read(one.clone()).await.is_ok());
        let error = read(one.repeat(2)).await.expect_err("refused");
        let refused = Status::from_error(Box::new(error));
        assert_eq!(reason(&refused), v1::Reason::Undecodable);
    }

    #[tokio::test]
    async fn refusal_passes_through_the_body() {
        let share = Share::new(budget());
        let body = Intake::new(Body::from(prefix(600 * KIB)), share, 512 * KIB, More::One);
        let error = Body::new(body).collect().await.expect_err("refused");
        let refused = Status::from_error(Box::new(error));
        assert_eq!(reason(&refused), v1::Reason::TooLarge);
    }
}
