//! What the run needs of the machine: cores, descriptors, kernel counters. Knows no peer.

use std::{fs, path::Path, thread};

use anyhow::Context as _;
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};
use serde::Serialize;

/// The server under test runs on this core, whichever peer it is.
pub(crate) const SERVER_CORE: usize = 0;
/// The load generator runs on this one.
pub(crate) const GENERATOR_CORE: usize = 1;

/// What statfs calls a file system in memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The machine in generic words.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    memory_gib: u64,
    kernel: String,
    pinned: bool,
}

impl Machine {
    /// Looks at the machine; call it before pinning, which hides cores.
    pub(crate) fn describe() -> Self {
        let cores = cores();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kernel = kernel.trim().split('.').take(2).collect::<Vec<_>>();
        Self {
            cores,
            memory_gib: number_after(&meminfo, "MemTotal:").unwrap_or(0) / (1 << 20),
            kernel: kernel.join("."),
            pinned: cores > GENERATOR_CORE,
        }
    }

    pub(crate) fn line(&self) -> String {
        let placed = if self.pinned {
            "server on core 0, generator on core 1"
        } else {
            "nothing pinned: server and generator share the one core"
        };
        format!(
            "{} cores, {} GiB, Linux {}, loopback without TLS, {placed}",
            self.cores, self.memory_gib, self.kernel
        )
    }
}

/// How many cores this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Binds this process (and what it starts) to one core.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {core}"))
}

/// Whether a directory lies in memory, where an fdatasync costs nothing and proves nothing.
pub(crate) fn in_memory(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|stat| stat.f_type == TMPFS_MAGIC)
}

/// Raises the number of descriptors as far as the machine lets it.
pub(crate) fn raise_descriptors() -> anyhow::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("cannot raise the number of descriptors")?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Connections that the kernel dropped because a listen queue was full, since boot.
pub(crate) fn listen_overflows() -> anyhow::Result<u64> {
    let netstat = fs::read_to_string("/proc/net/netstat").context("no /proc/net/netstat")?;
    let mut rows = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (rows.next().unwrap_or(""), rows.next().unwrap_or(""));
    names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(name, _)| *name == "ListenOverflows")
        .and_then(|(_, value)| value.parse().ok())
        .context("no ListenOverflows in /proc/net/netstat")
}

/// The number after a label, as the kernel's text files write them.
pub(crate) fn number_after(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_after_its_label() {
        let text = "Rss:   120 kB\nPss:    77 kB\nPss_Dirty: 3 kB\n";
        assert_eq!(number_after(text, "Pss:"), Some(77));
        assert_eq!(number_after(text, "Swap:"), None);
    }

    #[test]
    fn the_kernel_counts_listen_overflows() {
        assert!(listen_overflows().is_ok());
    }
}
