//! What the server's frames mean, and which frame the client says next.

use std::time::Instant;

use super::Machine;
use crate::{
    client::{
        error::{Error, Refusal},
        event::{Event, SendError},
        limits::{FRAME_BYTES_MAX, UNANSWERED_MAX, UNANSWERED_RESERVED},
        pending::PendingSend,
        progress::Step,
    },
    v1::{
        self, Bye, ClientFrame, Heartbeat, Idle, Reason, RenewToken, SendTypingRequest,
        ServerFrame, Watch, client_frame, server_frame::Frame,
    },
};

/// A frame to transmit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transmit {
    pub(crate) frame: ClientFrame,
    /// What to store before: a message that goes out for the first time.
    pub(crate) first: Option<PendingSend>,
}

impl Machine {
    /// Takes a frame of an open stream.
    pub(crate) fn handle_frame(&mut self, number: u64, frame: ServerFrame, now: Instant) {
        if self.current() != Some(number) {
            return;
        }
        self.handle_heard(now);
        let skipping = self.open().is_some_and(|open| open.skipping);
        let result = match frame.frame {
            Some(body) if skipping => {
                self.handle_control(frame.request_id, body, now);
                Ok(())
            }
            Some(body) => self.handle_body(frame.request_id, body, now),
            // From a newer server.
            None => Ok(()),
        };
        if let Err(error) = result {
            self.handle_lost(number, error, now);
        }
    }

    fn handle_body(&mut self, request_id: u64, body: Frame, now: Instant) -> Result<(), Error> {
        match body {
            Frame::AccountChanged(changed) => {
                self.account_revision = changed.account_revision;
                let step = Step::Revision(changed.account_revision);
                for left in changed.rooms.iter().filter(|room| !room.member) {
                    self.rooms.handle_left(left.room_id, left.left_seq);
                }
                self.emit(Event::AccountChanged(changed), step);
            }
            Frame::RoomSync(sync) => {
                let out = &mut self.out;
                self.rooms.handle_sync(sync, self.user_id, now, out)?;
            }
            Frame::CaughtUp(v1::CaughtUp {}) => {
                self.handle_caught_up(now);
                self.rooms.handle_caught_up(now);
                self.emit(Event::CaughtUp, Step::None);
            }
            Frame::Event(v1::Event { entry }) => {
                let entry = entry.ok_or(Error::Protocol("an event without an entry"))?;
                let out = &mut self.out;
                self.rooms.handle_entry(entry, self.user_id, now, out)?;
            }
            Frame::Typing(v1::Typing { room_id, user_id }) => {
                self.emit(Event::Typing { room_id, user_id }, Step::None);
            }
            Frame::PresenceChanged(changed) => {
                self.emit(Event::Presence(changed.presences), Step::None);
            }
            Frame::MarksChanged(v1::MarksChanged { room_id, marks }) => {
                for own in marks.iter().filter(|mark| mark.user_id == self.user_id) {
                    self.rooms.handle_read(room_id, own.read_seq);
                }
                self.emit(Event::Marks { room_id, marks }, Step::None);
            }
            Frame::Welcome(_) => return Err(Error::Protocol("a second Welcome")),
            control => self.handle_control(request_id, control, now),
        }
        Ok(())
    }

    /// Takes answers and what concerns the stream itself; leaves out what happened in rooms.
    fn handle_control(&mut self, request_id: u64, body: Frame, now: Instant) {
        match body {
            Frame::Draining(draining) => self.handle_draining(draining, now),
            Frame::Closing(closing) => self.handle_closing(&closing, now),
            Frame::Error(error) => self.handle_error(request_id, error.into(), now),
            Frame::SendMessage(answer) => self.outgoing.handle_sent(request_id, answer),
            Frame::MarkRead(v1::MarkReadResponse { read_seq: seq }) => {
                if let Some(room_id) = self.marks.handle_stored(request_id, seq, now) {
                    self.rooms.handle_read(room_id, seq);
                }
            }
            Frame::MarkDelivered(v1::MarkDeliveredResponse { delivered_seq: seq }) => {
                self.marks.handle_stored(request_id, seq, now);
            }
            // Answers to what wanted none, and what a stream that skips leaves to the next.
            Frame::Heartbeat(_)
            | Frame::Done(_)
            | Frame::SendTyping(_)
            | Frame::SetStatus(_)
            | Frame::GetPresence(_)
            | Frame::Welcome(_)
            | Frame::AccountChanged(_)
            | Frame::RoomSync(_)
            | Frame::CaughtUp(_)
            | Frame::Event(_)
            | Frame::Typing(_)
            | Frame::PresenceChanged(_)
            | Frame::MarksChanged(_) => {}
        }
    }

