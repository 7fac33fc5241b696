//! `tail`: prints what happens in rooms as it happens, until it is told to stop.

use std::collections::{HashMap, HashSet};

use magpie::{
    client::{Events, Session, SessionOptions},
    v1::{Entry, RoomSummary},
};
use serde_json::{Map, json};

use crate::{
    app::App,
    args::Tail,
    commands::{
        follow::{self, Ending, Follower, Gap, Item, Live, no_member},
        history::{self, whole_command},
        room::room_names,
    },
    failure::{Failure, Result},
    json,
    limits::TAIL_TITLE_COLUMNS_MAX,
    link::{self, Link},
    names,
    render::{self, Style},
    rooms::{self, Direct},
    stop::Stop,
    text,
};

pub(crate) async fn run(app: &App, args: Tail) -> Result<()> {
    if args.after.is_some() && args.rooms.len() != 1 {
        return Err(Failure::usage("--after needs exactly one ROOM"));
    }
    let link = app.link()?;
    let named = named_rooms(&link, &args.rooms).await?;
    let mut printer = Printer::new(app, &link, &args, &named);
    let mut follower = begin(app, &link, &args, named, &mut printer).await?;
    // Nobody need be at the terminal: the account counts as away.
    let options = SessionOptions {
        idle: true,
        ..follow::session_options()
    };
    let (session, mut events) = Session::open(link.api(), options);
    for (room_id, seq) in &printer.shown {
        mark(&session, *room_id, *seq, args.mark_read).await;
    }
    let mut stop = Stop::watch();
    let end = tokio::select! {
        end = follow(&mut follower, &session, &mut events, &mut printer, args.mark_read) => end,
        _ = stop.requested() => {
            app.out.end_line();
            Ok(())
        }
    };
    drop(events);
    session.bye().await;
    end
}

async fn named_rooms(link: &Link, inputs: &[String]) -> Result<Vec<RoomSummary>> {
    let mut named = Vec::new();
    for input in inputs {
        named.push(rooms::resolve(link, input, Direct::Find).await?);
    }
    Ok(named)
}

/// Prints what was asked for of the past, and says from where on to follow.
async fn begin<'a>(
    app: &App,
    link: &'a Link,
    args: &Tail,
    named: Vec<RoomSummary>,
    printer: &mut Printer<'_>,
) -> Result<Follower<'a>> {
    if named.is_empty() {
        let rooms = rooms::list(link).await?;
        let mut follower = Follower::new(link, None, room_names(link, &rooms).await?);
        for room in &rooms {
            follower.start(room, room.head_seq);
        }
        return Ok(follower);
    }
    let wanted: HashSet<i64> = named.iter().map(|room| room.room_id).collect();
    let mut follower = Follower::new(link, Some(wanted), room_names(link, &named).await?);
    for room in &named {
        let after_seq = match args.after {
            Some(seq) if seq > room.head_seq => {
                return Err(history::past_the_end(room.head_seq));
            }
            Some(seq) => seq,
            None => room.head_seq,
        };
        follower.start(room, after_seq);
        if args.after.is_some() {
            // The session begins where the membership does, which may be later.
            let mut gap = Gap {
                room_id: room.room_id,
                after_seq,
                through_seq: room.head_seq,
            };
            while let Some(page) = follower.next_page(&mut gap).await? {
                for entry in &page {
                    printer.entry(app, &follower, entry)?;
                }
            }
        } else if args.lines > 0 {
            let past = history::backward(link, room.room_id, None, args.lines).await?;
            let ids = past.messages.iter().flat_map(names::in_entry);
            follower.names.learn(link, ids).await?;
            for entry in &past.messages {
                printer.entry(app, &follower, entry)?;
            }
            follower.start(room, past.as_of_seq);
        }
        if let Some(ending) = follower.ending_before(room) {
            printer.end(&follower, room.room_id, ending)?;
        }
    }
    Ok(follower)
}

