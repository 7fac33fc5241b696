//! What the machine itself can do at the moment: a bare fdatasync, a bare round trip.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    fleet::{Fleet, TEXT_BYTES},
    peer::{Layout, Raw},
    stats::Samples,
    stop,
};

/// A probe ends after so many tries or so long, whichever comes first.
const TRIES_MAX: usize = 2_000;
const LENGTH_MAX: Duration = Duration::from_secs(2);

/// Percentiles of what was tried, and how often a second it went.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) per_second: f64,
}

/// Repeats `once` within the bounds.
fn probe(mut once: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Probed> {
    let mut samples = Samples::default();
    let began = Instant::now();
    while samples.len() < TRIES_MAX && began.elapsed() < LENGTH_MAX {
        stop::check()?;
        let from = Instant::now();
        once()?;
        samples.add(u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(Probed {
        per_second: samples.len() as f64 / began.elapsed().as_secs_f64(),
        p50_ms: samples.percentile_ms(50.0),
        p99_ms: samples.percentile_ms(99.0),
    })
}

/// Appends a text and waits until it is on the disk, on the file system of `dir`.
pub(crate) fn fdatasync(dir: &Path) -> anyhow::Result<Probed> {
    let path = dir.join("fdatasync-probe");
    let mut file = File::create(&path).context("cannot write the probe's file")?;
    let record = [b'.'; TEXT_BYTES + 20];
    let probed = probe(|| {
        file.write_all(&record).context("cannot append")?;
        rustix::fs::fdatasync(&file).context("cannot fdatasync")
    });
    std::fs::remove_file(&path).context("cannot remove the probe's file")?;
    probed
}

/// One text at a time to the raw server and back, to tell a noisy round from a quiet one.
pub(crate) fn ping_pong(address: std::net::SocketAddr) -> anyhow::Result<Probed> {
    let mut peer = Raw;
    let mut fleet = Fleet::new(&mut peer, address, Layout::Groups(1))?;
    fleet.open_all(1, 1)?;
    probe(|| fleet.ping(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fdatasync_probe_measures_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        let probed = fdatasync(dir.path()).expect("a probe");
        assert!(probed.per_second > 0.0 && probed.p99_ms >= probed.p50_ms);
        let left = std::fs::read_dir(dir.path()).expect("a listing");
        assert_eq!(left.count(), 0);
    }
}
