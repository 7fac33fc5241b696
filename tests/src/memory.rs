//! What a node takes of memory beyond a moment, and the bound on what one connection may cost.

use std::fs;

/// What one connection may cost the node.
pub const CONNECTION_BYTES_MAX: usize = 3 << 19;

/// What a process had in memory at some moment.
#[derive(Debug)]
pub struct MemoryMark {
    pid: u32,
    before: usize,
}

impl MemoryMark {
    /// Notes the memory of a child, so that what it takes at the most from now on can be told.
    ///
    /// # Panics
    /// When the kernel does not let one look.
    pub fn of(pid: u32) -> Self {
        // Sets the highest mark back to what is in use now.
        fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("one's own child allows it");
        Self {
            pid,
            before: status_bytes(pid, "VmRSS:"),
        }
    }

    /// How much more it has had at any moment since.
    pub fn growth(&self) -> usize {
        status_bytes(self.pid, "VmHWM:").saturating_sub(self.before)
    }

    /// The same for each of so many connections.
    ///
    /// # Panics
    /// When it is above [`CONNECTION_BYTES_MAX`].
    #[expect(
        clippy::print_stdout,
        reason = "figures are what these tests are run for, too"
    )]
    pub fn growth_each(&self, what: &str, connections: usize) -> usize {
        let each = self.growth() / connections;
        println!("{what}: {} KiB a connection", each >> 10);
        assert!(
            each <= CONNECTION_BYTES_MAX,
            "{what}: {} KiB a connection",
            each >> 10
        );
        each
    }
}

fn status_bytes(pid: u32, name: &str) -> usize {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(path).expect("a running process has a status");
    let line = status.lines().find(|line| line.starts_with(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    kilobytes.expect("the status tells its memory") * 1_024
}
