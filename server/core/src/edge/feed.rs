//! From owners to sessions: entries to all who follow a room, and the rest to whom it concerns.
//! Every message of an owner comes in order, so what follows an attach's answer is what it lacks.

use std::sync::Arc;

use super::{
    Edge, Output,
    session::{Follow, Phase, State},
};
use crate::{
    entry::{ChangeKind, Entry, Shared},
    frame::{Frame, Outlet, Wire},
    ids::{RoomId, Seq, SessionId, UserId},
    limits::{CATCH_UPS_MILLIS, millis},
    link::{AccountRoom, RoomSync, Synced, ToEdge},
    refusal::{Reason, Refusal},
    room::cursor_ahead,
    rows::Marks,
    time::Now,
};

impl<W: Wire, O: Outlet<W::Encoded>> Edge<W, O> {
    pub(super) fn owner(&mut self, message: ToEdge) {
        match message {
            ToEdge::Entry {
                room,
                entry,
                shared,
            } => self.entry(room, entry, shared),
            ToEdge::Synced {
                session,
                room,
                outcome,
            } => self.synced(session, room, outcome),
            ToEdge::Dropped { room, user } => self.dropped(room, user),
            ToEdge::Marks { room, marks, only } => self.marks(room, &marks, only),
            ToEdge::Typing { room, user } => self.typing(room, user),
            ToEdge::Account {
                user,
                revision,
                rows,
            } => self.account(user, revision, &rows),
            ToEdge::Presence { session, presences } => {
                if let Some(open) = self.sessions.get_mut(&session) {
                    open.presences
                        .extend(presences.into_iter().map(|p| (p.user, p)));
                }
            }
            ToEdge::End { session, reason } => {
                let why = "a newer session of this account took its place";
                self.close(session, Refusal::new(reason, why), false);
            }
        }
    }

    /// Hands an entry to all who follow the room: encoded once, shared by all.
    fn entry(&mut self, room: RoomId, entry: Arc<Entry>, shared: Shared) {
        let Some(followers) = self.rooms.get_mut(&room) else {
            return self.outputs.push_back(Output::Detach(room));
        };
        followers.cursor = entry.seq;
        followers.passed += 1;
        if followers.live.is_empty() {
            return;
        }
        let frame = Frame::Event {
            room,
            entry: entry.clone(),
            shared,
        };
        let (encoded, bytes) = self.wire.encode(0, &frame);
        let (sessions, delivered) = (&mut self.sessions, &mut self.delivered);
        let changes = entry.body.changes();
        followers.live.retain(|(session, _)| {
            let Some(open) = sessions.get_mut(session) else {
                return false;
            };
            if changes
                .iter()
                .any(|change| open.watched.contains(&change.user))
            {
                open.rooms_changed();
            }
            *delivered += 1;
            if open.outlet.event(encoded.clone(), bytes) {
                return true;
            }
            *delivered -= 1;
            let (after, read) = (entry.seq.prev(), Seq::ZERO);
            open.rooms.insert(
                room,
                Follow {
                    phase: Phase::Waiting,
                    after,
                    read,
                },
            );
            open.to_attach.push_back(room);
            false
        });
        for change in entry.body.changes() {
            if matches!(change.kind, ChangeKind::Left | ChangeKind::Removed) {
                self.dropped(room, change.user);
            }
        }
        self.tidy(room);
    }

    /// Ends what a user's sessions are told of a room.
    fn dropped(&mut self, room: RoomId, user: UserId) {
        for session in self.users.get(&user).cloned().unwrap_or_default() {
            if let Some(open) = self.sessions.get_mut(&session)
                && open
                    .rooms
                    .get(&room)
                    .is_some_and(|follow| follow.phase == Phase::Live)
            {
                open.rooms.remove(&room);
            }
        }
        if let Some(followers) = self.rooms.get_mut(&room) {
            followers.live.retain(|(_, other)| *other != user);
            // An answer that waits for its turn may have taken the user for a member.
            followers.passed += 1;
        }
        self.tidy(room);
    }

    /// Takes in an owner's answer. Answers are passed on in the order in which the owners were asked,
    /// so that rooms come newest first.
    fn synced(&mut self, session: SessionId, room: RoomId, outcome: Synced) {
        let followers = self.rooms.entry(room).or_default();
        let Some(open) = self.sessions.get_mut(&session) else {
            followers.attaching = followers.attaching.saturating_sub(1);
            return self.tidy(room);
        };
        open.answers.insert(room, (outcome, followers.passed));
        while let Some(open) = self.sessions.get_mut(&session)
            && let Some(room) = open.asked.front().copied()
            && let Some((outcome, passed)) = open.answers.remove(&room)
        {
            open.asked.pop_front();
            let followers = self.rooms.entry(room).or_default();
            followers.attaching = followers.attaching.saturating_sub(1);
            let missed = followers.passed > passed;
            self.settle(session, room, outcome, missed);
            self.tidy(room);
        }
        self.pump(session);
    }

