//! The JSON forms of what the server says. docs/cli.md documents each; they stay as they are,
//! and only gain members.
//!
//! Ids are strings, since they do not fit a double; seqs and counts are numbers; times RFC 3339.

use magpie::v1::{self, entry::Body};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{clock::rfc3339, names::Names};

/// An entry of a room's log.
pub(crate) fn entry(entry: &v1::Entry, names: &Names) -> Value {
    let mut out = Map::new();
    let kind = match &entry.body {
        Some(Body::Message(_)) => "message",
        Some(Body::RoomCreated(_)) => "room_created",
        Some(Body::MembershipChanged(_)) => "membership_changed",
        Some(Body::RoomUpdated(_)) => "room_updated",
        None => "unknown",
    };
    out.insert("type".into(), json!(kind));
    out.insert("room_id".into(), json!(entry.room_id.to_string()));
    out.insert("seq".into(), json!(entry.seq));
    out.insert(
        "create_time".into(),
        json!(rfc3339(entry.create_time.as_ref())),
    );
    out.insert("actor".into(), names.json(entry.actor_user_id));
    out.insert(
        "actor_device_id".into(),
        json!(some_id(entry.actor_device_id)),
    );
    let id = Uuid::from_slice(&entry.client_message_id).ok();
    out.insert(
        "client_message_id".into(),
        json!(id.map(|id| id.to_string())),
    );
    match &entry.body {
        Some(Body::Message(message)) => {
            out.insert("text".into(), json!(message.text));
            out.insert("reply_to_seq".into(), json!(message.reply_to_seq));
            // Absent where `text` is all of it.
            if message.full_length > 0 {
                out.insert("full_length".into(), json!(message.full_length));
            }
        }
        Some(Body::RoomCreated(created)) => {
            out.insert("kind".into(), json!(room_kind(created.kind())));
            out.insert("title".into(), json!(created.title));
            out.insert("changes".into(), changes(&created.changes, names));
        }
        Some(Body::MembershipChanged(changed)) => {
            out.insert("changes".into(), changes(&changed.changes, names));
        }
        Some(Body::RoomUpdated(updated)) => {
            out.insert("title".into(), json!(updated.title));
        }
        None => {}
    }
    Value::Object(out)
}

/// A room as the account sees it.
pub(crate) fn room(room: &v1::RoomSummary, names: &Names) -> Value {
    json!({
        "type": "room",
        "room_id": room.room_id.to_string(),
        "kind": room_kind(room.kind()),
        "title": if room.kind() == v1::RoomKind::Direct { Value::Null } else { json!(room.title) },
        "peer": if room.peer_user_id > 0 { names.json(room.peer_user_id) } else { Value::Null },
        "member_count": room.member_count,
        "role": role(room.role()),
        "head_seq": room.head_seq,
        "read_seq": room.read_seq,
        "joined_seq": room.joined_seq,
        "unread_count": room.unread_count,
        "last_message": room.last_message.as_ref().map(|last| entry(last, names)),
    })
}

/// A member of a room.
pub(crate) fn member(room_id: i64, member: &v1::Member, names: &Names) -> Value {
    json!({
        "type": "member",
        "room_id": room_id.to_string(),
        "user": names.json(member.user_id),
        "role": role(member.role()),
        "joined_seq": member.joined_seq,
    })
}

/// A device of the account.
pub(crate) fn device(device: &v1::Device) -> Value {
    json!({
        "type": "device",
        "device_id": device.device_id.to_string(),
        "name": device.name,
        "create_time": rfc3339(device.create_time.as_ref()),
        "last_used_time": rfc3339(device.last_used_time.as_ref()),
        "current": device.current,
    })
}

/// Whether somebody is there; `presence` is absent for people whom the caller may not see.
pub(crate) fn presence(user_id: i64, presence: Option<&v1::Presence>, names: &Names) -> Value {
    json!({
        "type": "presence",
        "user": names.json(user_id),
        "state": presence.map_or("not_visible", |presence| presence_state(presence.state())),
        "status_text": presence.map_or("", |presence| &presence.status_text),
        "last_seen_time": presence.and_then(|presence| rfc3339(presence.last_seen_time.as_ref())),
    })
}

/// The words for roles.
pub(crate) fn role(role: v1::MemberRole) -> &'static str {
    match role {
        v1::MemberRole::Unspecified => "none",
        v1::MemberRole::Member => "member",
        v1::MemberRole::Owner => "owner",
    }
}

/// The words for kinds of rooms.
pub(crate) fn room_kind(kind: v1::RoomKind) -> &'static str {
    match kind {
        v1::RoomKind::Unspecified => "unknown",
        v1::RoomKind::Direct => "direct",
        v1::RoomKind::Group => "group",
    }
}

