//! Health of each service, for load balancers and tools. It follows the node's drain.

use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::drain::Drain;

/// What the health service answers.
#[derive(Clone, Debug, Default)]
pub struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// The service that answers.
    pub fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Declares services as served.
    pub async fn serve(&self, names: &[&'static str]) {
        for name in names {
            self.reporter
                .set_service_status(name, ServingStatus::Serving)
                .await;
        }
    }

    /// Follows the node's end: not serving from its first word, and nobody watches any longer once
    /// connections close, as a watch would keep its connection open.
    pub async fn follow(mut self, names: Vec<&'static str>, drain: Drain) {
        drain.begun().await;
        for name in names.iter().chain(&[""]) {
            self.reporter
                .set_service_status(name, ServingStatus::NotServing)
                .await;
        }
        drain.closing().await;
        for name in names.iter().chain(&[""]) {
            self.reporter.clear_service_status(name).await;
        }
    }
}
