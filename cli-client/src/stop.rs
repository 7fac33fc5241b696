//! When the person, or the machine, wants a long-running command to end cleanly.

use std::{future::pending, io, thread};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

/// Why a command is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Ctrl-C, or the process is told to end, or its terminal goes away.
    Signal,
    /// Nobody reads its output any more.
    ReaderGone,
}

/// What asks for the end of a command.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Interrupt, terminate, hang-up. Without handlers these end the process by themselves.
    signals: Option<[Signal; 3]>,
    /// Until it was told.
    reader: Option<oneshot::Receiver<PollFlags>>,
}

impl Stop {
    /// From now on signals do not end the process.
    pub(crate) fn watch() -> Self {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let signals = match kinds.map(signal) {
            [Ok(interrupt), Ok(terminate), Ok(hangup)] => Some([interrupt, terminate, hangup]),
            _ => None,
        };
        let reader = Some(watch_reader());
        Self { signals, reader }
    }

    /// Resolves once it is to end. The next call waits for the next reason.
    pub(crate) async fn requested(&mut self) -> Asked {
        tokio::select! {
            () = signalled(self.signals.as_mut()) => Asked::Signal,
            () = reader_gone(&mut self.reader) => Asked::ReaderGone,
        }
    }
}

async fn signalled(signals: Option<&mut [Signal; 3]>) {
    let Some([interrupt, terminate, hangup]) = signals else {
        return pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

async fn reader_gone(reader: &mut Option<oneshot::Receiver<PollFlags>>) {
    let gone = PollFlags::ERR | PollFlags::HUP;
    let Some(told) = reader else {
        return pending().await;
    };
    let told = told.await;
    *reader = None;
    if !told.is_ok_and(|events| events.intersects(gone)) {
        // It cannot be watched; then the next line tells.
        pending().await
    }
}

/// A pipe tells of it only to those who write or ask, and a quiet room may leave nothing to write
/// for days.
fn watch_reader() -> oneshot::Receiver<PollFlags> {
    let (tell, told) = oneshot::channel();
    // It waits for as long as somebody reads, and does not hold the end of the process up.
    thread::spawn(move || {
        let stdout = io::stdout();
        // Nothing is asked for, since what is wrong is always told.
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        while let Err(rustix::io::Errno::INTR) = poll(&mut watched, None) {}
        tell.send(watched[0].revents()).ok();
    });
    told
}
