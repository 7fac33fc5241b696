//! What the account store holds and answers with. No SQL, no wire format.

use std::fmt;

use magpie_core::{
    entry::RoomKind,
    ids::{DeviceId, RoomId, Seq, UserId},
    time::Timestamp,
};
use secrecy::{SecretSlice, SecretString};

/// The counter of one account's state. Each change takes the next number; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// Before the first change.
    pub const ZERO: Self = Self(0);

    /// Takes a number from outside. `None` if it is negative.
    pub const fn new(revision: i64) -> Option<Self> {
        if revision >= 0 {
            Some(Self(revision.unsigned_abs()))
        } else {
            None
        }
    }

    /// The number, in `0..=i64::MAX`.
    pub const fn get(self) -> i64 {
        self.0.cast_signed()
    }
}

/// The SHA-256 of a random secret of 128 bits or more. Needs no salt, since the secret is random.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

/// An account as others see it, with what only the node needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// The unique public name, folded to lower case.
    pub handle: String,
    /// The name that people see.
    pub display_name: String,
    /// When the account was made.
    pub created: Timestamp,
    /// Whether an operator has disabled it.
    pub disabled: bool,
    /// What the user chose to show while online.
    pub status: Status,
    /// When the last session ended, where that is known.
    pub last_seen: Option<Timestamp>,
}

/// What a user chose to show while online.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Available or busy.
    pub availability: Availability,
    /// Empty when none is set.
    pub text: String,
}

/// Whether a user wants to be shown as busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Availability {
    /// Shown as online or away.
    #[default]
    Available,
    /// Shown as busy.
    Busy,
}

/// An account to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The id proposed for it.
    pub id: UserId,
    /// Folded to lower case by the caller.
    pub handle: String,
    /// In Unicode NFC.
    pub display_name: String,
    /// In PHC string format.
    pub password_hash: SecretString,
    /// When it is made.
    pub created: Timestamp,
}

/// What became of a [`NewUser`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserCreation {
    /// It exists now, with its first device if one was given.
    Created,
    /// Another account has the handle. Nothing was written.
    HandleTaken,
    /// The proposed id of the user or the device is in use. Nothing was written: propose others.
    IdTaken,
}

/// An account with what a log-in is checked against.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who.
    pub user: User,
    /// In PHC string format.
    pub password_hash: SecretString,
}

/// A device to be made, with its first refresh token.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// The id proposed for it.
    pub id: DeviceId,
    /// As the user called it.
    pub name: String,
    /// The hash of the secret that all refresh tokens of this device share.
    pub family: TokenHash,
    /// The hash of its first refresh token.
    pub token: TokenHash,
    /// When it logged in.
    pub created: Timestamp,
    /// When it must log in with the password again.
    pub expires: Timestamp,
}

/// What became of a [`NewDevice`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceCreation {
    /// It exists now.
    Created {
        /// The least recently used devices, which were revoked to make room, least recent first.
        ended: Vec<DeviceId>,
    },
    /// The proposed id is in use. Nothing was written: propose another one.
    IdTaken,
    /// There is no such user, or an operator has disabled it. Nothing was written.
    NoUser,
}

/// A device that is not revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub id: DeviceId,
    /// As the user called it.
    pub name: String,
    /// When it logged in.
    pub created: Timestamp,
    /// When its tokens were last renewed.
    pub last_used: Timestamp,
}

/// A refresh token that was presented, and the one to follow it.
#[derive(Clone, Copy, Debug)]
pub struct Refresh {
    /// The device that the token names.
    pub device: DeviceId,
    /// The hash of the family secret in it.
    pub family: TokenHash,
    /// The hash of the token.
    pub token: TokenHash,
    /// The hash of the token to be issued.
    pub next: TokenHash,
}

/// What became of a [`Refresh`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The next token is valid now.
    Rotated {
        /// Whose device it is.
        user: UserId,
        /// When the device must log in with the password again. Rotation does not move it.
        expires: Timestamp,
    },
    /// The token was used before its latest successor: it was copied. The device was revoked now.
    Reused {
        /// Whose device it was.
        user: UserId,
    },
    /// There is no such device, it was revoked, its time is over, or the token was never its.
    /// Nothing was written.
    Invalid,
}

/// What happened to a membership, as far as the room list shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Became a member.
    Joined,
    /// Left or was removed.
    Left,
}

/// An account's place in one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomRow {
    /// Which room.
    pub room: RoomId,
    /// Direct or group.
    pub kind: RoomKind,
    /// The entry with which the last membership began.
    pub joined: Seq,
    /// The entry that ended it; none for a present member.
    pub left: Option<Seq>,
    /// The account's revision when the last membership began: the order in which rooms were joined.
    pub joined_revision: Revision,
    /// The account's revision at the last change of this row.
    pub revision: Revision,
}

impl RoomRow {
    /// Whether the account is a member now.
    pub const fn present(&self) -> bool {
        self.left.is_none()
    }
}

/// A row of a room list that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomListChange {
    /// Whose list.
    pub user: UserId,
    /// The account's revision with this change: the same as `row.revision`.
    pub revision: Revision,
    /// The row now.
    pub row: RoomRow,
}

/// The rows of an account's state that changed since a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountChanges {
    /// The revision reached by taking in `rooms`: the account's, unless there is more.
    pub revision: Revision,
    /// By ascending revision.
    pub rooms: Vec<RoomRow>,
    /// There are further rows above `revision`.
    pub more: bool,
}

/// What became of the wish for a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomClaim {
    /// The room has the proposed id.
    New(RoomId),
    /// An earlier call made the room.
    Existing(RoomId),
    /// The command's id was used before with another title, for this room.
    Reused(RoomId),
    /// The proposed id belongs to another room. Nothing was written: propose another one.
    IdTaken,
    /// There is no such user. Nothing was written.
    NoUser,
}

/// A key that signs access tokens.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// Its name in the tokens' headers.
    pub kid: String,
    /// The Ed25519 seed of 32 bytes.
    pub seed: SecretSlice<u8>,
    /// When it was made.
    pub created: Timestamp,
}
