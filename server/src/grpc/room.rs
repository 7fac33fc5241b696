//! `RoomService`: rooms and who is in them.

use futures_util::{StreamExt, stream};
use magpie::v1;
use magpie_core::{
    command::{Answer, Append, Command, Held, Submit, What},
    entry::{Role, RoomKind},
    ids::{MessageId, RoomId, Seq, UserId},
    owner::{Query, View},
    refusal::{Reason, Refusal},
    rows::Settings,
    time::Timestamp,
};
use magpie_store::account::{AccountFuture, Revision, RoomClaim};
use prost::Message;
use tonic::{Request, Response, Status};

use super::{
    api, convert, invite, requests,
    services::{Services, caller, refused, unfitting},
};
use crate::{
    auth::{Caller, store_refusal},
    ids,
    limits::SUMMARIES_AT_ONCE_MAX,
    validate,
};

#[tonic::async_trait]
impl api::RoomService for Services {
    async fn create_room(
        &self,
        request: Request<v1::CreateRoomRequest>,
    ) -> Result<Response<v1::CreateRoomResponse>, Status> {
        let caller = caller(&request)?;
        let create = request.into_inner();
        let id = requests::message_id(&create.client_message_id).map_err(refused)?;
        let title = validate::title("title", &create.title).map_err(refused)?;
        let room = claim(self, caller.user, |proposed, now| {
            self.accounts
                .create_room(caller.user, id, title.clone(), proposed, now)
        })
        .await?;
        let settings = Settings {
            kind: RoomKind::Group,
            title,
        };
        make(
            self,
            caller,
            room,
            id,
            settings,
            vec![(caller.user, Role::Owner)],
        )
        .await?;
        let room = Some(summary(self, caller, room).await?);
        Ok(Response::new(v1::CreateRoomResponse { room }))
    }

    async fn open_direct(
        &self,
        request: Request<v1::OpenDirectRequest>,
    ) -> Result<Response<v1::OpenDirectResponse>, Status> {
        let caller = caller(&request)?;
        let peer = peer(self, caller.user, request.into_inner().peer).await?;
        let room = claim(self, caller.user, |proposed, now| {
            self.accounts.open_direct(caller.user, peer, proposed, now)
        })
        .await?;
        let settings = Settings {
            kind: RoomKind::Direct,
            title: String::new(),
        };
        let members = vec![(caller.user, Role::Member), (peer, Role::Member)];
        let id = MessageId(rand::random());
        make(self, caller, room, id, settings, members).await?;
        let room = Some(summary(self, caller, room).await?);
        Ok(Response::new(v1::OpenDirectResponse { room }))
    }

    async fn get_room(
        &self,
        request: Request<v1::GetRoomRequest>,
    ) -> Result<Response<v1::GetRoomResponse>, Status> {
        let caller = caller(&request)?;
        let room = requests::room(request.get_ref().room_id).map_err(refused)?;
        let room = Some(summary(self, caller, room).await?);
        Ok(Response::new(v1::GetRoomResponse { room }))
    }

    async fn list_rooms(
        &self,
        request: Request<v1::ListRoomsRequest>,
    ) -> Result<Response<v1::ListRoomsResponse>, Status> {
        let caller = caller(&request)?;
        let list = request.into_inner();
        let count = requests::usual_page_size(list.page_size).map_err(refused)? as usize;
        let after = token(&list.page_token, Revision::new)?.unwrap_or_default();
        let rows = self.accounts.rooms(caller.user, after, count).await;
        let rows = rows.map_err(store_refusal).map_err(refused)?;
        let ids: Vec<_> = rows.iter().map(|row| row.room).collect();
        let (rooms, listed) = summaries(self, caller, ids).await?;
        let whole = listed == rows.len() && rows.len() < count;
        let last = rows[..listed].last().filter(|_| !whole);
        let next = last.map(|row| row.joined_revision.get().to_string());
        let next_page_token = next.unwrap_or_default();
        Ok(Response::new(v1::ListRoomsResponse {
            rooms,
            next_page_token,
        }))
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let caller = caller(&request)?;
        let list = request.into_inner();
        let room = requests::room(list.room_id).map_err(refused)?;
        let count = requests::usual_page_size(list.page_size).map_err(refused)? as usize;
        let after = token(&list.page_token, UserId::new)?;
        let View::Members(members) = self
            .view(caller, room, Query::Members { after, count })
            .await?
        else {
            return Err(unfitting());
        };
        let last = members.last().filter(|_| members.len() == count);
        let next_page_token = last.map(|(user, _)| user.to_string()).unwrap_or_default();
        let members = members.iter().map(convert::member).collect();
        Ok(Response::new(v1::ListMembersResponse {
            members,
            next_page_token,
        }))
    }

