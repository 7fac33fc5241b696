//! The bounds of the core's queues, maps and buffers, with units and defaults.

use std::time::Duration;

/// Declares the limits of a crate once: the struct, its defaults, and the list that the
/// configuration and docs/limits.md are made from.
#[macro_export]
macro_rules! limits {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $text:literal])+ $field:ident: u64 = $default:expr, $unit:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[doc = $text])+ pub $field: u64,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            /// Each limit as (name, unit, default, what it bounds).
            pub const LIST: &'static [(&'static str, &'static str, u64, &'static str)] =
                &[$((stringify!($field), $unit, $default, concat!($($text),+)),)*];

            /// Sets a limit by name. False if there is none of that name.
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $(stringify!($field) => self.$field = value,)*
                    _ => return false,
                }
                true
            }

            /// Reads a limit by name.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($field) => Some(self.$field),)*
                    _ => None,
                }
            }
        }
    };
}

limits! {
    /// What owners, edges and sessions may hold.
    Limits {
        /// Entries of a room that its owner keeps in memory.
        room_tail_entries_max: u64 = 1_000, "entries";
        /// Bytes of bodies of a room that its owner keeps in memory; at least one entry is kept.
        room_tail_bytes_max: u64 = 256 << 10, "bytes";
        /// Bytes of all rooms that a node keeps in memory, about: their latest entries, ids and
        /// members. Its owners have equal shares. Beyond its share, an owner forgets rooms that
        /// nobody uses before their time.
        rooms_bytes_max: u64 = 512 << 20, "bytes";
        /// Rooms that an owner loads at the same time, and readings of logs, each: the store is asked
        /// for no more, and others wait for their turn. A reading holds a page and one fetch.
        owner_reads_max: u64 = 32, "reads";
        /// Bytes of entries that an owner asks its store for at once; those of one seq are always
        /// given.
        fetch_bytes_max: u64 = 64 << 10, "bytes";
        /// Ids of a room's commands that its owner keeps in memory. A retry that names no after_seq is
        /// recognised among the commands of so many latest entries: clients are promised 8,192.
        room_ids_max: u64 = 8_192, "ids";
        /// Entries of a room that are written and not yet certified.
        room_in_flight_max: u64 = 64, "entries";
        /// Commands that wait for their turn in a room.
        room_waiting_max: u64 = 256, "commands";
        /// Members of a room.
        room_members_max: u64 = 1_000, "members";
        /// Rooms of an account.
        account_rooms_max: u64 = 5_000, "rooms";
        /// Members up to which a room shows receipts and typing.
        room_receipts_members_max: u64 = 100, "members";
        /// Buckets of 4,096 entries in which an earlier copy of a command is searched.
        dedup_buckets_max: u64 = 64, "buckets";
        /// How long an owner collects the rooms it writes to before it writes their hints.
        slot_millis: u64 = 10_000, "ms";
        /// How long a room stays in memory unused.
        room_idle_millis: u64 = 60_000, "ms";
        /// How long others' marks are collected before they are shown.
        marks_delay_millis: u64 = 1_000, "ms";
        /// Entries of a page and of a RoomSync.
        page_entries_max: u64 = 200, "entries";
        /// Entries that a page of messages looks at, in each direction: where few of them are messages,
        /// it ends early.
        page_scan_max: u64 = 4_096, "entries";
        /// Bytes of a page and of a RoomSync; at least one entry is given.
        page_bytes_max: u64 = 64 << 10, "bytes";
        /// Entries that a member may append to a room at once: messages, of which each 16 KiB of text
        /// counts, and changes of the room.
        room_send_burst: u64 = 20, "entries";
        /// Entries a minute that a member may append to a room after that.
        room_sends_per_minute: u64 = 120, "entries/min";
        /// Commands that append an entry which a user may send at once, over all rooms; each 16 KiB of
        /// text counts. One that is said again or refused counts, too.
        user_send_burst: u64 = 60, "commands";
        /// Such commands a minute after that.
        user_sends_per_minute: u64 = 300, "commands/min";
        /// Calls of CreateRoom and OpenDirect that a user may make at once, retries included.
        user_claim_burst: u64 = 60, "calls";
        /// Calls of CreateRoom and OpenDirect a minute that a user may make after that.
        user_claims_per_minute: u64 = 60, "calls/min";
        /// Streams and steps of Sync that a user may begin at once; each 100 marks that one of them says
        /// again count as one more.
        user_opens_burst: u64 = 120, "opens";
        /// Streams and steps of Sync a minute that a user may begin after that.
        user_opens_per_minute: u64 = 600, "opens/min";
        /// Frames of a session that are neither sends nor heartbeats, at once and a minute; and unary
        /// calls of a user that set marks or the status or show typing.
        session_control_per_minute: u64 = 120, "frames/min";
        /// Commands of a session that are unanswered.
        session_unanswered_max: u64 = 64, "commands";
        /// Refused frames in 10 s after which a session is closed; EARLIER_SEND_REFUSED does not count.
        session_refusals_max: u64 = 256, "refusals";
        /// Bytes of events that wait for a session; at least one event is taken.
        session_queue_bytes_max: u64 = 256 << 10, "bytes";
        /// Events that wait for a session.
        session_queue_frames_max: u64 = 512, "frames";
        /// Catch-ups of a slow reader in 60 s after which its session is closed.
        session_catch_ups_max: u64 = 3, "catch-ups";
        /// Rooms of a session that are brought up to date at the same time.
        session_attaching_max: u64 = 16, "rooms";
        /// Users whose presence a session follows.
        session_watch_max: u64 = 500, "users";
        /// Sessions of a user; one more ends the oldest.
        user_sessions_max: u64 = 8, "sessions";
        /// How often the server shows a session that it lives.
        heartbeat_millis: u64 = 25_000, "ms";
        /// Silence after which a session that announced heartbeats is gone.
        session_silence_millis: u64 = 40_000, "ms";
        /// How long an abrupt end of a user's last session is hidden.
        presence_grace_millis: u64 = 30_000, "ms";
        /// How long a new user owner reports no one offline.
        presence_warm_up_millis: u64 = 75_000, "ms";
        /// The least time between two presence frames of a session.
        presence_interval_millis: u64 = 5_000, "ms";
    }
}

