//! The public services: the only place, beside the node's tests, that knows tonic and prost.

pub mod api;
mod assembly;
pub mod auth;
pub mod authn;
mod calls;
pub mod chat;
pub mod codec;
mod convert;
mod event;
pub mod health;
mod hello;
mod intake;
mod invite;
mod message;
mod presence;
mod requests;
mod room;
pub mod services;
pub mod status;
mod text;
pub mod user;
mod web;
pub(crate) mod wire;

pub use self::assembly::{Assembly, Options};
