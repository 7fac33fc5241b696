//! Reading a room: summaries, pages of messages and entries, single messages, members.

use std::{mem, sync::Arc};

use bytes::Bytes;

use super::{
    Output, Owner, State, Waiting,
    scan::{Bisection, Bounds, Found, Pick, Unread, Walk, is_message},
    window::{Fetch, Purpose, Reading, Window},
};
use crate::{
    entry::{Body, Entry},
    ids::{RoomId, Seq, UserId},
    link::Summary,
    refusal::Refusal,
    room::{cursor_ahead, message_not_found, not_a_member, room_not_found},
    rows::MemberRow,
    time::{Now, Timestamp},
};

/// What somebody wants to see of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The room as the user sees it.
    Summary,
    /// Entries with a higher seq.
    Entries {
        /// The cursor.
        after: Seq,
        /// How many at the most.
        count: u64,
    },
    /// Messages.
    Messages {
        /// Where.
        position: Position,
        /// How many at the most.
        count: u64,
    },
    /// One message, whole.
    Message(Seq),
    /// Present members with a higher id.
    Members {
        /// The cursor.
        after: Option<UserId>,
        /// How many at the most.
        count: usize,
    },
}

/// Where a page of messages lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// At the head.
    Newest,
    /// Below this seq.
    Before(Seq),
    /// Above this seq.
    After(Seq),
    /// On both sides of this seq, and at it.
    Around(Seq),
    /// Of before this time.
    BeforeTime(Timestamp),
    /// Of this time or later.
    AfterTime(Timestamp),
    /// On both sides of this time.
    AroundTime(Timestamp),
}

/// What is to be seen.
#[derive(Clone, Debug, PartialEq)]
pub enum View {
    /// For [`Query::Summary`].
    Summary(Box<Summary>),
    /// For [`Query::Entries`].
    Entries(EntriesPage),
    /// For [`Query::Messages`].
    Messages(MessagesPage),
    /// For [`Query::Message`].
    Message {
        /// The entry.
        entry: Arc<Entry>,
        /// The whole body, where the entry holds a preview.
        whole: Option<Bytes>,
        /// The head at which it was read.
        as_of: Seq,
    },
    /// For [`Query::Members`].
    Members(Vec<(UserId, MemberRow)>),
}

/// Entries of `(after, through]`, all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct EntriesPage {
    /// By ascending seq.
    pub entries: Vec<Arc<Entry>>,
    /// Exclusive.
    pub after: Seq,
    /// Inclusive.
    pub through: Seq,
    /// The last seq that the user may see.
    pub as_of: Seq,
}

/// The messages among the entries of `(after, through]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MessagesPage {
    /// By ascending seq.
    pub messages: Vec<Arc<Entry>>,
    /// Exclusive.
    pub after: Seq,
    /// Inclusive.
    pub through: Seq,
    /// The head of which their states are.
    pub as_of: Seq,
}

impl<T> Owner<T> {
    pub(super) fn query(&mut self, token: T, room: RoomId, user: UserId, query: Query, now: Now) {
        match self.rooms.get_mut(&room) {
            Some(State::Active(_)) => {
                self.read(room, Purpose::Query(token, user, query), now);
            }
            Some(State::Loading(waiting)) => waiting.push(Waiting::Query(token, user, query)),
            None if self.heads.contains_key(&room) => {
                self.load(room).push(Waiting::Query(token, user, query));
            }
            None => self
                .outputs
                .push_back(Output::View(token, Err(room_not_found()))),
        }
    }

    pub(super) fn advance_query(&mut self, mut reading: Reading<T>) -> Option<(Reading<T>, Fetch)> {
        let Purpose::Query(_, user, query) = &reading.purpose else {
            return None;
        };
        let Some(State::Active(active)) = self.rooms.get(&reading.room) else {
            return None;
        };
        let window = Window {
            room: &active.room,
            fetched: &reading.fetched,
            limits: &self.limits,
        };
        match view(&window, &mut reading.found, *user, query) {
            Err(fetch) => Some((reading, fetch)),
            Ok(view) => {
                let Purpose::Query(token, ..) = reading.purpose else {
                    return None;
                };
                self.outputs.push_back(Output::View(token, view));
                None
            }
        }
    }
}

fn view(
    window: &Window<'_>,
    found: &mut Found,
    user: UserId,
    query: &Query,
) -> Result<Result<View, Refusal>, Fetch> {
    let Some(visible) = window.room.visible_to(user) else {
        return Ok(Err(room_not_found()));
    };
    // A page is of the head at which its reading began.
    let visible = *found.visible.get_or_insert(visible);
    Ok(match *query {
        Query::Summary => Ok(View::Summary(Box::new(summary(window, found, user)?))),
        Query::Entries { after, .. } if after > visible => Err(cursor_ahead(visible)),
        Query::Entries { after, count } => {
            let entries = gather(window, found, after, visible, count)?;
            let through = entries.last().map_or(after, |entry| entry.seq);
            Ok(View::Entries(EntriesPage {
                entries,
                after,
                through,
                as_of: visible,
            }))
        }
        Query::Messages {
            position: Position::After(seq),
            ..
        } if seq > visible => Err(cursor_ahead(visible)),
        Query::Messages { position, count } => Ok(View::Messages(messages(
            window, found, visible, position, count,
        )?)),
        Query::Message(seq) => message(window, visible, seq)?,
        Query::Members { .. } if !window.room.is_member(user) => Err(not_a_member()),
        Query::Members { after, count } => {
            let members = window.room.members().present_after(after).take(count);
            Ok(View::Members(
                members.map(|(user, row)| (user, *row)).collect(),
            ))
        }
    })
}

