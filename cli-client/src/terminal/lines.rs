//! The lines of a conversation as they come in: each is a text, or is refused by itself, or is the
//! last, which says why.

use std::io::{self, BufRead, Read};

use rustyline::error::ReadlineError;

use crate::{
    failure::{Exit, Failure},
    limits::{REPEATED_COLUMNS_MAX, STDIN_BYTES_MAX, TEXT_CHARACTERS_MAX, TYPED_LINES_QUEUED_MAX},
    text,
};

/// What a terminal sends before a paste.
const PASTE: &str = "\x1b[200~";

/// What comes from the person.
#[derive(Debug)]
pub(crate) enum Line {
    /// A line without its end.
    Text(String),
    /// A line that no message can hold; says which, and why. The next one may come.
    Wrong(String),
    /// Nothing more comes; says what was in the way.
    Broken(Failure),
}

/// The lines of an input that is no terminal.
pub(super) struct Plain<R> {
    input: R,
    /// The line that is being read, from 1.
    number: u64,
}

impl<R: BufRead> Plain<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, number: 0 }
    }

    fn read(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let mut bounded = self.input.by_ref().take(STDIN_BYTES_MAX);
        if bounded.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if bytes.len() as u64 == STDIN_BYTES_MAX && !bytes.ends_with(b"\n") {
            self.input.skip_until(b'\n')?;
            return Ok(Some(self.wrong(&format!(
                "is longer than the {} characters of a message",
                text::count(TEXT_CHARACTERS_MAX as i64)
            ))));
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(Some(match str::from_utf8(line) {
            Ok(text) => Line::Text(text.to_owned()),
            Err(_) => self.wrong("is not valid UTF-8"),
        }))
    }

    fn wrong(&self, why: &str) -> Line {
        Line::Wrong(format!("line {} {why}", self.number))
    }
}

impl<R: BufRead> Iterator for Plain<R> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        self.read().unwrap_or_else(|error| {
            let message = format!("stdin cannot be read: {error}");
            Some(Line::Broken(Failure::local(message)))
        })
    }
}

/// The first line of what came from a terminal that nobody read any more.
pub(super) fn dropped(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split(['\r', '\n']).map(|line| {
        let line = line.strip_prefix(PASTE).unwrap_or(line);
        line.trim()
    });
    // A key such as an arrow is no text.
    let told = lines.find(|line| !line.is_empty() && !line.starts_with('\x1b'));
    told.map(str::to_owned)
}

/// What one reading of the line editor means. None: nothing more comes.
pub(super) fn edited(read: Result<String, ReadlineError>) -> Option<Line> {
    match read {
        // A paste may end with line ends that belong to no line.
        Ok(line) => Some(Line::Text(line.trim_end_matches('\n').to_owned())),
        // The window got another size in the middle of a key.
        Err(ReadlineError::Signal(_)) => Some(Line::Text(String::new())),
        Err(ReadlineError::Eof | ReadlineError::Interrupted) => None,
        // What came along with the byte is gone: to go on could send halves of lines.
        Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Some(Line::Wrong(
                "the terminal sent a byte that is not UTF-8; the line that was being typed, and \
                 what was pasted with it, was dropped (set the terminal to UTF-8)"
                    .to_owned(),
            ))
        }
        Err(error) => {
            let message = format!("the terminal cannot be read: {error}");
            Some(Line::Broken(Failure::local(message)))
        }
    }
}

/// The end of an input of which more lines wait than may, from this one on.
pub(super) fn too_many(line: Line) -> Line {
    let (Line::Text(first) | Line::Wrong(first)) = line else {
        return line;
    };
    let message = format!(
        "more than {} lines waited, and nothing was sent from this one on: {}",
        text::count(TYPED_LINES_QUEUED_MAX as i64),
        text::snippet(&first, REPEATED_COLUMNS_MAX)
    );
    Line::Broken(Failure::new(Exit::Partly, "NOT_ALL_SENT", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<String> {
        let line = |line| match line {
            Line::Text(text) => text,
            Line::Wrong(why) => format!("WRONG {why}"),
            Line::Broken(failure) => format!("BROKEN {failure}"),
        };
        Plain::new(input).map(line).collect()
    }

    #[test]
    fn the_first_line_that_was_dropped_is_told() {
        let told = |bytes: &[u8]| dropped(bytes);
        assert_eq!(told(b"\r but why\rnext\r").as_deref(), Some("but why"));
        assert_eq!(told(b"\x1b[200~a paste\nmore").as_deref(), Some("a paste"));
        assert_eq!(told(b"\x1b[A\rhalf").as_deref(), Some("half"));
        assert_eq!(told(b"\r\n \r"), None);
        assert_eq!(told(b""), None);
    }

    #[test]
    fn each_line_is_read_without_its_end() {
        assert_eq!(
            lines(b"one\r\n\n two \nthree"),
            ["one", "", " two ", "three"]
        );
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_line_that_is_no_text_is_refused_alone() {
        assert_eq!(
            lines(b"one\nt\xffo\nthree\n"),
            ["one", "WRONG line 2 is not valid UTF-8", "three"]
        );
    }

    #[test]
    fn a_line_longer_than_any_message_is_refused_alone() {
        let mut input = vec![b'x'; 2 * STDIN_BYTES_MAX as usize];
        input.extend(b"\nnext\n");
        let said = lines(&input);
        assert_eq!(
            said,
            [
                "WRONG line 1 is longer than the 100,000 characters of a message",
                "next"
            ]
        );
        let whole = "é".repeat(TEXT_CHARACTERS_MAX);
        assert_eq!(
            lines(format!("{whole}\r\nnext").as_bytes()),
            [&whole, "next"]
        );
    }

    #[test]
    fn an_input_that_breaks_says_so_and_ends() {
        let broken = io::BufReader::new(Broken);
        let mut lines = Plain::new(broken);
        let Some(Line::Broken(failure)) = lines.next() else {
            panic!("it is broken");
        };
        assert_eq!(failure.exit(), Exit::Local);
    }

    #[test]
    fn a_terminal_that_is_not_utf_8_has_its_line_refused() {
        let invalid = io::Error::from(io::ErrorKind::InvalidData);
        assert!(matches!(edited(Err(invalid.into())), Some(Line::Wrong(_))));
        assert!(edited(Err(ReadlineError::Eof)).is_none());
        assert!(
            matches!(edited(Ok("a\nb\n".to_owned())), Some(Line::Text(text)) if text == "a\nb")
        );
    }

    #[test]
    fn too_many_lines_end_with_the_first_that_has_no_place() {
        let Line::Broken(failure) = too_many(Line::Text("one".to_owned())) else {
            panic!("it is the end");
        };
        assert_eq!(failure.exit(), Exit::Partly);
        assert!(failure.to_string().ends_with("from this one on: one"));
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
}
