//! Sessions that follow rooms: brought up to date, then told every entry.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Output, Owner, State, Waiting,
    former::{Former, former},
    query::{gather, summary},
    scan::Found,
    window::{Fetch, Purpose, Reading, Window},
};
use crate::{
    entry::Entry,
    ids::{EdgeId, RoomId, Seq},
    link::{Attach, RoomSync, Synced, ToEdge},
    time::Now,
};

impl<T> Owner<T> {
    pub(super) fn attach(&mut self, attach: Attach, now: Now) {
        let room = attach.room;
        let Some(head) = self.heads.get(&room).copied() else {
            return self.synced(&attach, Synced::NoMember);
        };
        match self.rooms.get_mut(&room) {
            Some(State::Active(_)) => self.read(room, Purpose::Attach(attach), now),
            Some(State::Loading(waiting)) => waiting.push(Waiting::Attach(attach)),
            // At the head, with nothing unread: there is nothing to say, so the room need not be
            // loaded. Whether the user is a member is looked up before the next entry leaves.
            None if attach.after == head.seq && attach.read >= head.seq => {
                self.attached.entry(room).or_default().insert(attach.edge);
                self.unverified
                    .entry(room)
                    .or_default()
                    .insert((attach.edge, attach.user));
                self.synced(&attach, Synced::Live);
            }
            None => self.load(room).push(Waiting::Attach(attach)),
        }
    }

    pub(super) fn detach(&mut self, edge: EdgeId, room: RoomId) {
        if let Some(edges) = self.attached.get_mut(&room) {
            edges.remove(&edge);
            if edges.is_empty() {
                self.attached.remove(&room);
            }
        }
        if let Some(users) = self.unverified.get_mut(&room) {
            users.retain(|(other, _)| *other != edge);
            if users.is_empty() {
                self.unverified.remove(&room);
            }
        }
    }

    pub(super) fn advance_attach(
        &mut self,
        mut reading: Reading<T>,
    ) -> Option<(Reading<T>, Fetch)> {
        let Purpose::Attach(attach) = &reading.purpose else {
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
        match sync(&window, &mut reading.found, attach) {
            Err(fetch) => Some((reading, fetch)),
            Ok(synced) => {
                let live = match &synced {
                    Synced::Live => true,
                    Synced::Sync(sync) => sync.live,
                    _ => false,
                };
                if live {
                    self.attached
                        .entry(attach.room)
                        .or_default()
                        .insert(attach.edge);
                }
                self.synced(attach, synced);
                None
            }
        }
    }

    pub(super) fn attach_failed(&mut self, attach: &Attach) {
        self.synced(attach, Synced::Failed);
    }

    /// Tells edges of those whom they named for a room that was not in memory and who are no
    /// members. Before any entry leaves.
    pub(super) fn drop_strangers(&mut self, room: RoomId) {
        let users = self.unverified.remove(&room).unwrap_or_default();
        let Some(State::Active(active)) = self.rooms.get(&room) else {
            return;
        };
        let strangers: BTreeSet<_> = users
            .into_iter()
            .filter(|(_, user)| !active.room.is_member(*user))
            .collect();
        for (edge, user) in strangers {
            self.outputs
                .push_back(Output::Edge(edge, ToEdge::Dropped { room, user }));
        }
    }

    fn synced(&mut self, attach: &Attach, outcome: Synced) {
        let synced = ToEdge::Synced {
            session: attach.session,
            room: attach.room,
            outcome,
        };
        self.outputs.push_back(Output::Edge(attach.edge, synced));
    }
}

/// What brings a session up to date.
fn sync(window: &Window<'_>, found: &mut Found, attach: &Attach) -> Result<Synced, Fetch> {
    let room = window.room;
    let Some(through) = room.visible_to(attach.user) else {
        return Ok(Synced::NoMember);
    };
    let live = room.is_member(attach.user);
    // The own join sets the cursor: what came before it was not missed. So it is also for those
    // who have left again.
    let joined = room
        .members()
        .get(attach.user)
        .map_or(Seq::ZERO, |row| row.joined);
    let mut after = attach.after.max(joined.prev());
    if after > through {
        return Ok(Synced::CursorAhead { head: through });
    }
    if !live && after == through {
        return Ok(Synced::UpToDate);
    }
    let read = room.members().marks(attach.user).read;
    if live && after == through && attach.after == after && attach.read >= read {
        return Ok(Synced::Live);
    }
    let mut stale = false;
    if attach.after < after {
        match former(window, found, attach, joined)? {
            Former::Over => {}
            Former::Untold => (after, stale) = (attach.after, true),
            Former::Missed(entries) => return rest_of_former(window, found, attach, entries),
        }
    }
    let summary = summary(window, found, attach.user)?;
    let entries_max = window.limits.page_entries_max;
    let mut entries = Vec::new();
    stale |= through.since(after) > entries_max;
    if !stale {
        let page = gather(window, found, after, through, entries_max)?;
        stale = page.last().map_or(after, |entry| entry.seq) < through;
        if !stale {
            entries = page;
        }
    }
    Ok(Synced::Sync(Box::new(RoomSync {
        summary,
        live,
        rejoined: false,
        stale,
        entries,
        after,
        through,
    })))
}

/// What a session lacks of a membership that ended before the user joined again. The rest comes
/// when it attaches once more.
fn rest_of_former(
    window: &Window<'_>,
    found: &mut Found,
    attach: &Attach,
    entries: Vec<Arc<Entry>>,
) -> Result<Synced, Fetch> {
    let through = entries.last().map_or(attach.after, |entry| entry.seq);
    Ok(Synced::Sync(Box::new(RoomSync {
        summary: summary(window, found, attach.user)?,
        live: false,
        rejoined: true,
        stale: false,
        entries,
        after: attach.after,
        through,
    })))
}
