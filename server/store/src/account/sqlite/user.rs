//! Statements about users.

use magpie_core::{
    ids::{DeviceId, UserId},
    time::Timestamp,
};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{FromRow, SqliteConnection};

use super::{
    convert::{availability, availability_number, json_array, millis, revision, time, user_id},
    device,
};
use crate::account::{
    Availability, Error, Login, NewDevice, NewUser, Revision, Status, User, UserCreation,
};

#[derive(FromRow)]
struct UserRow {
    id: i64,
    handle: String,
    display_name: String,
    created: i64,
    disabled: bool,
    availability: i64,
    status_text: String,
    last_seen: Option<i64>,
    password_hash: String,
}

impl UserRow {
    fn into_login(self) -> Result<Login, Error> {
        Ok(Login {
            password_hash: self.password_hash.into(),
            user: User {
                id: user_id(self.id)?,
                handle: self.handle,
                display_name: self.display_name,
                created: time(self.created)?,
                disabled: self.disabled,
                status: Status {
                    availability: availability(self.availability)?,
                    text: self.status_text,
                },
                last_seen: self.last_seen.map(time).transpose()?,
            },
        })
    }

    fn into_user(self) -> Result<User, Error> {
        Ok(self.into_login()?.user)
    }
}

pub(super) async fn any(connection: &mut SqliteConnection) -> Result<bool, Error> {
    let any = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM account)");
    Ok(any.fetch_one(connection).await?)
}

pub(super) async fn create(
    connection: &mut SqliteConnection,
    user: NewUser,
    first_device: Option<NewDevice>,
) -> Result<UserCreation, Error> {
    let handle_taken: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM account WHERE handle = ?)")
            .bind(&user.handle)
            .fetch_one(&mut *connection)
            .await?;
    if handle_taken {
        return Ok(UserCreation::HandleTaken);
    }
    let id_taken: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM account WHERE id = ?)")
        .bind(user.id.get())
        .fetch_one(&mut *connection)
        .await?;
    let device_taken = match &first_device {
        Some(device) => device::exists(&mut *connection, device.id).await?,
        None => false,
    };
    if id_taken || device_taken {
        return Ok(UserCreation::IdTaken);
    }
    sqlx::query(
        "INSERT INTO account (id, handle, display_name, password_hash, created) \
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(user.id.get())
    .bind(user.handle)
    .bind(user.display_name)
    .bind(user.password_hash.expose_secret())
    .bind(millis(user.created))
    .execute(&mut *connection)
    .await?;
    if let Some(device) = first_device {
        device::insert(connection, user.id, device).await?;
    }
    Ok(UserCreation::Created)
}

pub(super) async fn by_ids(
    connection: &mut SqliteConnection,
    ids: Vec<UserId>,
) -> Result<Vec<User>, Error> {
    let rows: Vec<UserRow> = sqlx::query_as(
        "SELECT * FROM account WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
    )
    .bind(json_array(ids.into_iter().map(UserId::get)))
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(UserRow::into_user).collect()
}

pub(super) async fn by_handles(
    connection: &mut SqliteConnection,
    mut handles: Vec<String>,
) -> Result<Vec<User>, Error> {
    handles.sort_unstable();
    handles.dedup();
    let mut users = Vec::with_capacity(handles.len());
    for handle in handles {
        users.extend(
            login(&mut *connection, handle)
                .await?
                .map(|login| login.user),
        );
    }
    Ok(users)
}

pub(super) async fn login(
    connection: &mut SqliteConnection,
    handle: String,
) -> Result<Option<Login>, Error> {
    let row: Option<UserRow> = sqlx::query_as("SELECT * FROM account WHERE handle = ?")
        .bind(handle)
        .fetch_optional(connection)
        .await?;
    row.map(UserRow::into_login).transpose()
}

