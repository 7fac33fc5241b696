//! The account store: users, devices, room lists, and which rooms exist. It knows rows and their
//! uniqueness; passwords, tokens and permissions mean nothing to it.

#[cfg(test)]
mod conformance;
pub mod sqlite;
mod types;

use std::{fmt, future::Future, pin::Pin};

use magpie_core::{
    entry::RoomKind,
    ids::{DeviceId, MessageId, RoomId, Seq, UserId},
    time::Timestamp,
};
use secrecy::SecretString;

pub use types::{
    AccountChanges, Availability, Device, DeviceCreation, Login, Membership, NewDevice, NewUser,
    Refresh, Revision, RoomClaim, RoomListChange, RoomRow, Rotation, SigningKey, Status, TokenHash,
    User, UserCreation,
};

/// A future of the account store, boxed so that a node chooses its store at run time.
pub type AccountFuture<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// Why the account store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too much is waiting for the store. Nothing was done.
    #[error("the account store has more work than it can take")]
    Busy,
    /// The disk is full. Nothing was done.
    #[error("the disk has no space left for the account store")]
    Full,
    /// It failed, and a write may or may not have been done.
    #[error("the account store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was read is not what is ever written.
    #[error("the account store is damaged: {0}")]
    Damaged(String),
}

/// A store of accounts.
///
/// A write is durable before its future completes, and goes on if its future is dropped. Reads see
/// every write that completed before they began. All methods may be called concurrently.
///
/// A method either does all of what it says or nothing, for each account: the changes of one
/// account are one transaction that takes the account's next revision. Time is handed in, never
/// read. Handles are compared as they are: callers fold them first.
///
/// Users and rooms are never taken out, so an id that was found stays valid.
pub trait AccountStore: Send + Sync + fmt::Debug + 'static {
    // Users.

    /// Makes an account, and its first device with it. A retry after an unknown outcome answers
    /// [`UserCreation::HandleTaken`].
    fn create_user(
        &self,
        user: NewUser,
        first_device: Option<NewDevice>,
    ) -> AccountFuture<UserCreation>;

    /// The users that exist among those asked for, in no order, without doubles.
    fn users(&self, ids: Vec<UserId>) -> AccountFuture<Vec<User>>;

    /// The users that exist among the handles asked for, in no order, without doubles.
    fn users_by_handle(&self, handles: Vec<String>) -> AccountFuture<Vec<User>>;

    /// What a log-in with this handle is checked against.
    fn login(&self, handle: String) -> AccountFuture<Option<Login>>;

    /// What another password check of this user is checked against.
    fn password_hash(&self, user: UserId) -> AccountFuture<Option<SecretString>>;

    /// Sets the password hash and revokes all devices but `keep`, and answers with those that this
    /// call revoked; `None` where there is no such user. A retry finds nothing left to revoke.
    fn set_password(
        &self,
        user: UserId,
        password_hash: SecretString,
        keep: Option<DeviceId>,
        now: Timestamp,
    ) -> AccountFuture<Option<Vec<DeviceId>>>;

    /// Sets the display name. `None` where there is no such user. Safe to retry.
    fn set_display_name(&self, user: UserId, display_name: String) -> AccountFuture<Option<User>>;

    /// Sets what is given of the status and answers with all of it; `None` where there is no such
    /// user. Safe to retry.
    fn set_status(
        &self,
        user: UserId,
        availability: Option<Availability>,
        text: Option<String>,
    ) -> AccountFuture<Option<Status>>;

    /// Disables or enables a user. Disabling revokes all devices, and the answer holds those that
    /// this call revoked; `None` where there is no such user. Safe to retry.
    fn set_disabled(
        &self,
        user: UserId,
        disabled: bool,
        now: Timestamp,
    ) -> AccountFuture<Option<Vec<DeviceId>>>;

    /// Notes when users were last seen. Earlier times than those known change nothing, so it is
    /// safe to retry; unknown users are passed over. Takes no revision.
    fn record_last_seen(&self, seen: Vec<(UserId, Timestamp)>) -> AccountFuture<()>;

    // Devices.

    /// Makes a device. If the user has `devices_max` already, the least recently used is revoked.
    /// A retry after an unknown outcome answers [`DeviceCreation::IdTaken`].
    fn create_device(
        &self,
        user: UserId,
        device: NewDevice,
        devices_max: usize,
    ) -> AccountFuture<DeviceCreation>;

    /// The devices of a user that are neither revoked nor past their time, most recently used
    /// first.
    fn devices(&self, user: UserId, now: Timestamp) -> AccountFuture<Vec<Device>>;

    /// Revokes one device of a user. `false` where the user has no such device, or it was revoked
    /// already. Safe to retry.
    fn revoke_device(&self, user: UserId, device: DeviceId, now: Timestamp) -> AccountFuture<bool>;

    /// The devices that were revoked at `since` or later.
    fn revoked_since(&self, since: Timestamp) -> AccountFuture<Vec<(DeviceId, Timestamp)>>;

    /// Exchanges a refresh token.
    ///
    /// The current token of a device stays valid until one of its successors is first presented;
    /// that one is then the current token, and its siblings and all before it are spent. So a
    /// client whose answer was lost repeats with the token that it has. A spent token of the
    /// family revokes the device, and its successor never becomes valid.
    fn rotate_refresh_token(&self, refresh: Refresh, now: Timestamp) -> AccountFuture<Rotation>;

    // Room lists: an effect of the rooms' logs.

    /// Takes one membership entry of a room into the room lists of those it concerns, and answers
    /// with the rows that changed, in the order given. A row that was written from this seq or a
    /// later one stays as it is, so an entry may be applied again at any time. Unknown users are
    /// passed over. `changes` names each user once.
    fn apply_membership(
        &self,
        room: RoomId,
        kind: RoomKind,
        seq: Seq,
        changes: Vec<(UserId, Membership)>,
    ) -> AccountFuture<Vec<RoomListChange>>;

    /// The account's revision; `None` where there is no such user.
    fn revision(&self, user: UserId) -> AccountFuture<Option<Revision>>;

    /// The rows that changed after `since`, of past rooms too, by ascending revision, at most
    /// `rows_max`. An unknown user has none.
    fn rooms_changed_since(
        &self,
        user: UserId,
        since: Revision,
        rows_max: usize,
    ) -> AccountFuture<AccountChanges>;

    /// The rooms that the user is in, in the order in which they were joined, with
    /// `joined_revision` above `after`, at most `rows_max`.
    fn rooms(&self, user: UserId, after: Revision, rows_max: usize) -> AccountFuture<Vec<RoomRow>>;

    /// The user's row of one room, of a past one too.
    fn room(&self, user: UserId, room: RoomId) -> AccountFuture<Option<RoomRow>>;

    /// The ids of all rooms that the user is in.
    fn rooms_of(&self, user: UserId) -> AccountFuture<Vec<RoomId>>;

    /// In how many rooms each of these users is. Users in none may be missing from the answer.
    fn room_counts(&self, users: Vec<UserId>) -> AccountFuture<Vec<(UserId, usize)>>;

    /// Those of `others` who are in a room that `user` is in too. `user` is never among them.
    fn share_room(&self, user: UserId, others: Vec<UserId>) -> AccountFuture<Vec<UserId>>;

    // Which rooms exist.

    /// The room that the creator's command `id` makes: `proposed` at the first call, and what that
    /// call answered ever after. Safe to retry with another `proposed`.
    fn create_room(
        &self,
        creator: UserId,
        id: MessageId,
        title: String,
        proposed: RoomId,
        now: Timestamp,
    ) -> AccountFuture<RoomClaim>;

    /// The direct room of two people, in either order: `proposed` at the first call, and what that
    /// call answered ever after. Safe to retry with another `proposed`. The two differ.
    fn open_direct(
        &self,
        a: UserId,
        b: UserId,
        proposed: RoomId,
        now: Timestamp,
    ) -> AccountFuture<RoomClaim>;

    // The deployment.

    /// Whether people may sign up. Open until it is closed.
    fn sign_up_open(&self) -> AccountFuture<bool>;

    /// Opens or closes sign-up. Safe to retry.
    fn set_sign_up_open(&self, open: bool) -> AccountFuture<()>;

    /// The keys that sign access tokens, newest first. `proposed` becomes the first one if there is
    /// none, so several nodes that start at once agree. Safe to retry.
    fn signing_keys(&self, proposed: SigningKey) -> AccountFuture<Vec<SigningKey>>;
}
