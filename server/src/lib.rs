//! The Magpie node, as a library so that tests can start one in their own process. The binary is a
//! thin shell around it.

pub mod admin;
pub mod auth;
pub mod clock;
pub mod config;
pub mod drain;
mod edge;
pub mod grpc;
pub mod ids;
pub mod limits;
pub mod listen;
pub mod metrics;
pub mod node;
mod owner;
pub mod presence;
pub mod router;
mod shared_limiter;
pub mod telemetry;
pub mod validate;
