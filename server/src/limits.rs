//! The limits of the shell around the services: connections, buffers and waits. And all limits of
//! the node together, by name.

use std::time::Duration;

/// What a call's read and write buffers take at once, each. Bytes.
pub const CODEC_BUFFER_BYTES: usize = 512;
/// How much of a stream's ready frames is joined into one write. Bytes.
pub const CODEC_YIELD_BYTES: usize = 16 * 1024;

/// Messages that may wait for one owner or edge before commands are refused.
pub(crate) const BACKLOG_MAX: usize = 65_536;
/// Owners and edges of one node, each a task. More than a few share no more work.
pub(crate) const TASKS_MAX: usize = 8;
/// Messages that an owner or edge takes at a time: what they write becomes one write a room.
pub(crate) const BATCH_MAX: usize = 1_024;
/// How often owners and edges are told that time has passed.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// The longest line of either side on the operators' socket. Bytes.
pub(crate) const ADMIN_LINE_BYTES_MAX: u64 = 8 << 10;
/// How long one side waits there for the other's line.
pub(crate) const ADMIN_LINE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Operators at the same time; further ones wait for their turn.
pub(crate) const ADMIN_CONNECTIONS_MAX: usize = 4;
/// The longest name of a node. Characters.
pub(crate) const NODE_NAME_MAX: usize = 64;
/// How long a node that leaves waits for its owners to store who was there.
pub(crate) const LEAVING_MAX: Duration = Duration::from_secs(2);

/// How long a client may take to say Hello.
pub(crate) const HELLO_WAIT_MAX: Duration = Duration::from_secs(10);

/// The least time between two looks at all outboxes, while they hold about as much as they may.
pub(crate) const OUTBOXES_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of events that a session may queue without taking from its connection's budget: the number
/// of calls of a connection bounds them.
pub(crate) const EVENTS_FREE_BYTES: usize = 8 << 10;
/// The same of control frames, such as answers.
pub(crate) const CONTROL_FREE_BYTES: usize = 2 << 10;
/// What is taken from the connection's budget at once for control frames. Bytes.
pub(crate) const CONTROL_CHARGE_BYTES: usize = 8 << 10;
/// What a control frame that waits is taken to cost beside its bytes.
pub(crate) const CONTROL_FRAME_OVERHEAD_BYTES: usize = 96;
/// Bytes of control frames that a session leaves unread, beyond which its commands are refused.
pub(crate) const CONTROL_BYTES_MAX: usize = 64 << 10;
/// Frames of one stream that an edge has not handled yet. Further ones are not read.
pub(crate) const FRAMES_UNHANDLED_MAX: usize = 256;
/// Heartbeats that follow another one of the session sooner say nothing new, and are dropped.
pub(crate) const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Users whose rate of sending is remembered at the same time.
pub(crate) const SENDERS_MAX: usize = 1_000_000;
/// Marks said again with a Hello or a Sync that count as one more opening.
pub(crate) const MARKS_AN_OPEN: u64 = 100;
/// Users named by one call.
pub(crate) const CALL_USERS_MAX: usize = 100;
/// Handles named by one call.
pub(crate) const CALL_HANDLES_MAX: usize = 100;
/// Summaries of one page that are asked for at the same time.
pub(crate) const SUMMARIES_AT_ONCE_MAX: usize = 16;
/// Rows of a room that are asked of the log at a time.
pub(crate) const LOG_ROWS_MAX: usize = 1_024;
/// How long to wait before room lists are brought up to date again after that failed.
pub(crate) const EFFECT_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// When to come again after the node had too much to do, or a connection's budget was full.
pub(crate) const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest wait that a caller of Sync may ask for.
pub(crate) const SYNC_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a step of Sync may take to read what was missed.
pub(crate) const SYNC_CATCH_UP_MAX: Duration = Duration::from_secs(20);

