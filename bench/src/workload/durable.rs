//! Durable answers: senders in direct rooms, each sending again when it was answered, and how many
//! answers one fdatasync makes. Beside it a bare fdatasync on the same file system.

use std::time::Duration;

use anyhow::ensure;

use crate::{
    bench::Bench,
    machine::in_memory,
    peer::Layout,
    probe,
    report::Values,
    server::{Kind, Server},
    workload::Workload,
};

const WARM_UP: Duration = Duration::from_secs(1);
/// Answers to what was sent last may take this long.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
const AT_ONCE: usize = 64;

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    ensure!(
        !in_memory(bench.dir()),
        "the run's directory lies in memory: use --dir"
    );
    for round in 0..bench.settings.rounds {
        let probed = probe::fdatasync(bench.dir())?;
        let values = Values::from([
            ("answers_per_second", probed.per_second),
            ("answers_per_fsync", 1.0),
            ("p50_ms", probed.p50_ms),
            ("p99_ms", probed.p99_ms),
        ]);
        bench
            .report
            .add_probe(Workload::Durable, "fdatasync", round, values);
        if !bench.has(Kind::Magpie) {
            continue;
        }
        let server = bench.start(Kind::Magpie)?;
        let mut senders = bench.settings.senders.clone();
        if round % 2 == 1 {
            senders.reverse();
        }
        for senders in senders {
            let values = measure(bench, &server, senders)?;
            bench
                .report
                .add(Workload::Durable, senders, Kind::Magpie, round, values);
        }
    }
    Ok(())
}

fn measure(bench: &mut Bench, server: &Server, senders: usize) -> anyhow::Result<Values> {
    let length = bench.settings.length;
    let mut fleet = bench.fleet(server, Layout::Pairs)?;
    // A lone sender's neighbour listens too.
    fleet.open_all(senders.next_multiple_of(2), AT_ONCE)?;
    fleet.converse(senders, WARM_UP)?;
    fleet.rest(LAST_ANSWERS)?;
    fleet.reset();
    let (fsyncs, cpu_us) = (server.fsyncs()?, server.child.cpu_us()?);
    fleet.converse(senders, length)?;
    let (fsyncs, cpu_us) = (server.fsyncs()? - fsyncs, server.child.cpu_us()? - cpu_us);
    let answers = fleet.tally.answers as f64;
    fleet.rest(LAST_ANSWERS)?;
    let tally = &mut fleet.tally;
    Ok(Values::from([
        ("answers_per_second", answers / length.as_secs_f64()),
        ("answers_per_fsync", answers / fsyncs.max(1.0)),
        ("fsyncs_per_second", fsyncs / length.as_secs_f64()),
        ("cpu_us", cpu_us / answers),
        ("p50_ms", tally.answer_latency.percentile_ms(50.0)),
        ("p99_ms", tally.answer_latency.percentile_ms(99.0)),
        ("unanswered", tally.posts as f64 - tally.answers as f64),
        ("lost", tally.expected as f64 - tally.deliveries as f64),
    ]))
}
