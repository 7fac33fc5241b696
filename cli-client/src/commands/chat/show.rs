//! What a conversation shows: messages, what became of one's own, who is there, remarks.

use std::collections::HashMap;

use magpie::{
    client::{MessageId, Refusal, SendError, Sent},
    v1::{Entry, GetPresenceRequest, Member, MemberRole, Presence, Reason},
};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Talk;
use crate::{
    clock,
    commands::{members::all_members, presence},
    failure::{Exit, Failure, Result},
    json,
    limits::{BATCH_USERS_MAX, REPEATED_COLUMNS_MAX},
    output::report,
    render::{self, Style},
    terminal::Screen,
    text,
};

/// The reason of a message that did not reach the server.
const NOT_SENT: &str = "NOT_SENT";

/// A message that was retried until nobody could tell any more what became of it.
fn may_be_sent(refusal: Option<&Refusal>) -> Failure {
    let why = match refusal {
        Some(refusal) => format!(": {}", Failure::refused(refusal)),
        None => String::new(),
    };
    let message = format!("nobody can tell any more whether it was sent{why}");
    Failure::new(Exit::OutcomeUnknown, "OUTCOME_UNKNOWN", message)
        .detail("effect", json!("unknown"))
}

/// Whether a refusal only says that messages come too fast.
fn is_pace(refusal: &Refusal) -> bool {
    matches!(
        refusal.reason,
        Reason::RateLimited | Reason::TooManyUnanswered
    )
}

