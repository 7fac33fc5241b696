//! Fan-out: the same number of members and of deliveries a second in rooms of several sizes. What
//! a delivery costs the server's processor, how long it takes, and that none is lost.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::{
    bench::{Bench, own_cpu_us},
    peer::Layout,
    probe,
    report::Values,
    server::{Kind, Server},
    workload::Workload,
};

const WARM_UP: Duration = Duration::from_secs(1);
/// Connections that are being opened at a time.
const AT_ONCE: usize = 64;
/// The generator is checked at so many times the rate.
const HEADROOM: u64 = 2;
/// It has kept up if it was never later than this.
const BEHIND_MS_MAX: f64 = 500.0;

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    check_generator(bench)?;
    for round in 0..bench.settings.rounds {
        let order = bench.order(round);
        let mut servers = Vec::new();
        for kind in order {
            servers.push(bench.start(kind)?);
        }
        if let Some(raw) = servers.iter().find(|server| server.kind == Kind::Raw) {
            let ping = probe::ping_pong(raw.address)?;
            bench.report.ping(round, ping.p99_ms);
        }
        for size in bench.settings.group_sizes.clone() {
            for server in &servers {
                let values = measure(bench, server, size, 1, bench.settings.length)?;
                bench
                    .report
                    .add(Workload::FanOut, size, server.kind, round, values);
            }
        }
    }
    Ok(())
}

/// The figures are the servers' only if the generator could take more.
fn check_generator(bench: &mut Bench) -> anyhow::Result<()> {
    let server = bench.start(Kind::Raw)?;
    let size = bench.settings.group_sizes[0];
    let values = measure(bench, &server, size, HEADROOM, bench.settings.length)?;
    let (lost, behind_ms) = (values["lost"], values["behind_ms"]);
    bench.report.progress(&format!(
        "generator at {HEADROOM} x the rate: {:.0} % of its core, {behind_ms:.1} ms behind at \
         the worst, {lost} lost",
        values["generator_percent"]
    ));
    ensure!(
        lost == 0.0 && behind_ms < BEHIND_MS_MAX,
        "the generator cannot take {HEADROOM} x the rate: lower --rate"
    );
    Ok(())
}

fn measure(
    bench: &mut Bench,
    server: &Server,
    size: usize,
    times: u64,
    length: Duration,
) -> anyhow::Result<Values> {
    let (members, rate) = (bench.settings.members(), bench.settings.rate * times);
    let mut fleet = bench.fleet(server, Layout::Groups(size))?;
    fleet.open_all(members, AT_ONCE)?;
    fleet.offer(rate, WARM_UP)?;
    fleet.reset();
    let (server_us, own_us, began) = (server.child.cpu_us()?, own_cpu_us()?, Instant::now());
    fleet.offer(rate, length)?;
    let elapsed_us = began.elapsed().as_micros() as f64;
    let (server_us, own_us) = (server.child.cpu_us()? - server_us, own_cpu_us()? - own_us);
    let tally = &mut fleet.tally;
    let deliveries = tally.deliveries as f64;
    let mut values = Values::from([
        ("cpu_us", server_us / deliveries),
        ("cpu_percent", 100.0 * server_us / elapsed_us),
        ("generator_percent", 100.0 * own_us / elapsed_us),
        ("deliveries_per_second", 1e6 * deliveries / elapsed_us),
        ("p50_ms", tally.latency.percentile_ms(50.0)),
        ("p99_ms", tally.latency.percentile_ms(99.0)),
        ("behind_ms", tally.behind_us as f64 / 1e3),
        ("lost", tally.expected as f64 - deliveries),
        ("disorder", tally.disorder as f64),
    ]);
    if tally.answers > 0 {
        values.insert("answer_p50_ms", tally.answer_latency.percentile_ms(50.0));
        values.insert("answer_p99_ms", tally.answer_latency.percentile_ms(99.0));
        values.insert("unanswered", tally.posts as f64 - tally.answers as f64);
    }
    Ok(values)
}
