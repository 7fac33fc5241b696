//! Which room a person means: an id, `@handle`, or a part of a title.

use magpie::v1::{
    FindUserRequest, GetRoomRequest, ListRoomsRequest, OpenDirectRequest, Reason, RoomKind,
    RoomSummary, User, open_direct_request::Peer,
};
use serde_json::json;

use crate::{
    failure::{Exit, Failure, Result, reason_name},
    limits::{CANDIDATES_SHOWN_MAX, PAGE_ROOMS_MAX},
    link::Link,
    names::Names,
    text,
};

/// Whether naming a person opens the direct room where there is none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direct {
    /// As sending does.
    Open,
    /// As reading does.
    Find,
}

/// Finds the room that `input` means.
pub(crate) async fn resolve(link: &Link, input: &str, direct: Direct) -> Result<RoomSummary> {
    if let Some(handle) = input.strip_prefix('@') {
        return match direct {
            Direct::Open => open_direct(link, handle).await,
            Direct::Find => find_direct(link, handle).await,
        };
    }
    if let Some(room) = by_id(link, input).await? {
        return Ok(room);
    }
    pick(input, list(link).await?)
}

/// All rooms of the account, in the order in which they were joined.
pub(crate) async fn list(link: &Link) -> Result<Vec<RoomSummary>> {
    let mut rooms = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListRoomsRequest {
            page_size: PAGE_ROOMS_MAX,
            page_token,
        };
        let page = link
            .read(|api| {
                let request = request.clone();
                async move { api.rooms().list_rooms(request).await }
            })
            .await?;
        rooms.extend(page.rooms);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(rooms);
        }
    }
}

/// The direct room with somebody, made at the first call.
pub(crate) async fn open_direct(link: &Link, handle: &str) -> Result<RoomSummary> {
    let request = OpenDirectRequest {
        peer: Some(Peer::Handle(handle.to_owned())),
    };
    let answer = link.read(|api| {
        let request = request.clone();
        async move { api.rooms().open_direct(request).await }
    });
    let answer = answer.await.map_err(|failure| {
        let is_self = handle.eq_ignore_ascii_case(&link.profile().handle);
        if is_self && failure.reason() == reason_name(Reason::InvalidField) {
            yourself(failure)
        } else {
            nobody(failure, handle)
        }
    })?;
    answer.room.ok_or_else(|| incomplete("OpenDirect"))
}

/// The user of a handle.
pub(crate) async fn find_user(link: &Link, handle: &str) -> Result<User> {
    let request = FindUserRequest {
        handle: handle.to_owned(),
    };
    let answer = link.read(|api| {
        let request = request.clone();
        async move { api.users().find_user(request).await }
    });
    let answer = answer.await.map_err(|failure| nobody(failure, handle))?;
    answer.user.ok_or_else(|| incomplete("FindUser"))
}

/// Of several people that were named, which one there is not.
fn nobody(failure: Failure, handle: &str) -> Failure {
    if failure.reason() == reason_name(Reason::UserNotFound) {
        failure.with_message(format!("nobody has the handle @{}", text::one_line(handle)))
    } else {
        failure
    }
}

/// Whoever would talk to themselves.
fn yourself(failure: Failure) -> Failure {
    failure
        .with_message("this is you, and a direct room is with somebody else".to_owned())
        .hint("make a room of your own with `magpie create TITLE`")
}

/// What a room is called: its title, or the other person of a direct room, for which no title can be
/// taken.
pub(crate) fn title(room: &RoomSummary, names: &Names) -> String {
    if room.kind() == RoomKind::Direct {
        names.handle(room.peer_user_id)
    } else {
        let title = text::one_line(&room.title);
        match title.starts_with('@') {
            true => format!("“{title}”"),
            false => title,
        }
    }
}

/// How a group is named on a command line: by its title, unless that looks like a person.
pub(crate) fn word(room: &RoomSummary) -> String {
    match room.title.starts_with('@') {
        true => room.room_id.to_string(),
        false => text::shell_word(&room.title),
    }
}

/// An answer without what the contract promises.
pub(crate) fn incomplete(call: &str) -> Failure {
    Failure::new(
        Exit::Unreachable,
        "BAD_ANSWER",
        format!("the server's answer to {call} is incomplete"),
    )
}

