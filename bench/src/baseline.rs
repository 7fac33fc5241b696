//! The servers that Magpie is measured beside, each run as a process of its own.

pub(crate) mod raw;
pub(crate) mod stock;