/// All entries of `(after, through]`, as far as a page reaches.
pub(super) fn gather(
    window: &Window<'_>,
    found: &mut Found,
    after: Seq,
    through: Seq,
    count: u64,
) -> Result<Vec<Arc<Entry>>, Fetch> {
    let bounds = Bounds {
        entries: count,
        bytes: window.limits.page_bytes_max,
    };
    // Who was away and joined again while it was read is told what came since.
    let begun = found.up.take().filter(|walk| walk.is_from(after));
    let walk = found.up.insert(begun.unwrap_or_else(|| Walk::from(after)));
    walk.up(window, through, Pick::All, bounds)?;
    Ok(mem::take(&mut walk.entries))
}

fn messages(
    window: &Window<'_>,
    found: &mut Found,
    visible: Seq,
    position: Position,
    count: u64,
) -> Result<MessagesPage, Fetch> {
    let half = count.div_ceil(2);
    let mut before = |time| {
        let bisection = found
            .bisection
            .get_or_insert_with(|| Bisection::through(visible));
        bisection.run(window, time)
    };
    // A page is the messages of (below, middle] read downwards and of (middle, above] upwards.
    let (middle, down, up) = match position {
        Position::Newest => (visible, count, 0),
        Position::Before(seq) => (seq.prev().min(visible), count, 0),
        Position::After(seq) => (seq, 0, count),
        Position::Around(seq) => (seq.min(visible), half, count - half),
        Position::BeforeTime(time) => (before(time)?, count, 0),
        Position::AfterTime(time) => (before(time)?, 0, count),
        Position::AroundTime(time) => (before(time)?, half, count - half),
    };
    let limits = window.limits;
    let bytes = if down > 0 && up > 0 {
        limits.page_bytes_max / 2
    } else {
        limits.page_bytes_max
    };
    let bounds = |entries| Bounds { entries, bytes };
    // Where few entries are messages a page ends early, and its interval says where.
    let lowest = middle.minus(limits.page_scan_max);
    let highest = middle.plus(limits.page_scan_max).min(visible);
    let below = found.down.get_or_insert_with(|| Walk::from(middle));
    below.down(window, lowest, Pick::Messages, bounds(down))?;
    let above = found.up.get_or_insert_with(|| Walk::from(middle));
    above.up(window, highest, Pick::Messages, bounds(up))?;
    let mut messages = mem::take(&mut below.entries);
    messages.reverse();
    messages.append(&mut above.entries);
    Ok(MessagesPage {
        messages,
        after: below.at,
        through: above.at,
        as_of: visible,
    })
}

fn message(window: &Window<'_>, visible: Seq, seq: Seq) -> Result<Result<View, Refusal>, Fetch> {
    if seq == Seq::ZERO || seq > visible {
        return Ok(Err(message_not_found()));
    }
    let entry = window.one(seq)?;
    let Body::Message(message) = &entry.body else {
        return Ok(Err(message_not_found()));
    };
    let whole = if message.long {
        Some(window.body(seq)?.clone())
    } else {
        None
    };
    Ok(Ok(View::Message {
        entry: entry.clone(),
        whole,
        as_of: visible,
    }))
}

/// The room as a user sees it.
pub(super) fn summary(
    window: &Window<'_>,
    found: &mut Found,
    user: UserId,
) -> Result<Summary, Fetch> {
    let room = window.room;
    let head = room.visible_to(user).unwrap_or_default();
    let row = room.members().get(user);
    let member = room.is_member(user);
    let read = room.members().marks(user).read;
    let shown = room.members().count() as u64 <= window.limits.room_receipts_members_max;
    let last_message = room
        .tail()
        .iter()
        .rev()
        .skip_while(|entry| entry.seq > head)
        .find(|entry| is_message(entry));
    let others = room
        .members()
        .present_after(None)
        .filter(|(other, _)| *other != user);
    Ok(Summary {
        room: room.id(),
        kind: room.settings().kind,
        title: if member {
            room.settings().title.clone()
        } else {
            String::new()
        },
        member_count: if member { room.members().count() } else { 0 },
        peer: room.peer_of(user),
        head,
        role: row.filter(|_| member).map(|row| row.role),
        joined: row.map_or(Seq::ZERO, |row| row.joined),
        unread: if member {
            let unread = found.unread.take().filter(|unread| unread.is_of(read));
            let unread = found
                .unread
                .insert(unread.unwrap_or_else(|| Unread::after(read)));
            unread.run(window, user, head)?
        } else {
            0
        },
        read,
        last_message: last_message.cloned(),
        marks: if shown && member {
            others
                .map(|(other, _)| (other, room.members().marks(other)))
                .collect()
        } else {
            Vec::new()
        },
    })
}
