//! Magpie's stores behind low traits: the log store and the account store.

pub mod account;
pub mod log;
