//! The operators' port: `/metrics` in Prometheus' text form. Speaks HTTP/1.1 only.

use std::sync::Arc;

use axum::{Router, http::header, routing::get};
use tokio::net::TcpListener;

use super::Metrics;
use crate::drain::Drain;

/// Serves the page until the node is cut. `refresh` takes over what is counted elsewhere.
pub async fn serve<F>(listener: TcpListener, metrics: Arc<Metrics>, drain: Drain, refresh: F)
where
    F: Fn() + Clone + Send + Sync + 'static,
{
    let page = move || async move {
        refresh();
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, kind)], metrics.encode())
    };
    let router = Router::new().route("/metrics", get(page));
    let server = axum::serve(listener, router);
    // It holds nothing that is worth waiting for, so it is dropped with its connections.
    tokio::select! {
        result = server => if let Err(error) = result {
            tracing::error!(%error, "metrics are no longer served");
        },
        () = drain.cut() => {}
    }
}