/// Messages from a client up to this size are not charged: the connection's number of calls bounds
/// them. Bytes.
pub(crate) const MESSAGE_FREE_BYTES: usize = 4 << 10;
/// The largest encoded message that is kept in its entry. Bytes.
pub(crate) const ENTRY_BYTES_MAX: usize = 16 << 10;
/// The beginning of a longer text that its entry shows, in characters.
pub(crate) const PREVIEW_CHARACTERS: usize = 2_000;
/// Rooms that a Hello may name, at least: as many as an account may be in by default.
pub(crate) const HELLO_ROOMS_MAX: u64 = 5_000;
/// The longest name of a client, in characters.
pub(crate) const CLIENT_CHARACTERS_MAX: usize = 64;
/// The most violations that a refusal names: details travel in a header, which has to stay small.
pub(crate) const VIOLATIONS_MAX: usize = 16;
/// What a page may take until it is read: its 64 KiB, and the summaries around it. Bytes.
pub(crate) const PAGE_CHARGE_BYTES: usize = 96 << 10;
/// What the whole text of a message may take until it is read. Bytes.
pub(crate) const TEXT_CHARGE_BYTES: usize = 416 << 10;
/// What a step of Sync is taken for. Less than a page, as many may wait at the same time. Bytes.
pub(crate) const SYNC_CHARGE_BYTES: usize = 28 << 10;
/// What a connection's budget leaves for queued events, however much its client sends: without it,
/// who sends a lot would seem to read too slowly. Bytes.
pub(crate) const BUDGET_EVENTS_BYTES: usize = 256 << 10;
/// How long to leave accept alone after it failed for want of descriptors or memory: trying again
/// at once would burn a core and succeed no sooner.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

magpie_core::limits! {
    /// What connections may take.
    Limits {
        /// Connections of the node, over all clients. More are closed at once.
        connections_max: u64 = 100_000, "connections";
        /// Connections from one IPv4 address or one IPv6 /64. Behind a proxy all share its address.
        connections_per_address_max: u64 = 1_024, "connections";
        /// Connections that wait to be accepted.
        accept_backlog: u64 = 4_096, "connections";
        /// How long a new connection may take for its TLS handshake and again for its first call.
        handshake_millis: u64 = 10_000, "ms";
        /// Silence after which a connection is asked for a sign of life.
        ping_interval_millis: u64 = 30_000, "ms";
        /// How long a connection may take to give it.
        ping_timeout_millis: u64 = 10_000, "ms";
        /// How long sent bytes may stay unacknowledged.
        tcp_user_timeout_millis: u64 = 30_000, "ms";
        /// Calls that a connection may have open at the same time.
        connection_streams_max: u64 = 32, "calls";
        /// Unread bytes of one call that a client may send ahead.
        stream_window_bytes: u64 = 64 << 10, "bytes";
        // HTTP/2 lets unread small frames wait in proportion to this window, and ends the connection
        // beyond: this much lets a burst of 1,000 pass.
        /// Unread bytes of one connection that a client may send ahead.
        connection_window_bytes: u64 = 512 << 10, "bytes";
        /// Bytes of one call that wait for a client to read them.
        stream_send_buffer_bytes: u64 = 16 << 10, "bytes";
        /// Headers of a call, counted as HTTP/2 does.
        header_list_bytes_max: u64 = 16 << 10, "bytes";
        /// Streams that the node resets for a client's faults before it closes the connection.
        connection_faults_max: u64 = 1_024, "streams";
        /// Streams that a client may open and reset before the node has looked at them.
        connection_pending_resets_max: u64 = 20, "streams";
        /// One message from a client, without gRPC's prefix.
        message_bytes_max: u64 = 512 << 10, "bytes";
        /// Messages from a client that are not complete or not answered, large answers and queued
        /// events, over all calls of one connection.
        connection_bytes_max: u64 = 960 << 10, "bytes";
        /// Events and answers that wait for clients, over all sessions of the node; what many wait for
        /// counts for each. Beyond it, the sessions for which most waits are closed.
        outboxes_bytes_max: u64 = 512 << 20, "bytes";
        /// Unary calls that the node works on at the same time.
        unary_in_flight_max: u64 = 4_096, "calls";
        /// How long a unary call may take. Sync may take its wait on top.
        unary_timeout_millis: u64 = 30_000, "ms";
    }
}

/// A limit as a count of things in memory.
pub(crate) fn count(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// A limit as a number for HTTP/2.
pub(crate) fn number(limit: u64) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

/// A limit in milliseconds.
pub(crate) const fn millis(limit: u64) -> Duration {
    Duration::from_millis(limit)
}
