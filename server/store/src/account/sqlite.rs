//! The account store in one SQLite file. It knows SQL; what the rows mean is its callers' business.

mod convert;
mod deployment;
mod device;
mod limits;
mod open;
mod room;
mod room_list;
mod user;

use std::{future::Future, path::Path, pin::Pin, sync::Arc};

use magpie_core::{
    entry::RoomKind,
    ids::{DeviceId, MessageId, RoomId, Seq, UserId},
    time::Timestamp,
};
use secrecy::SecretString;
use sqlx::SqliteConnection;
use tokio::sync::Semaphore;

use self::open::Pools;
use super::{
    AccountChanges, AccountFuture, AccountStore, Availability, Device, DeviceCreation, Error,
    Login, Membership, NewDevice, NewUser, Refresh, Revision, RoomClaim, RoomListChange, RoomRow,
    Rotation, SigningKey, Status, User, UserCreation,
};

pub use open::{FILE_NAME, OpenError};

/// The account store of a node with a data directory.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pools: Pools,
    /// Places for writes under way or waiting, so that a flood is refused and not queued.
    writes: Arc<Semaphore>,
    /// The same for reads.
    reads: Arc<Semaphore>,
}

type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

impl SqliteStore {
    /// Opens [`FILE_NAME`] in the data directory, or makes it with mode 0600, and brings its
    /// schema up to date.
    pub async fn open(directory: &Path) -> Result<Self, OpenError> {
        Ok(Self {
            pools: open::open(directory).await?,
            writes: Arc::new(Semaphore::new(limits::WRITES_MAX)),
            reads: Arc::new(Semaphore::new(limits::READS_MAX)),
        })
    }

    /// Whether anybody has an account here.
    pub async fn has_users(&self) -> Result<bool, Error> {
        self.read(|connection| Box::pin(user::any(connection)))
            .await
    }

    /// Forgets the keys that sign access tokens, so that the next start makes one. No token signed
    /// until then is good after it.
    ///
    /// # Errors
    /// As for the other writes. Running it again is safe.
    pub async fn forget_signing_keys(&self) -> Result<(), Error> {
        self.write(|connection| Box::pin(deployment::forget_signing_keys(connection)))
            .await
    }

    /// Waits for what is under way and closes the file, with its log folded into it.
    pub async fn close(&self) {
        self.pools.readers.close().await;
        self.pools.writer.close().await;
    }

    fn read<T, F>(&self, work: F) -> AccountFuture<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let pool = self.pools.readers.clone();
        let reads = Arc::clone(&self.reads);
        Box::pin(async move {
            let _place = reads.try_acquire_owned().map_err(|_| Error::Busy)?;
            let mut connection = pool.acquire().await?;
            work(&mut connection).await
        })
    }

    /// Runs the work as one transaction, in a task of its own: if the caller goes away, a
    /// transaction is neither cut short nor left open.
    fn write<T, F>(&self, work: F) -> AccountFuture<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let pool = self.pools.writer.clone();
        let writes = Arc::clone(&self.writes);
        Box::pin(async move {
            let place = writes.try_acquire_owned().map_err(|_| Error::Busy)?;
            let task = tokio::spawn(async move {
                let _place = place;
                let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
                let answer = work(&mut transaction).await?;
                transaction.commit().await?;
                Ok(answer)
            });
            task.await.map_err(|error| Error::Failed(error.into()))?
        })
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        // The low byte of SQLite's code is its kind.
        let kind = error
            .as_database_error()
            .and_then(|error| error.code()?.parse::<u32>().ok())
            .map(|code| code & 0xff);
        match (kind, &error) {
            (Some(5 | 6), _) | (_, sqlx::Error::PoolTimedOut) => Self::Busy,
            (Some(13), _) => Self::Full,
            _ => Self::Failed(error.into()),
        }
    }
}

impl AccountStore for SqliteStore {
    fn create_user(
        &self,
        user: NewUser,
        first_device: Option<NewDevice>,
    ) -> AccountFuture<UserCreation> {
        self.write(move |connection| Box::pin(user::create(connection, user, first_device)))
    }

    fn users(&self, ids: Vec<UserId>) -> AccountFuture<Vec<User>> {
        self.read(move |connection| Box::pin(user::by_ids(connection, ids)))
    }

    fn users_by_handle(&self, handles: Vec<String>) -> AccountFuture<Vec<User>> {
        self.read(move |connection| Box::pin(user::by_handles(connection, handles)))
    }

    fn login(&self, handle: String) -> AccountFuture<Option<Login>> {
        self.read(move |connection| Box::pin(user::login(connection, handle)))
    }

    fn password_hash(&self, user: UserId) -> AccountFuture<Option<SecretString>> {
        self.read(move |connection| Box::pin(user::password_hash(connection, user)))
    }

    fn set_password(
        &self,
        user: UserId,
        password_hash: SecretString,
        keep: Option<DeviceId>,
        now: Timestamp,
    ) -> AccountFuture<Option<Vec<DeviceId>>> {
        self.write(move |connection| {
            Box::pin(user::set_password(
                connection,
                user,
                password_hash,
                keep,
                now,
            ))
        })
    }

