//! Rooms: making, listing and renaming them.

use magpie::v1::{CreateRoomRequest, RoomSummary, UpdateRoomRequest, entry::Body};
use serde_json::json;

use crate::{
    app::App,
    args::{Create, Rename, Retry},
    failure::Result,
    json,
    limits::{LAST_MESSAGE_COLUMNS_MAX, TITLE_COLUMNS_MAX},
    link::Link,
    names::{self, Names},
    output::Paint,
    render::Table,
    retry::RetryId,
    rooms::{self, Direct},
    text,
};

/// The count that stands for more than the server counts.
const UNREAD_UNCOUNTED: i32 = 1000;

pub(crate) async fn create(app: &App, args: Create) -> Result<()> {
    let link = app.link()?;
    let id = command_id(&args.retry, None);
    let request = CreateRoomRequest {
        client_message_id: id.bytes(),
        title: args.title,
    };
    let answer = link
        .command(id, args.retry.id.is_some(), |api| {
            let request = request.clone();
            async move { api.rooms().create_room(request).await }
        })
        .await?;
    let room = answer.room.ok_or_else(|| rooms::incomplete("CreateRoom"))?;
    let names = names_at_hand(&link, &room).await;
    let word = rooms::word(&link, &room).await;
    app.out.done(
        || {
            format!(
                "Made {}, room {}.\nNext: {} invite {word} HANDLE",
                rooms::quoted(&room.title),
                room.room_id,
                app.program(&link),
            )
        },
        || json::room(&room, &names),
    )
}

pub(crate) async fn direct(app: &App, handle: &str) -> Result<()> {
    let link = app.link()?;
    let room = rooms::open_direct(&link, handle).await?;
    let names = names_at_hand(&link, &room).await;
    app.out.done(
        || {
            let peer = names.full(room.peer_user_id);
            format!(
                "The direct room with {peer} is {}.\nNext: {} chat @{handle}",
                room.room_id,
                app.program(&link)
            )
        },
        || json::room(&room, &names),
    )
}

pub(crate) async fn list(app: &App, long: bool, unread: bool) -> Result<()> {
    let link = app.link()?;
    let mut rooms = rooms::list(&link).await?;
    rooms.retain(|room| !unread || room.unread_count > 0);
    // Where something happened last comes first.
    rooms.sort_by_key(|room| std::cmp::Reverse(last_time(room)));
    let names = room_names(&link, &rooms).await?;
    if app.out.is_json() {
        for room in &rooms {
            app.out.line(&json::room(room, &names).to_string())?;
        }
        return Ok(());
    }
    if rooms.is_empty() {
        return app.out.line(if unread {
            "Nothing unread."
        } else {
            "You are in no room yet. Make one: magpie create \"Tea room\""
        });
    }
    let table = if long {
        long_table(app, &rooms, &names)
    } else {
        short_table(app, &rooms, &names)
    };
    for line in table.lines() {
        app.out.line(&line)?;
    }
    Ok(())
}

pub(crate) async fn rename(app: &App, args: Rename) -> Result<()> {
    let link = app.link()?;
    let room = rooms::resolve(&link, &args.room.room, Direct::Find).await?;
    let id = command_id(&args.retry, Some(&room));
    let request = UpdateRoomRequest {
        client_message_id: id.bytes(),
        room_id: room.room_id,
        title: Some(args.title.clone()),
        after_seq: id.after_seq,
    };
    let answer = link
        .command(id, args.retry.id.is_some(), |api| {
            let request = request.clone();
            async move { api.rooms().update_room(request).await }
        })
        .await?;
    app.out.done(
        || {
            let (before, now) = (rooms::quoted(&room.title), rooms::quoted(&args.title));
            match answer.seq {
                0 => format!("{now} is the title already."),
                _ => format!("{before} is called {now} now."),
            }
        },
        || {
            json!({
                "type": "renamed",
                "room_id": room.room_id.to_string(),
                "title": args.title,
                "seq": (answer.seq > 0).then_some(answer.seq),
            })
        },
    )
}

/// The id given, or a new one that knows the room's head.
pub(crate) fn command_id(retry: &Retry, room: Option<&RoomSummary>) -> RetryId {
    retry
        .id
        .unwrap_or_else(|| RetryId::fresh(room.map(|room| room.head_seq)))
}

/// The names that these rooms' summaries need.
pub(crate) async fn room_names(link: &Link, rooms: &[RoomSummary]) -> Result<Names> {
    let mut names = Names::default();
    names
        .learn(link, rooms.iter().flat_map(names::in_room))
        .await?;
    Ok(names)
}

/// The same for one room after a command, which is done whether or not the names can be had.
pub(crate) async fn names_at_hand(link: &Link, room: &RoomSummary) -> Names {
    let names = room_names(link, std::slice::from_ref(room)).await;
    names.unwrap_or_default()
}

fn last_time(room: &RoomSummary) -> (i64, i32) {
    let time = room.last_message.as_ref().and_then(|last| last.create_time);
    time.map_or((0, 0), |time| (time.seconds, time.nanos))
}

fn unread(room: &RoomSummary) -> String {
    match room.unread_count {
        0 => String::new(),
        UNREAD_UNCOUNTED.. => "999+".to_owned(),
        count => count.to_string(),
    }
}

fn last(app: &App, room: &RoomSummary, names: &Names) -> (String, String) {
    let Some(entry) = &room.last_message else {
        return (String::new(), String::new());
    };
    let text = match &entry.body {
        Some(Body::Message(message)) => message.text.as_str(),
        _ => "",
    };
    let said = format!("{}: {text}", names.label(entry.actor_user_id)).replace('\n', " ");
    (
        app.clock.short(entry.create_time.as_ref()),
        text::snippet(&said, LAST_MESSAGE_COLUMNS_MAX),
    )
}

fn short_table(app: &App, rooms: &[RoomSummary], names: &Names) -> Table {
    let mut table = Table::new(app.out.paint(), &["ROOM", "#UNREAD", "LAST", ""]);
    for room in rooms {
        let (time, said) = last(app, room, names);
        table.row([
            (
                text::snippet(&rooms::title(room, names), TITLE_COLUMNS_MAX),
                Paint::bold as _,
            ),
            (unread(room), Paint::fresh),
            (time, Paint::dim),
            (said, Paint::plain),
        ]);
    }
    table
}

fn long_table(app: &App, rooms: &[RoomSummary], names: &Names) -> Table {
    let head = [
        "ID", "ROOM", "KIND", "ROLE", "#MEMBERS", "#UNREAD", "#HEAD", "LAST",
    ];
    let mut table = Table::new(app.out.paint(), &head);
    for room in rooms {
        table.row([
            (room.room_id.to_string(), Paint::plain as _),
            (
                text::snippet(&rooms::title(room, names), TITLE_COLUMNS_MAX),
                Paint::bold,
            ),
            (json::room_kind(room.kind()).to_owned(), Paint::plain),
            (json::role(room.role()).to_owned(), Paint::plain),
            (room.member_count.to_string(), Paint::plain),
            (unread(room), Paint::fresh),
            (room.head_seq.to_string(), Paint::plain),
            (last(app, room, names).0, Paint::dim),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_counts_are_exact_up_to_999() {
        let room = |unread_count| RoomSummary {
            unread_count,
            ..RoomSummary::default()
        };
        assert_eq!(unread(&room(0)), "");
        assert_eq!(unread(&room(999)), "999");
        assert_eq!(unread(&room(1000)), "999+");
    }
}
