//! Opening a session: who it is, what it missed, and from when on it is live.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    mem,
};

use super::{
    Account, Call, Caller, Edge, Output,
    session::{Hello, Phase, Session, State},
};
use crate::{
    command::{Command, Held, Submit},
    frame::{Frame, Outlet, Welcome, Wire},
    ids::{RoomId, Seq, SessionId},
    limits::millis,
    link::{AccountRoom, Attach},
    refusal::{Reason, Refusal},
    time::Now,
};

impl<W: Wire, O: Outlet<W::Encoded>> Edge<W, O> {
    pub(super) fn open(
        &mut self,
        session: SessionId,
        caller: Caller,
        mut hello: Hello,
        outlet: O,
        now: Now,
    ) {
        if let Some(former) = hello.replaces
            && self
                .sessions
                .get(&former)
                .is_some_and(|open| open.caller.device == caller.device)
        {
            let why = "a newer session of this device took its place";
            self.close(former, Refusal::new(Reason::SessionReplaced, why), false);
        }
        if hello.generation != self.generation {
            hello.revision = 0;
            hello.cursors.clear();
            hello.marks.clear();
        }
        let (since, idle) = (hello.revision, hello.idle);
        self.sessions
            .insert(session, Session::new(caller, outlet, hello, now.instant));
        self.users.entry(caller.user).or_default().insert(session);
        let up = Some(idle);
        self.outputs.push_back(Output::ReadAccount {
            session,
            caller,
            since,
            up,
        });
    }

