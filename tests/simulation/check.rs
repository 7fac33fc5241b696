//! What must hold after a schedule, whatever happened in it: the promises, over what every device
//! saw and what the log holds.

use std::collections::BTreeMap;

use magpie_core::{
    entry::{Body, ChangeKind},
    ids::{RoomId, Seq, UserId},
    rows::StoredEntry,
    users::PresenceState,
};

use crate::{facts::Facts, world::World};

type Truth = BTreeMap<RoomId, Vec<StoredEntry>>;

/// All that does not hold once everything has settled.
pub(crate) fn settled(world: &World) -> Vec<String> {
    let mut complaints = world.facts.complaints.clone();
    complaints.extend(world.unfinished());
    if !complaints.is_empty() {
        // What follows would only repeat it.
        return complaints;
    }
    let truth = world.log.truth();
    for (room, rows) in &truth {
        dense(*room, rows, &mut complaints);
    }
    commands(world, &truth, &mut complaints);
    order(&world.facts, &mut complaints);
    shown(&world.facts, &truth, &mut complaints);
    synced(world, &truth, &mut complaints);
    standing(world, &truth, &mut complaints);
    complaints
}

/// Seqs are dense from 1, times never go back, and no id has two entries.
fn dense(room: RoomId, rows: &[StoredEntry], complaints: &mut Vec<String>) {
    let mut ids = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        let entry = &row.entry;
        if entry.seq.get() != place as i64 + 1 {
            complaints.push(format!("room {room}: seq {} at place {place}", entry.seq));
        }
        if place > 0 && rows[place - 1].entry.time > entry.time {
            complaints.push(format!("room {room}: time goes back at {}", entry.seq));
        }
        if let Some(before) = ids.insert((entry.actor, entry.id), entry.seq) {
            let seq = entry.seq;
            complaints.push(format!(
                "room {room}: {:?} is at {before} and at {seq}",
                entry.id
            ));
        }
    }
}

/// What was answered is in the log as it was answered; what was denied is not.
fn commands(world: &World, truth: &Truth, complaints: &mut Vec<String>) {
    for (id, command) in &world.facts.commands {
        let rows = truth
            .get(&command.room)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let found = rows
            .iter()
            .find(|row| row.entry.id == *id && row.entry.actor == command.actor);
        if let Some((seq, _)) = command.answered
            && found.map(|row| row.entry.seq) != Some(seq)
        {
            let found = found.map(|row| row.entry.seq);
            complaints.push(format!("{id:?} was answered by {seq}, and is at {found:?}"));
        }
        if command.denied && found.is_some() {
            complaints.push(format!("{id:?} was denied, and is in the log"));
        }
        if let (Some(row), Some(text)) = (found, &command.text)
            && let Body::Message(message) = &row.entry.body
        {
            let whole = if message.long {
                world.log.body(command.room, row)
            } else {
                Some(&message.wire)
            };
            if whole != Some(text) {
                complaints.push(format!("{id:?} has another text than was sent: {whole:?}"));
            }
        }
    }
}

/// A device's messages to a room keep their order, and what was answered before another was first
/// transmitted has the lower seq.
fn order(facts: &Facts, complaints: &mut Vec<String>) {
    let answered = facts.commands.values().filter_map(|command| {
        let (seq, at) = command.answered?;
        Some((command, command.first?, seq, at))
    });
    let answered: Vec<_> = answered.collect();
    for (one, one_first, one_seq, one_at) in &answered {
        for (other, other_first, other_seq, _) in &answered {
            if one.room != other.room || one_seq <= other_seq {
                continue;
            }
            let queued = one.queue.is_some() && one.queue == other.queue;
            if one_at < other_first || (queued && one_first < other_first) {
                let room = one.room;
                complaints.push(format!(
                    "room {room}: {one_seq} was said before {other_seq}"
                ));
            }
        }
    }
}

/// What a device was shown is in the log, was shown once, and lies within a membership.
fn shown(facts: &Facts, truth: &Truth, complaints: &mut Vec<String>) {
    let mut last: BTreeMap<(usize, RoomId), Seq> = BTreeMap::new();
    for shown in &facts.shown {
        let (device, room, seq) = (shown.device, shown.room, shown.entry.seq);
        let row = truth
            .get(&room)
            .and_then(|rows| rows.get(seq.get() as usize - 1));
        if row.map(|row| &row.entry) != Some(&*shown.entry) {
            complaints.push(format!(
                "device {device}: {room}/{seq} is not what the log holds"
            ));
        }
        if let Some(before) = last.insert((device, room), seq)
            && before >= seq
        {
            complaints.push(format!("device {device}: {room}/{seq} after {before}"));
        }
        if !is_visible(truth, room, shown.user, seq) {
            complaints.push(format!(
                "device {device}: {room}/{seq} is outside its membership"
            ));
        }
    }
}

/// Whether a seq lies in a membership of a user, its beginning and its end included.
fn is_visible(truth: &Truth, room: RoomId, user: UserId, seq: Seq) -> bool {
    let member_before = membership(truth, room, user, seq.prev()).is_some();
    member_before || membership(truth, room, user, seq).is_some()
}