    fn handle_error(&mut self, request_id: u64, refusal: Refusal, now: Instant) {
        self.renew_wanted |= refusal.reason == Reason::TokenExpired;
        if self.marks.handle_refused(request_id, &refusal, now) {
            return;
        }
        if self.outgoing.is_asked(request_id) {
            if let Some(delayed) = self.outgoing.handle_refused(request_id, refusal, now) {
                self.emit(delayed, Step::None);
            }
        } else {
            tracing::debug!(request_id, %refusal, "a frame was refused");
        }
    }

    /// The next frame to transmit on the current stream.
    pub(crate) fn poll_frame(&mut self, now: Instant) -> Option<Transmit> {
        let transmit = self.next_frame(now)?;
        self.handle_spoke(now);
        if matches!(transmit.frame.frame, Some(client_frame::Frame::Bye(_))) {
            self.leave(now);
        }
        Some(transmit)
    }

    /// The message could not be stored, so this frame must not be transmitted.
    pub(crate) fn withdraw(&mut self, request_id: u64, error: SendError) {
        self.outgoing.withdraw(request_id, error);
    }

    fn next_frame(&mut self, now: Instant) -> Option<Transmit> {
        let open = self.open()?;
        let stated = usize::try_from(open.limits.unanswered_commands_max).ok();
        let unanswered_max = stated.filter(|&max| max > 0).unwrap_or(UNANSWERED_MAX);
        let unanswered_max = unanswered_max.min(UNANSWERED_MAX);
        let stated = usize::try_from(open.limits.frame_bytes_max).ok();
        let frame_bytes_max = stated.filter(|&max| max > 0).unwrap_or(FRAME_BYTES_MAX);
        if let Some(frame) = self.next_control() {
            return Some(transmit(0, frame));
        }
        let unanswered = self.outgoing.in_flight() + self.marks.in_flight();
        let request_id = self.next_request_id + 1;
        if unanswered < unanswered_max
            && let Some(frame) = self.marks.poll(request_id, now)
        {
            self.next_request_id = request_id;
            return Some(transmit(request_id, frame));
        }
        let sends_max = unanswered_max.saturating_sub(UNANSWERED_RESERVED).max(1);
        let rooms = &self.rooms;
        if self.outgoing.in_flight() < sends_max
            && unanswered < unanswered_max
            && let Some(sent) = self
                .outgoing
                .poll(request_id, now, frame_bytes_max, |room_id| {
                    rooms.head(room_id)
                })
        {
            self.next_request_id = request_id;
            let frame = client_frame::Frame::SendMessage(sent.request);
            return Some(Transmit {
                first: sent.first,
                ..transmit(request_id, frame)
            });
        }
        self.is_heartbeat_due(now)
            .then(|| transmit(0, client_frame::Frame::Heartbeat(Heartbeat {})))
    }

    /// What goes before all messages.
    fn next_control(&mut self) -> Option<client_frame::Frame> {
        if std::mem::take(&mut self.say.bye) {
            return Some(client_frame::Frame::Bye(Bye {}));
        }
        if let Some(access_token) = self.say.token.take() {
            return Some(client_frame::Frame::RenewToken(RenewToken { access_token }));
        }
        // While another stream is being opened, what changes is told to that one.
        if self.dialing.is_none() {
            if std::mem::take(&mut self.say.watch) {
                let user_ids = self.watch.clone();
                return Some(client_frame::Frame::Watch(Watch { user_ids }));
            }
            if std::mem::take(&mut self.say.idle) {
                let idle = self.idle;
                return Some(client_frame::Frame::Idle(Idle { idle }));
            }
        }
        let room_id = self.say.typing.pop_first()?;
        Some(client_frame::Frame::SendTyping(SendTypingRequest {
            room_id,
        }))
    }
}

fn transmit(request_id: u64, frame: client_frame::Frame) -> Transmit {
    Transmit {
        frame: ClientFrame {
            request_id,
            frame: Some(frame),
        },
        first: None,
    }
}
