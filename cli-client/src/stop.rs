//! When the person, or the machine, wants a long-running command to end cleanly.

use std::{io, thread};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Resolves at Ctrl-C, when the process is told to end or its terminal goes away, and when nobody
/// reads its output any more.
pub(crate) async fn requested() {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let reader = reader_gone();
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        // Without handlers the signals end the process by themselves.
        return reader.await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        () = reader => {}
    }
}

/// A pipe tells of it only to those who write or ask, and a quiet room may leave nothing to write
/// for days.
async fn reader_gone() {
    let (tell, told) = oneshot::channel();
    // It waits for as long as somebody reads, and does not hold the end of the process up.
    thread::spawn(move || {
        let stdout = io::stdout();
        // Nothing is asked for, since what is wrong is always told.
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        while let Err(rustix::io::Errno::INTR) = poll(&mut watched, None) {}
        tell.send(watched[0].revents()).ok();
    });
    let gone = PollFlags::ERR | PollFlags::HUP;
    match told.await {
        Ok(events) if events.intersects(gone) => {}
        // It cannot be watched; then the next line tells.
        Ok(_) | Err(_) => std::future::pending().await,
    }
}
