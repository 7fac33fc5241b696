//! Statements about devices and their refresh tokens.

use magpie_core::{
    ids::{DeviceId, UserId},
    time::Timestamp,
};
use sqlx::{FromRow, SqliteConnection};

use super::{
    convert::{damaged, device_id, hash, millis, row_limit, time, user_id},
    limits::SUCCESSORS_MAX,
    user::raise_revision,
};
use crate::account::{
    Device, DeviceCreation, Error, NewDevice, Refresh, Revision, Rotation, TokenHash,
};

#[derive(FromRow)]
struct DeviceRow {
    id: i64,
    name: String,
    created: i64,
    last_used: i64,
}

#[derive(FromRow)]
struct TokenRow {
    account: i64,
    expires: i64,
    revoked: Option<i64>,
    family: Vec<u8>,
    token: Vec<u8>,
    successors: Vec<u8>,
}

pub(super) async fn exists(
    connection: &mut SqliteConnection,
    device: DeviceId,
) -> Result<bool, Error> {
    let found = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM device WHERE id = ?)")
        .bind(device.get())
        .fetch_one(connection)
        .await?;
    Ok(found)
}

/// Writes a device whose id is free, of a user who exists.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    user: UserId,
    device: NewDevice,
) -> Result<(), Error> {
    let revision = raise_revision(connection, user)
        .await?
        .ok_or_else(|| damaged("an account went missing within a transaction"))?;
    sqlx::query(
        "INSERT INTO device \
         (id, account, name, created, last_used, expires, family, token, successors, revision) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, x'', ?)",
    )
    .bind(device.id.get())
    .bind(user.get())
    .bind(device.name)
    .bind(millis(device.created))
    .bind(millis(device.created))
    .bind(millis(device.expires))
    .bind(device.family.0.to_vec())
    .bind(device.token.0.to_vec())
    .bind(revision.get())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn create(
    connection: &mut SqliteConnection,
    user: UserId,
    device: NewDevice,
    devices_max: usize,
) -> Result<DeviceCreation, Error> {
    let disabled: Option<bool> = sqlx::query_scalar("SELECT disabled FROM account WHERE id = ?")
        .bind(user.get())
        .fetch_optional(&mut *connection)
        .await?;
    if disabled != Some(false) {
        return Ok(DeviceCreation::NoUser);
    }
    if exists(&mut *connection, device.id).await? {
        return Ok(DeviceCreation::IdTaken);
    }
    // All but the most recently used ones that fit beside the new one.
    let surplus: Vec<i64> = sqlx::query_scalar(
        "SELECT id FROM device WHERE account = ? AND revoked IS NULL AND expires > ? \
         ORDER BY last_used DESC, id DESC LIMIT -1 OFFSET ?",
    )
    .bind(user.get())
    .bind(millis(device.created))
    .bind(row_limit(devices_max.saturating_sub(1)))
    .fetch_all(&mut *connection)
    .await?;
    let mut ended = Vec::with_capacity(surplus.len());
    for id in surplus.into_iter().rev() {
        let id = device_id(id)?;
        revoke(&mut *connection, user, id, device.created).await?;
        ended.push(id);
    }
    insert(connection, user, device).await?;
    Ok(DeviceCreation::Created { ended })
}

pub(super) async fn list(
    connection: &mut SqliteConnection,
    user: UserId,
    now: Timestamp,
) -> Result<Vec<Device>, Error> {
    let rows: Vec<DeviceRow> = sqlx::query_as(
        "SELECT id, name, created, last_used FROM device \
         WHERE account = ? AND revoked IS NULL AND expires > ? ORDER BY last_used DESC, id DESC",
    )
    .bind(user.get())
    .bind(millis(now))
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Device {
                id: device_id(row.id)?,
                name: row.name,
                created: time(row.created)?,
                last_used: time(row.last_used)?,
            })
        })
        .collect()
}

