//! What the project wants to reach, held against what was measured. A missed goal is reported, and
//! fails nothing.

use std::fmt;

use serde::Serialize;

use super::Report;
use crate::workload::Workload;

/// One goal and how it stands.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    what: &'static str,
    at_most: Option<f64>,
    at_least: Option<f64>,
    measured: f64,
    met: bool,
}

impl Goal {
    fn at_most(what: &'static str, bar: f64, measured: f64) -> Self {
        let met = measured <= bar;
        Self {
            what,
            at_most: Some(bar),
            at_least: None,
            measured,
            met,
        }
    }

    fn at_least(what: &'static str, bar: f64, measured: f64) -> Self {
        let met = measured >= bar;
        Self {
            what,
            at_most: None,
            at_least: Some(bar),
            measured,
            met,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.met { "met" } else { "MISSED" };
        write!(f, "{verdict}: {}: {:.2}", self.what, self.measured)?;
        if let Some(bar) = self.at_most {
            write!(f, " (at most {bar})")?;
        }
        if let Some(bar) = self.at_least {
            write!(f, " (at least {bar})")?;
        }
        Ok(())
    }
}

impl Report {
    /// The goals of which there are figures.
    pub(super) fn goals(&self) -> Vec<Goal> {
        let magpie = ("magpie", "stock");
        let fan_out = |case| self.ratio(Workload::FanOut, case, magpie, "cpu_us");
        let figure = |workload, case, name| self.spread(workload, case, "magpie", name);
        let lost = ["10", "100", "1000"].into_iter().filter_map(|case| {
            let spread = figure(Workload::FanOut, case, "lost")?;
            Some(spread.max)
        });
        let goals = [
            fan_out("1000").map(|ratio| {
                Goal::at_most("CPU a delivery, x stock, 1,000 members", 0.9, ratio.median)
            }),
            fan_out("100").map(|ratio| {
                Goal::at_most("CPU a delivery, x stock, 100 members", 1.0, ratio.median)
            }),
            lost.reduce(f64::max)
                .map(|lost| Goal::at_most("deliveries lost in any round", 0.0, lost)),
            figure(Workload::Durable, "256", "answers_per_fsync").map(|spread| {
                Goal::at_least("answers a fdatasync, 256 senders", 8.0, spread.median)
            }),
            figure(Workload::Idle, "5000", "pss_kib").map(|spread| {
                Goal::at_most("PSS KiB a stream, 5,000 streams", 28.0, spread.median)
            }),
            figure(Workload::Reconnect, "2000", "refused").map(|spread| {
                Goal::at_most("refused of 2,000 reconnects in any round", 0.0, spread.max)
            }),
        ];
        goals.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Values, tests::report};
    use crate::{server::Kind, workload::Workload};

    #[test]
    fn a_missed_goal_is_told() {
        let mut report = report();
        for (round, refused) in [0.0, 0.0, 1.0].into_iter().enumerate() {
            let values = Values::from([("refused", refused)]);
            report.add(Workload::Reconnect, 2_000, Kind::Magpie, round, values);
        }
        let goals = report.goals();
        let [goal] = goals.as_slice() else {
            panic!("one goal, since there is one figure: {goals:?}");
        };
        let expected = "MISSED: refused of 2,000 reconnects in any round: 1.00 (at most 0)";
        assert_eq!(goal.to_string(), expected);
    }
}
