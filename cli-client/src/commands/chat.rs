//! `chat`: talks in one room, line by line.

mod end;
mod posted;
mod show;
mod turns;
mod typed;

use std::collections::HashSet;

use magpie::{
    client::{Draft, MessageId, Refusal, Session, SessionOptions},
    v1::{RoomKind, RoomSummary},
};
use serde_json::Map;
use tokio::time::{Instant, sleep};

use self::{
    end::{Rest, Unread},
    posted::Posted,
    typed::Typed,
};
use crate::{
    app::App,
    commands::{
        follow::{self, Ending, Follower, Item, Live},
        history::{self, whole_command},
        room::room_names,
    },
    failure::{Failure, Result},
    limits::{BYE_WAIT_MAX, REPEATED_COLUMNS_MAX},
    link::{self, Link},
    names,
    rooms::{self, Direct},
    stop::Stop,
    terminal::{self, Line, Screen},
    text,
};

pub(crate) async fn run(app: &App, input: &str, lines: u32) -> Result<()> {
    let link = app.link()?;
    let start = match start(app, &link, input, lines).await {
        Ok(start) => start,
        Err(failure) => {
            // What was typed for the conversation is no command of the shell.
            terminal::drop_typed(app.out);
            return Err(failure);
        }
    };
    let room = &start.room;
    let options = SessionOptions {
        watch_user_ids: Vec::from_iter((room.peer_user_id > 0).then_some(room.peer_user_id)),
        ..follow::session_options()
    };
    let (session, mut events) = Session::open(link.api(), options);
    let mut stop = Stop::watch();
    let (screen, mut typed, restore) = terminal::open(app.out)?;
    let mut talk = Talk {
        app,
        link: &link,
        session: &session,
        screen,
        follower: start.follower,
        last_seq: start.last_seq,
        room: start.room,
        whole: start.whole,
        day: app.clock.today(),
        posted: Posted::default(),
        sent_seq: 0,
        lines: 0,
        is_lost: false,
        is_leaving: false,
        is_stopped: false,
        is_cut: false,
        has_quit: false,
        delayed: None,
        ending: None,
        broken: None,
        refused: false,
        unknown: false,
    };
    let greeted = match start.printed {
        Ok(()) => talk.greet().await,
        failed => failed,
    };
    let mut end = talk.unless_unread(greeted);
    if end.is_ok() {
        end = talk.until_stopped(&mut events, &mut typed, &mut stop).await;
    }
    drop(events);
    if !talk.is_cut {
        say_bye(&session, &mut stop).await;
    }
    let unsent = end::unsent(&session.pending().await);
    let unread = talk.unread(&mut typed).await;
    // Last, since from here on the shell gets what is typed.
    let late = restore.leave(end.is_ok());
    let unread = unread.or_else(|| talk.late(&mut typed, late, &end));
    talk.rest(unsent, unread).end(end)
}

/// What a conversation begins with.
struct Start<'a> {
    room: RoomSummary,
    follower: Follower<'a>,
    last_seq: i64,
    /// How the rest of a long message is read.
    whole: String,
    /// Whether the latest messages could be shown.
    printed: Result<()>,
}

/// Finds the room and shows its latest messages.
async fn start<'a>(app: &App, link: &'a Link, input: &str, lines: u32) -> Result<Start<'a>> {
    let room = rooms::resolve(link, input, Direct::Open).await?;
    let wanted = HashSet::from([room.room_id]);
    let names = room_names(link, std::slice::from_ref(&room)).await?;
    let mut follower = Follower::new(link, Some(wanted), names);
    let past = history::backward(link, room.room_id, None, lines).await?;
    let ids = past.messages.iter().flat_map(names::in_entry);
    follower.names.learn(link, ids).await?;
    follower.start(&room, past.as_of_seq);
    let whole = whole_command(&app.program(link), input);
    let printed = history::print(app, &follower.names, &past.messages, &whole);
    if let Some(ending) = follower.ending_before(&room) {
        return Err(ending.failure(&follower.title(room.room_id)));
    }
    Ok(Start {
        room,
        follower,
        last_seq: past.as_of_seq,
        whole,
        printed,
    })
}

