//! Statements about room lists.

use magpie_core::{
    entry::RoomKind,
    ids::{RoomId, Seq, UserId},
};
use sqlx::{Connection, FromRow, SqliteConnection};

use super::{
    convert::{json_array, kind, kind_number, revision, room_id, row_limit, seq, user_id},
    user::{current_revision, raise_revision},
};
use crate::account::{AccountChanges, Error, Membership, Revision, RoomListChange, RoomRow};

#[derive(FromRow)]
struct ListRow {
    room: i64,
    kind: i64,
    seq: i64,
    joined_seq: i64,
    left_seq: Option<i64>,
    joined_revision: i64,
    revision: i64,
}

impl ListRow {
    fn into_row(self) -> Result<RoomRow, Error> {
        Ok(RoomRow {
            room: room_id(self.room)?,
            kind: kind(self.kind)?,
            joined: seq(self.joined_seq)?,
            left: self.left_seq.map(seq).transpose()?,
            joined_revision: revision(self.joined_revision)?,
            revision: revision(self.revision)?,
        })
    }
}

fn into_rows(rows: Vec<ListRow>) -> Result<Vec<RoomRow>, Error> {
    rows.into_iter().map(ListRow::into_row).collect()
}

pub(super) async fn apply(
    connection: &mut SqliteConnection,
    room: RoomId,
    kind: RoomKind,
    seq: Seq,
    changes: Vec<(UserId, Membership)>,
) -> Result<Vec<RoomListChange>, Error> {
    let mut applied = Vec::with_capacity(changes.len());
    for (user, membership) in changes {
        let before = find(&mut *connection, user, room).await?;
        if before.as_ref().is_some_and(|row| row.seq >= seq.get()) {
            continue;
        }
        let Some(revision) = raise_revision(&mut *connection, user).await? else {
            continue;
        };
        let row = folded(before, room, kind, seq, membership, revision);
        put(&mut *connection, user, &row).await?;
        applied.push(RoomListChange {
            user,
            revision,
            row: row.into_row()?,
        });
    }
    Ok(applied)
}

/// The row after an entry that is newer than the one it was written from.
fn folded(
    before: Option<ListRow>,
    room: RoomId,
    kind: RoomKind,
    seq: Seq,
    membership: Membership,
    revision: Revision,
) -> ListRow {
    let (joined_seq, joined_revision) = match (membership, &before) {
        (Membership::Left, Some(row)) => (row.joined_seq, row.joined_revision),
        // A leave without a join before it: the join's entry was never applied, and will be passed
        // over, so there is no better place in the order.
        (Membership::Joined, _) | (Membership::Left, None) => (seq.get(), revision.get()),
    };
    ListRow {
        room: room.get(),
        kind: kind_number(kind),
        seq: seq.get(),
        joined_seq,
        left_seq: match membership {
            Membership::Joined => None,
            Membership::Left => Some(seq.get()),
        },
        joined_revision,
        revision: revision.get(),
    }
}

async fn put(connection: &mut SqliteConnection, user: UserId, row: &ListRow) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO room_row \
         (account, room, kind, seq, joined_seq, left_seq, joined_revision, revision) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (account, room) DO UPDATE SET kind = excluded.kind, seq = excluded.seq, \
         joined_seq = excluded.joined_seq, left_seq = excluded.left_seq, \
         joined_revision = excluded.joined_revision, revision = excluded.revision",
    )
    .bind(user.get())
    .bind(row.room)
    .bind(row.kind)
    .bind(row.seq)
    .bind(row.joined_seq)
    .bind(row.left_seq)
    .bind(row.joined_revision)
    .bind(row.revision)
    .execute(connection)
    .await?;
    Ok(())
}

async fn find(
    connection: &mut SqliteConnection,
    user: UserId,
    room: RoomId,
) -> Result<Option<ListRow>, Error> {
    let row = sqlx::query_as("SELECT * FROM room_row WHERE account = ? AND room = ?")
        .bind(user.get())
        .bind(room.get())
        .fetch_optional(connection)
        .await?;
    Ok(row)
}