/// The words for presence.
pub(crate) fn presence_state(state: v1::PresenceState) -> &'static str {
    match state {
        v1::PresenceState::Unspecified => "unknown",
        v1::PresenceState::Offline => "offline",
        v1::PresenceState::Online => "online",
        v1::PresenceState::Away => "away",
        v1::PresenceState::Busy => "busy",
    }
}

/// The words for what became of an invitation.
pub(crate) fn invite_outcome(outcome: v1::InviteOutcome) -> &'static str {
    match outcome {
        v1::InviteOutcome::Unspecified => "unknown",
        v1::InviteOutcome::Added => "added",
        v1::InviteOutcome::AlreadyMember => "already_member",
        v1::InviteOutcome::UserNotFound => "user_not_found",
        v1::InviteOutcome::TooManyRooms => "too_many_rooms",
        v1::InviteOutcome::NotAdded => "not_added",
    }
}

fn changes(changes: &[v1::MemberChange], names: &Names) -> Value {
    let one = |change: &v1::MemberChange| {
        let kind = match change.kind() {
            v1::MemberChangeKind::Unspecified => "unknown",
            v1::MemberChangeKind::Joined => "joined",
            v1::MemberChangeKind::Left => "left",
            v1::MemberChangeKind::Removed => "removed",
            v1::MemberChangeKind::RoleChanged => "role_changed",
        };
        json!({
            "user": names.json(change.user_id),
            "change": kind,
            "role": role(change.role()),
        })
    };
    Value::Array(changes.iter().map(one).collect())
}

fn some_id(id: i64) -> Option<String> {
    (id > 0).then(|| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, names::tests::names};

    fn message() -> v1::Entry {
        v1::Entry {
            room_id: 7_312_345_678_901_234_567,
            seq: 12,
            create_time: Some(clock::to_wire("2026-11-24T10:02:03.004Z".parse().unwrap())),
            actor_user_id: 1,
            actor_device_id: 5,
            client_message_id: bytes::Bytes::from_static(&[1; 16]),
            body: Some(Body::Message(v1::Message {
                text: "hi \x1b[31m\n".to_owned(),
                reply_to_seq: None,
                full_length: 0,
            })),
        }
    }

    #[test]
    fn a_message_has_the_documented_form() {
        assert_eq!(
            entry(&message(), &names(&[(1, "anna", "Anna Lind")])).to_string(),
            concat!(
                r#"{"type":"message","room_id":"7312345678901234567","seq":12,"#,
                r#""create_time":"2026-11-24T10:02:03.004Z","#,
                r#""actor":{"user_id":"1","handle":"anna","display_name":"Anna Lind"},"#,
                r#""actor_device_id":"5","#,
                r#""client_message_id":"01010101-0101-0101-0101-010101010101","#,
                r#""text":"hi \u001b[31m\n","reply_to_seq":null}"#
            )
        );
    }

    #[test]
    fn a_preview_says_how_long_the_whole_is() {
        let mut preview = message();
        if let Some(Body::Message(message)) = &mut preview.body {
            message.full_length = 48_213;
        }
        assert_eq!(entry(&preview, &Names::default())["full_length"], 48_213);
    }

    #[test]
    fn membership_names_who_and_what() {
        let changed = v1::Entry {
            body: Some(Body::MembershipChanged(v1::MembershipChanged {
                changes: vec![v1::MemberChange {
                    user_id: 2,
                    kind: v1::MemberChangeKind::Joined.into(),
                    role: v1::MemberRole::Member.into(),
                }],
            })),
            ..message()
        };
        let value = entry(&changed, &names(&[(2, "bob", "Bob")]));
        assert_eq!(value["type"], "membership_changed");
        assert_eq!(
            value["changes"].to_string(),
            concat!(
                r#"[{"user":{"user_id":"2","handle":"bob","display_name":"Bob"},"#,
                r#""change":"joined","role":"member"}]"#
            )
        );
    }

    #[test]
    fn an_entry_of_a_newer_server_is_still_an_object() {
        let newer = v1::Entry {
            body: None,
            ..message()
        };
        assert_eq!(entry(&newer, &Names::default())["type"], "unknown");
    }

    #[test]
    fn a_direct_room_has_a_peer_and_no_title() {
        let direct = v1::RoomSummary {
            room_id: 9,
            kind: v1::RoomKind::Direct.into(),
            peer_user_id: 2,
            unread_count: 1000,
            ..v1::RoomSummary::default()
        };
        let value = room(&direct, &names(&[(2, "bob", "Bob")]));
        assert_eq!(value["title"], Value::Null);
        assert_eq!(value["peer"]["handle"], "bob");
        assert_eq!(value["last_message"], Value::Null);
    }

    #[test]
    fn people_out_of_sight_are_said_to_be() {
        let value = presence(2, None, &names(&[(2, "bob", "Bob")]));
        assert_eq!(value["state"], "not_visible");
        assert_eq!(value["last_seen_time"], Value::Null);
    }
}
