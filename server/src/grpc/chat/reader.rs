//! Reads a client's frames. Waits for nothing but the client and, where that sends faster than its
//! edge can look, the edge: never for answers.

use std::{convert::Infallible, sync::Arc};

use magpie::v1::{self, client_frame::Frame};
use magpie_core::{
    command::Held,
    edge::{FrameIn, Input, Said},
    ids::SessionId,
    refusal::{Effect, Reason, Refusal},
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::Instant,
};
use tonic::{Code, Status};

use super::{
    super::{requests, services::Services, status},
    incoming::Incoming,
};
use crate::{
    auth::Caller,
    edge::ToWorker,
    limits::{FRAMES_UNHANDLED_MAX, HEARTBEAT_INTERVAL_MIN},
    router::Router,
};

/// The way of a stream's frames to its session. What the edge has not handled yet is bounded for each
/// stream, so that who sends faster than is handled waits, and nobody else does.
struct Passage {
    router: Arc<Router>,
    session: SessionId,
    places: Arc<Semaphore>,
    /// When the last heartbeat was passed on.
    beat: Option<Instant>,
}

/// Reads until the client has said all, or the session has ended, which drops the other half of
/// `end`. That the client has said all is not the session's end: it may half-close and listen on.
pub(super) async fn run(
    services: Services,
    caller: Caller,
    session: SessionId,
    incoming: Incoming,
    end: oneshot::Receiver<Infallible>,
) {
    tokio::select! {
        // A client that goes on sending would hold its stream, and the node that leaves.
        _ended = end => {}
        () = read(services, caller, session, incoming) => {}
    }
}

async fn read(services: Services, caller: Caller, session: SessionId, mut incoming: Incoming) {
    let mut passage = Passage::new(services.router.clone(), session);
    loop {
        match incoming.next().await {
            Ok(Some((frame, charge))) => {
                services.metrics.frames_received.inc();
                let request = frame.request_id;
                let mut said = said(&services, caller, frame.frame);
                if let (Ok(Said::Submit(submit)), Some(charge)) = (&mut said, charge) {
                    submit.held = Held::new(charge);
                }
                passage.pass(FrameIn { request, said }).await;
            }
            Ok(None) => return,
            Err(broken) => {
                if let Some(refusal) = refusal_of(&broken) {
                    let broken = Input::Broken(session, refusal);
                    services.router.to_session(session, ToWorker::Input(broken));
                }
                return;
            }
        }
    }
}

impl Passage {
    fn new(router: Arc<Router>, session: SessionId) -> Self {
        Self {
            router,
            session,
            places: Arc::new(Semaphore::new(FRAMES_UNHANDLED_MAX)),
            beat: None,
        }
    }

    async fn pass(&mut self, frame: FrameIn) {
        if matches!(frame.said, Ok(Said::Heartbeat)) {
            let now = Instant::now();
            let soon = |beat: Instant| now.duration_since(beat) < HEARTBEAT_INTERVAL_MIN;
            if self.beat.is_some_and(soon) {
                return;
            }
            self.beat = Some(now);
        }
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let frame = ToWorker::Frame(self.session, frame, place);
        self.router.to_session(self.session, frame);
    }
}

/// What the client did wrong; none if the connection ended.
fn refusal_of(broken: &Status) -> Option<Refusal> {
    let Some(error) = status::error_of(broken) else {
        // The transport's errors have a cause; what the library refuses by itself, such as a frame
        // that is compressed, has none.
        let refused =
            std::error::Error::source(broken).is_none() && broken.code() != Code::Cancelled;
        let why =
            "a frame cannot be read: send each whole and without compression; open a new stream";
        return refused
            .then(|| Refusal::new(Reason::Undecodable, why).with_effect(Effect::Unknown));
    };
    let reason = match error.reason() {
        v1::Reason::TooLarge => Reason::TooLarge,
        v1::Reason::Overloaded => Reason::Overloaded,
        _ => Reason::Undecodable,
    };
    Some(Refusal::new(reason, error.message).with_effect(Effect::Unknown))
}