    /// Passes an answer on. `missed` if something about the room passed since it came, which was not
    /// meant for a session that was not live yet: it is brought up to date once more.
    fn settle(&mut self, session: SessionId, room: RoomId, outcome: Synced, missed: bool) {
        let follow = self
            .sessions
            .get(&session)
            .and_then(|open| open.rooms.get(&room));
        let after = follow.map(|follow| follow.after).unwrap_or_default();
        match outcome {
            Synced::Live => self.live(session, room, after, missed),
            Synced::Sync(sync) => self.sync(session, room, sync, missed),
            Synced::NoMember | Synced::UpToDate => self.over(session, room, after, missed),
            Synced::CursorAhead { head } => self.close(session, cursor_ahead(head), true),
            Synced::Failed => {
                let refusal = Refusal::new(Reason::Internal, "a room could not be read");
                self.close(session, refusal.with_retry_after(millis(1_000)), true);
            }
        }
    }

    fn sync(&mut self, session: SessionId, room: RoomId, sync: Box<RoomSync>, missed: bool) {
        let (live, rejoined, through) = (sync.live, sync.rejoined, sync.through);
        let told = self.event(session, &Frame::RoomSync(sync));
        match (told, live) {
            (true, true) => self.live(session, room, through, missed),
            (true, false) if rejoined => self.over(session, room, Seq::ZERO, true),
            (true, false) => self.over(session, room, through, missed),
            (false, _) => {
                if let Some(open) = self.sessions.get_mut(&session)
                    && let Some(follow) = open.rooms.get_mut(&room)
                {
                    follow.phase = Phase::Waiting;
                    open.to_attach.push_back(room);
                }
            }
        }
    }

    /// Ends the following of a room in which the user is no member, if nothing passed since.
    fn over(&mut self, session: SessionId, room: RoomId, cursor: Seq, missed: bool) {
        if let Some(open) = self.sessions.get_mut(&session)
            && open.rooms.remove(&room).is_some()
            && missed
        {
            open.follow(room, cursor, Seq::ZERO);
        }
    }

    fn live(&mut self, session: SessionId, room: RoomId, cursor: Seq, missed: bool) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let Some(follow) = open.rooms.get_mut(&room) else {
            return;
        };
        if missed {
            open.follow(room, cursor, Seq::ZERO);
            return;
        }
        follow.phase = Phase::Live;
        let user = open.caller.user;
        let followers = self.rooms.entry(room).or_default();
        followers.cursor = followers.cursor.max(cursor);
        followers.live.push((session, user));
    }

    fn marks(&mut self, room: RoomId, marks: &Arc<[(UserId, Marks)]>, only: Option<UserId>) {
        let frame = Frame::Marks {
            room,
            marks: marks.clone(),
        };
        let (encoded, bytes) = self.wire.encode(0, &frame);
        let Some(followers) = self.rooms.get_mut(&room) else {
            return;
        };
        followers.passed += 1;
        let (sessions, cursor) = (&mut self.sessions, followers.cursor);
        followers.live.retain(|(session, user)| {
            let Some(open) = sessions.get_mut(session) else {
                return false;
            };
            let concerned = only.is_none_or(|only| only == *user);
            if !concerned || open.outlet.event(encoded.clone(), bytes) {
                return true;
            }
            // Attaching again brings the marks along.
            open.to_attach.push_back(room);
            let lost = Follow {
                phase: Phase::Waiting,
                after: cursor,
                read: Seq::ZERO,
            };
            open.rooms.insert(room, lost);
            false
        });
    }

    fn typing(&mut self, room: RoomId, typist: UserId) {
        let (encoded, bytes) = self.wire.encode(0, &Frame::Typing { room, user: typist });
        let Some(followers) = self.rooms.get(&room) else {
            return;
        };
        for (session, user) in &followers.live {
            if let Some(open) = self.sessions.get(session)
                && *user != typist
                && open.linger_millis.is_none()
            {
                open.outlet.ephemeral(encoded.clone(), bytes);
            }
        }
    }

    fn account(&mut self, user: UserId, revision: u64, rows: &[AccountRoom]) {
        for session in self.users.get(&user).cloned().unwrap_or_default() {
            let Some(open) = self.sessions.get_mut(&session) else {
                continue;
            };
            open.revision_known = open.revision_known.max(revision);
            // While the account is being read there is nothing to do: what the reading missed shows
            // by its revision.
            if matches!(open.state, State::Open) {
                if revision == open.revision + 1 {
                    self.account_changed(session, revision, rows);
                    self.pump(session);
                } else if revision > open.revision {
                    self.reread(session);
                }
            }
        }
    }

    /// A slow reader has read half of what waited: it is brought up to date.
    pub(super) fn drained(&mut self, session: SessionId, now: Now) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let recent = millis(CATCH_UPS_MILLIS);
        open.catch_ups.retain(|at| now.instant.since(*at) < recent);
        open.catch_ups.push(now.instant);
        self.outputs.push_back(Output::CatchUp);
        if open.catch_ups.len() as u64 >= self.limits.session_catch_ups_max {
            let why = "the client reads too slowly; read frames as they come";
            return self.too_slow(session, why);
        }
        self.pump(session);
    }

    /// Ends what is known of a session in a room.
    pub(super) fn unfollow(&mut self, room: RoomId, session: SessionId) {
        if let Some(followers) = self.rooms.get_mut(&room) {
            followers.live.retain(|(other, _)| *other != session);
        }
        self.tidy(room);
    }

    /// Tells the owner where nobody follows a room any more.
    fn tidy(&mut self, room: RoomId) {
        let empty = |f: &super::Followers| f.live.is_empty() && f.attaching == 0;
        if self.rooms.get(&room).is_some_and(empty) {
            self.rooms.remove(&room);
            self.outputs.push_back(Output::Detach(room));
        }
    }
}
