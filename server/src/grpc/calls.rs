//! What every call passes, whatever it asks for: the drain, the bounds on memory and time, and the
//! counters.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http_body_util::BodyExt;
use magpie_core::refusal::{Effect, Reason, Refusal};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tonic::{Code, Status};

use super::{
    chat::{Frames, Large},
    intake::{Intake, More, Share},
    status,
};
use crate::{
    drain::Drain,
    limits::{
        BUSY_RETRY_AFTER, Limits, PAGE_CHARGE_BYTES, SYNC_CHARGE_BYTES, SYNC_WAIT_MAX,
        TEXT_CHARGE_BYTES, count, millis,
    },
    listen::{Budget, Charge, ConnInfo},
    metrics::Metrics,
};

/// How a call is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Opens a session whose client says more; may last for ever.
    Chat,
    /// Opens a session; may last for ever.
    Subscribe,
    /// A step of catching up, which may wait.
    Sync,
    /// One answer of up to so many bytes.
    Unary(usize),
    /// Health and reflection, which must work under any load.
    Tool,
}

impl Kind {
    fn of(path: &str) -> Self {
        match path {
            "/magpie.v1.ChatService/Chat" => Self::Chat,
            "/magpie.v1.ChatService/Subscribe" => Self::Subscribe,
            "/magpie.v1.ChatService/Sync" => Self::Sync,
            "/magpie.v1.MessageService/GetMessage" => Self::Unary(TEXT_CHARGE_BYTES),
            "/magpie.v1.MessageService/ListMessages"
            | "/magpie.v1.MessageService/ListEntries"
            | "/magpie.v1.RoomService/ListRooms" => Self::Unary(PAGE_CHARGE_BYTES),
            _ if path.starts_with("/magpie.v1.") => Self::Unary(0),
            _ => Self::Tool,
        }
    }

    fn answer_bytes(self) -> usize {
        match self {
            Self::Unary(bytes) => bytes,
            Self::Sync => SYNC_CHARGE_BYTES,
            Self::Chat | Self::Subscribe | Self::Tool => 0,
        }
    }
}

/// The bounds that calls share.
#[derive(Debug)]
pub(super) struct Calls {
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
    drain: Drain,
    in_flight: Arc<Semaphore>,
}

impl Calls {
    pub(super) fn new(limits: Arc<Limits>, metrics: Arc<Metrics>, drain: Drain) -> Self {
        let in_flight = count(limits.unary_in_flight_max).min(Semaphore::MAX_PERMITS);
        Self {
            limits,
            metrics,
            drain,
            in_flight: Arc::new(Semaphore::new(in_flight)),
        }
    }

    /// Refuses streams of a node that leaves.
    fn admit(&self, kind: Kind) -> Result<(), Refusal> {
        if matches!(kind, Kind::Chat | Kind::Subscribe | Kind::Sync) && self.drain.has_begun() {
            let refusal = Refusal::new(Reason::Draining, "the node is about to stop");
            return Err(refusal.with_retry_after(self.drain.window().max(BUSY_RETRY_AFTER)));
        }
        Ok(())
    }

    /// A place among the unary calls that are worked on. Taken when the request has come whole, so
    /// that nobody holds places by requests that never end.
    fn place(&self, kind: Kind) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        if !matches!(kind, Kind::Unary(_)) {
            return Ok(None);
        }
        match Arc::clone(&self.in_flight).try_acquire_owned() {
            Ok(permit) => Ok(Some(permit)),
            Err(_full) => {
                let text = "the node works on as many calls as it may; come again";
                let refusal = Refusal::new(Reason::Overloaded, text);
                Err(refusal.with_retry_after(BUSY_RETRY_AFTER))
            }
        }
    }

    fn patience(&self, kind: Kind) -> Option<Duration> {
        let unary = millis(self.limits.unary_timeout_millis);
        match kind {
            Kind::Unary(_) => Some(unary),
            Kind::Sync => Some(unary + SYNC_WAIT_MAX),
            Kind::Chat | Kind::Subscribe | Kind::Tool => None,
        }
    }

    /// Counts how a call began. A refusal after that is a frame, and counted where it is made.
    fn note(&self, response: &Response, kind: Kind, began: Instant) {
        if kind == Kind::Tool {
            return;
        }
        if matches!(kind, Kind::Unary(_)) {
            self.metrics
                .call_seconds
                .observe(began.elapsed().as_secs_f64());
        }
        let Some(refused) = Status::from_header_map(response.headers()) else {
            self.metrics.call("Ok");
            return;
        };
        self.metrics.call(&format!("{:?}", refused.code()));
        if let Some(error) = status::error_of(&refused) {
            let name = error.reason().as_str_name();
            self.metrics
                .refusal_named(name.strip_prefix("REASON_").unwrap_or(name));
        } else if refused.code() != Code::Ok {
            self.metrics.refusal_named("NONE");
        }
    }
}

