//! The names of things. Each is its own type, so that a room is never taken for a user.

use std::fmt;

/// How many partitions a deployment has, for ever.
pub const PARTITIONS: u16 = 4096;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Takes a number from outside. `None` unless it lies in `1..=i64::MAX`.
            pub const fn new(id: i64) -> Option<Self> {
                if id > 0 { Some(Self(id.unsigned_abs())) } else { None }
            }

            /// The number, in `1..=i64::MAX`.
            pub const fn get(self) -> i64 {
                self.0.cast_signed()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// An account.
    UserId
);
id!(
    /// One installation of a client.
    DeviceId
);
id!(
    /// A conversation.
    RoomId
);

/// The number of an entry in its room: dense, from 1. [`Seq::ZERO`] is the cursor before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);
    /// Beyond every entry.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// Takes a number from outside. `None` if it is negative.
    pub const fn new(seq: i64) -> Option<Self> {
        if seq >= 0 {
            Some(Self(seq.unsigned_abs()))
        } else {
            None
        }
    }

    /// The number, in `0..=i64::MAX`.
    pub const fn get(self) -> i64 {
        self.0.cast_signed()
    }

    /// The seq after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The seq before this one; [`Seq::ZERO`] stays.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The seq `n` after this one.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    /// The seq `n` before this one, at least [`Seq::ZERO`].
    #[must_use]
    pub const fn minus(self, n: u64) -> Self {
        Self(self.0.saturating_sub(n))
    }

    /// How many seqs lie in `(earlier, self]`; 0 if `earlier` is not lower.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The store's bucket of this seq: 4,096 seqs each.
    pub const fn bucket(self) -> u64 {
        self.0 >> 12
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an ownership of a partition. Only grows; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The number of a stretch of time in which an owner notes the rooms it wrote to. Dense, from 0,
/// per partition and epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u64);

/// One of the [`PARTITIONS`] shards of rooms and users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

impl Partition {
    /// The partition that holds a room.
    pub const fn of_room(room: RoomId) -> Self {
        Self((mix(room.0) % PARTITIONS as u64) as u16)
    }

    /// The partition that holds a user.
    pub const fn of_user(user: UserId) -> Self {
        Self((mix(user.0) % PARTITIONS as u64) as u16)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood 2014). It is part of the deployment's data:
/// changing it would send rooms to other partitions.
const fn mix(id: u64) -> u64 {
    let z = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The `client_message_id` of a command: 16 bytes, made by the client once for the command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 16]);

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({:032x})", u128::from_be_bytes(self.0))
    }
}

/// A session within one incarnation of a node: one open stream of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A part of a node that holds sessions: what an owner delivers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeId(pub u32);