    fn set_display_name(&self, user: UserId, display_name: String) -> AccountFuture<Option<User>> {
        self.write(move |connection| {
            Box::pin(user::set_display_name(connection, user, display_name))
        })
    }

    fn set_status(
        &self,
        user: UserId,
        availability: Option<Availability>,
        text: Option<String>,
    ) -> AccountFuture<Option<Status>> {
        self.write(move |connection| {
            Box::pin(user::set_status(connection, user, availability, text))
        })
    }

    fn set_disabled(
        &self,
        user: UserId,
        disabled: bool,
        now: Timestamp,
    ) -> AccountFuture<Option<Vec<DeviceId>>> {
        self.write(move |connection| Box::pin(user::set_disabled(connection, user, disabled, now)))
    }

    fn record_last_seen(&self, seen: Vec<(UserId, Timestamp)>) -> AccountFuture<()> {
        self.write(move |connection| Box::pin(user::record_last_seen(connection, seen)))
    }

    fn create_device(
        &self,
        user: UserId,
        device: NewDevice,
        devices_max: usize,
    ) -> AccountFuture<DeviceCreation> {
        self.write(move |connection| {
            Box::pin(device::create(connection, user, device, devices_max))
        })
    }

    fn devices(&self, user: UserId, now: Timestamp) -> AccountFuture<Vec<Device>> {
        self.read(move |connection| Box::pin(device::list(connection, user, now)))
    }

    fn revoke_device(&self, user: UserId, device: DeviceId, now: Timestamp) -> AccountFuture<bool> {
        self.write(move |connection| Box::pin(device::revoke(connection, user, device, now)))
    }

    fn revoked_since(&self, since: Timestamp) -> AccountFuture<Vec<(DeviceId, Timestamp)>> {
        self.read(move |connection| Box::pin(device::revoked_since(connection, since)))
    }

    fn rotate_refresh_token(&self, refresh: Refresh, now: Timestamp) -> AccountFuture<Rotation> {
        self.write(move |connection| Box::pin(device::rotate(connection, refresh, now)))
    }

    fn apply_membership(
        &self,
        room: RoomId,
        kind: RoomKind,
        seq: Seq,
        changes: Vec<(UserId, Membership)>,
    ) -> AccountFuture<Vec<RoomListChange>> {
        self.write(move |connection| {
            Box::pin(room_list::apply(connection, room, kind, seq, changes))
        })
    }

    fn revision(&self, user: UserId) -> AccountFuture<Option<Revision>> {
        self.read(move |connection| Box::pin(user::current_revision(connection, user)))
    }

    fn rooms_changed_since(
        &self,
        user: UserId,
        since: Revision,
        rows_max: usize,
    ) -> AccountFuture<AccountChanges> {
        self.read(move |connection| {
            Box::pin(room_list::changed_since(connection, user, since, rows_max))
        })
    }

    fn rooms(&self, user: UserId, after: Revision, rows_max: usize) -> AccountFuture<Vec<RoomRow>> {
        self.read(move |connection| Box::pin(room_list::page(connection, user, after, rows_max)))
    }

    fn room(&self, user: UserId, room: RoomId) -> AccountFuture<Option<RoomRow>> {
        self.read(move |connection| Box::pin(room_list::one(connection, user, room)))
    }

    fn rooms_of(&self, user: UserId) -> AccountFuture<Vec<RoomId>> {
        self.read(move |connection| Box::pin(room_list::ids(connection, user)))
    }

    fn room_counts(&self, users: Vec<UserId>) -> AccountFuture<Vec<(UserId, usize)>> {
        self.read(move |connection| Box::pin(room_list::counts(connection, users)))
    }

    fn share_room(&self, user: UserId, others: Vec<UserId>) -> AccountFuture<Vec<UserId>> {
        self.read(move |connection| Box::pin(room_list::share_room(connection, user, others)))
    }

    fn create_room(
        &self,
        creator: UserId,
        id: MessageId,
        title: String,
        proposed: RoomId,
        now: Timestamp,
    ) -> AccountFuture<RoomClaim> {
        self.write(move |connection| {
            Box::pin(room::create(connection, creator, id, title, proposed, now))
        })
    }

    fn open_direct(
        &self,
        a: UserId,
        b: UserId,
        proposed: RoomId,
        now: Timestamp,
    ) -> AccountFuture<RoomClaim> {
        self.write(move |connection| Box::pin(room::open_direct(connection, a, b, proposed, now)))
    }

    fn sign_up_open(&self) -> AccountFuture<bool> {
        self.read(move |connection| Box::pin(deployment::sign_up_open(connection)))
    }

    fn set_sign_up_open(&self, open: bool) -> AccountFuture<()> {
        self.write(move |connection| Box::pin(deployment::set_sign_up_open(connection, open)))
    }

    fn signing_keys(&self, proposed: SigningKey) -> AccountFuture<Vec<SigningKey>> {
        self.write(move |connection| Box::pin(deployment::signing_keys(connection, proposed)))
    }
}

#[cfg(test)]
mod tests;
