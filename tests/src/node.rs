//! A real node process on a data directory of its own. Knows the node's flags and what it prints,
//! nothing of its inside.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{api::Api, binaries, http, process::Process};

/// The limits profile under which tests run: rates are lifted, bounds on memory stay.
const LIMITS_PROFILE: &str = "load";

/// How a node is started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    args: Vec<String>,
    env: Vec<(String, String)>,
    strace: Option<(PathBuf, Vec<String>)>,
    no_profile: bool,
}

/// A node. Dropping it kills the process and removes the data directory.
#[derive(Debug)]
pub struct Node {
    setup: Setup,
    data: TempDir,
    process: Option<Process>,
    address: SocketAddr,
    metrics: SocketAddr,
}

/// The certificate of [`Setup::tls`], which its clients have to trust.
pub fn certificate() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/localhost.crt")
}

impl Setup {
    /// As tests want it where they do not care.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a flag with its value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.args.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a limit by its name.
    #[must_use]
    pub fn limit(self, name: &str, value: u64) -> Self {
        self.flag("--limit", &format!("{name}={value}"))
    }

    /// Runs it with the limits of everybody, rates included.
    #[must_use]
    pub fn default_limits(mut self) -> Self {
        self.no_profile = true;
        self
    }

    /// Serves by TLS, with a certificate for localhost that is its own authority.
    pub fn tls(self) -> Self {
        self.tls_with(&certificate())
    }

    /// Serves by TLS, with one of the certificates of `tests/data`, which share a key.
    pub fn tls_with(self, certificate: &Path) -> Self {
        let key = certificate.with_file_name("localhost.key");
        self.flag("--tls-cert", &certificate.to_string_lossy())
            .flag("--tls-key", &key.to_string_lossy())
    }

    /// Runs it under strace, which writes its trace to `output`.
    #[must_use]
    pub fn strace(mut self, output: &Path, options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        self.strace = Some((output.to_owned(), options));
        self
    }

    /// Starts the node on a new data directory and waits until it serves.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(self) -> Node {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut node = Node {
            setup: self,
            data,
            process: None,
            address: free,
            metrics: free,
        };
        node.start().await;
        node
    }

    /// The command that runs a node on a data directory, at these addresses.
    pub fn command(&self, data: &Path, address: SocketAddr, metrics: SocketAddr) -> Command {
        let mut command = match &self.strace {
            None => Command::new(binaries::server()),
            Some((output, options)) => {
                let mut command = Command::new(binaries::tool("MAGPIE_STRACE", "strace"));
                // With -D the node is our child and strace is not, so that signals reach it.
                command
                    .args(["-D", "-f", "-ttt", "-o"])
                    .arg(output)
                    .args(options);
                command.arg(binaries::server());
                command
            }
        };
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
            .arg("--data-dir")
            .arg(data)
            .args(["--listen", &address.to_string()])
            .args(["--metrics-listen", &metrics.to_string()]);
        if !self.no_profile {
            command.args(["--limits-profile", LIMITS_PROFILE]);
        }
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Node {
    /// A node as most tests want it.
    pub async fn start_new() -> Self {
        Setup::new().start().await
    }

    /// Starts the process again on the same directory and the same ports, once it is down.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(&mut self) {
        assert!(self.process.is_none(), "the node runs already");
        let command = self
            .setup
            .command(self.data.path(), self.address, self.metrics);
        let mut process = Process::spawn(command);
        self.address = process.line("the line with its address", address_of).await;
        self.metrics = process.line("the line with its metrics", metrics_of).await;
        self.process = Some(process);
    }

    /// Starts it in another way from the next start on.
    pub fn set_up(&mut self, setup: Setup) {
        self.setup = setup;
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// A new connection to it.
    pub fn api(&self) -> Api {
        Api::connect(self.address)
    }

    /// The running process.
    ///
    /// # Panics
    /// When it is down.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the node runs")
    }

    /// Kills it without a warning (SIGKILL) and waits until it is gone.
    ///
    /// # Panics
    /// When it is down already.
    pub async fn kill(&mut self) {
        self.process.take().expect("the node runs").kill().await;
    }

    /// Kills it and starts it again.
    pub async fn kill_and_restart(&mut self) {
        self.kill().await;
        self.start().await;
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&mut self) {
        self.process().signal(Signal::TERM);
    }

    /// Waits for its end after [`Self::terminate`].
    ///
    /// # Panics
    /// When it does not end within the bound.
    pub async fn ended_within(&mut self, bound: Duration) -> ExitStatus {
        let status = self.process().ended_within(bound).await;
        self.process = None;
        status
    }

    /// Its metrics page.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn metrics(&self) -> String {
        let (status, page) = http::get(self.metrics, "/metrics").await;
        assert_eq!(status, 200, "{page}");
        page
    }

    /// One value of its metrics page, by its name with labels.
    ///
    /// # Panics
    /// When there is none of that name.
    pub async fn metric(&self, name: &str) -> f64 {
        let page = self.metrics().await;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in:\n{page}"))
    }

    /// Its memory, resident and private to it, in bytes.
    ///
    /// # Panics
    /// When the kernel does not tell.
    pub fn memory(&mut self) -> usize {
        let path = format!("/proc/{}/smaps_rollup", self.process().pid());
        let rollup = fs::read_to_string(path).expect("a running process has a rollup");
        let kilobytes = |name: &str| {
            let line = rollup.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<usize>().ok()
        };
        kilobytes("Pss:").expect("the rollup has a Pss line") * 1_024
    }

    /// How many descriptors it has open.
    ///
    /// # Panics
    /// When the kernel does not tell.
    pub fn descriptors(&mut self) -> usize {
        let path = format!("/proc/{}/fd", self.process().pid());
        fs::read_dir(path)
            .expect("a running process has descriptors")
            .count()
    }
}

/// The address in the line that says where clients connect.
fn address_of(line: &str) -> Option<SocketAddr> {
    let url = line.strip_prefix("Magpie listens on ")?;
    url.split_once("://")?.1.parse().ok()
}

/// The address in the line that says where metrics are.
fn metrics_of(line: &str) -> Option<SocketAddr> {
    let url = line.strip_prefix("Metrics are on http://")?;
    url.strip_suffix("/metrics")?.parse().ok()
}
