//! What comes in to a session's task, handed on to the machine.

use std::time::{Instant, SystemTime};

use super::{Command, Dialed, Driver, Waiter, Wake, outputs::outbox_error};
use crate::{
    client::{
        error::Error,
        event::SendError,
        limits::RENEWAL_RETRY,
        marks::Kind,
        pending::{Draft, PendingSend},
    },
    v1::ServerFrame,
};

impl Driver {
    pub(super) fn handle(&mut self, wake: Wake, now: Instant) {
        match wake {
            Wake::Command(Some(command)) => self.handle_command(command, now),
            Wake::Command(None) => self.commands = None,
            Wake::Abandoned => {
                self.abandoned = true;
                self.machine.handle_bye();
            }
            Wake::Frame(frame) => self.handle_frame(frame, now),
            Wake::Dialed(dialed) => self.handle_dialed(*dialed, now),
            Wake::Page(Some((ask, page))) => self.machine.handle_page(ask, page, now),
            Wake::Page(None) | Wake::Again => {}
            Wake::Renewed(result) => {
                self.renewal = None;
                if let Err(error) = result {
                    tracing::warn!(%error, "the access token could not be renewed");
                    self.renew_not_before = now + RENEWAL_RETRY;
                }
            }
            Wake::Token => self.handle_token(),
        }
        self.machine.handle_timeout(now);
    }

    fn handle_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Send {
                draft,
                queued,
                outcome,
            } => {
                let result = self.enqueue(draft, outcome, now);
                // Whoever asked may have lost interest; the message goes on.
                queued.send(result).ok();
            }
            Command::MarkRead { room_id, seq } => {
                self.machine.handle_mark(room_id, Kind::Read, seq, now);
            }
            Command::MarkDelivered { room_id, seq } => {
                self.machine.handle_mark(room_id, Kind::Delivered, seq, now);
            }
            Command::Typing { room_id } => self.machine.handle_typing(room_id, now),
            Command::Watch { user_ids } => self.machine.handle_watch(user_ids),
            Command::Idle { idle } => self.machine.handle_idle(idle),
            Command::Reconnect => self.machine.handle_reconnect(now),
            Command::Bye => self.machine.handle_bye(),
            Command::Pending(answer) => {
                answer.send(self.machine.pending()).ok();
            }
        }
    }

    fn enqueue(
        &mut self,
        draft: Draft,
        outcome: Option<Waiter>,
        now: Instant,
    ) -> Result<(), SendError> {
        let wall = SystemTime::now();
        let id = draft.client_message_id;
        let pending = PendingSend {
            draft,
            queue_time: wall,
            transmitted: false,
            after_seq: None,
        };
        self.machine.check_send(&pending)?;
        if !self.machine.has_send(&pending) {
            self.outbox.put(&pending).map_err(outbox_error)?;
            self.machine.handle_send(pending, now, wall);
        }
        if let Some(outcome) = outcome {
            self.waiters.entry(id).or_default().push(outcome);
        }
        Ok(())
    }

    fn handle_frame(&mut self, frame: Result<Option<ServerFrame>, tonic::Status>, now: Instant) {
        let Some(stream) = &self.stream else {
            return;
        };
        let number = stream.number;
        match frame {
            Ok(Some(frame)) => self.machine.handle_frame(number, frame, now),
            Ok(None) => {
                let error = Error::Transport("the server ended the stream".to_owned());
                self.machine.handle_lost(number, error, now);
            }
            Err(status) => self.machine.handle_lost(number, status.into(), now),
        }
    }

    fn handle_dialed(&mut self, (number, result): Dialed, now: Instant) {
        self.dialing = None;
        match result {
            Ok((stream, first)) => {
                self.machine.handle_opened(number, first, now);
                if self.machine.current() == Some(number) {
                    self.failures = 0;
                    self.stream = Some(stream);
                    // It may have been renewed while this stream was being opened.
                    self.handle_token();
                    return;
                }
            }
            Err(error) => self.machine.handle_lost(number, error, now),
        }
        self.failures += 1;
    }

    pub(super) fn handle_token(&mut self) {
        let (Some(stream), Ok(tokens)) = (&mut self.stream, self.api.tokens()) else {
            return;
        };
        let held = tokens.held();
        if held.version != stream.version {
            stream.version = held.version;
            let token = held.credentials.access_token.clone();
            self.machine.handle_token(token);
        }
    }
}
