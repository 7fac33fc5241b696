//! A child process whose output is kept and can be awaited line by line, and which never outlives
//! its handle.

use std::{
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::guard;

/// How long a killed child may take to be reaped.
const REAP_TIME_MAX: Duration = Duration::from_secs(5);

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: watch::Receiver<Output>,
    /// Kept beside the child, which forgets it once it was waited for.
    pid: u32,
}

/// What the program wrote so far, over both of its outputs.
#[derive(Debug, Default)]
struct Output {
    lines: Vec<String>,
    open_ends: usize,
}

impl Process {
    /// Starts a program.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(mut command: Command) -> Self {
        let name = format!("{:?}", command.as_std().get_program());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let pid = child
            .id()
            .expect("a child that was not waited for has an id");
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, output) = watch::channel(Output {
            lines: Vec::new(),
            open_ends: 2,
        });
        tokio::spawn(collect(stdout, sender.clone()));
        tokio::spawn(collect(stderr, sender));
        Self {
            name,
            child,
            output,
            pid,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Everything it wrote so far.
    pub fn output(&self) -> Vec<String> {
        self.output.borrow().lines.clone()
    }

    /// Waits for the first line from which `pick` takes something.
    ///
    /// # Panics
    /// When the program ends before, or the line does not come in time.
    pub async fn line<T>(&mut self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        let found = self.line_or_end(what, pick).await;
        found.unwrap_or_else(|| {
            panic!(
                "{} ended without {what}; it wrote:\n{}",
                self.name,
                self.tail(80)
            )
        })
    }

    /// The same, where the program may end instead.
    ///
    /// # Panics
    /// When neither happens in time.
    pub async fn line_or_end<T>(
        &mut self,
        what: &str,
        pick: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let mut found = None;
        let scan = self.output.wait_for(|output| {
            found = output.lines.iter().find_map(|line| pick(line));
            found.is_some() || output.open_ends == 0
        });
        if tokio::time::timeout(guard::EVENT_TIME_MAX, scan)
            .await
            .is_err()
        {
            panic!(
                "{} runs on without {what}; it wrote:\n{}",
                self.name,
                self.tail(80)
            )
        }
        found
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has a positive id"), signal)
            .expect("a child that was not waited for can be signalled");
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it does not end within the bound.
    pub async fn ended_within(&mut self, bound: Duration) -> ExitStatus {
        let Ok(status) = tokio::time::timeout(bound, self.child.wait()).await else {
            panic!(
                "{} did not end within {bound:?}; it wrote:\n{}",
                self.name,
                self.tail(40)
            );
        };
        status.expect("a child can be waited for")
    }

    /// Waits until its outputs are closed, and returns all that it wrote.
    pub async fn all_output(&mut self) -> Vec<String> {
        let closed = self.output.wait_for(|output| output.open_ends == 0);
        let closed = guard::event("the outputs of an ended program close", closed).await;
        closed
            .map(|output| output.lines.clone())
            .unwrap_or_default()
    }

    /// Ends it at once and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.start_kill().ok();
        self.ended_within(REAP_TIME_MAX).await;
    }

    fn tail(&self, lines: usize) -> String {
        let output = self.output.borrow();
        let from = output.lines.len().saturating_sub(lines);
        output.lines[from..].join("\n")
    }
}

impl Drop for Process {
    #[expect(
        clippy::print_stderr,
        reason = "a failed test shows what the programs wrote"
    )]
    fn drop(&mut self) {
        self.child.start_kill().ok();
        let deadline = Instant::now() + REAP_TIME_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        if std::thread::panicking() {
            eprintln!("--- {} wrote:\n{}", self.name, self.tail(80));
        }
    }
}

async fn collect(source: impl AsyncRead + Unpin, sender: watch::Sender<Output>) {
    let mut lines = BufReader::new(source).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        sender.send_modify(|output| output.lines.push(line));
    }
    sender.send_modify(|output| output.open_ends -= 1);
}
