//! The public services: the only place, beside the node's tests, that knows tonic and prost.

pub mod api;
pub mod codec;
pub mod status;
