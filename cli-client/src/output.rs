//! Where everything that is printed leaves the program: lines or JSON on stdout, notices and
//! errors on stderr, colours only where a terminal wants them.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use rustix::termios::tcgetwinsize;
use serde_json::{Map, Value, json};

use crate::{
    args::Global,
    failure::{Failure, Result},
};

/// Prints in the form that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    paint: Paint,
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Output {
    /// The form that the command line and the environment ask for.
    pub(crate) fn new(global: &Global) -> Self {
        let wanted = !global.no_color
            && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && env::var_os("TERM").is_none_or(|value| value != "dumb");
        Self {
            json: global.json,
            paint: Paint {
                on: wanted && !global.json && io::stdout().is_terminal(),
            },
        }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// The colours of stdout.
    pub(crate) fn paint(self) -> Paint {
        self.paint
    }

    /// How wide the terminal is; nothing where stdout is none.
    pub(crate) fn columns(self) -> Option<usize> {
        let size = tcgetwinsize(io::stdout()).ok()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }

    /// Prints one thing in the form that was asked for.
    pub(crate) fn say(
        self,
        human: impl FnOnce() -> String,
        object: impl FnOnce() -> Value,
    ) -> Result<()> {
        if self.json {
            self.line(&object().to_string())
        } else {
            self.line(&human())
        }
    }

    /// Says what a command did. It is done even where that cannot be printed, so the failure tells.
    pub(crate) fn done(
        self,
        human: impl FnOnce() -> String,
        object: impl FnOnce() -> Value,
    ) -> Result<()> {
        let result = match self.json {
            true => object(),
            false => Value::String(human()),
        };
        let said = match &result {
            Value::String(human) => human.clone(),
            object => object.to_string(),
        };
        self.line(&said)
            .map_err(|failure| failure.of_what_was_done(&said, result))
    }

    /// Prints lines, or a JSON object that is one line, on stdout.
    pub(crate) fn line(self, line: &str) -> Result<()> {
        writeln!(io::stdout().lock(), "{line}")?;
        Ok(())
    }

    /// Ends the line on which the terminal shows `^C`.
    pub(crate) fn end_line(self) {
        if io::stderr().is_terminal() && !self.json {
            note("");
        }
    }

    /// Prints a remark on stderr; if nobody reads it, nothing is lost.
    pub(crate) fn notice(self, kind: &str, message: &str) {
        self.notice_with(kind, message, Map::new());
    }

    /// The same with more facts for programs.
    pub(crate) fn notice_with(self, kind: &str, message: &str, facts: Map<String, Value>) {
        let line = if self.json {
            let mut notice = Map::new();
            notice.insert("kind".into(), json!(kind));
            notice.insert("message".into(), json!(message));
            notice.extend(facts);
            json!({ "notice": notice }).to_string()
        } else {
            format!("magpie: {message}")
        };
        note(&line);
    }
}

/// Prints a failure on stderr.
pub(crate) fn report(failure: &Failure, as_json: bool) {
    if as_json {
        note(&failure.json().to_string());
    } else {
        note(&failure.human());
    }
}

/// Prints a line on stderr.
pub(crate) fn note(line: &str) {
    // There is no further place to say that stderr is closed.
    writeln!(io::stderr().lock(), "{line}").ok();
}

impl Paint {
    /// For tests and for text that is not for a terminal.
    #[cfg(test)]
    pub(crate) const fn off() -> Self {
        Self { on: false }
    }

    /// As it is.
    pub(crate) fn plain(self, text: &str) -> String {
        text.to_owned()
    }

    /// For what matters less: times, seqs, ids.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// For names and titles.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// For what is new.
    pub(crate) fn fresh(self, text: &str) -> String {
        self.with("1;33", text)
    }

    /// For who is there.
    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_only_written_where_they_are_wanted() {
        assert_eq!(Paint { on: true }.bold("x"), "\x1b[1mx\x1b[0m");
        assert_eq!(Paint::off().bold("x"), "x");
    }

    #[test]
    fn nothing_is_painted_around_nothing() {
        assert_eq!(Paint { on: true }.dim(""), "");
    }
}
