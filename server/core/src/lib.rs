//! Magpie's rules, without IO: no runtime, no wire format, no clock, no randomness.
//!
//! Each machine takes inputs with the present time and yields outputs; a node drives them against
//! the real world, and a simulation against a made-up one.

pub mod entry;
pub mod ids;
pub mod limits;
pub mod refusal;
pub mod rows;
pub mod time;