fn said(services: &Services, caller: Caller, frame: Option<Frame>) -> Result<Said, Refusal> {
    let submit = match frame {
        None => {
            let why = "the frame holds nothing that this server knows; it may be too old for you";
            return Err(Refusal::new(Reason::UnknownFrame, why));
        }
        Some(Frame::Hello(_)) => {
            let why = "the session is open; a second Hello needs a new stream";
            return Err(Refusal::new(Reason::FrameOutOfOrder, why));
        }
        Some(Frame::Heartbeat(_)) => return Ok(Said::Heartbeat),
        Some(Frame::Bye(_)) => return Ok(Said::Bye),
        Some(Frame::Watch(watch)) => {
            return requests::watch(&watch, services.limits.session_watch_max);
        }
        Some(Frame::Idle(idle)) => return Ok(Said::Idle(idle.idle)),
        Some(Frame::RenewToken(renew)) => return renewed(services, caller, &renew),
        Some(Frame::SetStatus(set)) => return requests::set_status(set).map(Said::Ask),
        Some(Frame::GetPresence(get)) => return requests::get_presence(&get).map(Said::Ask),
        Some(Frame::SendMessage(send)) => requests::send(caller, &send)?,
        Some(Frame::MarkRead(mark)) => requests::mark_read(caller, mark)?,
        Some(Frame::MarkDelivered(mark)) => requests::mark_delivered(caller, mark)?,
        Some(Frame::SendTyping(typing)) => requests::typing(caller, typing)?,
    };
    Ok(Said::Submit(services.counted(submit)))
}

/// A newer access token of the same device.
pub(super) fn renewed(
    services: &Services,
    caller: Caller,
    renew: &v1::RenewToken,
) -> Result<Said, Refusal> {
    if renew.access_token.is_empty() {
        return Err(Refusal::field("access_token", "is missing"));
    }
    let now = services.clock.now().wall;
    let newer = services
        .authenticator
        .authenticate_token(&renew.access_token, now)?;
    if newer.device != caller.device {
        let why = "is of another device than the one that opened the session";
        return Err(Refusal::field("access_token", why));
    }
    Ok(Said::Renewed(newer.expires))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::task::unconstrained;

    use super::*;

    fn frame(said: Said) -> FrameIn {
        FrameIn {
            request: 0,
            said: Ok(said),
        }
    }

    #[tokio::test]
    async fn frames_that_are_not_handled_keep_back_those_behind_them() {
        let (router, mut inboxes) = Router::new(1, 1, usize::MAX);
        let mut passage = Passage::new(router, SessionId(1));
        for _ in 0..FRAMES_UNHANDLED_MAX {
            let passed = unconstrained(passage.pass(frame(Said::Idle(true))));
            let passed = passed.now_or_never();
            passed.expect("there is a place");
        }
        let late = unconstrained(passage.pass(frame(Said::Idle(true)))).now_or_never();
        assert!(late.is_none(), "there is none");
        let mut taken = Vec::new();
        inboxes.edges[0].take(&mut taken, 1).await;
        drop(taken);
        let late = unconstrained(passage.pass(frame(Said::Idle(true)))).now_or_never();
        late.expect("there is one again");
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_in_a_row_are_passed_on_once_a_second() {
        let (router, mut inboxes) = Router::new(1, 1, usize::MAX);
        let mut passage = Passage::new(router, SessionId(1));
        let mut taken = Vec::new();
        for _ in 0..2 {
            for _ in 0..1_000 {
                passage.pass(frame(Said::Heartbeat)).await;
            }
            tokio::time::advance(HEARTBEAT_INTERVAL_MIN).await;
        }
        inboxes.edges[0].take(&mut taken, 10).await;
        assert_eq!(taken.len(), 2);
    }
}
