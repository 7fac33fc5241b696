//! The Magpie node, as a library so that tests can start one in their own process. The binary is a
//! thin shell around it.

pub mod grpc;
pub mod limits;