/// Passes a call on within the bounds.
pub(super) async fn handle(
    State(calls): State<Arc<Calls>>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let kind = Kind::of(request.uri().path());
    let response = match calls.admit(kind) {
        Ok(()) => answer(&calls, kind, request, next).await,
        Err(refusal) => status::to_status(&refusal).into_http(),
    };
    calls.note(&response, kind, began);
    response
}

async fn answer(calls: &Calls, kind: Kind, request: Request, next: Next) -> Response {
    let Some(info) = request.extensions().get::<ConnInfo>().cloned() else {
        return Status::internal("the connection is unknown").into_http();
    };
    let share = Share::new(Arc::clone(&info.budget));
    let message_max = count(calls.limits.message_bytes_max);
    let request = match kind {
        Kind::Chat => frame_by_frame(request, &info.budget, message_max),
        Kind::Tool => watched(request, &share, message_max, More::Any),
        Kind::Subscribe | Kind::Sync | Kind::Unary(_) => {
            watched(request, &share, message_max, More::One)
        }
    };
    let work = async {
        let request = match kind {
            Kind::Unary(_) => whole(request).await?,
            Kind::Chat | Kind::Subscribe | Kind::Sync | Kind::Tool => request,
        };
        let charge = match kind.answer_bytes() {
            0 => None,
            bytes => Some(info.budget.take(bytes).await),
        };
        let place = calls
            .place(kind)
            .map_err(|refusal| status::to_status(&refusal))?;
        Ok((next.run(request).await, charge, place))
    };
    let answered: Result<_, Status> = match calls.patience(kind) {
        None => work.await,
        Some(patience) => match timeout(patience, work).await {
            Ok(answered) => answered,
            Err(_elapsed) => return status::to_status(&took_too_long(patience)).into_http(),
        },
    };
    share.answered();
    let (response, charge, place) = match answered {
        Ok(answered) => answered,
        Err(refused) => return understood(kind, refused.into_http()),
    };
    drop(place);
    let response = understood(kind, response);
    match charge {
        Some(charge) => response.map(|body| hold(body, charge)),
        None => response,
    }
}

/// Gives our form to what the library refuses of a request by itself: a message that is missing, cut
/// short or compressed. Our own refusals have an `Error` already.
fn understood(kind: Kind, response: Response) -> Response {
    if kind == Kind::Tool {
        return response;
    }
    let Some(refused) = Status::from_header_map(response.headers()) else {
        return response;
    };
    let unreadable = match refused.code() {
        Code::Internal => true,
        // A method that does not exist is another thing.
        Code::Unimplemented => refused.message().contains("compressed"),
        _ => false,
    };
    if !unreadable || status::error_of(&refused).is_some() {
        return response;
    }
    let why = "the request cannot be read: send one message, whole and without compression";
    let refusal = Refusal::new(Reason::Undecodable, why);
    status::to_status(&refusal).into_http()
}

/// A request that has come whole.
async fn whole(request: Request) -> Result<Request, Status> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await;
    let body = body.map_err(|error| Status::from_error(error.into()))?;
    Ok(Request::from_parts(parts, Body::from(body.to_bytes())))
}

/// The request of a stream, whose frames are charged one by one.
fn frame_by_frame(mut request: Request, budget: &Arc<Budget>, frame_max: usize) -> Request {
    let large = Large::default();
    request.extensions_mut().insert(large.clone());
    request.map(|body| Body::new(Frames::new(body, Arc::clone(budget), frame_max, large)))
}

/// The request of any other call.
fn watched(request: Request, share: &Arc<Share>, message_max: usize, more: More) -> Request {
    request.map(|body| Body::new(Intake::new(body, Arc::clone(share), message_max, more)))
}

/// The body, keeping its charge until the transport has taken all of it.
fn hold(body: Body, charge: Charge) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _held = &charge;
        frame
    }))
}

fn took_too_long(patience: Duration) -> Refusal {
    let text = format!(
        "no answer within {} s; it may come to effect yet",
        patience.as_secs()
    );
    Refusal::new(Reason::Overloaded, text)
        .with_effect(Effect::Unknown)
        .with_retry_after(BUSY_RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_contract_is_bounded() {
        assert_eq!(Kind::of("/magpie.v1.ChatService/Chat"), Kind::Chat);
        assert_eq!(Kind::of("/magpie.v1.ChatService/Signal"), Kind::Unary(0));
        assert_eq!(
            Kind::of("/magpie.v1.MessageService/GetMessage"),
            Kind::Unary(TEXT_CHARGE_BYTES)
        );
        assert_eq!(Kind::of("/grpc.health.v1.Health/Check"), Kind::Tool);
    }
}
