//! Authentication of calls: puts the [`Caller`] into the request, or answers in the service's
//! stead. Whatever is not named here as open needs an access token.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{Request, Response};
use tower::{Layer, Service};

use super::status;
use crate::{
    auth::{Authenticator, Caller},
    clock::Clock,
};

/// The calls by which one gets an access token.
const OPEN: [&str; 3] = [
    "/magpie.v1.AuthService/SignUp",
    "/magpie.v1.AuthService/LogIn",
    "/magpie.v1.AuthService/RefreshToken",
];

/// Wraps services in [`Authn`].
#[derive(Clone, Debug)]
pub struct AuthnLayer {
    authenticator: Authenticator,
    clock: Clock,
}

impl AuthnLayer {
    /// A layer for services that need a caller.
    pub fn new(authenticator: Authenticator, clock: Clock) -> Self {
        Self {
            authenticator,
            clock,
        }
    }
}

impl<S> Layer<S> for AuthnLayer {
    type Service = Authn<S>;

    fn layer(&self, inner: S) -> Authn<S> {
        Authn {
            inner,
            authenticator: self.authenticator.clone(),
            clock: self.clock.clone(),
        }
    }
}

/// Lets only authenticated calls through, except for those by which one authenticates.
#[derive(Clone, Debug)]
pub struct Authn<S> {
    inner: S,
    authenticator: Authenticator,
    clock: Clock,
}

impl<S, B, R> Service<Request<B>> for Authn<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<R>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Only this layer says who calls.
        request.extensions_mut().remove::<Caller>();
        if !OPEN.contains(&request.uri().path()) {
            let now = self.clock.now().wall;
            match self.authenticator.authenticate(request.headers(), now) {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                }
                Err(refusal) => {
                    let response = status::to_status(&refusal).into_http();
                    return Either::Right(ready(Ok(response)));
                }
            }
        }
        Either::Left(self.inner.call(request))
    }
}

/// The caller of an authenticated call.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, tonic::Status> {
    // Missing only if a service was put beside the layer: nobody is let in then.
    request
        .extensions()
        .get()
        .copied()
        .ok_or_else(|| tonic::Status::internal("the caller is unknown"))
}

#[cfg(test)]
mod tests;
