//! Every bound of the terminal client, with its unit. Knows nothing of how they are used.

use std::time::Duration;

/// How long to wait for an answer where no flag says otherwise, in seconds.
pub(crate) const TIMEOUT_SECONDS_DEFAULT: u64 = 10;
/// The longest wait that a flag may ask for, in seconds.
pub(crate) const TIMEOUT_SECONDS_MAX: u64 = 600;
/// How long to wait before the second attempt at a call; each further wait is twice as long.
pub(crate) const RETRY_WAIT: Duration = Duration::from_millis(200);
/// The longest wait between two attempts at a call.
pub(crate) const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long to wait before a call that fills a gap is made again.
pub(crate) const FILL_WAIT: Duration = Duration::from_secs(1);
/// How long `chat` waits at its end for its last message to come back, so that it is shown.
pub(crate) const OWN_SHOWN_WAIT: Duration = Duration::from_secs(3);
/// Unread entries of a room that are shown at the most after the server was restored from a backup.
pub(crate) const RESTORED_ENTRIES_MAX: i64 = 200;
/// How long `chat` looks at its end for a line that it did not take.
pub(crate) const UNREAD_WAIT: Duration = Duration::from_millis(200);
/// After how long a message that is not answered is shown as such.
pub(crate) const ANSWER_LATE: Duration = Duration::from_secs(2);
/// After how long `chat` says, at its end, that it still waits for answers.
pub(crate) const LEAVING_TOLD: Duration = Duration::from_millis(500);
/// How long `chat` waits at its end for the server to know that it leaves.
pub(crate) const BYE_WAIT_MAX: Duration = Duration::from_secs(1);
/// For how long a terminal has to be quiet before what was typed or pasted is over: longer than
/// from key to key.
pub(crate) const INPUT_QUIET: Duration = Duration::from_secs(1);
/// The same where the person asked for the end, and so has stopped typing.
pub(crate) const INPUT_QUIET_ASKED: Duration = Duration::from_millis(50);
/// Of what is dropped, what the person is told, in bytes.
pub(crate) const INPUT_TOLD_BYTES_MAX: usize = 1_024;
/// For how long at the most what a terminal sends is dropped.
pub(crate) const INPUT_DROPPED_TIME_MAX: Duration = Duration::from_secs(10);
/// How long to wait for a sign that a server speaks TLS where plain HTTP was expected.
pub(crate) const PROBE_WAIT: Duration = Duration::from_secs(1);
/// How often to ask who somebody is, before the id has to do.
pub(crate) const NAME_ATTEMPTS_MAX: u32 = 3;

/// Users in one question, by the contract.
pub(crate) const BATCH_USERS_MAX: usize = 100;
/// Messages in one page, by the contract.
pub(crate) const PAGE_MESSAGES_MAX: u32 = 200;
/// People whom one call invites, by the contract.
pub(crate) const INVITED_MAX: usize = 100;
/// Members in one page, by the contract.
pub(crate) const PAGE_MEMBERS_MAX: i32 = 200;
/// Rooms in one page, by the contract.
pub(crate) const PAGE_ROOMS_MAX: i32 = 200;
/// The longest text of a message, in characters, by the contract.
pub(crate) const TEXT_CHARACTERS_MAX: usize = 100_000;
/// Bytes of a text that are read from stdin: as many as the longest can have, and a line end.
pub(crate) const STDIN_BYTES_MAX: u64 = 4 * TEXT_CHARACTERS_MAX as u64 + 2;
/// The longest name of a device, in characters, by the contract.
pub(crate) const DEVICE_NAME_CHARACTERS_MAX: usize = 64;

/// Messages that `history` shows at the most.
pub(crate) const HISTORY_MESSAGES_MAX: u32 = 100_000;
/// Messages that `history` shows where no flag says otherwise.
pub(crate) const HISTORY_MESSAGES_DEFAULT: u32 = 20;
/// Earlier messages with which `tail` and `chat` begin where no flag says otherwise.
pub(crate) const EARLIER_MESSAGES_DEFAULT: u32 = 10;
/// Users whose names are kept; beyond it all are forgotten and asked for anew.
pub(crate) const KEPT_USERS_MAX: usize = 10_000;
/// Lines of a pipe in `chat` that wait for the conversation; then no more are read.
pub(crate) const LINES_QUEUED_MAX: usize = 64;
/// Lines typed or pasted in `chat` that wait for the conversation; the next one ends the input, since
/// a terminal is read at all times.
pub(crate) const TYPED_LINES_QUEUED_MAX: usize = 10_000;
/// Messages of `chat` that wait for their answers before the next line is taken: fewer than the
/// client library holds for a room.
pub(crate) const POSTED_MAX: usize = 200;
/// Bytes of text of these, before the next line is taken: with it, less than the library holds.
pub(crate) const POSTED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Blocks of lines that wait for the terminal.
pub(crate) const SHOWN_QUEUED_MAX: usize = 256;
/// Typed lines that the arrow keys bring back.
pub(crate) const TYPED_HISTORY_LINES_MAX: usize = 100;
/// The longest line that may be a password, in bytes.
pub(crate) const PASSWORD_LINE_BYTES_MAX: u64 = 4_096;
/// How often a new password is asked for where the person types two that differ.
pub(crate) const NEW_PASSWORD_TRIES_MAX: u32 = 3;
/// The longest name of a profile, in characters.
pub(crate) const PROFILE_NAME_CHARACTERS_MAX: usize = 64;
/// Rooms that are named where a title is ambiguous.
pub(crate) const CANDIDATES_SHOWN_MAX: usize = 10;

/// Columns of a person's name, so that a long one does not push the text away.
pub(crate) const NAME_COLUMNS_MAX: usize = 32;
/// Columns of a room's title in a list.
pub(crate) const TITLE_COLUMNS_MAX: usize = 32;
/// Columns of a room's title before a line of `tail`.
pub(crate) const TAIL_TITLE_COLUMNS_MAX: usize = 24;
/// Columns of a room's last message in a list.
pub(crate) const LAST_MESSAGE_COLUMNS_MAX: usize = 48;
/// Columns of a status text.
pub(crate) const STATUS_COLUMNS_MAX: usize = 60;
/// Columns of a device's name in a list.
pub(crate) const DEVICE_COLUMNS_MAX: usize = 40;
/// Columns of a text that a remark repeats.
pub(crate) const REPEATED_COLUMNS_MAX: usize = 40;
/// How wide a terminal is that does not say, in columns.
pub(crate) const TERMINAL_COLUMNS_DEFAULT: usize = 80;