pub(super) async fn password_hash(
    connection: &mut SqliteConnection,
    user: UserId,
) -> Result<Option<SecretString>, Error> {
    let hash: Option<String> = sqlx::query_scalar("SELECT password_hash FROM account WHERE id = ?")
        .bind(user.get())
        .fetch_optional(connection)
        .await?;
    Ok(hash.map(SecretString::from))
}

pub(super) async fn set_password(
    connection: &mut SqliteConnection,
    user: UserId,
    password_hash: SecretString,
    keep: Option<DeviceId>,
    now: Timestamp,
) -> Result<Option<Vec<DeviceId>>, Error> {
    let Some(revision) = raise_revision(connection, user).await? else {
        return Ok(None);
    };
    sqlx::query("UPDATE account SET password_hash = ? WHERE id = ?")
        .bind(password_hash.expose_secret())
        .bind(user.get())
        .execute(&mut *connection)
        .await?;
    let revoked = device::revoke_all_but(connection, user, keep, revision, now).await?;
    Ok(Some(revoked))
}

pub(super) async fn set_display_name(
    connection: &mut SqliteConnection,
    user: UserId,
    display_name: String,
) -> Result<Option<User>, Error> {
    let row: Option<UserRow> = sqlx::query_as(
        "UPDATE account SET display_name = ?, revision = revision + 1 WHERE id = ? RETURNING *",
    )
    .bind(display_name)
    .bind(user.get())
    .fetch_optional(connection)
    .await?;
    row.map(UserRow::into_user).transpose()
}

pub(super) async fn set_status(
    connection: &mut SqliteConnection,
    user: UserId,
    availability: Option<Availability>,
    text: Option<String>,
) -> Result<Option<Status>, Error> {
    let row: Option<UserRow> = sqlx::query_as(
        "UPDATE account SET availability = coalesce(?, availability), \
         status_text = coalesce(?, status_text), revision = revision + 1 \
         WHERE id = ? RETURNING *",
    )
    .bind(availability.map(availability_number))
    .bind(text)
    .bind(user.get())
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok(row.into_user()?.status)).transpose()
}

pub(super) async fn set_disabled(
    connection: &mut SqliteConnection,
    user: UserId,
    disabled: bool,
    now: Timestamp,
) -> Result<Option<Vec<DeviceId>>, Error> {
    let Some(revision) = raise_revision(connection, user).await? else {
        return Ok(None);
    };
    sqlx::query("UPDATE account SET disabled = ? WHERE id = ?")
        .bind(disabled)
        .bind(user.get())
        .execute(&mut *connection)
        .await?;
    if !disabled {
        return Ok(Some(Vec::new()));
    }
    let revoked = device::revoke_all_but(connection, user, None, revision, now).await?;
    Ok(Some(revoked))
}

pub(super) async fn record_last_seen(
    connection: &mut SqliteConnection,
    seen: Vec<(UserId, Timestamp)>,
) -> Result<(), Error> {
    for (user, time) in seen {
        sqlx::query("UPDATE account SET last_seen = max(coalesce(last_seen, 0), ?) WHERE id = ?")
            .bind(millis(time))
            .bind(user.get())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Takes the account's next revision. `None` where there is no such user.
pub(super) async fn raise_revision(
    connection: &mut SqliteConnection,
    user: UserId,
) -> Result<Option<Revision>, Error> {
    let number: Option<i64> = sqlx::query_scalar(
        "UPDATE account SET revision = revision + 1 WHERE id = ? RETURNING revision",
    )
    .bind(user.get())
    .fetch_optional(connection)
    .await?;
    number.map(revision).transpose()
}

pub(super) async fn current_revision(
    connection: &mut SqliteConnection,
    user: UserId,
) -> Result<Option<Revision>, Error> {
    let number: Option<i64> = sqlx::query_scalar("SELECT revision FROM account WHERE id = ?")
        .bind(user.get())
        .fetch_optional(connection)
        .await?;
    number.map(revision).transpose()
}
