//! Black-box tests of a real node and the real programs: one behaviour per name.

mod conversation;
mod drain;
mod durability;
mod harness;
mod idempotency;
mod membership;
mod resume;
mod scene;
