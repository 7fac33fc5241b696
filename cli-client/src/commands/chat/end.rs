//! How a conversation ends: nothing that was typed is lost without a word.

use std::collections::{BTreeMap, HashSet};

use magpie::client::{MessageId, PendingSend, Refusal};
use serde_json::json;

use crate::{
    failure::{Exit, Failure, Result},
    limits::REPEATED_COLUMNS_MAX,
    text,
};

/// What became of what was typed, when the session is over.
#[derive(Debug)]
pub(super) struct Rest {
    /// What was posted and not answered, oldest first.
    pub(super) unanswered: BTreeMap<MessageId, String>,
    /// Why these were refused for now, where they were.
    pub(super) delayed: Option<Refusal>,
    /// Which of these never left this device.
    pub(super) unsent: HashSet<MessageId>,
    /// What came and was not even taken.
    pub(super) unread: Option<Unread>,
    /// A message was refused, which the exit code tells.
    pub(super) refused: bool,
    /// Of one of these nobody knows whether it was sent.
    pub(super) unknown: bool,
}

/// The first line that was not taken.
#[derive(Debug)]
pub(super) struct Unread {
    /// Its number, from 1, where it comes from a pipe.
    pub(super) number: Option<u64>,
    pub(super) text: String,
}

/// Those of a session that has ended which never left this device.
pub(super) fn unsent(pending: &[PendingSend]) -> HashSet<MessageId> {
    let unsent = pending.iter().filter(|send| !send.transmitted);
    unsent.map(|send| send.draft.client_message_id).collect()
}

impl Rest {
    /// The end of the command, which would otherwise be `end`.
    pub(super) fn end(&self, end: Result<()>) -> Result<()> {
        if !self.unanswered.is_empty() || self.unread.is_some() {
            let delayed = || self.delayed.as_ref().map(Failure::refused);
            return Err(self.unfinished(end.err().or_else(delayed)));
        }
        end?;
        if self.unknown {
            return Err(Failure::new(
                Exit::OutcomeUnknown,
                "OUTCOME_UNKNOWN",
                "of some messages nobody can tell whether they were sent, as was said above",
            ));
        }
        if self.refused {
            return Err(Failure::new(
                Exit::Partly,
                "NOT_ALL_SENT",
                "some messages were not sent, as was said above",
            ));
        }
        Ok(())
    }

    fn unfinished(&self, cause: Option<Failure>) -> Failure {
        let is_unsent = |id: &&MessageId| self.unsent.contains(id);
        let unsent = self.unanswered.keys().filter(is_unsent).count();
        let unknown = self.unanswered.len() - unsent;
        let (exit, reason) = match unknown {
            0 if !self.unknown => (Exit::Partly, "NOT_ALL_SENT"),
            _ => (Exit::OutcomeUnknown, "OUTCOME_UNKNOWN"),
        };
        let mut parts = Vec::new();
        match unknown {
            0 => {}
            1 => parts.push("1 message was not answered and may not have been sent".to_owned()),
            _ => parts.push(format!(
                "{unknown} messages were not answered and may not have been sent"
            )),
        }
        match unsent {
            0 => {}
            1 => parts.push("1 message was not sent".to_owned()),
            _ => parts.push(format!("{unsent} messages were not sent")),
        }
        parts.extend(self.unread.as_ref().map(Unread::words));
        let mut message = parts.join("; ");
        if let Some(cause) = cause {
            message.push_str(&format!(": {cause}"));
        }
        let failure = Failure::new(exit, reason, message);
        let failure = match &self.unread {
            Some(unread) => failure.detail(
                "unread",
                json!({ "line": unread.number, "text": unread.text }),
            ),
            None => failure,
        };
        match self.unanswered.is_empty() {
            true => failure,
            false => self.with_messages(failure),
        }
    }

    /// Names what was posted, and how it is sent again.
    fn with_messages(&self, failure: Failure) -> Failure {
        let mut hint = "send each again, in this order, by `magpie send ROOM TEXT --id ID`: it \
                        appears at most once"
            .to_owned();
        let mut messages = Vec::new();
        for (id, text) in &self.unanswered {
            let (sent, mark) = match self.unsent.contains(id) {
                true => ("no", "  (not sent)"),
                false => ("unknown", ""),
            };
            let shown = text::snippet(text, REPEATED_COLUMNS_MAX);
            hint.push_str(&format!("\n  {id}  {shown}{mark}"));
            messages.push(json!({
                "client_message_id": id.to_string(),
                "text": text,
                "sent": sent,
            }));
        }
        failure.hint(hint).detail("messages", json!(messages))
    }
}

impl Unread {
    fn words(&self) -> String {
        let shown = text::snippet(&self.text, REPEATED_COLUMNS_MAX);
        match self.number {
            Some(number) => format!(
                "stdin was not read to its end, and nothing was sent from line {number} on: {shown}"
            ),
            None => format!("nothing was sent of what was typed from here on: {shown}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use magpie::client::Draft;

    use super::*;

    fn rest(texts: &[(&str, bool)]) -> Rest {
        let mut rest = Rest {
            unanswered: BTreeMap::new(),
            delayed: None,
            unsent: HashSet::new(),
            unread: None,
            refused: false,
            unknown: false,
        };
        for (text, transmitted) in texts {
            let id = Draft::new(7, *text).client_message_id;
            rest.unanswered.insert(id, (*text).to_owned());
            if !transmitted {
                rest.unsent.insert(id);
            }
        }
        rest
    }

    #[test]
    fn only_what_left_this_device_is_unknown() {
        let failure = rest(&[("one", true), ("two", false), ("three", false)])
            .end(Ok(()))
            .unwrap_err();
        assert_eq!(failure.exit(), Exit::OutcomeUnknown);
        assert_eq!(
            failure.to_string(),
            "1 message was not answered and may not have been sent; 2 messages were not sent"
        );
        let said = failure.json().to_string();
        assert!(said.contains(r#""text":"one","sent":"unknown""#), "{said}");
        assert!(said.contains(r#""text":"two","sent":"no""#), "{said}");
    }

    #[test]
    fn what_never_left_was_not_sent() {
        let cause = Failure::usage("the node stayed away");
        let failure = rest(&[("one", false)]).end(Err(cause)).unwrap_err();
        assert_eq!(failure.exit(), Exit::Partly);
        let said = failure.to_string();
        assert_eq!(said, "1 message was not sent: the node stayed away");
    }

    #[test]
    fn input_that_was_not_taken_is_told() {
        let mut rest = rest(&[]);
        rest.unread = Some(Unread {
            number: Some(12),
            text: "twelve".to_owned(),
        });
        let failure = rest.end(Ok(())).unwrap_err();
        assert_eq!(failure.exit(), Exit::Partly);
        let said = failure.to_string();
        assert!(said.ends_with("from line 12 on: twelve"), "{said}");
        let said = failure.json().to_string();
        assert!(
            said.contains(r#""unread":{"line":12,"text":"twelve"}"#),
            "{said}"
        );
    }

    #[test]
    fn refusals_are_told_by_the_code_alone() {
        let mut rest = rest(&[]);
        assert!(rest.end(Ok(())).is_ok());
        rest.refused = true;
        assert_eq!(rest.end(Ok(())).unwrap_err().exit(), Exit::Partly);
        rest.unknown = true;
        let failure = rest.end(Ok(())).unwrap_err();
        assert_eq!(failure.exit(), Exit::OutcomeUnknown);
    }
}
