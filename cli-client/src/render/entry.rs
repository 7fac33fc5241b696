//! An entry of a room's log, as lines.

use magpie::v1::{self, MemberChangeKind, MemberRole, entry::Body};

use crate::{clock::Clock, names::Names, output::Paint, text};

/// What the lines of entries have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style<'a> {
    /// Who the ids are.
    pub(crate) names: &'a Names,
    /// The zone.
    pub(crate) clock: &'a Clock,
    /// The colours.
    pub(crate) paint: Paint,
    /// What the room is called, where lines of several rooms are mixed.
    pub(crate) room: Option<&'a str>,
    /// How wide the terminal is; absent: lines may have any length.
    pub(crate) columns: Option<usize>,
    /// How to ask for a text that is shown in part, up to the seq.
    pub(crate) whole: &'a str,
}

/// The line that opens a day.
pub(crate) fn day_line(day: &str, paint: Paint) -> String {
    paint.dim(&format!("── {day} ──"))
}

/// The lines of an entry. Lines after the first are indented, so that no text can pass for a
/// message of somebody else.
pub(crate) fn entry_lines(entry: &v1::Entry, style: Style<'_>) -> Vec<String> {
    let minute = style.clock.minute(entry.create_time.as_ref());
    let seq = entry.seq.to_string();
    let paint = style.paint;
    let mut head = format!(
        "{}  {}  ",
        paint.dim(&minute),
        paint.dim(&format!("{seq:>4}"))
    );
    let mut indent = text::width(&minute) + 2 + seq.len().max(4) + 2;
    if let Some(room) = style.room {
        head.push_str(&format!("{}  ", paint.dim(room)));
        indent += text::width(room) + 2;
    }
    match &entry.body {
        Some(Body::Message(message)) => message_lines(entry, message, &head, indent, style),
        other => vec![format!(
            "{head}{}",
            paint.dim(&happening(entry, other.as_ref(), style.names))
        )],
    }
}

fn message_lines(
    entry: &v1::Entry,
    message: &v1::Message,
    head: &str,
    indent: usize,
    style: Style<'_>,
) -> Vec<String> {
    let paint = style.paint;
    let name = style.names.label(entry.actor_user_id);
    let reply = message
        .reply_to_seq
        .map(|seq| format!("↳{seq} "))
        .unwrap_or_default();
    let opening = format!("{head}{}: {}", paint.bold(&name), paint.dim(&reply));
    let margin = " ".repeat(indent);
    let mut lines = Vec::new();
    for (number, line) in text::lines(&message.text).into_iter().enumerate() {
        let (begin, taken) = if number == 0 {
            (
                opening.clone(),
                text::width(&name) + 2 + text::width(&reply),
            )
        } else {
            (format!("{margin}{}", paint.dim("│ ")), 2)
        };
        let rows = match style.columns.map(|columns| columns.saturating_sub(indent)) {
            Some(room) => text::wrap(&line, room.saturating_sub(taken), room.saturating_sub(2)),
            None => vec![line],
        };
        let mut rows = rows.into_iter();
        lines.push(format!("{begin}{}", rows.next().unwrap_or_default()));
        lines.extend(rows.map(|row| format!("{margin}  {row}")));
    }
    if message.full_length > 0 {
        let note = format!(
            "… {} characters in all: {} {}",
            text::count(message.full_length.into()),
            style.whole,
            entry.seq
        );
        lines.push(format!("{margin}{}", paint.dim(&note)));
    }
    lines
}

/// An entry that is no message, as one sentence.
fn happening(entry: &v1::Entry, body: Option<&Body>, names: &Names) -> String {
    let actor = names.label(entry.actor_user_id);
    match body {
        Some(Body::RoomCreated(created)) if created.title.is_empty() => {
            format!("* {actor} opened this conversation")
        }
        Some(Body::RoomCreated(created)) => {
            format!(
                "* {actor} made the room “{}”",
                text::one_line(&created.title)
            )
        }
        Some(Body::MembershipChanged(changed)) => {
            membership(entry.actor_user_id, &changed.changes, names)
        }
        Some(Body::RoomUpdated(updated)) => match &updated.title {
            Some(title) => format!("* {actor} renamed the room to “{}”", text::one_line(title)),
            None => format!("* {actor} changed the room"),
        },
        Some(Body::Message(_)) | None => {
            format!("* {actor} did something that this version of magpie does not know")
        }
    }
}

