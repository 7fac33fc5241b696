//! Adding people to a group: one outcome for each.

use std::collections::{BTreeSet, HashMap};

use magpie::v1::{self, InviteOutcome};
use magpie_core::{
    command::{Answer, What},
    ids::UserId,
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
    let (seq, joined) = match services.command(submit.map_err(refused)?).await? {
        Answer::Appended { seq, joined, .. } => (seq.get(), joined),
        Answer::Unchanged => (0, Vec::new()),
        Answer::Marks(_) | Answer::Typing => return Err(unfitting()),
    };
    let people: HashMap<_, _> = people.into_iter().map(|p| (p.handle.clone(), p)).collect();
    let results = invite.handles.into_iter().map(|handle| {
        let person = validate::fold_handle(&handle).and_then(|folded| people.get(&folded));
        let outcome = match person {
            None => InviteOutcome::UserNotFound,
            Some(person) if joined.contains(&person.user) => InviteOutcome::Added,
            Some(person) if !person.has_room => InviteOutcome::TooManyRooms,
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
