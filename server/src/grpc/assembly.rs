//! Puts the services behind one door. The order of the layers is decided here and nowhere else.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, extract::Request, middleware, response::IntoResponse, routing::Route};
use tonic::{body::Body, server::NamedService, service::RoutesBuilder};
use tower::{Layer, Service};

use super::{calls, health::Health, web};
use crate::{drain::Drain, limits::Limits, metrics::Metrics};

/// What concerns all services.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether clients may ask for the contract.
    pub reflection: bool,
    /// Origins of web pages that may call; `*` for any.
    pub origins: Vec<String>,
}

/// The services of a node while they are put together.
#[derive(Debug, Default)]
pub struct Assembly {
    routes: RoutesBuilder,
    names: Vec<&'static str>,
}

impl Assembly {
    /// Adds a service, such as `ChatServiceServer::new(..)`. Sizes of messages are checked before
    /// a service sees them, so its own limits need no setting.
    pub fn add<S>(&mut self, service: S)
    where
        S: Service<http::Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes.add_service(service);
    }

    /// The names of the services added so far.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Closes the assembly. `authn` sees every call of the services added so far, but none of
    /// health and reflection, which need no account.
    pub async fn into_router<L>(
        self,
        authn: L,
        options: &Options,
        health: &Health,
        limits: &Arc<Limits>,
        metrics: &Arc<Metrics>,
        drain: &Drain,
    ) -> Router
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        health.serve(&self.names).await;
        let authenticated = self.routes.routes().into_axum_router().layer(authn);
        let mut open = RoutesBuilder::default();
        open.add_service(health.service());
        if options.reflection {
            add_reflection(&mut open);
        }
        let open = open.routes().into_axum_router().reset_fallback();
        // From the inside out. Calls are bounded and counted where they are plain gRPC, inside the
        // translation from gRPC-Web; CORS is outermost, as its preflight is no gRPC at all.
        let calls = calls::Calls::new(Arc::clone(limits), Arc::clone(metrics), drain.clone());
        authenticated
            .merge(open)
            .layer(middleware::from_fn_with_state(
                Arc::new(calls),
                calls::handle,
            ))
            .layer(tonic_web::GrpcWebLayer::new())
            .layer(web::cors(&options.origins))
    }
}

fn add_reflection(routes: &mut RoutesBuilder) {
    let sets = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(magpie::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let holds = "the descriptor sets were made by the build";
    routes.add_service(sets().build_v1().expect(holds));
    routes.add_service(sets().build_v1alpha().expect(holds));
}
