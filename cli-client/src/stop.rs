//! When the person, or the machine, wants a long-running command to end cleanly.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at Ctrl-C, and when the process is told to end or its terminal goes away.
pub(crate) async fn requested() {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