/// The entry with which the membership began that a user has as of a seq.
fn membership(truth: &Truth, room: RoomId, user: UserId, as_of: Seq) -> Option<Seq> {
    let mut joined = None;
    let rows = truth.get(&room).into_iter().flatten();
    for row in rows.take_while(|row| row.entry.seq <= as_of) {
        for change in row
            .entry
            .body
            .changes()
            .iter()
            .filter(|change| change.user == user)
        {
            match change.kind {
                ChangeKind::Joined(_) => joined = Some(row.entry.seq),
                ChangeKind::Left | ChangeKind::Removed => joined = None,
                ChangeKind::RoleChanged(_) => {}
            }
        }
    }
    joined
}

/// What a device was told of a room as a whole is true as of the head that it was told.
fn synced(world: &World, truth: &Truth, complaints: &mut Vec<String>) {
    for synced in &world.facts.synced {
        let (summary, device) = (&synced.summary, synced.device);
        let room = summary.room;
        let rows = truth.get(&room).map(Vec::as_slice).unwrap_or_default();
        let joined = membership(truth, room, synced.user, summary.head);
        // An absence is no gap: the entry after it brings the member back. What came before the
        // absence is.
        let rejoined = rows
            .iter()
            .any(|row| joins(row, synced.user) && row.entry.seq == synced.after.next());
        let lacks = membership(truth, room, synced.user, synced.cursor).is_some();
        if synced.after > synced.cursor && (lacks || !rejoined) {
            let (after, cursor) = (synced.after, synced.cursor);
            complaints.push(format!(
                "device {device}: {room} from {after}, cursor {cursor}"
            ));
        }
        if synced.stale && synced.through.since(synced.after) <= world.limits.page_entries_max {
            complaints.push(format!("device {device}: {room} is stale without need"));
        }
        let within =
            |row: &&StoredEntry| row.entry.seq > summary.read && row.entry.seq <= summary.head;
        let others = |row: &&StoredEntry| row.entry.actor != synced.user;
        let messages = |row: &&StoredEntry| matches!(row.entry.body, Body::Message(_));
        let unread = rows
            .iter()
            .filter(within)
            .filter(others)
            .filter(messages)
            .count();
        if joined.is_some() && unread != summary.unread as usize {
            let told = summary.unread;
            complaints.push(format!(
                "device {device}: {room} has {unread} unread, told {told}"
            ));
        }
        if summary.role.is_some() != joined.is_some() {
            complaints.push(format!(
                "device {device}: {room}: wrong about its own membership"
            ));
        }
        let title = rows.iter().take_while(|row| row.entry.seq <= summary.head);
        let title = title.filter_map(|row| title_of(&row.entry.body)).last();
        if joined.is_some() && title != Some(summary.title.as_str()) {
            let told = &summary.title;
            complaints.push(format!(
                "device {device}: {room} is {title:?} at its head, told {told}"
            ));
        }
    }
}

fn joins(row: &StoredEntry, user: UserId) -> bool {
    let mut changes = row.entry.body.changes().iter();
    changes.any(|change| change.user == user && matches!(change.kind, ChangeKind::Joined(_)))
}

fn title_of(body: &Body) -> Option<&str> {
    match body {
        Body::Created { title, .. } => Some(title),
        Body::Updated { title } => title.as_deref(),
        Body::Message(_) | Body::Membership(_) => None,
    }
}

/// Every device has all that it may see, and knows its rooms; no answered mark was lost.
fn standing(world: &World, truth: &Truth, complaints: &mut Vec<String>) {
    for device in &world.devices {
        for (room, rows) in truth {
            let head = rows.last().map(|row| row.entry.seq).unwrap_or_default();
            let member = membership(truth, *room, device.user, head).is_some();
            let listed = device.member_of().contains(room);
            if member != listed {
                complaints.push(format!(
                    "{device}: member of {room}: {member}, listed: {listed}"
                ));
            }
            if member && device.cursor(*room) != head {
                let cursor = device.cursor(*room);
                complaints.push(format!("{device}: at {cursor} of {room}, head {head}"));
            }
            if member && device.is_in_doubt(*room) {
                complaints.push(format!("{device}: was not told of its mark in {room}"));
            }
            let answered = world.facts.marked.get(&(*room, device.user)).copied();
            if member && answered.is_some_and(|read| device.read(*room) < read) {
                let (read, answered) = (device.read(*room), answered.unwrap_or_default());
                complaints.push(format!(
                    "{device}: reads {room} to {read}, answered {answered}"
                ));
            }
        }
    }
}

/// What watchers see of each person once everybody has had 80 s: who is there is shown as there,
/// and nobody else.
pub(crate) fn presence(world: &World) -> Vec<String> {
    let mut complaints = world.facts.complaints.clone();
    for device in world.devices.iter().filter(|device| device.wanted) {
        for other in world.devices.iter().map(|device| device.user) {
            if other == device.user || !world.accounts.share_room(device.user, other) {
                continue;
            }
            let there = world.is_there(other);
            let seen = device.presence.get(&other);
            let right = if there {
                PresenceState::Online
            } else {
                PresenceState::Offline
            };
            if seen != Some(&right) {
                complaints.push(format!(
                    "{device} sees user {other} as {seen:?}, not {right:?}"
                ));
            }
        }
    }
    complaints
}
