//! Reads the state of an account for a session that opens.

use magpie_core::{
    edge::{Account, Caller},
    limits::ACCOUNT_ROWS_MAX,
    link::AccountRoom,
    users::{Input as UserInput, Stored},
};
use magpie_store::account::{Error, Revision, RoomRow};

use super::Parts;
use crate::presence::stored;

/// Reads what changed first since a revision. With the `first` reading of a session, also what its user
/// is known to show and which rooms the account is in. The session was reported before, so a change
/// after the reading is told to it. `None` if it could not be read.
pub(super) async fn read(parts: Parts, caller: Caller, since: u64, first: bool) -> Option<Account> {
    let read = try_read(&parts, caller, since, first).await;
    read.inspect_err(|error| tracing::error!(%error, user = %caller.user, "account not read"))
        .ok()
}

async fn try_read(
    parts: &Parts,
    caller: Caller,
    since: u64,
    first: bool,
) -> Result<Account, Error> {
    let user = caller.user;
    if first {
        let users = parts.accounts.users(vec![user]).await?;
        let stored = users.first().map_or_else(Stored::default, stored);
        parts.router.to_user(user, UserInput::Restore(user, stored));
    }
    // A client that has seen a later revision than there is held another copy of the store: it is
    // told all.
    let known = parts.accounts.revision(user).await?.unwrap_or_default();
    let since = i64::try_from(since).ok().and_then(Revision::new);
    let since = since.filter(|since| *since <= known).unwrap_or_default();
    let changes = parts
        .accounts
        .rooms_changed_since(user, since, ACCOUNT_ROWS_MAX)
        .await?;
    let rooms = if first {
        let rooms = parts.accounts.rooms_of(user).await?;
        parts.router.heads(rooms).await
    } else {
        Vec::new()
    };
    Ok(Account {
        revision: since.max(changes.revision).get().unsigned_abs(),
        rows: changes.rooms.iter().map(account_room).collect(),
        more: changes.more,
        rooms,
    })
}

/// A row of the room list as sessions are told it.
pub(crate) fn account_room(row: &RoomRow) -> AccountRoom {
    AccountRoom {
        room: row.room,
        kind: row.kind,
        joined: row.joined,
        left: row.left,
    }
}
