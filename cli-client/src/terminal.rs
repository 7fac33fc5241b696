//! The two ends of a conversation line by line: lines that are typed, and lines that are shown
//! above what is being typed. Knows nothing of rooms.

mod input;
mod lines;

use std::{
    io::{self, IsTerminal, Write},
    mem, thread,
    time::Duration,
};

use rustix::{
    process::{Signal, getpid, kill_process},
    termios::Termios,
};
use rustyline::{Config, DefaultEditor, ExternalPrinter, config::Configurer, error::ReadlineError};
use tokio::sync::mpsc::{self, error::TrySendError};

use self::lines::Plain;
use crate::{
    failure::Result,
    limits::{
        INPUT_QUIET, INPUT_QUIET_ASKED, LINES_QUEUED_MAX, SHOWN_QUEUED_MAX,
        TERMINAL_COLUMNS_DEFAULT, TYPED_HISTORY_LINES_MAX, TYPED_LINES_QUEUED_MAX,
    },
    output::Output,
    text,
};

pub(crate) use lines::Line;

const PROMPT: &str = "> ";
/// Ends the terminal's bracketed paste, which the line editor switches on, and takes the prompt of
/// a line that will not be typed off the screen.
const LEAVE: &str = "\x1b[?2004l\r\x1b[K";

/// Lines of the person, until they end.
pub(crate) type Lines = mpsc::Receiver<Line>;

/// Where lines are shown.
#[derive(Debug)]
pub(crate) enum Screen {
    /// One after the other on stdout.
    Plain(Output),
    /// Above the line that is being typed.
    Above(mpsc::Sender<String>),
    /// Nobody reads it any more.
    Nowhere,
}

/// Puts the terminal back as it was, however the conversation ends.
#[derive(Debug)]
pub(crate) struct Restore(Option<Termios>);

/// Opens both ends. With a person at both, the line editor serves them.
pub(crate) fn open(out: Output) -> Result<(Screen, Lines, Restore)> {
    if !is_person(out) {
        let (sender, lines) = mpsc::channel(LINES_QUEUED_MAX);
        thread::spawn(move || read_plain(&sender));
        return Ok((Screen::Plain(out), lines, Restore(None)));
    }
    let (sender, lines) = mpsc::channel(TYPED_LINES_QUEUED_MAX);
    let restore = Restore(input::mode());
    let config = Config::builder().auto_add_history(true).build();
    let mut editor = DefaultEditor::with_config(config).map_err(io::Error::other)?;
    editor
        .set_max_history_size(TYPED_HISTORY_LINES_MAX)
        .map_err(io::Error::other)?;
    let printer = editor.create_external_printer().map_err(io::Error::other)?;
    let (show, shown) = mpsc::channel(SHOWN_QUEUED_MAX);
    // The printer waits while a line is being taken, so it has a thread of its own.
    thread::spawn(move || print(printer, shown));
    thread::spawn(move || read_edited(editor, sender));
    Ok((Screen::Above(show), lines, restore))
}

/// Drops what a person has typed for a conversation that does not begin. Who has ended a line types
/// on, perhaps.
pub(crate) fn drop_typed(out: Output) {
    if is_person(out)
        && let Some(mode) = input::mode()
    {
        let quiet = match input::has_more(&io::stdin(), Duration::ZERO) {
            true => INPUT_QUIET,
            false => INPUT_QUIET_ASKED,
        };
        input::dropped(io::stdin(), quiet, &mode);
    }
}

fn is_person(out: Output) -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && !out.is_json()
}

impl Screen {
    /// Shows lines.
    pub(crate) async fn show(&self, lines: &[String]) -> Result<()> {
        match self {
            Self::Plain(out) => {
                for line in lines {
                    out.line(line)?;
                }
            }
            Self::Above(show) => {
                let mut block = lines.join("\n");
                block.push('\n');
                // The terminal has gone, and the conversation ends by its signal.
                drop(show.send(block).await);
            }
            Self::Nowhere => {}
        }
        Ok(())
    }
}

impl Restore {
    /// Puts the terminal back. Where the person did not ask for the end they may be typing still:
    /// returns the first line that was dropped.
    pub(crate) fn leave(mut self, is_asked: bool) -> Option<String> {
        if is_asked {
            self.put_back(INPUT_QUIET_ASKED);
            return None;
        }
        lines::dropped(&self.put_back(INPUT_QUIET))
    }

    fn put_back(&mut self, quiet: Duration) -> Vec<u8> {
        let Some(mode) = self.0.take() else {
            return Vec::new();
        };
        let dropped = match input::taken() {
            Ok(input) => input::dropped(input, quiet, &mode),
            Err(_) => Vec::new(),
        };
        io::stdout().write_all(LEAVE.as_bytes()).ok();
        io::stdout().flush().ok();
        dropped
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        self.put_back(INPUT_QUIET);
    }
}

fn read_plain(lines: &mpsc::Sender<Line>) {
    for line in Plain::new(io::stdin().lock()) {
        let is_last = matches!(line, Line::Broken(_));
        if lines.blocking_send(line).is_err() || is_last {
            return;
        }
    }
}

/// Prints above the line that is being typed; as it comes once no line is.
fn print(mut printer: impl ExternalPrinter, mut shown: mpsc::Receiver<String>) {
    while let Some(block) = shown.blocking_recv() {
        if printer.print(block.clone()).is_err() {
            // The line editor went while it was waited for.
            io::stdout().write_all(block.as_bytes()).ok();
        }
    }
}

/// Reads lines until they end. The printer prints only while the editor reads, and the conversation
/// waits for the printer: so nothing is waited for between two lines.
fn read_edited(mut editor: DefaultEditor, lines: mpsc::Sender<Line>) {
    loop {
        let read = editor.readline(PROMPT);
        if let Ok(line) = &read {
            let columns = editor
                .dimensions()
                .map_or(TERMINAL_COLUMNS_DEFAULT, |(columns, _)| {
                    usize::from(columns)
                });
            wipe(line, columns);
        }
        if matches!(&read, Err(ReadlineError::Interrupted)) {
            // As where no line is edited. It does not wait behind the lines that were typed before,
            // and it is not their end.
            mem::forget(lines);
            kill_process(getpid(), Signal::INT).ok();
            return;
        }
        let line = lines::edited(read);
        if let (Some(Line::Wrong(_)), Some(mode)) = (&line, input::mode()) {
            // The rest of a paste is no line of its own.
            input::dropped(io::stdin(), INPUT_QUIET, &mode);
        }
        let Some(line) = line else { return };
        let is_last = matches!(line, Line::Broken(_));
        match lines.try_send(line) {
            Ok(()) if !is_last => {}
            Err(TrySendError::Full(line)) => {
                // From here on nothing is printed but as it comes, so it may be waited for.
                drop(editor);
                lines.blocking_send(lines::too_many(line)).ok();
                return;
            }
            Ok(()) | Err(TrySendError::Closed(_)) => return,
        }
    }
}

/// Takes the typed line off the screen: it comes back as a message with its time and seq.
fn wipe(line: &str, columns: usize) {
    let rows: usize = line
        .split('\n')
        .map(|row| (text::width(row) + PROMPT.len()) / columns.max(1) + 1)
        .sum();
    write!(io::stdout().lock(), "\x1b[{rows}A\r\x1b[J").ok();
    io::stdout().flush().ok();
}