/// The server need not know at once that this device leaves, and the person does not wait for it.
async fn say_bye(session: &Session, stop: &mut Stop) {
    tokio::select! {
        () = session.bye() => {}
        _ = stop.requested() => {}
        () = sleep(BYE_WAIT_MAX) => {}
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
    posted: Posted,
    /// The seq of the last message of one's own that was answered.
    sent_seq: i64,
    /// Lines that were taken.
    lines: u64,
    /// The stream is lost, so what is typed waits.
    is_lost: bool,
    /// The person has no more to say; what is unanswered is waited for.
    is_leaving: bool,
    /// A signal asked for the end, or nobody reads the output any more.
    is_stopped: bool,
    /// A second signal asked for the end at once.
    is_cut: bool,
    /// The person said so, and wants nothing of what follows.
    has_quit: bool,
    /// Why the latest messages are refused for now, and tried again.
    delayed: Option<Refusal>,
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

    /// What is left of the conversation.
    fn rest(self, unsent: HashSet<MessageId>, unread: Option<Unread>) -> Rest {
        Rest {
            unanswered: self.posted.into_texts(),
            delayed: self.delayed,
            unsent,
            unread,
            refused: self.refused,
            unknown: self.unknown,
        }
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
            Item::Absence(gap) => {
                let title = self.follower.title(gap.room_id);
                let words = gap.absence_words(&title, &self.app.program(self.link));
                self.notice("absence", &words, gap.facts()).await
            }
            Item::Outcome(id, result) => self.outcome(id, result).await,
            Item::Delayed(id, refusal) => self.delayed(id, refusal).await,
            Item::Presence(presences) => self.presence(&presences).await,
            Item::Lost(lost) => {
                self.is_lost = true;
                let mut words = lost.words();
                if self.is_watched() {
                    words.push_str("; Enter tries at once");
                }
                self.notice("disconnected", &words, lost.facts()).await
            }
            Item::Live(live) => {
                self.is_lost = false;
                // What delays what waited meanwhile is news again.
                self.delayed = None;
                let (kind, words) = match live {
                    Live::First => return Ok(()),
                    Live::Again => ("resumed", "connected again, nothing was missed"),
                    Live::Anew => ("live", "connected again; what is unread was shown"),
                };
                self.notice(kind, words, Map::new()).await
            }
            Item::Restored => {
                let words = "the server was restored from a backup: what was said last may not \
                             exist any more; what is unread there follows";
                self.notice("restored", words, Map::new()).await
            }
            Item::Ended(Some(error)) => Err(link::failed(&error, self.link.server())),
            Item::Ended(None) => {
                self.is_leaving = true;
                Ok(())
            }
        }
    }

    /// Nothing: no more lines come.
    async fn typed(&mut self, line: Option<Line>) -> Result<()> {
        let Some(line) = line else {
            self.is_leaving = true;
            return Ok(());
        };
        self.lines += 1;
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
        if self.is_lost && !self.follower.is_open() && self.is_watched() {
            // Who types does not want to wait as long as a program may. A session that has ended
            // says so by its last event.
            self.session.reconnect().await.ok();
        }
        match typed::read(line) {
            Typed::Nothing => Ok(()),
            Typed::Text { text, reply_to } => self.post(text, reply_to).await,
            Typed::Quit => {
                self.has_quit = true;
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
            Typed::Wrong(why) if self.is_watched() => self.remark(&why).await,
            Typed::Wrong(why) => {
                let number = self.lines;
                self.wrong(&format!("line {number}: {why}")).await
            }
        }
    }

    async fn post(&mut self, text: String, reply_to: Option<i64>) -> Result<()> {
        let mut draft = Draft::new(self.room.room_id, text.clone());
        draft.reply_to_seq = reply_to;
        let id = draft.client_message_id;
        self.posted.insert(id, text.clone(), Instant::now());
        if let Err(error) = self.session.post(draft).await {
            return self.outcome(id, Err(error)).await;
        }
        if self.is_lost {
            self.posted.told(id);
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
