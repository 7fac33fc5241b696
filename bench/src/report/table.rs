//! A Markdown table a workload: medians, and ratios to the other peers with their range.

use std::io::{self, Write};

use super::Report;
use crate::workload::Workload;

/// A figure's name, its heading and its decimals.
type Column = (&'static str, &'static str, usize);

/// Ratios to these peers are shown.
const OTHERS: [&str; 2] = ["stock", "raw"];

fn columns(workload: Workload) -> &'static [Column] {
    match workload {
        Workload::FanOut => &[
            ("cpu_us", "CPU us a delivery", 2),
            ("p50_ms", "p50 ms", 2),
            ("p99_ms", "p99 ms", 2),
            ("answer_p50_ms", "answer p50 ms", 2),
            ("answer_p99_ms", "answer p99 ms", 2),
            ("deliveries_per_second", "deliveries/s", 0),
            ("cpu_percent", "core %", 0),
            ("lost", "lost", 0),
        ],
        Workload::Durable => &[
            ("answers_per_second", "answers/s", 0),
            ("answers_per_fsync", "answers a fdatasync", 1),
            ("p50_ms", "p50 ms", 2),
            ("p99_ms", "p99 ms", 2),
            ("cpu_us", "CPU us an answer", 1),
            ("lost", "lost", 0),
        ],
        Workload::Idle => &[
            ("pss_kib", "PSS KiB a stream", 1),
            ("empty_mib", "empty server MiB", 1),
            ("idle_cpu_us", "CPU us a stream-second", 2),
        ],
        Workload::Reconnect => &[
            ("refused", "refused", 0),
            ("listen_overflows", "listen overflows", 0),
            ("cpu_us", "CPU us a reconnect", 0),
            ("ready_p99_ms", "99 % ready ms", 0),
            ("ready_all_ms", "all ready ms", 0),
        ],
    }
}

/// What the cases of a workload differ in, and the figure whose ratios are shown.
fn subject(workload: Workload) -> (&'static str, Option<&'static str>) {
    match workload {
        Workload::FanOut => ("members", Some("cpu_us")),
        Workload::Durable => ("senders", None),
        Workload::Idle => ("streams", Some("pss_kib")),
        Workload::Reconnect => ("streams", Some("cpu_us")),
    }
}

impl Report {
    /// Writes a workload's table; nothing where it was not run.
    pub(super) fn table(&self, workload: Workload, out: &mut impl Write) -> io::Result<()> {
        let mut rows = Vec::new();
        for sample in &self.samples {
            let row = (sample.case.as_str(), sample.peer);
            if sample.workload == workload.name() && !rows.contains(&row) {
                rows.push(row);
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        // Cases are numbers but for a probe's, which comes first.
        rows.sort_by_key(|(case, peer)| (case.parse::<usize>().unwrap_or(0), *peer));
        let (subject, ratio) = subject(workload);
        let mut heading = vec![subject.to_owned(), "peer".to_owned()];
        heading.extend(
            columns(workload)
                .iter()
                .map(|(_, heading, _)| (*heading).to_owned()),
        );
        if ratio.is_some() {
            heading.extend(OTHERS.map(|other| format!("x {other} (range)")));
        }
        writeln!(out, "\n## {workload}\n")?;
        writeln!(out, "| {} |", heading.join(" | "))?;
        writeln!(out, "|{}", "---|".repeat(heading.len()))?;
        for (case, peer) in rows {
            let mut cells = vec![case.to_owned(), peer.to_owned()];
            for (name, _, decimals) in columns(workload) {
                let spread = self.spread(workload, case, peer, name);
                let cell = spread.map(|spread| format!("{:.decimals$}", spread.median));
                cells.push(cell.unwrap_or_default());
            }
            for other in OTHERS.iter().filter(|_| ratio.is_some()) {
                let name = ratio.unwrap_or_default();
                let spread = self.ratio(workload, case, (peer, other), name);
                let spread = spread.filter(|_| peer != *other);
                let cell = spread.map(|s| format!("{:.2} ({:.2}-{:.2})", s.median, s.min, s.max));
                cells.push(cell.unwrap_or_default());
            }
            writeln!(out, "| {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Values, tests::report};
    use super::*;
    use crate::server::Kind;

    #[test]
    fn a_table_has_medians_and_ratios_in_order_of_size() {
        let mut report = report();
        for size in [100, 10] {
            for (peer, pss) in [(Kind::Stock, 30.0), (Kind::Magpie, 15.0)] {
                let values = Values::from([("pss_kib", pss)]);
                report.add(Workload::Idle, size, peer, 0, values);
            }
        }
        let mut out = Vec::new();
        report.table(Workload::Idle, &mut out).expect("written");
        let table = String::from_utf8(out).expect("text");
        let rows = table.lines().skip(5).collect::<Vec<_>>();
        assert_eq!(
            rows,
            [
                "| 10 | magpie | 15.0 |  |  | 0.50 (0.50-0.50) |  |",
                "| 10 | stock | 30.0 |  |  |  |  |",
                "| 100 | magpie | 15.0 |  |  | 0.50 (0.50-0.50) |  |",
                "| 100 | stock | 30.0 |  |  |  |  |",
            ]
        );
    }
}
