//! The workloads. Each runs its rounds and puts samples into the report.

mod durable;
mod fan_out;
mod idle;
mod reconnect;

use std::{fmt, str::FromStr};

use crate::bench::Bench;

/// Which workload.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Workload {
    /// CPU and latency of deliveries in rooms of several sizes.
    FanOut,
    /// Answers that wait for the disk.
    Durable,
    /// Memory of streams on which nothing happens.
    Idle,
    /// Everybody comes back at once.
    Reconnect,
}

impl Workload {
    /// In the order in which they run. Idle is first: after the others, what its streams bring into
    /// memory is rooms full of texts.
    pub(crate) const ALL: [Self; 4] = [Self::Idle, Self::FanOut, Self::Durable, Self::Reconnect];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FanOut => "fan-out",
            Self::Durable => "durable",
            Self::Idle => "idle",
            Self::Reconnect => "reconnect",
        }
    }

    pub(crate) fn run(self, bench: &mut Bench) -> anyhow::Result<()> {
        match self {
            Self::FanOut => fan_out::run(bench),
            Self::Durable => durable::run(bench),
            Self::Idle => idle::run(bench),
            Self::Reconnect => reconnect::run(bench),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut named = Self::ALL.into_iter().filter(|one| one.name() == name);
        named
            .next()
            .ok_or_else(|| "use fan-out, durable, idle or reconnect".to_owned())
    }
}
