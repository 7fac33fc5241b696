//! What a terminal still holds when nobody will read it: the rest of a paste, or what is typed as
//! the conversation ends. Left alone it would become commands of the shell.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read},
    stdio::dup2_stdin,
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr},
};

use crate::limits::{INPUT_DROPPED_TIME_MAX, INPUT_TOLD_BYTES_MAX};

/// Takes stdin away from whoever reads it, and returns it.
pub(super) fn taken() -> io::Result<OwnedFd> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(input)
}

/// Drops what comes from a terminal until it has been quiet for that long, without showing it, then
/// puts the terminal in `mode`. Returns what came first.
pub(super) fn dropped(input: impl AsFd, quiet: Duration, mode: &Termios) -> Vec<u8> {
    let mut deaf = mode.clone();
    deaf.local_modes
        .remove(LocalModes::ICANON | LocalModes::ECHO);
    // The line editor may wait for the same keys still, and take them first: reading never waits.
    deaf.special_codes[SpecialCodeIndex::VMIN] = 0;
    deaf.special_codes[SpecialCodeIndex::VTIME] = 0;
    let end = Instant::now() + INPUT_DROPPED_TIME_MAX;
    // If the terminal has gone there is nothing to drop, nor to put back.
    tcsetattr(&input, OptionalActions::Now, &deaf).ok();
    let (mut first, mut bytes) = (Vec::new(), [0; INPUT_TOLD_BYTES_MAX]);
    while Instant::now() < end && has_more(&input, quiet) {
        let Ok(count) = read(&input, &mut bytes) else {
            break;
        };
        let told = count.min(INPUT_TOLD_BYTES_MAX - first.len());
        first.extend_from_slice(&bytes[..told]);
    }
    tcsetattr(&input, OptionalActions::Flush, mode).ok();
    first
}

/// The mode of a terminal that may be put back later.
pub(super) fn mode() -> Option<Termios> {
    tcgetattr(io::stdin()).ok()
}

/// Whether something comes within that time.
pub(super) fn has_more(input: &impl AsFd, within: Duration) -> bool {
    let Ok(within) = Timespec::try_from(within) else {
        return false;
    };
    let mut watched = [PollFd::new(input, PollFlags::IN)];
    match poll(&mut watched, Some(&within)) {
        Ok(_) => watched[0].revents() == PollFlags::IN,
        Err(error) => error == Errno::INTR,
    }
}
