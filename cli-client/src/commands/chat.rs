//! `chat`: talks in one room, line by line.

mod typed;

use std::collections::{HashMap, HashSet};

use magpie::{
    client::{Draft, Events, MessageId, SendError, Session, SessionOptions},
    v1::{Entry, GetPresenceRequest, Member, MemberRole, Presence, RoomKind, RoomSummary},
};
use serde_json::json;

use self::typed::Typed;
use crate::{
    app::App,
    clock,
    commands::{
        follow::{CLIENT, Follower, Item, seconds},
        history::{self, whole_command},
        presence,
        room::{all_members, room_names},
    },
    failure::{Exit, Failure, Result, reason_name},
    json,
    link::{self, Link},
    names,
    render::{self, Style},
    rooms::{self, Direct},
    stop,
    terminal::{self, Lines, Screen},
    text,
};

/// People whose presence `/who` asks for in one question.
const BATCH_USERS_MAX: usize = 100;

pub(crate) async fn run(app: &App, input: &str, lines: u32) -> Result<()> {
    let link = app.link()?;
    let room = rooms::resolve(&link, input, Direct::Open).await?;
    let wanted = HashSet::from([room.room_id]);
    let names = room_names(&link, std::slice::from_ref(&room)).await?;
    let mut follower = Follower::new(&link, Some(wanted), names);
    let past = history::backward(&link, room.room_id, None, lines).await?;
    let ids = past.messages.iter().flat_map(names::in_entry);
    follower.names.learn(&link, ids).await?;
    follower.start(&room, past.as_of_seq);
    history::print(app.out, &app.clock, &follower.names, &past.messages, input)?;

    let options = SessionOptions {
        client: CLIENT.to_owned(),
        watch_user_ids: Vec::from_iter((room.peer_user_id > 0).then_some(room.peer_user_id)),
        ..SessionOptions::default()
    };
    let (session, mut events) = Session::open(link.api(), options);
    let (screen, mut typed, _restore) = terminal::open(app.out)?;
    let mut talk = Talk {
        app,
        link: &link,
        session: &session,
        screen,
        follower,
        last_seq: past.as_of_seq,
        room,
        whole: whole_command(input),
        day: app.clock.today(),
        unanswered: HashMap::new(),
        is_connected: false,
        is_leaving: false,
        refused: false,
    };
    talk.greet().await?;
    let end = tokio::select! {
        end = talk.go_on(&mut events, &mut typed) => end,
        () = stop::requested() => Ok(()),
    };
    drop(events);
    session.bye().await;
    talk.end(end)
}

/// A conversation in progress.
struct Talk<'a> {
    app: &'a App,
    link: &'a Link,
    session: &'a Session,
    screen: Screen,
    follower: Follower<'a>,
    room: RoomSummary,
    whole: String,
    last_seq: i64,
    day: String,
    /// What was posted and not answered yet.
    unanswered: HashMap<MessageId, String>,
    is_connected: bool,
    /// The person has no more to say; what is unanswered is waited for.
    is_leaving: bool,
    /// A message was refused, which the exit code tells.
    refused: bool,
}

