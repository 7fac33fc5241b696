//! Magpie's rules, without IO: no runtime, no wire format, no clock, no randomness.
//!
//! Each machine takes inputs with the present time and yields outputs; a node drives them against
//! the real world, and a simulation against a made-up one.

pub mod command;
pub mod edge;
pub mod entry;
pub mod frame;
pub mod ids;
pub mod limits;
pub mod lineage;
pub mod link;
pub mod outbox;
pub mod owner;
pub mod rate;
pub mod refusal;
pub mod room;
pub mod rows;
pub mod slots;
pub mod time;
pub mod users;
