//! `chat`: talks in one room, line by line.

mod end;
mod show;
mod typed;

use std::collections::{BTreeMap, HashSet};

use magpie::{
    client::{Draft, Events, MessageId, Session, SessionOptions},
    v1::{RoomKind, RoomSummary},
};
use serde_json::Map;
use tokio::time::{Instant, sleep_until, timeout};

use self::{end::Rest, typed::Typed};
use crate::{
    app::App,
    commands::{
        follow::{self, Ending, Follower, Item, Live},
        history::{self, whole_command},
        room::room_names,
    },
    failure::{Failure, Result},
    limits::{OWN_SHOWN_WAIT, POSTED_BYTES_MAX, POSTED_MAX, REPEATED_COLUMNS_MAX},
    link::{self, Link},
    names,
    rooms::{self, Direct},
    stop,
    terminal::{self, Line, Lines, Screen},
    text,
};

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
    let whole = whole_command(&app.program(&link), input);
    history::print(app, &follower.names, &past.messages, &whole)?;

    if let Some(ending) = follower.ending_before(&room) {
        return Err(ending.failure(&follower.title(room.room_id)));
    }

    let options = SessionOptions {
        watch_user_ids: Vec::from_iter((room.peer_user_id > 0).then_some(room.peer_user_id)),
        ..follow::session_options()
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
        whole,
        day: app.clock.today(),
        unanswered: BTreeMap::new(),
        sent_seq: 0,
        is_lost: false,
        is_leaving: false,
        ending: None,
        broken: None,
        refused: false,
        unknown: false,
    };
    talk.greet().await?;
    let end = tokio::select! {
        end = talk.go_on(&mut events, &mut typed) => end,
        () = stop::requested() => Ok(()),
    };
    drop(events);
    session.bye().await;
    let unsent = end::unsent(&session.pending().await);
    talk.rest(unsent).end(end)
}

/// Waits until then; for ever if there is no such time yet.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
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
    /// What was posted and not answered yet, oldest first: ids ascend.
    unanswered: BTreeMap<MessageId, String>,
    /// The seq of the last message of one's own that was answered.
    sent_seq: i64,
    /// The stream is lost, so what is typed waits.
    is_lost: bool,
    /// The person has no more to say; what is unanswered is waited for.
    is_leaving: bool,
    /// The person is no member of the room any more, so nothing more comes.
    ending: Option<Ending>,
    /// Why no more lines come, where they did not just end.
    broken: Option<Failure>,
    /// A message was refused, which the exit code tells.
    refused: bool,
    /// Of one of these nobody knows whether it was sent.
    unknown: bool,
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
        let mut leave_by = None;
        loop {
            let unanswered = self.unanswered.len();
            tokio::select! {
                // What is not answered by then is said at the end.
                () = until(leave_by) => return self.left(),
                event = events.next() => {
                    let Some(event) = event else { return Ok(()) };
                    for item in self.follower.take(event).await {
                        self.take(item).await?;
                    }
                }
                line = typed.recv(), if self.takes_lines() => match line {
                    Some(line) => self.typed(line).await?,
                    None => self.is_leaving = true,
                },
            }
            if self.unanswered.len() < unanswered {
                // The node answers, if slowly: it is waited for anew.
                leave_by = None;
            }
            if self.is_leaving {
                leave_by.get_or_insert_with(|| Instant::now() + self.link.timeout());
            }
            if self.is_leaving && self.unanswered.is_empty() {
                let rest = timeout(OWN_SHOWN_WAIT, self.show_own(events));
                // What is not shown by then is sent all the same.
                rest.await.unwrap_or(Ok(()))?;
                return self.left();
            }
        }
    }

    /// Whether another line may come: not beyond what the session holds for a connection.
    fn takes_lines(&self) -> bool {
        let bytes: usize = self.unanswered.values().map(String::len).sum();
        !self.is_leaving && self.unanswered.len() < POSTED_MAX && bytes < POSTED_BYTES_MAX
    }

    /// How it ends where nothing failed.
    fn left(&mut self) -> Result<()> {
        if let Some(ending) = self.ending {
            return Err(ending.failure(&self.follower.title(self.room.room_id)));
        }
        self.broken.take().map_or(Ok(()), Err)
    }

    /// What is left of the conversation.
    fn rest(self, unsent: HashSet<MessageId>) -> Rest {
        Rest {
            unanswered: self.unanswered,
            unsent,
            refused: self.refused,
            unknown: self.unknown,
        }
    }

    /// The answer to a message may come before the message itself does.
    async fn show_own(&mut self, events: &mut Events) -> Result<()> {
        while self.last_seq < self.sent_seq {
            let Some(event) = events.next().await else {
                return Ok(());
            };
            for item in self.follower.take(event).await {
                self.take(item).await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Entry(entry) => self.entry(&entry).await,
            Item::Gap(mut gap) => {
                while let Some(page) = self.follower.next_page(&mut gap).await? {
                    for entry in &page {
                        self.entry(entry).await?;
                    }
                }
                Ok(())
            }
            Item::Outcome(id, result) => self.outcome(id, result).await,
            Item::Presence(presences) => self.presence(&presences).await,
            Item::Lost(lost) => {
                self.is_lost = true;
                let mut words = lost.words();
                if matches!(self.screen, Screen::Above(_)) {
                    words.push_str("; Enter tries at once");
                }
                self.notice("disconnected", &words, lost.facts()).await
            }
            Item::Live(live) => {
                self.is_lost = false;
                let (kind, words) = match live {
                    Live::First => return Ok(()),
                    Live::Again => ("resumed", "connected again, nothing was missed"),
                    Live::Anew => ("live", "connected again, following from here on"),
                };
                self.notice(kind, words, Map::new()).await
            }
            Item::Restored => {
                let words = "the server was restored from a backup: what was said last may not \
                             exist any more";
                self.notice("restored", words, Map::new()).await
            }
            Item::Ended(Some(error)) => Err(link::failed(&error, self.link.server())),
            Item::Ended(None) => {
                self.is_leaving = true;
                Ok(())
            }
        }
    }

    async fn typed(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Text(line) => self.say(&line).await,
            Line::Wrong(why) => self.wrong(&why).await,
            Line::Broken(failure) => {
                self.broken = Some(failure);
                self.is_leaving = true;
                Ok(())
            }
        }
    }

    async fn say(&mut self, line: &str) -> Result<()> {
        if self.is_lost && !self.follower.is_open() && matches!(self.screen, Screen::Above(_)) {
            // Who types does not want to wait as long as a program may. A session that has ended
            // says so by its last event.
            self.session.reconnect().await.ok();
        }
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
            // A person sees it and types another; a pipe's line is gone.
            Typed::Wrong(why) => match self.screen {
                Screen::Above(_) => self.remark(&why).await,
                Screen::Plain(_) => self.wrong(&why).await,
            },
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
        if self.is_lost {
            let shown = text::snippet(&text, REPEATED_COLUMNS_MAX);
            self.remark(&format!("this waits for the connection: {shown}"))
                .await?;
        }
        Ok(())
    }

    /// What is on the screen has been read. A session that has ended says so by its last event.
    async fn mark_read(&self) {
        self.session
            .mark_read(self.room.room_id, self.last_seq)
            .await
            .ok();
    }
}