pub(super) async fn one(
    connection: &mut SqliteConnection,
    user: UserId,
    room: RoomId,
) -> Result<Option<RoomRow>, Error> {
    find(connection, user, room)
        .await?
        .map(ListRow::into_row)
        .transpose()
}

pub(super) async fn changed_since(
    connection: &mut SqliteConnection,
    user: UserId,
    since: Revision,
    rows_max: usize,
) -> Result<AccountChanges, Error> {
    // One snapshot for the revision and the rows below it.
    let mut snapshot = connection.begin().await?;
    let current = current_revision(&mut snapshot, user)
        .await?
        .unwrap_or_default();
    let rows: Vec<ListRow> = sqlx::query_as(
        "SELECT * FROM room_row WHERE account = ? AND revision > ? ORDER BY revision LIMIT ?",
    )
    .bind(user.get())
    .bind(since.get())
    .bind(row_limit(rows_max.saturating_add(1)))
    .fetch_all(&mut *snapshot)
    .await?;
    snapshot.commit().await?;
    let mut rooms = into_rows(rows)?;
    let more = rooms.len() > rows_max;
    rooms.truncate(rows_max);
    let revision = if more {
        rooms.last().map_or(since, |row| row.revision)
    } else {
        current
    };
    Ok(AccountChanges {
        revision,
        rooms,
        more,
    })
}

pub(super) async fn page(
    connection: &mut SqliteConnection,
    user: UserId,
    after: Revision,
    rows_max: usize,
) -> Result<Vec<RoomRow>, Error> {
    let rows = sqlx::query_as(
        "SELECT * FROM room_row WHERE account = ? AND left_seq IS NULL AND joined_revision > ? \
         ORDER BY joined_revision LIMIT ?",
    )
    .bind(user.get())
    .bind(after.get())
    .bind(row_limit(rows_max))
    .fetch_all(connection)
    .await?;
    into_rows(rows)
}

pub(super) async fn ids(
    connection: &mut SqliteConnection,
    user: UserId,
) -> Result<Vec<RoomId>, Error> {
    let ids: Vec<i64> =
        sqlx::query_scalar("SELECT room FROM room_row WHERE account = ? AND left_seq IS NULL")
            .bind(user.get())
            .fetch_all(connection)
            .await?;
    ids.into_iter().map(room_id).collect()
}

pub(super) async fn counts(
    connection: &mut SqliteConnection,
    users: Vec<UserId>,
) -> Result<Vec<(UserId, usize)>, Error> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT account, count(*) FROM room_row \
         WHERE account IN (SELECT value FROM json_each(?)) AND left_seq IS NULL GROUP BY account",
    )
    .bind(json_array(users.into_iter().map(UserId::get)))
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(user, count)| Ok((user_id(user)?, usize::try_from(count).unwrap_or(0))))
        .collect()
}

pub(super) async fn share_room(
    connection: &mut SqliteConnection,
    user: UserId,
    others: Vec<UserId>,
) -> Result<Vec<UserId>, Error> {
    // The cross join fixes the order of the loops: the user's rooms outside, and for each a
    // look-up of the other's row by its key, until the first that is found.
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT DISTINCT candidate.value FROM json_each(?1) AS candidate \
         WHERE candidate.value <> ?2 AND EXISTS ( \
           SELECT 1 FROM room_row AS mine CROSS JOIN room_row AS theirs \
           WHERE mine.account = ?2 AND mine.left_seq IS NULL \
             AND theirs.account = candidate.value AND theirs.room = mine.room \
             AND theirs.left_seq IS NULL)",
    )
    .bind(json_array(others.into_iter().map(UserId::get)))
    .bind(user.get())
    .fetch_all(connection)
    .await?;
    ids.into_iter().map(user_id).collect()
}
