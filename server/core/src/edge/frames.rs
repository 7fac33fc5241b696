//! From sessions to owners: commands in order, answers, refusals, and the timers of a session.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    Ask, Call, Edge, FrameIn, Output,
    session::{Again, Asked, Kind, Said, Session, State},
};
use crate::{
    command::{Answer, Append, Command, Submit, What},
    frame::{Frame, Outlet, Wire},
    ids::{DeviceId, MessageId, RoomId, SessionId, UserId},
    limits::{REFUSALS_MILLIS, millis},
    rate::Rate,
    refusal::{Reason, Refusal},
    time::Now,
    users::Presence,
};

impl<W: Wire, O: Outlet<W::Encoded>> Edge<W, O> {
    pub(super) fn frame(&mut self, session: SessionId, frame: FrameIn, now: Now) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        if open.leaving {
            return;
        }
        open.heard = now.instant;
        if let State::Opening { frames, .. } = &mut open.state {
            if (frames.len() as u64) < self.limits.session_unanswered_max {
                return frames.push(frame);
            }
            let why = "too many frames before Welcome; wait for it";
            return self.close(session, Refusal::new(Reason::TooManyUnanswered, why), true);
        }
        let said = match frame.said {
            Ok(said) => said,
            Err(refusal) => return self.refuse(session, frame.request, refusal, now),
        };
        if let Err(refusal) = self.admit(session, &said, now) {
            if let Said::Submit(submit) = &said
                && let Kind::Send(room, id) = kind_of(submit)
                && refusal.reason.may_retry()
                && refusal.reason != Reason::EarlierSendRefused
                && let Some(open) = self.sessions.get_mut(&session)
            {
                open.refused.turned_away(room, id, now.instant);
            }
            return self.refuse(session, frame.request, refusal, now);
        }
        self.granted(session, frame.request, said, now);
    }

    /// Takes a frame that a device says to a session by a call of its own: the call's answer tells
    /// whether it was taken.
    ///
    /// # Errors
    /// There is no such session of this device here, or it says too much.
    pub fn signal(
        &mut self,
        session: SessionId,
        device: DeviceId,
        said: Said,
        now: Now,
    ) -> Result<(), Refusal> {
        if self.device_of(session) != Some(device) {
            let gone = "there is no such session of this device here; open a new one";
            return Err(Refusal::new(Reason::SessionGone, gone));
        }
        let opening = self.sessions.get(&session).is_some_and(Session::is_opening);
        if opening {
            let (request, said) = (0, Ok(said));
            self.frame(session, FrameIn { request, said }, now);
            return Ok(());
        }
        if let Some(open) = self.sessions.get_mut(&session) {
            open.heard = now.instant;
        }
        if let Err(refusal) = self.admit(session, &said, now) {
            self.outputs.push_back(Output::Refused(refusal.reason));
            return Err(refusal);
        }
        self.granted(session, 0, said, now);
        Ok(())
    }

    /// Does what a session may have done.
    fn granted(&mut self, session: SessionId, request: u64, said: Said, now: Now) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let user = open.caller.user;
        match said {
            Said::Heartbeat => {}
            Said::Bye => {
                open.leaving = true;
                self.close_answered(session);
            }
            Said::Renewed(expires) => {
                // Of two renewals that cross the later one holds.
                open.caller.expires = expires.max(open.caller.expires);
                self.done(session, request);
            }
            Said::Idle(idle) => {
                self.outputs.push_back(Output::Idle(session, user, idle));
                self.done(session, request);
            }
            Said::Watch(users) => {
                open.watched = users.iter().copied().collect();
                let watched = &open.watched;
                open.presences.retain(|user, _| watched.contains(user));
                open.watch_again = Again::No;
                self.outputs.push_back(Output::Watch(session, user, users));
                self.done(session, request);
            }
            Said::Ask(ask) => self.ask(session, request, ask),
            Said::Submit(submit) => self.submit(session, request, submit, now),
        }
    }

    /// Whether the session may say this now.
    fn admit(&mut self, session: SessionId, said: &Said, now: Now) -> Result<(), Refusal> {
        let closing = self.closing;
        let Some(open) = self.sessions.get_mut(&session) else {
            return Ok(());
        };
        match said {
            Said::Heartbeat | Said::Bye => return Ok(()),
            Said::Submit(
                submit @ Submit {
                    command: Command::Append(_),
                    ..
                },
            ) => {
                if let Kind::Send(room, id) = kind_of(submit)
                    && open.refused.keeps_back(room, id, now.instant)
                {
                    return Err(earlier_send_refused());
                }
            }
            Said::Submit(_) | Said::Watch(_) | Said::Idle(_) | Said::Renewed(_) | Said::Ask(_) => {
                let per_minute = self.limits.session_control_per_minute;
                let rate = Rate {
                    burst: per_minute,
                    per_minute,
                };
                open.control_rate
                    .take(rate, 1, now.instant)
                    .map_err(|wait| {
                        Refusal::new(Reason::RateLimited, "too many frames; slow down")
                            .with_retry_after(wait)
                    })?;
            }
        }
        if closing {
            let refusal = Refusal::new(Reason::Draining, "the node stops; come back in a moment");
            return Err(refusal.with_retry_after(Duration::from_millis(500)));
        }
        let unanswered = open.calls.len() + open.outlet.replies();
        if unanswered as u64 >= self.limits.session_unanswered_max {
            let why = "too many commands are unanswered; wait for answers, and read them";
            return Err(Refusal::new(Reason::TooManyUnanswered, why)
                .with_retry_after(Duration::from_millis(200)));
        }
        Ok(())
    }

    fn ask(&mut self, session: SessionId, request: u64, ask: Ask) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let no = open.next_call;
        open.next_call += 1;
        open.calls.insert(
            no,
            Asked {
                request,
                kind: Kind::Other,
            },
        );
        let user = open.caller.user;
        self.outputs
            .push_back(Output::Ask(Call { session, no }, user, ask));
    }

    fn submit(&mut self, session: SessionId, request: u64, submit: Submit, now: Now) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let kind = kind_of(&submit);
        if let Kind::Send(room, id) = kind {
            open.refused.came(room, id, now.instant);
        }
        let no = open.next_call;
        open.next_call += 1;
        open.calls.insert(no, Asked { request, kind });
        // One send of a session to a room is with the owner at a time, so that a refused one is
        // never overtaken.
        if let Kind::Send(room, _) = kind {
            let waiting = open.sends.entry(room).or_default();
            waiting.push_back((no, submit.clone()));
            if waiting.len() > 1 {
                return;
            }
        }
        self.outputs
            .push_back(Output::Submit(Call { session, no }, submit));
    }

    /// Takes in an owner's answer.
    pub(super) fn answered(&mut self, call: Call, result: Result<Answer, Refusal>, now: Now) {
        let Some(open) = self.sessions.get_mut(&call.session) else {
            return;
        };
        if open.marking.remove(&call.no) {
            return self.pump(call.session);
        }
        let Some(asked) = open.calls.remove(&call.no) else {
            return;
        };
        let refused = result.as_ref().err().map(|refusal| refusal.reason);
        match result {
            Ok(answer) => self.reply(call.session, asked.request, &frame_of(asked.kind, answer)),
            Err(refusal) => self.refuse(call.session, asked.request, refusal, now),
        }
        if let Kind::Send(room, id) = asked.kind {
            self.next_send(call.session, room, id, refused, now);
        }
        self.close_answered(call.session);
    }

    /// Passes the next send of a room on, or refuses those that wait where this one was refused and
    /// may be tried again.
    fn next_send(
        &mut self,
        session: SessionId,
        room: RoomId,
        id: MessageId,
        refused: Option<Reason>,
        now: Now,
    ) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let Some(waiting) = open.sends.get_mut(&room) else {
            return;
        };
        waiting.pop_front();
        let mut kept_back = VecDeque::new();
        if refused.is_some_and(Reason::may_retry) {
            kept_back = std::mem::take(waiting);
            let waited = kept_back
                .iter()
                .filter_map(|(_, submit)| match kind_of(submit) {
                    Kind::Send(_, id) => Some(id),
                    Kind::MarkRead | Kind::MarkDelivered | Kind::Other => None,
                });
            open.refused.came_back(room, id, waited, now.instant);
        } else {
            open.refused.done(room, id, now.instant);
        }
        match waiting.front() {
            Some((no, submit)) => {
                let call = Call { session, no: *no };
                self.outputs.push_back(Output::Submit(call, submit.clone()));
            }
            None => drop(open.sends.remove(&room)),
        }
        for (no, _) in kept_back {
            let Some(open) = self.sessions.get_mut(&session) else {
                return;
            };
            if let Some(asked) = open.calls.remove(&no) {
                self.refuse(session, asked.request, earlier_send_refused(), now);
            }
        }
    }

    /// Takes in the node's answer.
    pub(super) fn asked(&mut self, call: Call, result: Result<Frame, Refusal>, now: Now) {
        let Some(open) = self.sessions.get_mut(&call.session) else {
            return;
        };
        let Some(asked) = open.calls.remove(&call.no) else {
            return;
        };
        match result {
            Ok(frame) => self.reply(call.session, asked.request, &frame),
            Err(refusal) => self.refuse(call.session, asked.request, refusal, now),
        }
        self.close_answered(call.session);
    }

    fn done(&mut self, session: SessionId, request: u64) {
        self.reply(session, request, &Frame::Done);
    }

    fn reply(&mut self, session: SessionId, request: u64, frame: &Frame) {
        if request == 0 {
            return;
        }
        let Some(open) = self.sessions.get(&session) else {
            return;
        };
        let (encoded, bytes) = self.wire.encode(request, frame);
        if !open.outlet.control(encoded, bytes, true) {
            self.too_slow(session, "the client sends and never reads");
        }
    }

    fn refuse(&mut self, session: SessionId, request: u64, refusal: Refusal, now: Now) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let recent = millis(REFUSALS_MILLIS);
        self.outputs.push_back(Output::Refused(refusal.reason));
        // What follows from another refusal is no further fault of the client.
        if refusal.reason != Reason::EarlierSendRefused {
            open.refusals.push_back(now.instant);
        }
        while open
            .refusals
            .front()
            .is_some_and(|at| now.instant.since(*at) >= recent)
        {
            open.refusals.pop_front();
        }
        if open.refusals.len() as u64 >= self.limits.session_refusals_max {
            let why = "too many frames were refused; mend the client";
            let refusal = Refusal::new(Reason::TooManyRefusals, why);
            return self.close(
                session,
                refusal.with_retry_after(millis(REFUSALS_MILLIS)),
                true,
            );
        }
        let (encoded, bytes) = self.wire.encode(request, &Frame::Error(refusal));
        if !open.outlet.control(encoded, bytes, true) {
            self.too_slow(session, "the client sends and never reads");
        }
    }

    /// Heartbeats, silence, tokens that end, presence that waited.
    pub(super) fn tick(&mut self, now: Now) {
        let mut sessions: Vec<_> = self.sessions.keys().copied().collect();
        sessions.sort_unstable();
        let beat = self.wire.encode(0, &Frame::Heartbeat);
        for session in sessions {
            self.tick_session(session, &beat, now);
        }
    }

    fn tick_session(&mut self, session: SessionId, beat: &(W::Encoded, usize), now: Now) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        if now.wall >= open.caller.expires {
            let why = "the access token has expired; renew it in the stream in time";
            let refusal = Refusal::new(Reason::TokenExpired, why);
            return self.close(session, refusal, true);
        }
        if let Some(interval) = open.heartbeat {
            if now.instant.since(open.heard) >= millis(self.limits.session_silence_millis) {
                let why = "no frame came for too long; send heartbeats";
                let refusal = Refusal::new(Reason::HeartbeatMissed, why);
                return self.close(session, refusal, true);
            }
            if now.instant.since(open.beat) >= interval {
                open.beat = now.instant;
                open.outlet.control(beat.0.clone(), beat.1, false);
            }
        }
        let interval = millis(self.limits.presence_interval_millis);
        if open.watches_again(now.instant, interval) {
            let (user, users) = (open.caller.user, open.watched.iter().copied().collect());
            self.outputs.push_back(Output::Watch(session, user, users));
        }
        let due = open
            .presence_sent
            .is_none_or(|at| now.instant.since(at) >= interval);
        if due && !open.presences.is_empty() {
            let presences = page_of(&open.presences, self.limits.page_bytes_max);
            let told: Vec<_> = presences.iter().map(|presence| presence.user).collect();
            if self.event(session, &Frame::Presence(presences))
                && let Some(open) = self.sessions.get_mut(&session)
            {
                for user in told {
                    open.presences.remove(&user);
                }
                open.presence_sent = Some(now.instant);
            }
        }
        self.pump(session);
    }
}