    async fn invite_members(
        &self,
        request: Request<v1::InviteMembersRequest>,
    ) -> Result<Response<v1::InviteMembersResponse>, Status> {
        let caller = caller(&request)?;
        invite::invite(self, caller, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn leave_room(
        &self,
        request: Request<v1::LeaveRoomRequest>,
    ) -> Result<Response<v1::LeaveRoomResponse>, Status> {
        let caller = caller(&request)?;
        let leave = request.into_inner();
        let id = &leave.client_message_id;
        let submit = requests::append(caller, leave.room_id, id, leave.after_seq, What::Leave);
        let seq = change(self, submit).await?;
        Ok(Response::new(v1::LeaveRoomResponse { seq }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let caller = caller(&request)?;
        let remove = request.into_inner();
        let submit = requests::user("user_id", remove.user_id).and_then(|user| {
            let id = &remove.client_message_id;
            let what = What::Remove(user);
            requests::append(caller, remove.room_id, id, remove.after_seq, what)
        });
        let seq = change(self, submit).await?;
        Ok(Response::new(v1::RemoveMemberResponse { seq }))
    }

    async fn update_room(
        &self,
        request: Request<v1::UpdateRoomRequest>,
    ) -> Result<Response<v1::UpdateRoomResponse>, Status> {
        let caller = caller(&request)?;
        let update = request.into_inner();
        let title = match &update.title {
            Some(title) => validate::title("title", title),
            None => Err(Refusal::field(
                "title",
                "is missing, and there is nothing else to change",
            )),
        };
        let submit = title.and_then(|title| {
            let id = &update.client_message_id;
            let what = What::Update { title: Some(title) };
            requests::append(caller, update.room_id, id, update.after_seq, what)
        });
        let seq = change(self, submit).await?;
        Ok(Response::new(v1::UpdateRoomResponse { seq }))
    }
}

/// Has a command done that appends an entry or changes nothing. Answers its seq, or 0.
async fn change(services: &Services, submit: Result<Submit, Refusal>) -> Result<i64, Status> {
    match services.command(submit.map_err(refused)?).await? {
        Answer::Appended { seq, .. } => Ok(seq.get()),
        Answer::Unchanged => Ok(0),
        Answer::Marks(_) | Answer::Typing => Err(unfitting()),
    }
}

async fn summary(
    services: &Services,
    caller: Caller,
    room: RoomId,
) -> Result<v1::RoomSummary, Status> {
    match services.view(caller, room, Query::Summary).await? {
        View::Summary(summary) => Ok(convert::summary(&summary)),
        _ => Err(unfitting()),
    }
}

/// The summaries of the first of these rooms, as many as a page holds and at least one; and how many
/// rooms that covers. Refused where one of them cannot be had: a list must not look whole without it.
async fn summaries(
    services: &Services,
    caller: Caller,
    rooms: Vec<RoomId>,
) -> Result<(Vec<v1::RoomSummary>, usize), Status> {
    let bytes_max = usize::try_from(services.limits.page_bytes_max).unwrap_or(usize::MAX);
    let summaries = rooms.into_iter().map(|room| listed(services, caller, room));
    let mut summaries = stream::iter(summaries).buffered(SUMMARIES_AT_ONCE_MAX);
    let (mut page, mut bytes, mut covered) = (Vec::new(), 0, 0);
    while let Some(summary) = summaries.next().await {
        let summary = summary?;
        bytes += summary.as_ref().map_or(0, Message::encoded_len);
        if bytes > bytes_max && !page.is_empty() {
            break;
        }
        covered += 1;
        page.extend(summary);
    }
    Ok((page, covered))
}

/// A room of the caller's list. None: it is gone from the list since.
async fn listed(
    services: &Services,
    caller: Caller,
    room: RoomId,
) -> Result<Option<v1::RoomSummary>, Status> {
    let view = services
        .router
        .query(room, caller.user, Query::Summary)
        .await;
    match view {
        Ok(View::Summary(summary)) => Ok(summary.role.map(|_| convert::summary(&summary))),
        Ok(_) => Err(unfitting()),
        Err(refusal) if refusal.reason == Reason::RoomNotFound => Ok(None),
        Err(refusal) => Err(refused(refusal)),
    }
}

/// Finds the id of a room that is made once.
async fn claim(
    services: &Services,
    caller: UserId,
    claim: impl Fn(RoomId, Timestamp) -> AccountFuture<RoomClaim> + Send,
) -> Result<RoomId, Status> {
    services.counted_claim(caller).map_err(refused)?;
    for _ in 0..ids::PROPOSALS_MAX {
        let now = services.clock.now().wall;
        match claim(ids::room(now), now)
            .await
            .map_err(store_refusal)
            .map_err(refused)?
        {
            RoomClaim::New(room) | RoomClaim::Existing(room) => return Ok(room),
            RoomClaim::Reused(_) => {
                let why = "this client_message_id was used for another room; make a new one";
                return Err(refused(Refusal::new(Reason::IdReused, why)));
            }
            RoomClaim::NoUser => {
                let why = "there is no such user";
                return Err(refused(Refusal::new(Reason::UserNotFound, why)));
            }
            RoomClaim::IdTaken => {}
        }
    }
    Err(unfitting())
}

/// Writes a room's first entry, unless it is there.
async fn make(
    services: &Services,
    caller: Caller,
    room: RoomId,
    id: MessageId,
    settings: Settings,
    members: Vec<(UserId, Role)>,
) -> Result<(), Status> {
    if services
        .router
        .heads(vec![room])
        .await
        .iter()
        .any(|(_, head)| head.is_some())
    {
        return Ok(());
    }
    // After the claim, so that a retry of what was done is answered as before.
    check_room_counts(services, caller.user, &members).await?;
    let what = What::Create { settings, members };
    let command = Command::Append(Append {
        id,
        after: Some(Seq::ZERO),
        what,
    });
    let submit = Submit {
        room,
        actor: caller.user,
        device: Some(caller.device),
        command,
        unless_retry: None,
        held: Held::default(),
    };
    let submit = services.counted(submit);
    match services.router.command(submit).await {
        // Another call for the same room was quicker.
        Err(refusal) if refusal.reason == Reason::IdReused => Ok(()),
        made => made.map(drop).map_err(refused),
    }
}

/// Whether all first members of a room may be in one more.
async fn check_room_counts(
    services: &Services,
    caller: UserId,
    members: &[(UserId, Role)],
) -> Result<(), Status> {
    let users = members.iter().map(|(user, _)| *user).collect();
    let counts = services.accounts.room_counts(users).await;
    let counts = counts.map_err(store_refusal).map_err(refused)?;
    let max = services.limits.account_rooms_max;
    let full = counts.iter().find(|(_, count)| *count as u64 >= max);
    let Some((user, _)) = full else {
        return Ok(());
    };
    let why = if *user == caller {
        format!("you are in {max} rooms, as many as one may be; leave one first")
    } else {
        format!("the other person is in {max} rooms, as many as one may be")
    };
    Err(refused(Refusal::new(Reason::TooManyRooms, why)))
}

/// The other person of a direct room.
async fn peer(
    services: &Services,
    user: UserId,
    peer: Option<v1::open_direct_request::Peer>,
) -> Result<UserId, Status> {
    use v1::open_direct_request::Peer;
    let (field, found) = match peer {
        None => {
            return Err(refused(Refusal::field(
                "peer",
                "is missing; give an id or a handle",
            )));
        }
        Some(Peer::UserId(id)) => {
            let id = requests::user("user_id", id).map_err(refused)?;
            ("user_id", services.accounts.users(vec![id]).await)
        }
        Some(Peer::Handle(handle)) => {
            services.people.count_look_up(user).map_err(refused)?;
            let handle = validate::handle("handle", &handle).map_err(refused)?;
            (
                "handle",
                services.accounts.users_by_handle(vec![handle]).await,
            )
        }
    };
    let found = found.map_err(store_refusal).map_err(refused)?;
    match found.first() {
        None => Err(refused(Refusal::new(
            Reason::UserNotFound,
            "no user has this id or handle",
        ))),
        Some(peer) if peer.id == user => Err(refused(Refusal::field(
            field,
            "is yourself; a direct room has two people",
        ))),
        Some(peer) => Ok(peer.id),
    }
}

/// What a page token says; none for the first page.
fn token<T>(token: &str, parse: impl Fn(i64) -> Option<T>) -> Result<Option<T>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let parsed = token.parse().ok().and_then(parse);
    parsed.map(Some).ok_or_else(|| {
        let why = "is none that this server gave; leave it empty for the first page";
        refused(Refusal::field("page_token", why))
    })
}