impl Talk<'_> {
    pub(super) async fn outcome(
        &mut self,
        id: MessageId,
        result: std::result::Result<Sent, SendError>,
    ) -> Result<()> {
        let Some(text) = self.posted.remove(id) else {
            return Ok(());
        };
        let error = match result {
            Ok(sent) => {
                if self.posted.is_empty() || !self.is_paced() {
                    self.delayed = None;
                }
                self.sent_seq = self.sent_seq.max(sent.seq);
                if !self.app.out.is_json() {
                    // People see it when it comes back as an entry.
                    return Ok(());
                }
                let object = json!({
                    "type": "sent",
                    "room_id": sent.room_id.to_string(),
                    "seq": sent.seq,
                    "create_time": clock::rfc3339(sent.create_time.as_ref()),
                    "client_message_id": id.to_string(),
                });
                return self.screen.show(&[object.to_string()]).await;
            }
            Err(error) => error,
        };
        let mut what = "NOT SENT";
        let failure = match &error {
            SendError::Refused(refusal) => Failure::refused(refusal),
            SendError::Unknown(refusal) => {
                what = "SENT OR NOT";
                self.unknown = true;
                may_be_sent(refusal.as_ref())
            }
            _ => Failure::new(Exit::Refused, NOT_SENT, error.to_string()),
        };
        self.refused = true;
        if self.app.out.is_json() {
            let failure = failure
                .detail("client_message_id", json!(id.to_string()))
                .detail("text", json!(text));
            report(&failure, true);
            return Ok(());
        }
        let shown = text::snippet(&text, REPEATED_COLUMNS_MAX);
        let why = text::one_line(&failure.to_string());
        self.remark(&format!("{what}: {shown} ({why})")).await
    }

    /// What delays messages is told once.
    pub(super) async fn delayed(&mut self, id: MessageId, refusal: Refusal) -> Result<()> {
        let is_known = |known: &Refusal| known.reason == refusal.reason;
        if self.delayed.as_ref().is_some_and(is_known) {
            return Ok(());
        }
        let failure = Failure::refused(&refusal);
        let words = match is_pace(&refusal) {
            true => "this is faster than the server takes messages: the rest goes out at its pace"
                .to_owned(),
            false => format!(
                "not sent yet: {}; trying again",
                text::one_line(&failure.to_string())
            ),
        };
        let mut facts = Map::new();
        facts.insert("reason".to_owned(), json!(failure.reason()));
        facts.insert("client_message_id".to_owned(), json!(id.to_string()));
        self.posted.told(id);
        self.delayed = Some(refusal);
        self.notice("delayed", &words, facts).await
    }

    /// Whether messages wait for nothing but the server's rate, which was told.
    fn is_paced(&self) -> bool {
        self.delayed.as_ref().is_some_and(is_pace)
    }

    /// What the person typed is off the screen, and has not come back.
    pub(super) async fn tell_late(&mut self) -> Result<()> {
        let is_paced = self.is_paced();
        let words = match self.posted.late(Instant::now()).as_slice() {
            [] => return Ok(()),
            _ if is_paced => return Ok(()),
            [text] => format!(
                "not answered yet: {}",
                text::snippet(text, REPEATED_COLUMNS_MAX)
            ),
            [.., last] => {
                let shown = text::snippet(last, REPEATED_COLUMNS_MAX);
                let count = self.posted.len();
                format!("{count} messages are not answered yet, the last: {shown}")
            }
        };
        self.remark(&words).await
    }

    /// Why it does not end yet.
    pub(super) async fn tell_leaving(&self) -> Result<()> {
        if !self.is_stopped && !self.is_watched() {
            // A script that writes faster than the node answers waits as long as it takes.
            return Ok(());
        }
        let words = match self.posted.len() {
            1 => "waiting for 1 answer; Ctrl-C ends at once".to_owned(),
            count => format!("waiting for {count} answers; Ctrl-C ends at once"),
        };
        self.notice("remark", &words, Map::new()).await
    }

    /// A line that cannot be a message.
    pub(super) async fn wrong(&mut self, why: &str) -> Result<()> {
        self.refused = true;
        if self.app.out.is_json() {
            report(&Failure::new(Exit::Usage, NOT_SENT, why), true);
            return Ok(());
        }
        self.remark(&format!("NOT SENT: {why}")).await
    }

    pub(super) async fn entry(&mut self, entry: &Entry) -> Result<()> {
        self.last_seq = entry.seq;
        if self.app.out.is_json() {
            let line = json::entry(entry, &self.follower.names).to_string();
            self.screen.show(&[line]).await?;
        } else {
            let mut lines = Vec::new();
            let day = self.app.clock.day(entry.create_time.as_ref());
            if day != self.day {
                lines.push(render::day_line(&day, self.app.out.paint()));
                self.day = day;
            }
            let style = Style {
                names: &self.follower.names,
                clock: &self.app.clock,
                paint: self.app.out.paint(),
                room: None,
                columns: self.app.out.columns(),
                whole: &self.whole,
            };
            lines.extend(render::entry_lines(entry, style));
            self.screen.show(&lines).await?;
        }
        self.session
            .mark_delivered(entry.room_id, entry.seq)
            .await
            .ok();
        self.mark_read().await;
        // What was typed before is answered yet, by refusals at the latest.
        if let Some(ending) = self.follower.ending(entry) {
            self.ending = Some(ending);
            self.is_leaving = true;
        }
        Ok(())
    }

    pub(super) async fn presence(&mut self, presences: &[Presence]) -> Result<()> {
        for presence in presences {
            if self.app.out.is_json() {
                let object = json::presence(presence.user_id, Some(presence), &self.follower.names);
                self.screen.show(&[object.to_string()]).await?;
                continue;
            }
            let (state, status) = presence::said(Some(presence), &self.app.clock);
            let name = self.follower.names.label(presence.user_id);
            let said = match status.as_str() {
                "" => format!("{name} is {state}"),
                _ => format!("{name} is {state}: {status}"),
            };
            self.remark(&said).await?;
        }
        Ok(())
    }

    pub(super) async fn who(&mut self) -> Result<Vec<String>> {
        let members = all_members(self.link, self.room.room_id).await?;
        let ids: Vec<i64> = members.iter().map(|member| member.user_id).collect();
        self.follower
            .names
            .learn(self.link, ids.iter().copied())
            .await?;
        let mut presences = HashMap::new();
        for batch in ids.chunks(BATCH_USERS_MAX) {
            let request = GetPresenceRequest {
                user_ids: batch.to_vec(),
            };
            let answer = self.link.read(|api| {
                let request = request.clone();
                async move { api.presence().get_presence(request).await }
            });
            let answer = answer.await?.presences.into_iter();
            presences.extend(answer.map(|presence| (presence.user_id, presence)));
        }
        if self.app.out.is_json() {
            let names = &self.follower.names;
            let line = |id: &i64| json::presence(*id, presences.get(id), names).to_string();
            return Ok(ids.iter().map(line).collect());
        }
        let paint = self.app.out.paint();
        let line = |member: &Member| {
            let (state, status) = match presences.get(&member.user_id) {
                Some(presence) => presence::said(Some(presence), &self.app.clock),
                None => Default::default(),
            };
            let owner = if member.role() == MemberRole::Owner {
                " (owner)"
            } else {
                ""
            };
            let status = if status.is_empty() {
                status
            } else {
                format!(": {status}")
            };
            let full = self.follower.names.full(member.user_id);
            format!(
                "  {}{owner} {}",
                paint.bold(&full),
                paint.dim(&format!("{state}{status}"))
            )
        };
        Ok(members.iter().map(line).collect())
    }

    /// A line of ours, told apart from what people say.
    pub(super) async fn remark(&self, line: &str) -> Result<()> {
        if self.app.out.is_json() {
            self.app.out.notice("remark", line);
            return Ok(());
        }
        let line = self.app.out.paint().dim(&format!("-- {line}"));
        self.screen.show(&[line]).await
    }

    /// Something about the connection.
    pub(super) async fn notice(
        &self,
        kind: &str,
        line: &str,
        facts: Map<String, Value>,
    ) -> Result<()> {
        match (&self.screen, self.app.out.is_json()) {
            (Screen::Above(_), false) => self.remark(line).await,
            _ => {
                self.app.out.notice_with(kind, line, facts);
                Ok(())
            }
        }
    }
}
