//! The terminal client as a person or a script runs it: in a home of its own, with what it prints
//! and how it exits.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{binaries, guard, process::Process};

/// How long one command may take.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(15);

/// A home directory in which one person uses the client.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    /// Where `MAGPIE_SERVER` leads.
    server: Option<String>,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// What it wrote for the user.
    pub stdout: String,
    /// What it wrote about trouble and progress.
    pub stderr: String,
}

impl Home {
    /// A new home of somebody who uses this node.
    ///
    /// # Panics
    /// When no folder can be made.
    pub fn new(node: SocketAddr) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary directory"),
            server: Some(format!("http://{node}")),
        }
    }

    /// The same without the variable that names the server.
    #[must_use]
    pub fn without_server(self) -> Self {
        let server = None;
        Self { server, ..self }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The client with these arguments, in this home.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binaries::cli());
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", self.path())
            .env("NO_COLOR", "1")
            .envs(self.server.iter().map(|server| ("MAGPIE_SERVER", server)))
            .current_dir(self.path())
            .args(args)
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end, with something on its stdin.
    ///
    /// # Panics
    /// When it cannot be started, or does not end in time.
    pub async fn run_with(&self, args: &[&str], input: &str) -> Ended {
        Self::ended(self.command(args), input).await
    }

    /// Runs the client with arguments as a person types them, quotes included.
    ///
    /// # Panics
    /// When it cannot be started, or does not end in time.
    pub async fn shell(&self, args: &str, input: &str) -> Ended {
        let plain = self.command(&[]);
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(format!("\"{}\" {args}", binaries::cli().display()))
            .env_clear()
            .envs(
                plain
                    .as_std()
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .current_dir(self.path())
            .kill_on_drop(true);
        Self::ended(shell, input).await
    }

    async fn ended(mut command: Command, input: &str) -> Ended {
        let args = format!("{:?}", command.as_std());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the client starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // A command that reads nothing may be gone already.
        stdin.write_all(input.as_bytes()).await.ok();
        drop(stdin);
        let output = child.wait_with_output();
        let output = guard::event_within(COMMAND_TIME_MAX, &format!("{args} ends"), output).await;
        let output = output.expect("the client can be waited for");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Runs a command that has to succeed, and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub async fn run(&self, args: &[&str]) -> String {
        let ended = self.run_with(args, "").await;
        assert_eq!(ended.code, 0, "{args:?}: {ended:#?}");
        ended.stdout
    }

    /// The same with `--json`: one value for each line.
    ///
    /// # Panics
    /// When it fails, or prints something else than JSON.
    pub async fn run_json(&self, args: &[&str]) -> Vec<Value> {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let printed = self.run(&args).await;
        let value = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
        };
        printed.lines().map(value).collect()
    }

    /// Starts a command that goes on, such as `tail`.
    pub fn start(&self, args: &[&str]) -> Process {
        Process::spawn(self.command(args))
    }
}
