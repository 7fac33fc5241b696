//! Measures Magpie beside a stock tonic chat and a raw epoll server: one command, one machine, one
//! load generator, interleaved rounds. `docs/benchmarks.md` tells the method.

mod baseline;
mod bench;
mod child;
mod clock;
mod fleet;
mod machine;
mod node;
mod peer;
mod probe;
mod report;
mod server;
mod stats;
mod stop;
mod wire;
mod workload;

use std::{
    env,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use bench::{Bench, Settings};
use machine::Machine;
use report::Report;
use server::Kind;
use workload::Workload;

/// Measures Magpie beside a stock tonic chat and a raw epoll server.
#[derive(Debug, Parser)]
#[command(name = "magpie-bench", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    run: Run,
}

#[derive(Args, Debug)]
struct Run {
    /// Rounds of each workload; the peers take turns in each.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: Option<u8>,
    /// One short round of everything, with fewer connections: shows that it works, no more.
    #[arg(long)]
    quick: bool,
    /// The workloads to run: fan-out, durable, idle, reconnect. All by default.
    #[arg(long, value_delimiter = ',', value_name = "WORKLOADS")]
    only: Vec<Workload>,
    /// The peers to measure: raw, stock, magpie. All by default.
    #[arg(long, value_delimiter = ',', value_name = "PEERS")]
    peers: Vec<Kind>,
    /// Deliveries a second that fan-out offers.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    rate: Option<u64>,
    /// Seconds that one measurement lasts.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// The node's program; the one beside this program by default.
    #[arg(long, env = "MAGPIE_SERVER_BIN", value_name = "FILE")]
    node: Option<PathBuf>,
    /// Where the run's own directory is made and removed: the disk that is measured.
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// Writes all samples and the goals to a JSON file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What this program is when it starts itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// Becomes a program, on the server's core and ended with its parent.
    #[command(hide = true)]
    Launch {
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Serves as the raw server.
    #[command(hide = true)]
    ServeRaw { address: SocketAddr },
    /// Serves as the stock chat.
    #[command(hide = true)]
    ServeStock { address: SocketAddr },
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Launch { program, args }) => child::launch(&program, &args),
        Some(Role::ServeRaw { address }) => baseline::raw::serve(address),
        Some(Role::ServeStock { address }) => baseline::stock::serve(address),
        None => run(cli.run),
    }
}

fn run(run: Run) -> anyhow::Result<()> {
    stop::listen()?;
    let machine = Machine::describe();
    bench::take_place()?;
    let (settings, workloads) = settings(&run)?;
    let told = told(&settings);
    let dir = run.dir.unwrap_or_else(env::temp_dir);
    let mut bench = Bench::new(settings, &dir, Report::new(machine, told))?;
    let mut outcome = Ok(());
    for workload in workloads {
        outcome = workload
            .run(&mut bench)
            .with_context(|| format!("{workload} failed"));
        if outcome.is_err() {
            break;
        }
    }
    // What was measured before a failure is still worth having.
    bench.report.print().context("cannot print")?;
    if let Some(out) = run.out {
        bench.report.save(&out)?;
    }
    outcome
}

fn settings(run: &Run) -> anyhow::Result<(Settings, Vec<Workload>)> {
    let mut settings = if run.quick {
        Settings::quick()
    } else {
        Settings::full()
    };
    if let Some(rounds) = run.rounds {
        settings.rounds = usize::from(rounds);
    }
    if let Some(rate) = run.rate {
        settings.rate = rate;
    }
    if let Some(seconds) = run.seconds {
        settings.length = Duration::from_secs(seconds);
    }
    if !run.peers.is_empty() {
        settings.peers.clone_from(&run.peers);
    }
    if settings.peers.contains(&Kind::Magpie) {
        settings.node = Some(node_program(run.node.as_deref())?);
    }
    let workloads = if run.only.is_empty() {
        Workload::ALL.to_vec()
    } else {
        run.only.clone()
    };
    Ok((settings, workloads))
}

/// The node's program: the one named, or the one beside this program.
fn node_program(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let beside = env::current_exe().context("no path to this program")?;
    let path = named.map_or_else(|| beside.with_file_name("magpie-server"), Path::to_owned);
    let found = path.canonicalize();
    found.with_context(|| format!("no node at {}: build it, or use --node", path.display()))
}

fn told(settings: &Settings) -> String {
    let build = if cfg!(debug_assertions) {
        ", DEBUG BUILD: no figure means anything"
    } else {
        ""
    };
    format!(
        "{} rounds, texts of {} bytes, {} deliveries/s offered to {} members, {} s each{build}",
        settings.rounds,
        fleet::TEXT_BYTES,
        settings.rate,
        settings.members(),
        settings.length.as_secs()
    )
}
