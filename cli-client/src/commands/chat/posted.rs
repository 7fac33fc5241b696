//! What was posted in a conversation and is not answered yet. Pure: the time is given.

use std::collections::BTreeMap;

use magpie::client::MessageId;
use tokio::time::Instant;

use crate::limits::{ANSWER_LATE, POSTED_BYTES_MAX, POSTED_MAX};

/// Messages without an answer, oldest first: ids ascend.
#[derive(Debug, Default)]
pub(super) struct Posted {
    messages: BTreeMap<MessageId, Message>,
    bytes: usize,
}

#[derive(Debug)]
struct Message {
    text: String,
    /// When the person is to be told that it still waits; nothing once they know.
    late_at: Option<Instant>,
}

impl Posted {
    pub(super) fn insert(&mut self, id: MessageId, text: String, now: Instant) {
        self.bytes += text.len();
        let late_at = Some(now + ANSWER_LATE);
        self.messages.insert(id, Message { text, late_at });
    }

    /// Takes what is answered.
    pub(super) fn remove(&mut self, id: MessageId) -> Option<String> {
        let message = self.messages.remove(&id)?;
        self.bytes -= message.text.len();
        Some(message.text)
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether another message may be posted: not beyond what the session holds for a connection.
    pub(super) fn has_room(&self) -> bool {
        self.messages.len() < POSTED_MAX && self.bytes < POSTED_BYTES_MAX
    }

    /// When the next one is late.
    pub(super) fn late_at(&self) -> Option<Instant> {
        self.messages.values().find_map(|message| message.late_at)
    }

    /// Those that became late until now, each once.
    pub(super) fn late(&mut self, now: Instant) -> Vec<&str> {
        let mut late = Vec::new();
        for message in self.messages.values_mut() {
            if message.late_at.is_some_and(|at| at <= now) {
                message.late_at = None;
                late.push(message.text.as_str());
            }
        }
        late
    }

    /// The person knows that this one waits.
    pub(super) fn told(&mut self, id: MessageId) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.late_at = None;
        }
    }

    /// What is left at the end.
    pub(super) fn into_texts(self) -> BTreeMap<MessageId, String> {
        let messages = self.messages.into_iter();
        messages.map(|(id, message)| (id, message.text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use magpie::client::Draft;

    use super::*;

    fn post(posted: &mut Posted, text: &str, now: Instant) -> MessageId {
        let id = Draft::new(7, text).client_message_id;
        posted.insert(id, text.to_owned(), now);
        id
    }

    #[test]
    fn what_is_late_is_told_once() {
        let start = Instant::now();
        let mut posted = Posted::default();
        let answered = post(&mut posted, "answered", start);
        post(&mut posted, "late", start);
        let known = post(&mut posted, "known", start);
        post(&mut posted, "later", start + ANSWER_LATE / 2);
        posted.told(known);
        assert_eq!(posted.remove(answered).as_deref(), Some("answered"));

        let late_at = posted.late_at().expect("one is not told yet");
        assert_eq!(late_at, start + ANSWER_LATE);
        assert!(posted.late(start).is_empty());
        assert_eq!(posted.late(late_at), ["late"]);
        assert!(posted.late(late_at).is_empty());
        let late_at = posted.late_at().expect("another comes");
        assert_eq!(posted.late(late_at), ["later"]);
        assert_eq!(posted.late_at(), None);
        assert_eq!(posted.len(), 3);
    }

    #[test]
    fn there_is_room_again_once_it_is_answered() {
        let mut posted = Posted::default();
        let whole = "x".repeat(POSTED_BYTES_MAX);
        let id = post(&mut posted, &whole, Instant::now());
        assert!(!posted.has_room());
        posted.remove(id);
        assert!(posted.has_room() && posted.is_empty());
    }
}
