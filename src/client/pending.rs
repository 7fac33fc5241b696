//! A message on its way out, and where a program keeps such messages over a restart.

use std::time::SystemTime;

use crate::{
    client::{error::BoxError, event::MessageId},
    v1::SendMessageRequest,
};

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The room.
    pub room_id: i64,
    /// The text: 1 to 100,000 characters.
    pub text: String,
    /// The seq of the message of this room to which it replies.
    pub reply_to_seq: Option<i64>,
    /// Its id; made here, the same in every retry.
    pub client_message_id: MessageId,
}

impl Draft {
    /// A message with a new id.
    pub fn new(room_id: i64, text: impl Into<String>) -> Self {
        Self {
            room_id,
            text: text.into(),
            reply_to_seq: None,
            client_message_id: MessageId::new(),
        }
    }

    /// The same as a reply.
    #[must_use]
    pub const fn replying_to(mut self, seq: i64) -> Self {
        self.reply_to_seq = Some(seq);
        self
    }
}

/// A message that is queued, with what a retry after a restart needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSend {
    /// The message.
    pub draft: Draft,
    /// When it was queued; its retry ends 7 days after.
    pub queue_time: SystemTime,
    /// Whether it was ever handed to the transport.
    pub transmitted: bool,
    /// The head of the room that was known before that; 0 once the server was restored from a backup,
    /// when that head is of another log.
    pub after_seq: Option<i64>,
}

impl PendingSend {
    pub(crate) fn request(&self) -> SendMessageRequest {
        SendMessageRequest {
            room_id: self.draft.room_id,
            client_message_id: self.draft.client_message_id.to_bytes(),
            text: self.draft.text.clone(),
            reply_to_seq: self.draft.reply_to_seq,
            after_seq: self.after_seq,
        }
    }
}

/// Keeps pending messages over a restart of the program. Hand what it holds to the next session in
/// [`SessionOptions::pending`](crate::client::SessionOptions::pending), in the order of their
/// first `put`.
///
/// Called on the session's task: be short.
pub trait Outbox: Send + 'static {
    /// Stores a message, or its newer form under the same client_message_id. It is queued, and
    /// transmitted, only after this returned.
    fn put(&mut self, pending: &PendingSend) -> Result<(), BoxError>;
    /// Forgets a message: its outcome is known. An error is logged and changes nothing: given to a
    /// later session, the message is sent again under its id, and appears once.
    fn remove(&mut self, client_message_id: MessageId) -> Result<(), BoxError>;
}

/// Keeps nothing: pending messages end with the program.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOutbox;

impl Outbox for NoOutbox {
    fn put(&mut self, _: &PendingSend) -> Result<(), BoxError> {
        Ok(())
    }

    fn remove(&mut self, _: MessageId) -> Result<(), BoxError> {
        Ok(())
    }
}
