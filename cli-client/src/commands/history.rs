//! Messages of the past, in as many pages as were asked for.

use magpie::v1::{
    Entry, ListMessagesRequest, ListMessagesResponse, Reason,
    list_messages_request::Position as WirePosition,
};

use crate::{
    app::App,
    args::History,
    clock::{self, Position},
    failure::{Exit, Failure, Result, reason_name},
    json,
    limits::PAGE_MESSAGES_MAX,
    link::Link,
    names::{self, Names},
    render::{self, Style},
    rooms::{self, Direct},
    text,
};

pub(crate) async fn show(app: &App, args: History) -> Result<()> {
    if args.around.is_some() && args.lines > PAGE_MESSAGES_MAX {
        let why = format!("--around shows at most {PAGE_MESSAGES_MAX} messages");
        return Err(Failure::usage(why));
    }
    let link = app.link()?;
    let room = rooms::resolve(&link, &args.room.room, Direct::Find).await?;
    let messages = if let Some(position) = args.around {
        around(&link, room.room_id, position, args.lines).await
    } else if let Some(position) = args.after {
        forward(&link, room.room_id, position, args.lines).await
    } else {
        let newest = backward(&link, room.room_id, args.before, args.lines).await;
        newest.map(|newest| newest.messages)
    };
    let messages = messages.map_err(|failure| beyond(failure, room.head_seq))?;
    let mut names = Names::default();
    names
        .learn(&link, messages.iter().flat_map(names::in_entry))
        .await?;
    if messages.is_empty() && !app.out.is_json() {
        return app.out.line("No messages there.");
    }
    let whole = whole_command(&app.program(&link), &args.room.room);
    print(app, &names, &messages, &whole)
}

/// The newest messages of a room before a position, oldest first.
#[derive(Debug)]
pub(crate) struct Newest {
    pub(crate) messages: Vec<Entry>,
    /// The head of the room when the newest of them were read.
    pub(crate) as_of_seq: i64,
}

/// The messages before a position (or the newest ones), oldest first.
pub(crate) async fn backward(
    link: &Link,
    room_id: i64,
    before: Option<Position>,
    count: u32,
) -> Result<Newest> {
    let mut position = before.map(|before| match before {
        Position::Seq(seq) => WirePosition::BeforeSeq(seq),
        Position::Time(time) => WirePosition::BeforeTime(clock::to_wire(time)),
    });
    let mut pages: Vec<Vec<Entry>> = Vec::new();
    let mut left = count;
    let mut as_of_seq = None;
    loop {
        let page = page(link, room_id, position, left).await?;
        as_of_seq.get_or_insert(page.as_of_seq);
        let begin = page.after_seq;
        let moved = page.through_seq > begin;
        let mut entries = entries(page);
        // A page holds one message at the least, and where none are wanted only the head is.
        entries.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left = left.saturating_sub(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        pages.push(entries);
        if left == 0 || begin <= 0 || !moved {
            break;
        }
        position = Some(WirePosition::BeforeSeq(begin + 1));
    }
    Ok(Newest {
        messages: pages.into_iter().rev().flatten().collect(),
        as_of_seq: as_of_seq.unwrap_or_default(),
    })
}

/// Who asked for what is not there yet is told where the room ends.
pub(crate) fn beyond(failure: Failure, head_seq: i64) -> Failure {
    if failure.reason() == reason_name(Reason::CursorAhead) {
        failure.with_message(ends_at(head_seq))
    } else {
        failure
    }
}

/// The refusal of a seq that is not there yet, where the server need not be asked.
pub(crate) fn past_the_end(head_seq: i64) -> Failure {
    let reason = reason_name(Reason::CursorAhead);
    Failure::new(Exit::Refused, reason, ends_at(head_seq)).hint(
        "if it was longer once, the server was restored from a backup, and its seqs are new ones",
    )
}

fn ends_at(head_seq: i64) -> String {
    format!("the room ends at {head_seq}")
}

async fn forward(link: &Link, room_id: i64, after: Position, count: u32) -> Result<Vec<Entry>> {
    let mut position = match after {
        Position::Seq(seq) => WirePosition::AfterSeq(seq),
        Position::Time(time) => WirePosition::AfterTime(clock::to_wire(time)),
    };
    let mut messages = Vec::new();
    let mut left = count;
    loop {
        let page = page(link, room_id, Some(position), left).await?;
        let (begin, end, head) = (page.after_seq, page.through_seq, page.as_of_seq);
        let entries = entries(page);
        left = left.saturating_sub(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        messages.extend(entries);
        if left == 0 || end >= head || end <= begin {
            return Ok(messages);
        }
        position = WirePosition::AfterSeq(end);
    }
}

/// One page on both sides; longer ones would have to be asked for in either direction.
async fn around(link: &Link, room_id: i64, at: Position, count: u32) -> Result<Vec<Entry>> {
    let position = match at {
        Position::Seq(seq) => WirePosition::AroundSeq(seq),
        Position::Time(time) => WirePosition::AroundTime(clock::to_wire(time)),
    };
    Ok(entries(page(link, room_id, Some(position), count).await?))
}

async fn page(
    link: &Link,
    room_id: i64,
    position: Option<WirePosition>,
    count: u32,
) -> Result<ListMessagesResponse> {
    let page_size = count.clamp(1, PAGE_MESSAGES_MAX);
    let request = ListMessagesRequest {
        room_id,
        page_size: i32::try_from(page_size).unwrap_or(i32::MAX),
        position,
    };
    link.read(|api| async move { api.messages().list_messages(request).await })
        .await
}

fn entries(page: ListMessagesResponse) -> Vec<Entry> {
    let messages = page.messages.into_iter();
    messages.filter_map(|message| message.entry).collect()
}

/// Prints messages with a line where a day begins; `whole` is the [`whole_command`] of their room.
pub(crate) fn print(app: &App, names: &Names, messages: &[Entry], whole: &str) -> Result<()> {
    let (out, clock) = (app.out, &app.clock);
    if out.is_json() {
        for entry in messages {
            out.line(&json::entry(entry, names).to_string())?;
        }
        return Ok(());
    }
    let style = Style {
        names,
        clock,
        paint: out.paint(),
        room: None,
        columns: out.columns(),
        whole,
    };
    let mut day = String::new();
    for entry in messages {
        let today = clock.day(entry.create_time.as_ref());
        if today != day {
            out.line(&render::day_line(&today, out.paint()))?;
            day = today;
        }
        for line in render::entry_lines(entry, style) {
            out.line(&line)?;
        }
    }
    Ok(())
}

/// The command that shows a message of a room whole, up to its seq; `program` is [`App::program`],
/// `room` how the person named the room.
pub(crate) fn whole_command(program: &str, room: &str) -> String {
    format!("{program} message {}", text::shell_word(room))
}