/// As many of these as one frame holds: the rest is told with the next.
fn page_of(presences: &BTreeMap<UserId, Presence>, bytes_max: u64) -> Vec<Presence> {
    const HEADER: usize = 64;
    let (mut page, mut bytes) = (Vec::new(), 0);
    for presence in presences.values() {
        bytes += HEADER + presence.status_text.len();
        if bytes as u64 > bytes_max && !page.is_empty() {
            break;
        }
        page.push(presence.clone());
    }
    page
}

fn kind_of(submit: &Submit) -> Kind {
    match &submit.command {
        Command::Append(Append {
            id,
            what: What::Message { .. },
            ..
        }) => Kind::Send(submit.room, *id),
        Command::Mark(marks) if marks.read > crate::ids::Seq::ZERO => Kind::MarkRead,
        Command::Mark(_) => Kind::MarkDelivered,
        Command::Append(_) | Command::Typing => Kind::Other,
    }
}

fn frame_of(kind: Kind, answer: Answer) -> Frame {
    match (kind, answer) {
        (_, Answer::Appended { seq, time, .. }) => Frame::Sent { seq, time },
        (Kind::MarkDelivered, Answer::Marks(marks)) => Frame::MarkedDelivered(marks.delivered),
        (_, Answer::Marks(marks)) => Frame::MarkedRead(marks.read),
        (_, Answer::Typing) => Frame::TypingTaken,
        (_, Answer::Unchanged) => Frame::Done,
    }
}

fn earlier_send_refused() -> Refusal {
    let why = "an earlier message to this room was refused; send that one again first";
    Refusal::new(Reason::EarlierSendRefused, why).with_retry_after(Duration::from_millis(200))
}
