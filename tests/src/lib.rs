//! Magpie from outside: what black-box tests need to run the real programs and to judge them.
//!
//! Nothing here uses the client library, so that what the node promises is checked by other code
//! than the one that relies on it. Nothing here knows the node's inside.

pub mod api;
pub mod binaries;
pub mod chatter;
pub mod cli;
pub mod device;
pub mod files;
pub mod grpc_web;
pub mod guard;
pub mod history;
pub mod http;
pub mod memory;
pub mod node;
pub mod person;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod refusal;
pub mod session;
pub mod trace;
