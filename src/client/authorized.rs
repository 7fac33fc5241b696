//! The layer under the generated clients: it puts the access token on each call, and makes a call
//! again once where the token had run out. Knows no particular RPC but the stream.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use tonic::{Status, body::Body, codegen::Service, transport::Channel};

use crate::{
    client::{
        api::Api,
        credentials::Held,
        error::{Error, Refusal},
        limits::CALL_TIMEOUT,
    },
    v1::Reason,
};

/// The transport of [`Api`]'s clients.
#[derive(Debug, Clone)]
pub struct Authorized {
    api: Api,
}

impl Authorized {
    pub(crate) const fn new(api: Api) -> Self {
        Self { api }
    }

    async fn call_unary(self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (head, body) = request.into_parts();
        // One message, so it fits in memory, and can be sent again.
        let body = body.collect().await?.to_bytes();
        let held = self.fresh().await?;
        let response = send(self.api.channel(), again(&head, &body, held.as_deref())?).await?;
        let Some(held) = held else {
            return Ok(response);
        };
        if !is_token_expired(&response) {
            return Ok(response);
        }
        let tokens = self.api.tokens().map_err(into_status)?;
        let renewed = tokens.renew(self.api.channel(), held.version).await;
        let renewed = renewed.map_err(into_status)?;
        send(self.api.channel(), again(&head, &body, Some(&renewed))?).await
    }

    async fn call_stream(self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        let held = self.fresh().await?;
        authorize(request.headers_mut(), held.as_deref())?;
        send(self.api.channel(), request).await
    }

    async fn fresh(&self) -> Result<Option<Arc<Held>>, Status> {
        match self.api.tokens() {
            Ok(tokens) => {
                let held = tokens.fresh(self.api.channel()).await;
                Ok(Some(held.map_err(into_status)?))
            }
            // The server knows which calls need no token.
            Err(_) => Ok(None),
        }
    }
}

impl Service<Request<Body>> for Authorized {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // The channel's own readiness is awaited by each call, after the token is there.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        let path = request.uri().path();
        if path.ends_with("ChatService/Chat") {
            return Box::pin(this.call_stream(request));
        }
        if path.contains("ChatService/") {
            // Sync and Subscribe wait as long as they are asked to.
            return Box::pin(this.call_unary(request));
        }
        Box::pin(async move {
            tokio::time::timeout(CALL_TIMEOUT, this.call_unary(request))
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
        })
    }
}

async fn send(mut channel: Channel, request: Request<Body>) -> Result<Response<Body>, Status> {
    let failed = |error: tonic::transport::Error| Status::from_error(error.into());
    poll_fn(|cx| channel.poll_ready(cx)).await.map_err(failed)?;
    channel.call(request).await.map_err(failed)
}

fn again(
    head: &http::request::Parts,
    body: &Bytes,
    held: Option<&Held>,
) -> Result<Request<Body>, Status> {
    let mut head = head.clone();
    authorize(&mut head.headers, held)?;
    Ok(Request::from_parts(
        head,
        Body::new(Full::new(body.clone())),
    ))
}

fn authorize(headers: &mut http::HeaderMap, held: Option<&Held>) -> Result<(), Status> {
    if let Some(held) = held {
        headers.insert(AUTHORIZATION, bearer(&held.credentials.access_token)?);
    }
    Ok(())
}

/// The header's value, marked so that no layer prints it.
pub(crate) fn bearer(access_token: &str) -> Result<HeaderValue, Status> {
    let mut value = HeaderValue::try_from(format!("Bearer {access_token}"))
        .map_err(|_| into_status(Error::Protocol("an access token that is no header value")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A refused unary call is answered by headers alone, so this needs no look into the body.
fn is_token_expired(response: &Response<Body>) -> bool {
    Status::from_header_map(response.headers())
        .and_then(|status| Refusal::from_status(&status))
        .is_some_and(|refusal| refusal.reason == Reason::TokenExpired)
}

/// Carries our error through the generated client; `Error::from(Status)` takes it out again.
fn into_status(error: Error) -> Status {
    let mut status = Status::unavailable(error.to_string());
    status.set_source(Arc::new(error));
    status
}
