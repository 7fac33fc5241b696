//! How a conversation ends: nothing that was typed is lost without a word.

use std::collections::{BTreeMap, HashSet};

use magpie::client::{MessageId, PendingSend};
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
    /// Which of these never left this device.
    pub(super) unsent: HashSet<MessageId>,
    /// A message was refused, which the exit code tells.
    pub(super) refused: bool,
    /// Of one of these nobody knows whether it was sent.
    pub(super) unknown: bool,
}

/// Those of a session that has ended which never left this device.
pub(super) fn unsent(pending: &[PendingSend]) -> HashSet<MessageId> {
    let unsent = pending.iter().filter(|send| !send.transmitted);
    unsent.map(|send| send.draft.client_message_id).collect()
}

impl Rest {
    /// The end of the command, which would otherwise be `end`.
    pub(super) fn end(&self, end: Result<()>) -> Result<()> {
        if matches!(&end, Err(failure) if failure.is_reader_gone()) {
            return end;
        }
        if !self.unanswered.is_empty() {
            return Err(self.unfinished(end.err()));
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
        let mut message = parts.join("; ");
        if let Some(cause) = cause {
            message.push_str(&format!(": {cause}"));
        }
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
        Failure::new(exit, reason, message)
            .hint(hint)
            .detail("messages", json!(messages))
    }
}

#[cfg(test)]
mod tests {
    use magpie::client::Draft;

    use super::*;

    fn rest(texts: &[(&str, bool)]) -> Rest {
        let mut rest = Rest {
            unanswered: BTreeMap::new(),
            unsent: HashSet::new(),
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
