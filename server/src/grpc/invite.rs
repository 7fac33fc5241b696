//! Adding people to a group: one outcome for each.

use std::collections::{BTreeSet, HashMap, HashSet};

use magpie::v1::{self, InviteOutcome};
use magpie_core::{
    command::{Answer, What},
    ids::{RoomId, UserId},
    owner::{Query, View},
    refusal::Refusal,
};
use tonic::Status;

use super::{
    requests,
    services::{Services, refused, unfitting},
};
use crate::{
    auth::{Caller, store_refusal},
    limits::CALL_HANDLES_MAX,
    validate,
};

/// Adds those who can be added.
pub(super) async fn invite(
    services: &Services,
    caller: Caller,
    invite: v1::InviteMembersRequest,
) -> Result<v1::InviteMembersResponse, Status> {
    let count = invite.handles.len();
    if count == 0 || count > CALL_HANDLES_MAX {
        let range = format!("holds {count} handles; 1 to {CALL_HANDLES_MAX} are accepted");
        return Err(refused(Refusal::field("handles", range)));
    }
    services
        .people
        .count_look_up(caller.user)
        .map_err(refused)?;
    let handles: BTreeSet<_> = invite
        .handles
        .iter()
        .filter_map(|handle| validate::fold_handle(handle))
        .collect();
    let named = handles.len();
    let people = find(services, handles).await?;
    // Whoever is found is told of the invitation; what must not come cheap is to try names out.
    let unknown = named.saturating_sub(people.len()) as u64;
    services
        .people
        .count_unknown(caller.user, unknown)
        .map_err(refused)?;
    let barred = people.iter().filter(|person| !person.has_room);
    let what = What::Invite {
        users: people.iter().map(|person| person.user).collect(),
        barred: barred.map(|person| person.user).collect(),
    };
    let id = &invite.client_message_id;
    let submit = requests::append(caller, invite.room_id, id, invite.after_seq, what);
    let submit = submit.map_err(refused)?;
    let room = submit.room;
    let (seq, joined, absent) = match services.command(submit).await? {
        Answer::Appended { seq, joined, .. } => {
            let others = people.iter().map(|person| person.user);
            let others = others.filter(|user| !joined.contains(user));
            let absent = absent(services, caller, room, others).await;
            (seq.get(), joined, absent)
        }
        Answer::Unchanged => (0, Vec::new(), HashSet::new()),
        Answer::Marks(_) | Answer::Typing => return Err(unfitting()),
    };
    let people: HashMap<_, _> = people.into_iter().map(|p| (p.handle.clone(), p)).collect();
    let results = invite.handles.into_iter().map(|handle| {
        let person = validate::fold_handle(&handle).and_then(|folded| people.get(&folded));
        let outcome = match person {
            None => InviteOutcome::UserNotFound,
            Some(person) if joined.contains(&person.user) => InviteOutcome::Added,
            Some(person) if !person.has_room => InviteOutcome::TooManyRooms,
            Some(person) if absent.contains(&person.user) => InviteOutcome::NotAdded,
            Some(_) => InviteOutcome::AlreadyMember,
        };
        let user_id = person.map_or(0, |person| person.user.get());
        v1::InviteResult {
            handle,
            outcome: outcome.into(),
            user_id,
        }
    });
    Ok(v1::InviteMembersResponse {
        results: results.collect(),
        seq,
    })
}

/// Those of these who are no members: the entry of an earlier attempt may have added others, while
/// these had no account yet, or have left since.
async fn absent(
    services: &Services,
    caller: Caller,
    room: RoomId,
    users: impl Iterator<Item = UserId>,
) -> HashSet<UserId> {
    let mut absent = HashSet::new();
    for user in users {
        let after = UserId::new(user.get() - 1);
        let found = services.view(caller, room, Query::Members { after, count: 1 });
        // Who may not see the members any more is told what the entry says.
        if let Ok(View::Members(rows)) = found.await
            && rows.first().is_none_or(|(first, _)| *first != user)
        {
            absent.insert(user);
        }
    }
    absent
}

/// Somebody who was named.
struct Person {
    handle: String,
    user: UserId,
    /// Whether the account may be in another room.
    has_room: bool,
}

async fn find(services: &Services, handles: BTreeSet<String>) -> Result<Vec<Person>, Status> {
    let handles = handles.into_iter().collect();
    let users = services.accounts.users_by_handle(handles).await;
    let users = users.map_err(store_refusal).map_err(refused)?;
    let counts = services
        .accounts
        .room_counts(users.iter().map(|user| user.id).collect())
        .await;
    let counts: HashMap<_, _> = counts
        .map_err(store_refusal)
        .map_err(refused)?
        .into_iter()
        .collect();
    let max = services.limits.account_rooms_max;
    let person = |user: magpie_store::account::User| Person {
        has_room: counts
            .get(&user.id)
            .is_none_or(|count| (*count as u64) < max),
        user: user.id,
        handle: user.handle,
    };
    Ok(users.into_iter().map(person).collect())
}
