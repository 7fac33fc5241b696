//! What only a Magpie node has: its flags, its metrics, its people. The real binary is run.

mod people;

use std::{
    ffi::OsString,
    fmt::Display,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;

pub(crate) use people::{People, Plan};

/// The named profile of limits under which a load does not fight the rate limits.
const LIMITS_PROFILE: &str = "load";
const METRICS_WAIT_MAX: Duration = Duration::from_secs(5);
const METRICS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Counts the fdatasyncs of the message log.
const FSYNCS: &str = "magpie_fsyncs_total";

/// The arguments for a node on a data directory, which the first start makes.
pub(crate) fn arguments(
    address: SocketAddr,
    metrics: SocketAddr,
    data_dir: &Path,
) -> Vec<OsString> {
    let flag = |name: &str, value: &dyn Display| [name.into(), value.to_string().into()];
    [
        flag("--listen", &address),
        flag("--metrics-listen", &metrics),
        flag("--data-dir", &data_dir.display()),
        flag("--limits-profile", &LIMITS_PROFILE),
    ]
    .concat()
}

/// How many fdatasyncs the log has made since the node started.
pub(crate) fn fsyncs(metrics: SocketAddr) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(metrics).context("no metrics port")?;
    let wait = Some(METRICS_WAIT_MAX);
    stream.set_read_timeout(wait).context("no metrics")?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {metrics}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("no metrics")?;
    let mut page = String::new();
    let mut bounded = stream.take(METRICS_BYTES_MAX);
    bounded.read_to_string(&mut page).context("no metrics")?;
    metric(&page, FSYNCS).with_context(|| format!("no {FSYNCS} in the metrics"))
}

/// The sum of a metric over its labels.
fn metric(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with([' ', '{']) {
            return None;
        }
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let page = "# HELP fsyncs_total x\nfsyncs_total{store=\"log\"} 3\n\
                    fsyncs_total{store=\"x\"} 4.5\nfsyncs_total_other 9\n";
        assert_eq!(metric(page, "fsyncs_total"), Some(7.5));
        assert_eq!(metric(page, "fsyncs"), None);
    }
}
