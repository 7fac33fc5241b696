//! Black-box tests of a real node and the real programs: one behaviour per name.

mod accounts;
mod backup;
mod conversation;
mod drain;
mod durability;
mod forms;
mod harness;
mod hostile;
mod idempotency;
mod library;
mod many_rooms;
mod membership;
mod network;
mod outsiders;
mod presence;
mod rates;
mod recovery;
mod refusals;
mod resume;
mod scene;
mod startup;
mod terminal;
mod tools;
mod ways;
