//! `ChatService`: the stream in its three forms, over one kind of session.

mod incoming;
mod reader;
mod sync;

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt;
use magpie::v1;
use magpie_core::{
    edge::Said,
    ids::SessionId,
    refusal::{Reason, Refusal},
};
use prometheus_client::metrics::gauge::Gauge;
use prost::Message;
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Request, Response, Status, Streaming};

use self::incoming::Incoming;
pub(super) use self::incoming::{Frames, Large};
use super::{
    api,
    codec::Encoded,
    hello, requests,
    services::{Services, budget, caller, refused, unfitting},
    status, wire,
};
use crate::{
    auth::Caller,
    edge::{self, Outlet},
    limits::HELLO_WAIT_MAX,
    metrics::StreamKind,
};

/// The frames of a session as the transport takes them.
pub struct Outgoing {
    /// Welcome, which was waited for.
    first: Option<Bytes>,
    frames: edge::Frames,
    /// Dropped with the session's last frame, which ends the reading of the client's.
    reader: Option<oneshot::Sender<Infallible>>,
    gauge: Gauge,
    /// The node waits for it when it leaves.
    _session: TaskTrackerToken,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outgoing")
    }
}

impl Stream for Outgoing {
    type Item = Result<Encoded, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Encoded(first))));
        }
        let next = ready!(Pin::new(&mut self.frames).poll_next(cx));
        if next.is_none() {
            self.reader = None;
        }
        Poll::Ready(next.map(|bytes| Ok(Encoded(bytes))))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

#[tonic::async_trait]
impl api::ChatService for Services {
    type ChatStream = Outgoing;
    type SubscribeStream = Outgoing;

    async fn chat(
        &self,
        request: Request<Streaming<v1::ClientFrame>>,
    ) -> Result<Response<Outgoing>, Status> {
        let (caller, budget) = (caller(&request)?, budget(&request)?);
        let large = request.extensions().get::<Large>().cloned();
        let mut incoming = Incoming::new(request.into_inner(), large.unwrap_or_default());
        let first = tokio::time::timeout(HELLO_WAIT_MAX, incoming.next()).await;
        let first = match first {
            Ok(first) => first?,
            Err(_) => return Err(refused(hello_first("no Hello came within 10 s"))),
        };
        let Some(v1::client_frame::Frame::Hello(hello)) =
            first.and_then(|(first, _charge)| first.frame)
        else {
            return Err(refused(hello_first("the first frame must be a Hello")));
        };
        let (session, mut outgoing) = open(self, caller, &hello, budget, StreamKind::Chat).await?;
        let (reader, end) = oneshot::channel();
        outgoing.reader = Some(reader);
        tokio::spawn(reader::run(self.clone(), caller, session, incoming, end));
        Ok(Response::new(outgoing))
    }

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Outgoing>, Status> {
        let (caller, budget) = (caller(&request)?, budget(&request)?);
        let hello = request.into_inner().hello.unwrap_or_default();
        let (_, outgoing) = open(self, caller, &hello, budget, StreamKind::Subscribe).await?;
        Ok(Response::new(outgoing))
    }

    async fn signal(
        &self,
        request: Request<v1::SignalRequest>,
    ) -> Result<Response<v1::SignalResponse>, Status> {
        use v1::signal_request::Signal;
        let caller = caller(&request)?;
        let signal = request.into_inner();
        let session = wire::parse_session_id(self.router.incarnation(), &signal.session_id);
        let session = session.ok_or_else(|| {
            let gone = "there is no such session here; open a new one";
            refused(Refusal::new(Reason::SessionGone, gone))
        })?;
        let said = match signal.signal {
            None => Err(Refusal::field(
                "signal",
                "is missing or unknown to this server",
            )),
            Some(Signal::Heartbeat(_)) => Ok(Said::Heartbeat),
            Some(Signal::Bye(_)) => Ok(Said::Bye),
            Some(Signal::Watch(watch)) => requests::watch(&watch, self.limits.session_watch_max),
            Some(Signal::Idle(idle)) => Ok(Said::Idle(idle.idle)),
            Some(Signal::RenewToken(renew)) => reader::renewed(self, caller, &renew),
        };
        let said = said.map_err(refused)?;
        self.router
            .signal(session, caller.device, said)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::SignalResponse {}))
    }

    async fn sync(
        &self,
        request: Request<v1::SyncRequest>,
    ) -> Result<Response<v1::SyncResponse>, Status> {
        let (caller, budget) = (caller(&request)?, budget(&request)?);
        sync::step(self, caller, request.into_inner(), budget)
            .await
            .map(Response::new)
    }
}

/// Opens a session, up to its first frame: what is refused before Welcome ends the call.
async fn open(
    services: &Services,
    caller: Caller,
    hello: &v1::Hello,
    budget: std::sync::Arc<crate::listen::Budget>,
    kind: StreamKind,
) -> Result<(SessionId, Outgoing), Status> {
    let incarnation = services.router.incarnation();
    let hello = hello::check(hello, incarnation, &services.limits).map_err(refused)?;
    let (session, mut outgoing) = begin(services, caller, hello, budget, kind)?;
    let first = outgoing.frames.next().await.ok_or_else(unfitting)?;
    let frame = v1::ServerFrame::decode(first.clone()).map_err(|_| unfitting())?;
    if let Some(v1::server_frame::Frame::Closing(closing)) = &frame.frame {
        return Err(status::of_closing(closing));
    }
    outgoing.first = Some(first);
    Ok((session, outgoing))
}

fn begin(
    services: &Services,
    caller: Caller,
    hello: magpie_core::edge::Hello,
    budget: std::sync::Arc<crate::listen::Budget>,
    kind: StreamKind,
) -> Result<(SessionId, Outgoing), Status> {
    if services.drain.has_begun() {
        let why = "the node is about to stop; come back in a moment";
        let refusal = Refusal::new(Reason::Draining, why).with_retry_after(Duration::from_secs(1));
        return Err(refused(refusal));
    }
    services
        .counted_open(caller.user, hello.marks.len())
        .map_err(refused)?;
    let router = services.router.clone();
    let session = router.new_session(caller.user);
    let (outlet, frames) = Outlet::new(session, router.clone(), budget, &services.limits);
    let gauge = services.metrics.streams(kind);
    gauge.inc();
    let outgoing = Outgoing {
        first: None,
        frames,
        reader: None,
        gauge,
        _session: services.drain.session(),
    };
    let Caller {
        user,
        device,
        expires,
    } = caller;
    router.open(
        session,
        magpie_core::edge::Caller {
            user,
            device,
            expires,
        },
        hello,
        outlet,
    );
    Ok((session, outgoing))
}

fn hello_first(why: &'static str) -> Refusal {
    Refusal::new(Reason::FrameOutOfOrder, why)
}
