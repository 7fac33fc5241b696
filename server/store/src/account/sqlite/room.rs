//! Statements about which rooms exist.

use magpie_core::{
    ids::{MessageId, RoomId, UserId},
    time::Timestamp,
};
use sqlx::SqliteConnection;

use super::convert::{json_array, millis, room_id};
use crate::account::{Error, RoomClaim};

pub(super) async fn create(
    connection: &mut SqliteConnection,
    creator: UserId,
    id: MessageId,
    title: String,
    proposed: RoomId,
    now: Timestamp,
) -> Result<RoomClaim, Error> {
    let earlier: Option<(i64, String)> =
        sqlx::query_as("SELECT id, title FROM room WHERE creator = ? AND client_message_id = ?")
            .bind(creator.get())
            .bind(id.0.to_vec())
            .fetch_optional(&mut *connection)
            .await?;
    if let Some((room, earlier_title)) = earlier {
        let room = room_id(room)?;
        return Ok(if earlier_title == title {
            RoomClaim::Existing(room)
        } else {
            RoomClaim::Reused(room)
        });
    }
    if !all_exist(&mut *connection, &[creator]).await? {
        return Ok(RoomClaim::NoUser);
    }
    let inserted = sqlx::query(
        "INSERT INTO room (id, created, creator, client_message_id, title) \
         VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    )
    .bind(proposed.get())
    .bind(millis(now))
    .bind(creator.get())
    .bind(id.0.to_vec())
    .bind(title)
    .execute(connection)
    .await?
    .rows_affected();
    Ok(claimed(inserted, proposed))
}

pub(super) async fn open_direct(
    connection: &mut SqliteConnection,
    a: UserId,
    b: UserId,
    proposed: RoomId,
    now: Timestamp,
) -> Result<RoomClaim, Error> {
    let (lower, higher) = (a.min(b), a.max(b));
    let earlier: Option<i64> =
        sqlx::query_scalar("SELECT id FROM room WHERE lower_account = ? AND higher_account = ?")
            .bind(lower.get())
            .bind(higher.get())
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(room) = earlier {
        return Ok(RoomClaim::Existing(room_id(room)?));
    }
    if !all_exist(&mut *connection, &[a, b]).await? {
        return Ok(RoomClaim::NoUser);
    }
    let inserted = sqlx::query(
        "INSERT INTO room (id, created, lower_account, higher_account) VALUES (?, ?, ?, ?) \
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(proposed.get())
    .bind(millis(now))
    .bind(lower.get())
    .bind(higher.get())
    .execute(connection)
    .await?
    .rows_affected();
    Ok(claimed(inserted, proposed))
}

fn claimed(inserted: u64, proposed: RoomId) -> RoomClaim {
    if inserted == 0 {
        RoomClaim::IdTaken
    } else {
        RoomClaim::New(proposed)
    }
}

async fn all_exist(connection: &mut SqliteConnection, users: &[UserId]) -> Result<bool, Error> {
    let found: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM account WHERE id IN (SELECT value FROM json_each(?))",
    )
    .bind(json_array(users.iter().map(|user| user.get())))
    .fetch_one(connection)
    .await?;
    Ok(usize::try_from(found) == Ok(users.len()))
}