pub(super) async fn revoke(
    connection: &mut SqliteConnection,
    user: UserId,
    device: DeviceId,
    now: Timestamp,
) -> Result<bool, Error> {
    let changed = sqlx::query(
        "UPDATE device SET revoked = ? WHERE id = ? AND account = ? AND revoked IS NULL",
    )
    .bind(millis(now))
    .bind(device.get())
    .bind(user.get())
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if changed == 0 {
        return Ok(false);
    }
    let revision = raise_revision(connection, user)
        .await?
        .ok_or_else(|| damaged("a device has no account"))?;
    sqlx::query("UPDATE device SET revision = ? WHERE id = ?")
        .bind(revision.get())
        .bind(device.get())
        .execute(connection)
        .await?;
    Ok(true)
}

/// Revokes the devices of a user under a revision that the caller took.
pub(super) async fn revoke_all_but(
    connection: &mut SqliteConnection,
    user: UserId,
    keep: Option<DeviceId>,
    revision: Revision,
    now: Timestamp,
) -> Result<Vec<DeviceId>, Error> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "UPDATE device SET revoked = ?, revision = ? \
         WHERE account = ? AND revoked IS NULL AND id <> ? RETURNING id",
    )
    .bind(millis(now))
    .bind(revision.get())
    .bind(user.get())
    // Ids are positive.
    .bind(keep.map_or(0, DeviceId::get))
    .fetch_all(connection)
    .await?;
    ids.into_iter().map(device_id).collect()
}

pub(super) async fn revoked_since(
    connection: &mut SqliteConnection,
    since: Timestamp,
) -> Result<Vec<(DeviceId, Timestamp)>, Error> {
    let rows: Vec<(i64, i64)> =
        sqlx::query_as("SELECT id, revoked FROM device WHERE revoked >= ? ORDER BY revoked")
            .bind(millis(since))
            .fetch_all(connection)
            .await?;
    rows.into_iter()
        .map(|(id, revoked)| Ok((device_id(id)?, time(revoked)?)))
        .collect()
}

pub(super) async fn rotate(
    connection: &mut SqliteConnection,
    refresh: Refresh,
    now: Timestamp,
) -> Result<Rotation, Error> {
    let row: Option<TokenRow> = sqlx::query_as(
        "SELECT account, expires, revoked, family, token, successors FROM device WHERE id = ?",
    )
    .bind(refresh.device.get())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        return Ok(Rotation::Invalid);
    };
    let over = row.revoked.is_some() || row.expires <= millis(now);
    if over || hash(&row.family)? != refresh.family {
        return Ok(Rotation::Invalid);
    }
    let user = user_id(row.account)?;
    let Some(successors) = successors_after(&row, &refresh)? else {
        revoke(connection, user, refresh.device, now).await?;
        return Ok(Rotation::Reused { user });
    };
    // Takes no revision: nobody is told when a device's tokens were renewed.
    sqlx::query(
        "UPDATE device SET token = ?, successors = ?, last_used = max(last_used, ?) WHERE id = ?",
    )
    .bind(refresh.token.0.to_vec())
    .bind(successors)
    .bind(millis(now))
    .bind(refresh.device.get())
    .execute(connection)
    .await?;
    Ok(Rotation::Rotated {
        user,
        expires: time(row.expires)?,
    })
}

/// The hashes of the tokens that may follow the presented one, with the next one among them.
/// `None` where the presented one is spent.
fn successors_after(row: &TokenRow, refresh: &Refresh) -> Result<Option<Vec<u8>>, Error> {
    let mut issued: Vec<TokenHash> = row
        .successors
        .chunks(size_of::<TokenHash>())
        .map(hash)
        .collect::<Result<_, _>>()?;
    if issued.contains(&refresh.token) {
        // The first of the siblings to be presented: the others were copies or lost answers.
        issued.clear();
    } else if hash(&row.token)? != refresh.token {
        return Ok(None);
    }
    issued.push(refresh.next);
    let surplus = issued.len().saturating_sub(SUCCESSORS_MAX);
    Ok(Some(
        issued[surplus..].iter().flat_map(|hash| hash.0).collect(),
    ))
}