/// Control frames that may wait for one session: more means that its client sends and never reads.
pub(crate) const CONTROL_FRAMES_MAX: usize = 1_024;

/// Rows of an account that are read and told at a time: about 20 KiB.
pub const ACCOUNT_ROWS_MAX: usize = 512;

/// How long a refused send, from its last refusal on, keeps those after it back.
pub(crate) const REFUSED_MILLIS: u64 = 10_000;

/// How long sends that come for the first time are kept back where none that was refused comes again:
/// the client forgets what is refused. Twice the time after which one of them has its turn.
pub(crate) const FORGOTTEN_MILLIS: u64 = 2 * REFUSED_MILLIS;

/// Sends to a room that were refused and have their turns kept. More are refused without one.
pub(crate) const KEPT_BACK_MAX: usize = 64;

/// Rooms with a refused send that a session has before it looks which of these are over.
pub(crate) const REFUSED_ROOMS: usize = 64;

/// In which time the refusals of a session are counted.
pub(crate) const REFUSALS_MILLIS: u64 = 10_000;

/// In which time the catch-ups of a slow reader are counted.
pub(crate) const CATCH_UPS_MILLIS: u64 = 60_000;

/// How many entries a reading asks the store for at a time.
pub(crate) const FETCH_ENTRIES_MAX: usize = 256;

/// Counting unread messages ends here: more are shown as "999+".
pub(crate) const UNREAD_MAX: u32 = 1_000;

/// Entries after the read mark and before the room's tail that are looked at to count unread
/// messages. Own messages move the mark, so only a room with thousands of changes and few messages
/// has more, and shows fewer unread ones than there are.
pub(crate) const UNREAD_SCAN_MAX: u64 = 4_096;

/// Rooms that get their hints at one tick, if so many want one.
pub(crate) const HINTS_AT_ONCE_MIN: usize = 1_000;

/// One in so many of the rooms that want a hint gets it at one tick, if that is more. So those of a
/// slot are written within the time of the next.
pub(crate) const HINTS_PARTS: usize = 8;

/// The least time between two looks at all keys of a rate, and at all rooms in memory.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A limit in milliseconds as a duration.
pub(crate) const fn millis(limit: u64) -> Duration {
    Duration::from_millis(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_limit_can_be_set_and_read() {
        let mut limits = Limits::default();
        for (name, _, default, _) in Limits::LIST {
            assert_eq!(limits.get(name), Some(*default));
            assert!(limits.set(name, default + 1));
            assert_eq!(limits.get(name), Some(default + 1));
        }
        assert!(!limits.set("no_such_limit", 1));
    }
}
