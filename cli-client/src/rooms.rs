//! Which room a person means: an id, `@handle`, `title:TITLE`, or a part of a title.

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

/// Goes before a title that is written out whole.
const WHOLE: &str = "title:";

/// Digits from which on a number is an id, whatever rooms are called: nobody may take up by a title what
/// was meant for another room. Ids have 18 or 19.
const ID_DIGITS_MIN: usize = 15;

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
    let rooms = list(link).await?;
    match input.strip_prefix(WHOLE) {
        Some(title) => pick(title, rooms, |has, wanted| has == wanted),
        None => pick(input, rooms, |has, wanted| has.contains(wanted)),
    }
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
        group_title(&room.title)
    }
}

/// What a group of this title is called.
pub(crate) fn group_title(title: &str) -> String {
    let title = text::one_line(title);
    match title.starts_with('@') {
        true => quoted(&title),
        false => title,
    }
}

/// What a room is called, within a sentence.
pub(crate) fn quoted(title: &str) -> String {
    let title = text::one_line(title);
    match title.starts_with('“') {
        true => title,
        false => format!("“{title}”"),
    }
}

/// How a group is named on a command line: by its title where that leads to it, else by its id.
pub(crate) async fn word(link: &Link, room: &RoomSummary) -> String {
    let meant = match resolve(link, &room.title, Direct::Find).await {
        Ok(meant) => meant.room_id == room.room_id,
        Err(_) => false,
    };
    match meant && text::one_line(&room.title) == room.title {
        true => text::shell_word(&room.title),
        false => room.room_id.to_string(),
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
        Err(failure) if failure.reason() != reason_name(Reason::RoomNotFound) => Err(failure),
        // It may be a number in a title.
        Err(_) if input.len() < ID_DIGITS_MIN => Ok(None),
        Err(failure) => Err(failure.hint(format!(
            "a number of {ID_DIGITS_MIN} digits or more is an id; a title is written {WHOLE}TITLE"
        ))),
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

/// The only room whose title fits, in any case. A title that fits better goes before no other: titles
/// are given by other people, and nobody may turn away what was meant for another room.
fn pick(
    title: &str,
    mut rooms: Vec<RoomSummary>,
    fits: impl Fn(&str, &str) -> bool,
) -> Result<RoomSummary> {
    let wanted = title.to_lowercase();
    rooms.retain(|room| {
        !wanted.is_empty() && !room.title.is_empty() && fits(&room.title.to_lowercase(), &wanted)
    });
    match rooms.len() {
        0 => Err(Failure::new(
            Exit::Refused,
            reason_name(Reason::RoomNotFound),
            format!("none of your rooms has {title:?} in its title"),
        )
        .hint("`magpie rooms` lists them; a person is written @handle")),
        1 => Ok(rooms.remove(0)),
        _ => Err(ambiguous(title, &rooms)),
    }
}

fn ambiguous(title: &str, rooms: &[RoomSummary]) -> Failure {
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
    let whole = |room: &&RoomSummary| room.title.to_lowercase() == title.to_lowercase();
    if rooms.iter().filter(whole).count() == 1 {
        let whole = text::shell_word(&format!("{WHOLE}{title}"));
        hint.push_str(&format!("\n  {whole} is the one with just this title"));
    }
    let candidates: Vec<_> = rooms
        .iter()
        .map(|room| json!({"room_id": room.room_id.to_string(), "title": room.title}))
        .collect();
    Failure::new(
        Exit::Usage,
        "AMBIGUOUS_ROOM",
        format!(
            "{} of your rooms have {title:?} in their title",
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

    fn part(title: &str, titles: &[&str]) -> Result<RoomSummary> {
        pick(title, rooms(titles), |has, wanted| has.contains(wanted))
    }

    #[test]
    fn a_part_of_a_title_is_enough_in_any_case() {
        let room = part("TEA", &["Tea room", "Kitchen"]).unwrap();
        assert_eq!(room.title, "Tea room");
    }

    #[test]
    fn nobody_takes_a_name_over_with_a_title_that_fits_better() {
        let failure = part("tea", &["Tea room", "tea"]).unwrap_err();
        assert_eq!(failure.reason(), "AMBIGUOUS_ROOM");
        assert!(failure.human().contains("title:tea is the one"));
    }

    #[test]
    fn a_title_can_be_written_out_whole() {
        let whole =
            |title, titles: &[&str]| pick(title, rooms(titles), |has, wanted| has == wanted);
        assert_eq!(whole("TEA", &["Tea room", "tea"]).unwrap().room_id, 2);
        let failure = whole("tea", &["Tea", "tea"]).unwrap_err();
        assert_eq!(failure.reason(), "AMBIGUOUS_ROOM");
        assert!(!failure.human().contains("is the one"));
        assert!(whole("room", &["Tea room"]).is_err());
    }

    #[test]
    fn an_ambiguous_title_lists_the_candidates() {
        let failure = part("room", &["Tea room", "Bedroom\x1b[2J", "Kitchen"]).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert_eq!(failure.json()["error"]["candidates"][1]["room_id"], "2");
        assert!(failure.human().contains("1  Tea room"));
        assert!(!failure.human().contains('\x1b'));
    }

    #[test]
    fn two_rooms_of_one_title_are_ambiguous() {
        let failure = part("tea", &["Tea", "tea"]).unwrap_err();
        assert_eq!(failure.reason(), "AMBIGUOUS_ROOM");
    }

    #[test]
    fn an_unknown_title_is_refused_as_the_server_would() {
        let failure = part("attic", &["Tea room"]).unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(failure.reason(), "ROOM_NOT_FOUND");
        assert!(part("", &["Tea room"]).is_err());
    }
}