async fn follow(
    follower: &mut Follower<'_>,
    session: &Session,
    events: &mut Events,
    printer: &mut Printer<'_>,
    mark_read: bool,
) -> Result<()> {
    let app = printer.app;
    while let Some(event) = events.next().await {
        for item in follower.take(event).await {
            match item {
                Item::Entry(entry) => {
                    printer.entry(app, follower, &entry)?;
                    mark(session, entry.room_id, entry.seq, mark_read).await;
                    printer.ending(follower, &entry)?;
                }
                Item::Gap(mut gap) => {
                    while let Some(page) = follower.next_page(&mut gap).await? {
                        for entry in &page {
                            printer.entry(app, follower, entry)?;
                            mark(session, entry.room_id, entry.seq, mark_read).await;
                            printer.ending(follower, entry)?;
                        }
                    }
                }
                Item::Absence(gap) => {
                    let title = follower.title(gap.room_id);
                    let words = gap.absence_words(&title, &printer.program);
                    app.out.notice_with("absence", &words, gap.facts());
                }
                Item::Ended(Some(error)) => {
                    return Err(link::failed(&error, printer.server));
                }
                Item::Ended(None) => return Ok(()),
                Item::Lost(lost) => {
                    app.out
                        .notice_with("disconnected", &lost.words(), lost.facts());
                }
                Item::Live(Live::Again) => {
                    app.out
                        .notice("resumed", "connected again, nothing was missed");
                }
                Item::Live(Live::Anew) => {
                    app.out
                        .notice("live", "connected again; what is unread was shown");
                }
                Item::Live(Live::First) => {
                    app.out.notice("live", "following; Ctrl-C ends");
                }
                Item::Restored => app.out.notice(
                    "restored",
                    "the server was restored from a backup: what was printed last may not exist \
                     any more; what is unread there follows",
                ),
                Item::Presence(_) | Item::Outcome(..) | Item::Delayed(..) => {}
            }
        }
    }
    Ok(())
}

/// Says that an entry was printed. A session that has ended says so by its last event.
async fn mark(session: &Session, room_id: i64, seq: i64, read: bool) {
    session.mark_delivered(room_id, seq).await.ok();
    if read {
        session.mark_read(room_id, seq).await.ok();
    }
}

/// Prints entries with day lines between them.
struct Printer<'a> {
    app: &'a App,
    /// How the person named the room, where it is only one.
    only: Option<String>,
    server: &'a str,
    program: String,
    day: String,
    /// The last entry that was printed of each room.
    shown: HashMap<i64, i64>,
}

impl<'a> Printer<'a> {
    fn new(app: &'a App, link: &'a Link, args: &Tail, named: &[RoomSummary]) -> Self {
        Self {
            app,
            server: link.server(),
            program: app.program(link),
            only: (named.len() == 1).then(|| args.rooms.concat()),
            day: app.clock.today(),
            shown: HashMap::new(),
        }
    }

    /// Says so where an entry ended the membership of its room.
    fn ending(&self, follower: &mut Follower<'_>, entry: &Entry) -> Result<()> {
        match follower.ending(entry) {
            Some(ending) => self.end(follower, entry.room_id, ending),
            None => Ok(()),
        }
    }

    /// Says that nothing more comes from a room; an error where that is so of all.
    fn end(&self, follower: &Follower<'_>, room_id: i64, ending: Ending) -> Result<()> {
        let words = ending.words(&follower.title(room_id));
        let followed = follower.wanted_rooms();
        if followed != Some(1) || self.app.out.is_json() {
            let mut facts = Map::new();
            facts.insert("room_id".to_owned(), json!(room_id.to_string()));
            facts.insert("change".to_owned(), json!(ending.change()));
            self.app.out.notice_with("room_ended", &words, facts);
        }
        if !follower.is_over() {
            return Ok(());
        }
        Err(no_member(match followed {
            Some(1) => words,
            _ => "you are no member any more of any of these rooms".to_owned(),
        }))
    }

    fn entry(&mut self, app: &App, follower: &Follower<'_>, entry: &Entry) -> Result<()> {
        self.shown.insert(entry.room_id, entry.seq);
        if app.out.is_json() {
            return app
                .out
                .line(&json::entry(entry, &follower.names).to_string());
        }
        let day = app.clock.day(entry.create_time.as_ref());
        if day != self.day {
            app.out.line(&render::day_line(&day, app.out.paint()))?;
            self.day = day;
        }
        let title = text::snippet(&follower.title(entry.room_id), TAIL_TITLE_COLUMNS_MAX);
        let room_id = entry.room_id.to_string();
        let room = self.only.as_deref().unwrap_or(&room_id);
        let whole = whole_command(&self.program, room);
        let style = Style {
            names: &follower.names,
            clock: &app.clock,
            paint: app.out.paint(),
            room: self.only.is_none().then_some(title.as_str()),
            columns: app.out.columns(),
            whole: &whole,
        };
        for line in render::entry_lines(entry, style) {
            app.out.line(&line)?;
        }
        Ok(())
    }
}
