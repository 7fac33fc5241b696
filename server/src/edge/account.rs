//! Reads the state of an account for a session that opens.

use magpie_core::{
    edge::{Account, Caller},
    link::AccountRoom,
    users::{Input as UserInput, Stored},
};
use magpie_store::account::{Error, Revision, RoomRow};

use super::Parts;
use crate::{limits::ACCOUNT_ROWS_MAX, presence::stored};

/// Reads what changed since a revision; with the `first` reading of a session, also what its user is
/// known to show. The session was reported before, so a change after the reading is told to it. `None`
/// if it could not be read.
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
    let ahead = since > known.get().unsigned_abs();
    let mut account = Account {
        revision: if ahead { 0 } else { since },
        ..Account::default()
    };
    loop {
        let since = i64::try_from(account.revision).ok().and_then(Revision::new);
        let since = since.unwrap_or_default();
        let changes = parts
            .accounts
            .rooms_changed_since(user, since, ACCOUNT_ROWS_MAX)
            .await?;
        account.revision = account.revision.max(changes.revision.get().unsigned_abs());
        account.rows.extend(changes.rooms.iter().map(account_room));
        if !changes.more {
            break;
        }
    }
    let rooms = parts.accounts.rooms_of(user).await?;
    account.rooms = parts.router.heads(rooms).await;
    Ok(account)
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