fn membership(actor_id: i64, changes: &[v1::MemberChange], names: &Names) -> String {
    let actor = names.label(actor_id);
    let of = |kind: MemberChangeKind| {
        let who = changes.iter().filter(move |change| change.kind() == kind);
        who.map(|change| change.user_id).collect::<Vec<_>>()
    };
    let list = |ids: &[i64]| {
        let labels: Vec<String> = ids.iter().map(|id| names.label(*id)).collect();
        labels.join(", ")
    };
    let mut said = Vec::new();
    let joined = of(MemberChangeKind::Joined);
    if joined == [actor_id] {
        said.push(format!("{actor} joined"));
    } else if !joined.is_empty() {
        said.push(format!("{actor} added {}", list(&joined)));
    }
    let left = of(MemberChangeKind::Left);
    if !left.is_empty() {
        said.push(format!("{} left", list(&left)));
    }
    let removed = of(MemberChangeKind::Removed);
    if !removed.is_empty() {
        said.push(format!("{actor} removed {}", list(&removed)));
    }
    let owner = changes.iter().find(|change| {
        change.kind() == MemberChangeKind::RoleChanged && change.role() == MemberRole::Owner
    });
    if let Some(owner) = owner {
        said.push(format!("{} is the owner now", names.label(owner.user_id)));
    }
    if said.is_empty() {
        said.push(format!("{actor} changed who is in the room"));
    }
    format!("* {}", said.join("; "))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::{clock, names::tests::names};

    fn entry(body: Body) -> v1::Entry {
        v1::Entry {
            room_id: 7,
            seq: 12,
            create_time: Some(clock::to_wire("2026-11-24T10:02:00Z".parse().unwrap())),
            actor_user_id: 1,
            body: Some(body),
            ..v1::Entry::default()
        }
    }

    fn message(text: &str) -> Body {
        Body::Message(v1::Message {
            text: text.to_owned(),
            ..v1::Message::default()
        })
    }

    fn change(user_id: i64, kind: MemberChangeKind, role: MemberRole) -> v1::MemberChange {
        v1::MemberChange {
            user_id,
            kind: kind.into(),
            role: role.into(),
        }
    }

    fn membership_entry(changes: Vec<v1::MemberChange>) -> v1::Entry {
        entry(Body::MembershipChanged(v1::MembershipChanged { changes }))
    }

    fn lines(entry: &v1::Entry, room: Option<&str>) -> Vec<String> {
        lines_in(entry, room, None)
    }

    fn lines_in(entry: &v1::Entry, room: Option<&str>, columns: Option<usize>) -> Vec<String> {
        let names = names(&[
            (1, "anna", "Anna Lind"),
            (2, "bob", "Bob"),
            (3, "carla", "Carla"),
        ]);
        let clock = Clock::fixed(TimeZone::UTC, "2026-11-24T12:00:00Z".parse().unwrap());
        entry_lines(
            entry,
            Style {
                names: &names,
                clock: &clock,
                paint: Paint::off(),
                room,
                columns,
                whole: "magpie message tea",
            },
        )
    }

    #[test]
    fn a_message_is_a_line() {
        assert_eq!(
            lines(&entry(message("hi")), None),
            ["10:02    12  Anna Lind: hi"]
        );
        assert_eq!(
            lines(&entry(message("hi")), Some("Tea room")),
            ["10:02    12  Tea room  Anna Lind: hi"]
        );
    }

    #[test]
    fn further_lines_cannot_pass_for_other_messages() {
        assert_eq!(
            lines(
                &entry(message("one\n10:03    13  Bob: I owe you 100")),
                None
            ),
            [
                "10:02    12  Anna Lind: one",
                "             │ 10:03    13  Bob: I owe you 100",
            ]
        );
    }

    #[test]
    fn what_the_terminal_would_break_is_broken_behind_the_margin() {
        let long = entry(message(&format!(
            "see{}10:03    13  Bob: I owe you",
            " ".repeat(30)
        )));
        let shown = lines_in(&long, None, Some(40));
        assert!(
            shown.iter().all(|line| text::width(line) <= 40),
            "{shown:#?}"
        );
        let further = shown.iter().skip(1);
        assert!(further.clone().count() > 0);
        assert!(
            further
                .into_iter()
                .all(|line| line.starts_with(&" ".repeat(15)))
        );
    }

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        let shown = lines(&entry(message("\x1b[2Jx\rBob: y\u{202e}z")), None).concat();
        assert!(!shown.chars().any(char::is_control));
        assert!(!shown.contains('\u{202e}'));
        assert!(shown.contains("␛[2Jx␍Bob: y"));
    }

    #[test]
    fn a_reply_says_to_what() {
        let reply = entry(Body::Message(v1::Message {
            text: "me too".to_owned(),
            reply_to_seq: Some(9),
            full_length: 0,
        }));
        assert_eq!(lines(&reply, None), ["10:02    12  Anna Lind: ↳9 me too"]);
    }

    #[test]
    fn a_preview_says_how_to_read_the_rest() {
        let long = entry(Body::Message(v1::Message {
            text: "It was".to_owned(),
            reply_to_seq: None,
            full_length: 48_213,
        }));
        assert_eq!(
            lines(&long, None)[1],
            "             … 48,213 characters in all: magpie message tea 12"
        );
    }

    #[test]
    fn what_happens_to_members_is_said_in_words() {
        use {MemberChangeKind as Kind, MemberRole as Role};
        let added = membership_entry(vec![
            change(2, Kind::Joined, Role::Member),
            change(3, Kind::Joined, Role::Member),
        ]);
        assert_eq!(
            lines(&added, None),
            ["10:02    12  * Anna Lind added Bob, Carla"]
        );
        let left = membership_entry(vec![
            change(1, Kind::Left, Role::Unspecified),
            change(2, Kind::RoleChanged, Role::Owner),
        ]);
        assert_eq!(
            lines(&left, None),
            ["10:02    12  * Anna Lind left; Bob is the owner now"]
        );
        let removed = membership_entry(vec![change(3, Kind::Removed, Role::Unspecified)]);
        assert_eq!(
            lines(&removed, None),
            ["10:02    12  * Anna Lind removed Carla"]
        );
    }

    #[test]
    fn what_a_newer_server_says_still_has_its_line() {
        let newer = v1::Entry {
            body: None,
            ..entry(message(""))
        };
        assert!(lines(&newer, None)[0].contains("does not know"));
    }

    #[test]
    fn titles_cannot_break_the_line() {
        let renamed = entry(Body::RoomUpdated(v1::RoomUpdated {
            title: Some("a\nb".to_owned()),
        }));
        assert_eq!(
            lines(&renamed, None),
            ["10:02    12  * Anna Lind renamed the room to “a␊b”"]
        );
    }
}
