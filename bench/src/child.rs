//! Child processes: started on their core, measured through /proc, ended whatever happens.
//!
//! A child runs through the `launch` subcommand, which pins it, raises its descriptors, ties its
//! life to this process and then becomes the program: the standard library offers no safe way to
//! do these between fork and exec.

use std::{
    ffi::OsString,
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use crate::{machine, stop};

const START_MAX: Duration = Duration::from_secs(30);
const END_MAX: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
/// How much of a failed child's output is shown.
const LOG_TAIL_LINES: usize = 20;

/// A running child. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    name: &'static str,
    log: PathBuf,
}

impl Child {
    /// Starts a program on the server's core, with its output in `log`.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        args: &[OsString],
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let output = File::create(&log).with_context(|| format!("cannot write {log:?}"))?;
        let errors = output.try_clone().context("cannot share the log file")?;
        let process = Command::new(std::env::current_exe().context("who am I?")?)
            .arg("launch")
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // Ctrl-C in a terminal reaches the whole group: this process decides who ends when.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { process, name, log })
    }

    /// Waits until the child takes connections.
    pub(crate) fn await_listening(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let started = Instant::now();
        while started.elapsed() < START_MAX {
            stop::check()?;
            if let Some(status) = self.process.try_wait().context("cannot wait")? {
                bail!("{} ended ({status}):\n{}", self.name, self.log_tail());
            }
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("{} does not listen:\n{}", self.name, self.log_tail());
    }

    /// The last lines that the child wrote.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = log.lines().collect::<Vec<_>>();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// User and system time used so far, in microseconds.
    pub(crate) fn cpu_us(&self) -> anyhow::Result<f64> {
        cpu_us(self.process.id())
    }

    /// The process's share of memory, in KiB: unlike RSS it counts a shared page once.
    pub(crate) fn pss_kib(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/smaps_rollup", self.process.id());
        let rollup = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let kib = machine::number_after(&rollup, "Pss:").context("no Pss in smaps_rollup")?;
        Ok(kib as f64)
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may have ended meanwhile, which is what is wanted.
            kill_process(id, signal).ok();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let started = Instant::now();
        while started.elapsed() < END_MAX {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// User and system time of a process so far, in microseconds. The kernel rounds to its tick
/// (10 ms), which is under one per cent of what a measurement lasts.
pub(crate) fn cpu_us(process: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The second field is the program's name in brackets, which may hold spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or(0))
        .sum::<u64>();
    Ok(ticks as f64 * 1e6 / rustix::param::clock_ticks_per_second() as f64)
}

/// A port that is free at this moment.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    listener.local_addr().context("no free port")
}

/// The `launch` subcommand: becomes the program, pinned and tied to its parent's life.
pub(crate) fn launch(program: &Path, args: &[OsString]) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot follow the parent")?;
    if getppid().is_none_or(Pid::is_init) {
        bail!("the parent has ended already");
    }
    machine::raise_descriptors()?;
    machine::pin(machine::SERVER_CORE)?;
    let error = Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