impl Talk<'_> {
    async fn greet(&mut self) -> Result<()> {
        self.mark_read().await;
        if self.app.out.is_json() {
            return Ok(());
        }
        let title = self.follower.title(self.room.room_id);
        let who = match self.room.kind() {
            RoomKind::Direct => String::new(),
            RoomKind::Group | RoomKind::Unspecified => match self.room.member_count {
                1 => ", you alone".to_owned(),
                count => format!(", {count} members"),
            },
        };
        self.remark(&format!("{title}{who}. Type a message, or /help."))
            .await
    }

    async fn go_on(&mut self, events: &mut Events, typed: &mut Lines) -> Result<()> {
        loop {
            tokio::select! {
                event = events.next() => {
                    let Some(event) = event else { return Ok(()) };
                    for item in self.follower.take(event).await? {
                        self.take(item).await?;
                    }
                }
                line = typed.recv(), if !self.is_leaving => match line {
                    Some(line) => self.say(&line).await?,
                    None => self.is_leaving = true,
                },
            }
            if self.is_leaving && self.unanswered.is_empty() {
                return Ok(());
            }
        }
    }

    async fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Entry(entry) => self.entry(&entry).await,
            Item::Outcome(id, result) => self.outcome(id, result).await,
            Item::Presence(presences) => self.presence(&presences).await,
            Item::Lost { cause, retry_in } => {
                self.is_connected = false;
                let wait = seconds(retry_in);
                self.notice(
                    "disconnected",
                    &format!("connection lost ({cause}); reconnecting in {wait}"),
                )
                .await
            }
            Item::Live { again } => {
                self.is_connected = true;
                match again {
                    true => {
                        self.notice("resumed", "connected again, nothing was missed")
                            .await
                    }
                    false => Ok(()),
                }
            }
            Item::Restored => {
                self.notice(
                    "restored",
                    "the server was restored from a backup: the latest \
                    messages may not exist any more",
                )
                .await
            }
            Item::Ended(Some(error)) => Err(link::failed(&error, self.link.server())),
            Item::Ended(None) => {
                self.is_leaving = true;
                Ok(())
            }
        }
    }

    async fn say(&mut self, line: &str) -> Result<()> {
        match typed::read(line) {
            Typed::Nothing => Ok(()),
            Typed::Text { text, reply_to } => self.post(text, reply_to).await,
            Typed::Quit => {
                self.is_leaving = true;
                Ok(())
            }
            Typed::Help => {
                for line in typed::HELP {
                    self.remark(line).await?;
                }
                Ok(())
            }
            Typed::Read => {
                self.mark_read().await;
                self.remark(&format!("read up to {}", self.last_seq)).await
            }
            Typed::Who => match self.who().await {
                Ok(lines) => self.screen.show(&lines).await,
                Err(failure) => self.remark(&failure.to_string()).await,
            },
            Typed::Wrong(why) => self.remark(&why).await,
        }
    }

    async fn post(&mut self, text: String, reply_to: Option<i64>) -> Result<()> {
        let mut draft = Draft::new(self.room.room_id, text.clone());
        draft.reply_to_seq = reply_to;
        let id = draft.client_message_id;
        self.unanswered.insert(id, text.clone());
        if let Err(error) = self.session.post(draft).await {
            return self.outcome(id, Err(error)).await;
        }
        if !self.is_connected {
            let shown = text::snippet(&text, 40);
            self.remark(&format!(
                "not connected yet; this waits to be sent: {shown}"
            ))
            .await?;
        }
        Ok(())
    }

    async fn outcome(
        &mut self,
        id: MessageId,
        result: std::result::Result<magpie::client::Sent, SendError>,
    ) -> Result<()> {
        let Some(text) = self.unanswered.remove(&id) else {
            return Ok(());
        };
        let error = match result {
            // People see it when it comes back as an entry.
            Ok(_) if !self.app.out.is_json() => return Ok(()),
            Ok(sent) => {
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
        self.refused = true;
        let reason = match &error {
            SendError::Refused(refusal) | SendError::Unknown(Some(refusal)) => {
                reason_name(refusal.reason)
            }
            _ => "NOT_SENT",
        };
        if self.app.out.is_json() {
            let failure = Failure::new(Exit::Refused, reason, error.to_string())
                .detail("client_message_id", json!(id.to_string()));
            crate::output::report(&failure, true);
            return Ok(());
        }
        let shown = text::snippet(&text, 40);
        let why = text::one_line(&error.to_string());
        self.remark(&format!("NOT SENT: {shown} ({why})")).await
    }

    async fn entry(&mut self, entry: &Entry) -> Result<()> {
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
        Ok(())
    }

    async fn presence(&mut self, presences: &[Presence]) -> Result<()> {
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

    async fn who(&mut self) -> Result<Vec<String>> {
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

    /// What is on the screen has been read. A session that has ended says so by its last event.
    async fn mark_read(&self) {
        self.session
            .mark_read(self.room.room_id, self.last_seq)
            .await
            .ok();
    }

    /// A line of ours, told apart from what people say.
    async fn remark(&self, line: &str) -> Result<()> {
        if self.app.out.is_json() {
            self.app.out.notice("remark", line);
            return Ok(());
        }
        let line = self.app.out.paint().dim(&format!("-- {line}"));
        self.screen.show(&[line]).await
    }

    /// Something about the connection.
    async fn notice(&self, kind: &str, line: &str) -> Result<()> {
        match (&self.screen, self.app.out.is_json()) {
            (Screen::Above(_), false) => self.remark(line).await,
            _ => {
                self.app.out.notice(kind, line);
                Ok(())
            }
        }
    }

    /// The end of the command: nothing that was typed is lost without a word.
    fn end(self, end: Result<()>) -> Result<()> {
        end?;
        if !self.unanswered.is_empty() {
            let texts: Vec<&String> = self.unanswered.values().collect();
            return Err(Failure::new(
                Exit::OutcomeUnknown,
                "OUTCOME_UNKNOWN",
                format!(
                    "{} messages were not answered and may not have been sent",
                    texts.len()
                ),
            )
            .detail("texts", json!(texts)));
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
}