async fn by_id(link: &Link, input: &str) -> Result<Option<RoomSummary>> {
    let Some(room_id) = input.parse().ok().filter(|id: &i64| *id > 0) else {
        return Ok(None);
    };
    let request = GetRoomRequest { room_id };
    let answer = link.read(|api| async move { api.rooms().get_room(request).await });
    match answer.await {
        Ok(answer) => Ok(answer.room),
        // It may be a number in a title.
        Err(failure) if failure.reason() == reason_name(Reason::RoomNotFound) => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn find_direct(link: &Link, handle: &str) -> Result<RoomSummary> {
    let user = find_user(link, handle).await?;
    if user.user_id == link.profile().user_id {
        let reason = reason_name(Reason::InvalidField);
        return Err(yourself(Failure::new(Exit::Refused, reason, "")));
    }
    let rooms = list(link).await?;
    rooms
        .into_iter()
        .find(|room| room.peer_user_id == user.user_id)
        .ok_or_else(|| {
            Failure::new(
                Exit::Refused,
                reason_name(Reason::RoomNotFound),
                format!("there is no direct room with @{} yet", user.handle),
            )
            .hint(format!("open it with `magpie direct {}`", user.handle))
        })
}

/// The room whose title is `input`, else the only one whose title holds it, in any case.
fn pick(input: &str, rooms: Vec<RoomSummary>) -> Result<RoomSummary> {
    let wanted = input.to_lowercase();
    let same: Vec<RoomSummary> = rooms
        .into_iter()
        .filter(|room| !wanted.is_empty() && room.title.to_lowercase().contains(&wanted))
        .collect();
    let whole = |room: &&RoomSummary| room.title.to_lowercase() == wanted;
    let exact: Vec<&RoomSummary> = same.iter().filter(whole).collect();
    match (exact.as_slice(), same.as_slice()) {
        ([one], _) => Ok((*one).clone()),
        ([], [one]) => Ok(one.clone()),
        (_, []) => Err(Failure::new(
            Exit::Refused,
            reason_name(Reason::RoomNotFound),
            format!("none of your rooms has {input:?} in its title"),
        )
        .hint("`magpie rooms` lists them; a person is written @handle")),
        _ => Err(ambiguous(input, &same)),
    }
}

fn ambiguous(input: &str, rooms: &[RoomSummary]) -> Failure {
    let mut hint = "say more of the title, or give the id:".to_owned();
    for room in rooms.iter().take(CANDIDATES_SHOWN_MAX) {
        hint.push_str(&format!(
            "\n    {}  {}",
            room.room_id,
            text::one_line(&room.title)
        ));
    }
    if rooms.len() > CANDIDATES_SHOWN_MAX {
        hint.push_str("\n    …");
    }
    let candidates: Vec<_> = rooms
        .iter()
        .map(|room| json!({"room_id": room.room_id.to_string(), "title": room.title}))
        .collect();
    Failure::new(
        Exit::Usage,
        "AMBIGUOUS_ROOM",
        format!(
            "{} of your rooms have {input:?} in their title",
            rooms.len()
        ),
    )
    .hint(hint)
    .detail("candidates", json!(candidates))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(titles: &[&str]) -> Vec<RoomSummary> {
        (1..)
            .zip(titles)
            .map(|(room_id, title)| RoomSummary {
                room_id,
                kind: RoomKind::Group.into(),
                title: (*title).to_owned(),
                ..RoomSummary::default()
            })
            .collect()
    }

    #[test]
    fn a_part_of_a_title_is_enough_in_any_case() {
        let room = pick("TEA", rooms(&["Tea room", "Kitchen"])).unwrap();
        assert_eq!(room.title, "Tea room");
    }

    #[test]
    fn a_whole_title_goes_before_a_part() {
        let room = pick("tea", rooms(&["Tea", "Tea room"])).unwrap();
        assert_eq!(room.room_id, 1);
    }

    #[test]
    fn an_ambiguous_title_lists_the_candidates() {
        let failure = pick("room", rooms(&["Tea room", "Bedroom\x1b[2J", "Kitchen"])).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert_eq!(failure.json()["error"]["candidates"][1]["room_id"], "2");
        assert!(failure.human().contains("1  Tea room"));
        assert!(!failure.human().contains('\x1b'));
    }

    #[test]
    fn two_rooms_of_one_title_are_ambiguous() {
        let failure = pick("tea", rooms(&["Tea", "tea"])).unwrap_err();
        assert_eq!(failure.reason(), "AMBIGUOUS_ROOM");
    }

    #[test]
    fn an_unknown_title_is_refused_as_the_server_would() {
        let failure = pick("attic", rooms(&["Tea room"])).unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(failure.reason(), "ROOM_NOT_FOUND");
        assert!(pick("", rooms(&["Tea room"])).is_err());
    }
}
