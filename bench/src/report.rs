//! What was measured: samples in, tables and a JSON file out. Knows no server and no socket.

mod goals;
mod table;

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs,
    io::{self, Write as _},
    path::Path,
    time::UNIX_EPOCH,
};

use anyhow::Context as _;
use serde::Serialize;

use crate::{machine::Machine, server::Kind, stats::Spread, workload::Workload};
use goals::Goal;

/// The figures of one measurement, by name.
pub(crate) type Values = BTreeMap<&'static str, f64>;

/// A round counts as noisy, and its fan-out is left out, if the bare round trip's p99 was over so
/// many times the run's median.
const NOISE_MAX: f64 = 2.0;
/// The floor under that bar: below it, the machine's own noise decides.
const NOISE_FLOOR_MS: f64 = 3.0;

#[derive(Debug, Serialize)]
struct Sample {
    workload: &'static str,
    case: String,
    peer: &'static str,
    round: usize,
    values: Values,
}

/// All of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    unix_time: u64,
    machine: Machine,
    settings: String,
    /// The bare round trip's p99 in ms, by round of fan-out.
    pings: BTreeMap<usize, f64>,
    samples: Vec<Sample>,
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(flatten)]
    report: &'a Report,
    noisy_rounds: Vec<usize>,
    goals: Vec<Goal>,
}

impl Report {
    pub(crate) fn new(machine: Machine, settings: String) -> Self {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            unix_time: now.as_secs(),
            machine,
            settings,
            pings: BTreeMap::new(),
            samples: Vec::new(),
        }
    }

    pub(crate) fn add(
        &mut self,
        workload: Workload,
        case: impl Display,
        peer: Kind,
        round: usize,
        values: Values,
    ) {
        self.sample(workload, case.to_string(), peer.name(), round, values);
    }

    /// Adds what the machine itself did, as a row beside the peers.
    pub(crate) fn add_probe(
        &mut self,
        workload: Workload,
        probe: &'static str,
        round: usize,
        values: Values,
    ) {
        self.sample(workload, "probe".to_owned(), probe, round, values);
    }

    fn sample(
        &mut self,
        workload: Workload,
        case: String,
        peer: &'static str,
        round: usize,
        values: Values,
    ) {
        let told = values
            .iter()
            .map(|(name, value)| format!("{name} {value:.2}"));
        let told = told.collect::<Vec<_>>().join(", ");
        self.progress(&format!(
            "{workload} round {} {case} {peer}: {told}",
            round + 1
        ));
        let workload = workload.name();
        self.samples.push(Sample {
            workload,
            case,
            peer,
            round,
            values,
        });
    }

    pub(crate) fn ping(&mut self, round: usize, p99_ms: f64) {
        self.progress(&format!(
            "round {}: bare round trip p99 {p99_ms:.2} ms",
            round + 1
        ));
        self.pings.insert(round, p99_ms);
    }

    /// Tells the person who waits what goes on.
    pub(crate) fn progress(&self, text: &str) {
        // Nobody may be listening, which does not matter to the run.
        writeln!(io::stderr(), "{text}").ok();
    }

    /// The rounds in which the machine was too busy with other things.
    fn noisy_rounds(&self) -> Vec<usize> {
        let pings = self.pings.values().copied().collect::<Vec<_>>();
        let median = Spread::of(&pings).map_or(0.0, |spread| spread.median);
        let bar = (NOISE_MAX * median).max(NOISE_FLOOR_MS);
        let noisy = self.pings.iter().filter(|(_, p99_ms)| **p99_ms > bar);
        noisy.map(|(round, _)| *round).collect()
    }

    /// One figure of one peer, over the rounds that count.
    fn figures(&self, workload: Workload, case: &str, peer: &str, name: &str) -> Vec<(usize, f64)> {
        let noisy = if workload == Workload::FanOut {
            self.noisy_rounds()
        } else {
            Vec::new()
        };
        let samples = self.samples.iter().filter(|sample| {
            sample.workload == workload.name()
                && sample.case == case
                && sample.peer == peer
                && !noisy.contains(&sample.round)
        });
        let figures = samples.filter_map(|sample| {
            let value = sample.values.get(name)?;
            Some((sample.round, *value))
        });
        figures.collect()
    }

    fn spread(&self, workload: Workload, case: &str, peer: &str, name: &str) -> Option<Spread> {
        let figures = self.figures(workload, case, peer, name).into_iter();
        Spread::of(&figures.map(|(_, value)| value).collect::<Vec<_>>())
    }

    /// The ratio of two peers' figures, taken round by round.
    fn ratio(
        &self,
        workload: Workload,
        case: &str,
        (peer, other): (&str, &str),
        name: &str,
    ) -> Option<Spread> {
        let others = self.figures(workload, case, other, name);
        let ratios = self.figures(workload, case, peer, name).into_iter();
        let ratios = ratios.filter_map(|(round, value)| {
            let (_, other) = others.iter().find(|(other, _)| *other == round)?;
            (*other > 0.0).then(|| value / other)
        });
        Spread::of(&ratios.collect::<Vec<_>>())
    }

    /// The machine, a table a workload, and the goals.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "\n{}\n{}", self.machine.line(), self.settings)?;
        let noisy = self.noisy_rounds();
        if !noisy.is_empty() {
            writeln!(
                out,
                "Left out of fan-out, since the machine was noisy: {noisy:?}"
            )?;
        }
        for workload in Workload::ALL {
            self.table(workload, &mut out)?;
        }
        writeln!(out, "\n## goals\n")?;
        for goal in self.goals() {
            writeln!(out, "- {goal}")?;
        }
        Ok(())
    }

    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let file = File {
            report: self,
            noisy_rounds: self.noisy_rounds(),
            goals: self.goals(),
        };
        let json = serde_json::to_string_pretty(&file).context("no JSON")?;
        fs::write(path, json + "\n").with_context(|| format!("cannot write {path:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn report() -> Report {
        Report::new(Machine::describe(), String::new())
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut report = report();
        // The machine is twice as slow in the second round; the ratio does not notice.
        for (round, cpu) in [10.0, 20.0, 10.0].into_iter().enumerate() {
            for (peer, times) in [(Kind::Stock, 1.0), (Kind::Magpie, 0.5)] {
                let values = Values::from([("cpu_us", cpu * times)]);
                report.add(Workload::FanOut, 100, peer, round, values);
            }
        }
        let ratio = report.ratio(Workload::FanOut, "100", ("magpie", "stock"), "cpu_us");
        let expected = Spread {
            median: 0.5,
            min: 0.5,
            max: 0.5,
        };
        assert_eq!(ratio, Some(expected));
        assert_eq!(
            report.ratio(Workload::FanOut, "10", ("magpie", "stock"), "cpu_us"),
            None
        );
    }

    #[test]
    fn noisy_rounds_do_not_count() {
        let mut report = report();
        for (round, (ping, cpu)) in [(4.0, 1.0), (9.0, 50.0), (4.0, 1.0)]
            .into_iter()
            .enumerate()
        {
            report.ping(round, ping);
            let values = Values::from([("cpu_us", cpu)]);
            report.add(Workload::FanOut, 10, Kind::Raw, round, values);
        }
        assert_eq!(report.noisy_rounds(), [1]);
        let spread = report.spread(Workload::FanOut, "10", "raw", "cpu_us");
        assert_eq!(spread.map(|spread| spread.max), Some(1.0));
    }
}
