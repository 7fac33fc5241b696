//! Idle streams: what each holds of the server's memory (PSS over that of the empty server), and of
//! its processor, while nothing happens.

use std::time::Instant;

use crate::{bench::Bench, peer::Layout, report::Values, server::Server, workload::Workload};

const AT_ONCE: usize = 64;

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    for round in 0..bench.settings.rounds {
        for kind in bench.order(round) {
            // A process of its own: memory that was freed once is not always given back.
            let server = bench.start(kind)?;
            let values = measure(bench, &server)?;
            let streams = bench.settings.idle_streams;
            bench
                .report
                .add(Workload::Idle, streams, kind, round, values);
        }
    }
    Ok(())
}

fn measure(bench: &mut Bench, server: &Server) -> anyhow::Result<Values> {
    let (streams, settle) = (bench.settings.idle_streams, bench.settings.settle);
    // The stock chat and the raw server have rooms of a common size; people have theirs.
    let layout = Layout::Groups(bench.settings.group_sizes[0]);
    let mut fleet = bench.fleet(server, layout)?;
    let empty_kib = server.child.pss_kib()?;
    fleet.open_all(streams, AT_ONCE)?;
    // What the openings set off comes to an end; what is left holds a whole interval of pings.
    fleet.rest(settle / 4)?;
    let (cpu_us, began) = (server.child.cpu_us()?, Instant::now());
    fleet.rest(settle * 3 / 4)?;
    let cpu_us = server.child.cpu_us()? - cpu_us;
    let full_kib = server.child.pss_kib()?;
    let stream_seconds = streams as f64 * began.elapsed().as_secs_f64();
    Ok(Values::from([
        ("pss_kib", (full_kib - empty_kib) / streams as f64),
        ("empty_mib", empty_kib / 1_024.0),
        ("idle_cpu_us", cpu_us / stream_seconds),
    ]))
}