    /// Takes in the account's state.
    pub(super) fn account_read(
        &mut self,
        session: SessionId,
        account: Option<Box<Account>>,
        now: Now,
    ) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let Some(account) = account else {
            let refusal = Refusal::new(Reason::Internal, "the account could not be read");
            let refusal = refusal.with_retry_after(millis(1_000));
            return self.close(session, refusal, true);
        };
        let more = account.more;
        match mem::replace(&mut open.state, State::Open) {
            State::Opening { hello, frames } => {
                self.opened(session, *hello, *account, now);
                for frame in frames {
                    self.frame(session, frame, now);
                }
            }
            State::Open | State::Behind | State::Rereading => {
                self.account_changed(session, account.revision, &account.rows);
            }
        }
        if let Some(open) = self.sessions.get_mut(&session)
            && (more || open.revision_known > open.revision)
        {
            open.state = State::Behind;
        }
        self.pump(session);
    }

    /// Has the account read on: there is more of it, or a change was told out of turn, or missed.
    pub(super) fn reread(&mut self, session: SessionId) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        open.state = State::Rereading;
        let (caller, since) = (open.caller, open.revision);
        self.outputs.push_back(Output::ReadAccount {
            session,
            caller,
            since,
            up: None,
        });
    }

    fn opened(&mut self, session: SessionId, mut hello: Hello, account: Account, now: Now) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let caller = open.caller;
        let welcome = Welcome {
            session,
            user: caller.user,
            device: caller.device,
            generation: self.generation,
            heartbeat: hello
                .heartbeat
                .unwrap_or_else(|| millis(self.limits.heartbeat_millis)),
            time: now.wall,
        };
        self.control(session, &Frame::Welcome(welcome));
        self.account_changed_rows(session, account.revision, &account.rows);
        self.plan_marks(session, &mut hello, &account);
        self.plan(session, &hello, account);
        if !hello.watch.is_empty() {
            if let Some(open) = self.sessions.get_mut(&session) {
                open.watched = hello.watch.iter().copied().collect();
            }
            self.outputs
                .push_back(Output::Watch(session, caller.user, hello.watch));
        }
    }

    /// Plans to say the marks again that the client set, in case an answer was lost. A room that was
    /// left meanwhile is no fault.
    fn plan_marks(&mut self, session: SessionId, hello: &mut Hello, account: &Account) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let member: BTreeSet<_> = account.rooms.iter().map(|(room, _)| *room).collect();
        hello.marks.retain(|(room, _)| member.contains(room));
        open.to_mark = mem::take(&mut hello.marks).into();
    }

    /// Says some of these marks. Nobody waits for their answers, so they are no commands of the
    /// session's.
    fn pump_marks(&mut self, session: SessionId) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        while (open.marking.len() as u64) < self.limits.session_attaching_max
            && let Some((room, marks)) = open.to_mark.pop_front()
        {
            let no = open.next_call;
            open.next_call += 1;
            open.marking.insert(no);
            let submit = Submit {
                room,
                actor: open.caller.user,
                device: Some(open.caller.device),
                command: Command::Mark(marks),
                unless_retry: None,
                held: Held::default(),
            };
            self.outputs
                .push_back(Output::Submit(Call { session, no }, submit));
        }
    }

    /// Plans in which order the session is brought up to date: rooms at their head first, since
    /// these cost nothing, then the most recently used.
    fn plan(&mut self, session: SessionId, hello: &Hello, account: Account) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let held: HashMap<RoomId, (Seq, Seq)> = hello
            .cursors
            .iter()
            .map(|(room, seq, read)| (*room, (*seq, *read)))
            .collect();
        let mut order: Vec<_> = account
            .rooms
            .iter()
            .map(|(room, head)| {
                let (after, read) = held.get(room).copied().unwrap_or_default();
                let at_head = head.is_some_and(|head| head.seq == after && read >= head.seq);
                let time = head.map(|head| head.time).unwrap_or_default();
                (Reverse(at_head), Reverse(time), *room, after, read)
            })
            .collect();
        order.sort_unstable();
        for (_, _, room, after, read) in order {
            open.follow(room, after, read);
        }
        // Of rooms that the account has left, the client may lack the entries up to that.
        for (room, after, read) in &hello.cursors {
            if !open.rooms.contains_key(room) && *after > Seq::ZERO {
                open.follow(*room, *after, *read);
            }
        }
    }

    /// Goes on with what waits for the session, as far as the outlet has room and the owners keep up:
    /// the account's rows, the marks, the rooms.
    pub(super) fn pump(&mut self, session: SessionId) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        match open.state {
            State::Open => {}
            State::Behind if open.outlet.has_room() => return self.reread(session),
            State::Opening { .. } | State::Behind | State::Rereading => return,
        }
        if !open.to_mark.is_empty() {
            self.pump_marks(session);
        }
        self.pump_rooms(session);
    }

    fn pump_rooms(&mut self, session: SessionId) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        // Asked at every tick of every session, so what is nearly always so comes first.
        while !open.to_attach.is_empty()
            && (open.asked.len() as u64) < self.limits.session_attaching_max
            && open.outlet.has_room()
            && let Some(room) = open.to_attach.pop_front()
        {
            let Some(follow) = open.rooms.get_mut(&room) else {
                continue;
            };
            if follow.phase != Phase::Waiting {
                continue;
            }
            follow.phase = Phase::Attaching;
            open.asked.push_back(room);
            self.rooms.entry(room).or_default().attaching += 1;
            self.outputs.push_back(Output::Attach(Attach {
                edge: self.id,
                session,
                user: open.caller.user,
                room,
                after: follow.after,
                read: follow.read,
            }));
        }
        let marked = open.to_mark.is_empty() && open.marking.is_empty();
        let attached = open.asked.is_empty() && open.to_attach.is_empty();
        if attached
            && marked
            && !open.caught_up
            && self.event(session, &Frame::CaughtUp)
            && let Some(open) = self.sessions.get_mut(&session)
        {
            open.caught_up = true;
        }
    }

    /// Takes in rows of the account that changed while the session is open. What follows from them is
    /// pumped by who knows whether these are all.
    pub(super) fn account_changed(
        &mut self,
        session: SessionId,
        revision: u64,
        rows: &[AccountRoom],
    ) {
        if !self.account_changed_rows(session, revision, rows) {
            return;
        }
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        open.rooms_changed();
        for row in rows {
            if row.left.is_some() {
                continue;
            }
            if !open.rooms.contains_key(&row.room) {
                open.follow(row.room, row.joined.prev(), Seq::ZERO);
            } else if let Some(followers) = self.rooms.get_mut(&row.room) {
                // An answer that waits for its turn may be from before the user joined again.
                followers.passed += 1;
            }
        }
    }

    /// Tells the session the rows. False: it knows them already, or reads too slowly to be told.
    fn account_changed_rows(
        &mut self,
        session: SessionId,
        revision: u64,
        rows: &[AccountRoom],
    ) -> bool {
        let Some(open) = self.sessions.get_mut(&session) else {
            return false;
        };
        if revision <= open.revision && open.revision > 0 {
            return false;
        }
        if rows.is_empty() {
            open.revision = revision;
            return true;
        }
        let rows = rows.to_vec();
        let told = self.event(session, &Frame::Account { revision, rows });
        if let Some(open) = self.sessions.get_mut(&session) {
            if told {
                open.revision = revision;
            } else {
                open.state = State::Behind;
            }
        }
        told
    }
}
