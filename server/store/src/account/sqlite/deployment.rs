//! Statements about the deployment as a whole.

use secrecy::{ExposeSecret, SecretSlice};
use sqlx::SqliteConnection;

use super::convert::{damaged, millis, time};
use crate::account::{Error, SigningKey};

const SIGN_UP: &str = "sign-up";
const OPEN: &str = "open";
const CLOSED: &str = "closed";

pub(super) async fn sign_up_open(connection: &mut SqliteConnection) -> Result<bool, Error> {
    let value: Option<String> = sqlx::query_scalar("SELECT value FROM setting WHERE name = ?")
        .bind(SIGN_UP)
        .fetch_optional(connection)
        .await?;
    match value.as_deref() {
        None | Some(OPEN) => Ok(true),
        Some(CLOSED) => Ok(false),
        Some(_) => Err(damaged("the setting of sign-up is neither open nor closed")),
    }
}

pub(super) async fn set_sign_up_open(
    connection: &mut SqliteConnection,
    open: bool,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO setting (name, value) VALUES (?, ?) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(SIGN_UP)
    .bind(if open { OPEN } else { CLOSED })
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn forget_signing_keys(connection: &mut SqliteConnection) -> Result<(), Error> {
    sqlx::query("DELETE FROM signing_key")
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn signing_keys(
    connection: &mut SqliteConnection,
    proposed: SigningKey,
) -> Result<Vec<SigningKey>, Error> {
    sqlx::query(
        "INSERT INTO signing_key (kid, seed, created) \
         SELECT ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM signing_key)",
    )
    .bind(proposed.kid)
    .bind(proposed.seed.expose_secret().to_vec())
    .bind(millis(proposed.created))
    .execute(&mut *connection)
    .await?;
    let rows: Vec<(String, Vec<u8>, i64)> =
        sqlx::query_as("SELECT kid, seed, created FROM signing_key ORDER BY created DESC, kid")
            .fetch_all(connection)
            .await?;
    rows.into_iter()
        .map(|(kid, seed, created)| {
            Ok(SigningKey {
                kid,
                seed: SecretSlice::from(seed),
                created: time(created)?,
            })
        })
        .collect()
}
