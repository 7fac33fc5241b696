//! From the core's words to the contract's.

use std::time::Duration;

use magpie::v1;
use magpie_core::{
    entry::{Body, ChangeKind, Entry, MemberChange, Role, RoomKind},
    ids::{RoomId, UserId},
    link::{AccountRoom, RoomSync, Summary},
    rows::{Marks, MemberRow},
    time::Timestamp,
    users::{Presence, PresenceState},
};
use prost::Message;

pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let seconds = i64::try_from(time.0 / 1_000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(time.0 % 1_000).unwrap_or(0) * 1_000_000;
    prost_types::Timestamp { seconds, nanos }
}

pub(super) fn duration(wait: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        nanos: wait.subsec_nanos().cast_signed(),
    }
}

pub(super) fn entry(room: RoomId, entry: &Entry) -> v1::Entry {
    v1::Entry {
        body: Some(body(&entry.body)),
        ..header(room, entry)
    }
}

/// An entry without its body.
pub(super) fn header(room: RoomId, entry: &Entry) -> v1::Entry {
    v1::Entry {
        room_id: room.get(),
        seq: entry.seq.get(),
        create_time: Some(timestamp(entry.time)),
        actor_user_id: entry.actor.get(),
        actor_device_id: entry.device.map_or(0, |device| device.get()),
        client_message_id: entry.id.0.to_vec().into(),
        body: None,
    }
}

fn body(body: &Body) -> v1::entry::Body {
    match body {
        Body::Message(message) => {
            // Encoded by this node or another of the same contract, and checked when it came in.
            let message = v1::Message::decode(message.wire.clone()).unwrap_or_default();
            v1::entry::Body::Message(message)
        }
        Body::Created {
            kind,
            title,
            changes,
        } => v1::entry::Body::RoomCreated(v1::RoomCreated {
            kind: room_kind(*kind).into(),
            title: title.clone(),
            changes: changes.iter().map(change).collect(),
        }),
        Body::Membership(changes) => {
            let changes = changes.iter().map(change).collect();
            v1::entry::Body::MembershipChanged(v1::MembershipChanged { changes })
        }
        Body::Updated { title } => v1::entry::Body::RoomUpdated(v1::RoomUpdated {
            title: title.clone(),
        }),
    }
}

fn change(change: &MemberChange) -> v1::MemberChange {
    let (kind, role) = match change.kind {
        ChangeKind::Joined(by) => (v1::MemberChangeKind::Joined, role(Some(by))),
        ChangeKind::Left => (v1::MemberChangeKind::Left, role(None)),
        ChangeKind::Removed => (v1::MemberChangeKind::Removed, role(None)),
        ChangeKind::RoleChanged(to) => (v1::MemberChangeKind::RoleChanged, role(Some(to))),
    };
    v1::MemberChange {
        user_id: change.user.get(),
        kind: kind.into(),
        role: role.into(),
    }
}

fn role(role: Option<Role>) -> v1::MemberRole {
    match role {
        None => v1::MemberRole::Unspecified,
        Some(Role::Member) => v1::MemberRole::Member,
        Some(Role::Owner) => v1::MemberRole::Owner,
    }
}

fn room_kind(kind: RoomKind) -> v1::RoomKind {
    match kind {
        RoomKind::Direct => v1::RoomKind::Direct,
        RoomKind::Group => v1::RoomKind::Group,
    }
}

pub(super) fn summary(summary: &Summary) -> v1::RoomSummary {
    let last_message = summary.last_message.as_ref();
    v1::RoomSummary {
        room_id: summary.room.get(),
        kind: room_kind(summary.kind).into(),
        title: summary.title.clone(),
        member_count: i32::try_from(summary.member_count).unwrap_or(i32::MAX),
        peer_user_id: summary.peer.map_or(0, |peer| peer.get()),
        head_seq: summary.head.get(),
        role: role(summary.role).into(),
        joined_seq: summary.joined.get(),
        unread_count: summary.unread.cast_signed(),
        read_seq: summary.read.get(),
        last_message: last_message.map(|message| entry(summary.room, message)),
        marks: marks(&summary.marks),
    }
}

pub(super) fn marks(marks: &[(UserId, Marks)]) -> Vec<v1::MemberMarks> {
    let one = |(user, marks): &(UserId, Marks)| v1::MemberMarks {
        user_id: user.get(),
        read_seq: marks.read.get(),
        delivered_seq: marks.delivered.get(),
    };
    marks.iter().map(one).collect()
}

pub(super) fn room_sync(sync: &RoomSync) -> v1::RoomSync {
    let room = sync.summary.room;
    v1::RoomSync {
        summary: Some(summary(&sync.summary)),
        live: sync.live,
        stale: sync.stale,
        entries: sync
            .entries
            .iter()
            .map(|missed| entry(room, missed))
            .collect(),
        after_seq: sync.after.get(),
        through_seq: sync.through.get(),
    }
}

pub(super) fn account_room(row: &AccountRoom) -> v1::AccountRoom {
    v1::AccountRoom {
        room_id: row.room.get(),
        kind: room_kind(row.kind).into(),
        member: row.left.is_none(),
        joined_seq: row.joined.get(),
        left_seq: row.left.map_or(0, |left| left.get()),
    }
}

pub(super) fn presence(presence: &Presence) -> v1::Presence {
    let state = match presence.state {
        PresenceState::Offline => v1::PresenceState::Offline,
        PresenceState::Online => v1::PresenceState::Online,
        PresenceState::Away => v1::PresenceState::Away,
        PresenceState::Busy => v1::PresenceState::Busy,
    };
    v1::Presence {
        user_id: presence.user.get(),
        state: state.into(),
        status_text: presence.status_text.clone(),
        last_seen_time: presence.last_seen.map(timestamp),
    }
}

pub(super) fn member((user, row): &(UserId, MemberRow)) -> v1::Member {
    v1::Member {
        user_id: user.get(),
        role: role(Some(row.role)).into(),
        joined_seq: row.joined.get(),
    }
}

pub(super) fn message_state(room: RoomId, message: &Entry) -> v1::MessageState {
    v1::MessageState {
        entry: Some(entry(room, message)),
    }
}
