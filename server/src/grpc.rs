//! The public services: the only place, beside the node's tests, that knows tonic and prost.

pub mod api;
mod assembly;
pub mod auth;
pub mod authn;
mod calls;
pub mod codec;
pub mod health;
mod intake;
pub mod status;
pub mod user;
mod web;

pub use self::assembly::{Assembly, Options};
