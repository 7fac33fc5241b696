//! A reconnect storm: all streams are cut and come back at once, with the cursors they held.

use std::time::{Duration, Instant};

use crate::{
    bench::Bench, machine::listen_overflows, peer::Layout, report::Values, server::Server,
    workload::Workload,
};

const AT_ONCE: usize = 64;
/// Between the first connections and the cut.
const QUIET: Duration = Duration::from_secs(1);

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    for round in 0..bench.settings.rounds {
        for kind in bench.order(round) {
            let server = bench.start(kind)?;
            let values = measure(bench, &server)?;
            let streams = bench.settings.reconnects;
            bench
                .report
                .add(Workload::Reconnect, streams, kind, round, values);
        }
    }
    Ok(())
}

fn measure(bench: &mut Bench, server: &Server) -> anyhow::Result<Values> {
    let streams = bench.settings.reconnects;
    let layout = Layout::Groups(bench.settings.group_sizes[0]);
    let mut fleet = bench.fleet(server, layout)?;
    fleet.open_all(streams, AT_ONCE)?;
    fleet.rest(QUIET)?;
    fleet.reset();
    let (overflows, cpu_us) = (listen_overflows()?, server.child.cpu_us()?);
    fleet.close();
    let began = Instant::now();
    let refused = fleet.open(streams, streams)?;
    let elapsed = began.elapsed();
    let (overflows, cpu_us) = (
        listen_overflows()? - overflows,
        server.child.cpu_us()? - cpu_us,
    );
    let failures = fleet.failures().join("; ");
    let p99_ms = fleet.tally.readiness.percentile_ms(99.0);
    if !failures.is_empty() {
        bench
            .report
            .progress(&format!("{}: {failures}", server.kind));
    }
    Ok(Values::from([
        ("refused", refused as f64),
        ("listen_overflows", overflows as f64),
        ("cpu_us", cpu_us / streams as f64),
        ("ready_p99_ms", p99_ms),
        ("ready_all_ms", elapsed.as_secs_f64() * 1e3),
    ]))
}
