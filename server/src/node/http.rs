//! The public port's routes: gRPC by its content type, and the little that is plain HTTP.

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::drain::Drain;

const GREETING: &str = "This is a Magpie chat node. It speaks gRPC and gRPC-Web; see /healthz.\n";

/// `/healthz` and a word for those who come with a browser, around the calls.
pub(super) fn router(calls: Router, drain: Drain) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .with_state(drain)
        .fallback_service(calls.layer(middleware::from_fn(calls_only)))
}

async fn healthz(State(drain): State<Drain>) -> Response {
    if drain.has_begun() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else {
        "serving\n".into_response()
    }
}

/// Lets calls and their preflights through; whatever else came is no call.
async fn calls_only(request: Request, next: Next) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_call = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_call || request.method() == Method::OPTIONS {
        return next.run(request).await;
    }
    let status = match request.uri().path() {
        "/" => StatusCode::OK,
        _ => StatusCode::NOT_FOUND,
    };
    (status, GREETING).into_response()
}
