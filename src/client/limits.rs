//! Every bound of the client, with its unit. Knows nothing of how they are used.

use std::time::Duration;

/// Events that wait for the program; when they are full the session stops reading its stream.
pub const EVENTS_QUEUED_MAX: usize = 512;
/// Commands that wait for the session's task.
pub const COMMANDS_QUEUED_MAX: usize = 256;
/// Frames that wait for the transport.
pub const FRAMES_QUEUED_MAX: usize = 16;
/// How long a full event queue may keep somebody who waits for a send waiting, before what else
/// the stream holds is skipped, to be fetched again later.
pub const SKIP_AFTER: Duration = Duration::from_millis(250);
/// Rooms a session follows.
pub const ROOMS_MAX: usize = 10_000;
/// Cursors, and marks, in one Hello.
pub const HELLO_ROOMS_MAX: usize = 5_000;
/// Entries held in one room while the gap before them is being filled.
pub const HELD_ENTRIES_PER_ROOM_MAX: usize = 128;
/// Entries held in all rooms together.
pub const HELD_ENTRIES_MAX: usize = 1_024;
/// Gaps being filled at a time.
pub const CHASES_MAX: usize = 4;
/// How long a gap is given to close by itself.
pub const GAP_HOLD: Duration = Duration::from_millis(500);
/// How long after a failed attempt to fill a gap the next one is made.
pub const CHASE_RETRY: Duration = Duration::from_secs(1);
/// Attempts to fill a gap without any progress, before it is handed on as stale.
pub const CHASE_ATTEMPTS_MAX: u32 = 5;

/// Messages that wait to be sent, in one room.
pub const SENDS_QUEUED_PER_ROOM_MAX: usize = 256;
/// Messages that wait to be sent, in all rooms.
pub const SENDS_QUEUED_MAX: usize = 4_096;
/// Bytes of text that wait to be sent.
pub const SENDS_QUEUED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Unanswered messages of one room; fewer for a while after one was refused for the moment.
pub const SENDS_IN_FLIGHT_PER_ROOM_MAX: usize = 8;
/// Unanswered commands of a session, where the server does not state fewer.
pub const UNANSWERED_MAX: usize = 64;
/// Of these, kept free for what is not a message.
pub const UNANSWERED_RESERVED: usize = 8;
/// How long a message is retried before its fate is called unknown.
pub const SEND_RETRY_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long to wait before a retry where a refusal does not say.
pub const SEND_RETRY_DEFAULT: Duration = Duration::from_secs(1);
/// The largest frame sent where the server states no limit, in bytes.
pub const FRAME_BYTES_MAX: usize = 512 * 1024;
/// Marks that are not yet known to be stored.
pub const MARKS_MAX: usize = 5_000;
/// Marks said without a pause between them.
pub const MARKS_BURST: u32 = 20;
/// The pause between marks after that; it keeps them within a server's rate for such frames.
pub const MARK_PAUSE: Duration = Duration::from_millis(600);
/// How long delivered marks are gathered.
pub const MARK_DELIVERED_INTERVAL: Duration = Duration::from_millis(1_500);
/// How long to wait before a refused mark is said again.
pub const MARK_RETRY: Duration = Duration::from_secs(2);
/// The least time between two signs of typing in one room.
pub const TYPING_INTERVAL: Duration = Duration::from_secs(3);
/// Rooms whose last sign of typing is remembered.
pub const TYPING_ROOMS_MAX: usize = 64;
/// Users watched by a session.
pub const WATCH_USERS_MAX: usize = 500;

/// The heartbeat interval where the server states none.
pub const HEARTBEAT_INTERVAL_DEFAULT: Duration = Duration::from_secs(25);
/// The shortest heartbeat interval the client obeys.
pub const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// A server that was silent for this long is gone.
pub const SILENCE_MAX: Duration = Duration::from_secs(40);
/// How long a connection and its Welcome may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a clean end may take.
pub const BYE_TIMEOUT: Duration = Duration::from_secs(3);
/// HTTP/2 PING interval of an idle connection.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long a PING may stay unanswered.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a unary call may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest wait that a server can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// The longest window over which a server can spread reconnects.
pub const DRAIN_WINDOW_MAX: Duration = Duration::from_secs(10 * 60);

/// How long an access token lives where its stated end makes no sense by this machine's clock.
pub const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// An access token is renewed when this part of its life is left: one in so many.
pub const RENEWAL_PART: u32 = 3;
/// How long after a renewal that failed the next one is made.
pub const RENEWAL_RETRY: Duration = Duration::from_secs(5);
/// The least time between two looks at the clock.
pub const TIMER_STEP: Duration = Duration::from_millis(5);
/// Characters of a program's name in Hello.
pub const CLIENT_CHARACTERS_MAX: usize = 64;
