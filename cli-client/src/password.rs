//! Asks for passwords: without echo on a terminal, else from stdin where that was said. Never
//! takes one from the command line, where others could see it.

use std::io::{self, BufRead, IsTerminal, Read};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};

use crate::{
    failure::{Failure, Result},
    limits::{NEW_PASSWORD_TRIES_MAX, PASSWORD_LINE_BYTES_MAX},
};

/// Where passwords come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// The person at the terminal.
    Terminal,
    /// Lines of stdin.
    Stdin,
}

impl Source {
    /// The source that the flag asks for.
    pub(crate) fn new(password_stdin: bool) -> Result<Self> {
        if password_stdin {
            return Ok(Self::Stdin);
        }
        if io::stdin().is_terminal() {
            return Ok(Self::Terminal);
        }
        Err(
            Failure::usage("there is no terminal to ask for the password on")
                .hint("pass it on stdin with --password-stdin"),
        )
    }

    /// A password that exists.
    pub(crate) fn existing(self, prompt: &str) -> Result<String> {
        match self {
            Self::Terminal => asked(prompt),
            Self::Stdin => line(&mut io::stdin().lock(), "password"),
        }
    }

    /// A new password, asked for twice where it is typed.
    pub(crate) fn new_one(self, prompt: &str) -> Result<String> {
        match self {
            Self::Terminal => {
                let again = format!("The two differ. Try again.\n{prompt}");
                for tried in 0..NEW_PASSWORD_TRIES_MAX {
                    let prompt = if tried == 0 { prompt } else { &again };
                    if let Some(password) = twice(prompt)? {
                        return Ok(password);
                    }
                }
                Err(Failure::usage("the two passwords differ"))
            }
            Self::Stdin => line(&mut io::stdin().lock(), "new password"),
        }
    }
}

/// A new password; none where the person typed two.
fn twice(prompt: &str) -> Result<Option<String>> {
    let password = asked(prompt)?;
    let again = asked("Once more: ")?;
    Ok((again == password).then_some(password))
}

/// Asks at the terminal. The echo is off before the question is seen, so that nothing of a quick answer
/// is shown.
fn asked(prompt: &str) -> Result<String> {
    let _quiet = Quiet::begin();
    Ok(rpassword::prompt_password(prompt)?)
}

/// A terminal without echo, until dropped.
struct Quiet(Option<Termios>);

impl Quiet {
    fn begin() -> Self {
        let stdin = io::stdin();
        let Ok(before) = termios::tcgetattr(&stdin) else {
            return Self(None);
        };
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        let set = termios::tcsetattr(&stdin, OptionalActions::Now, &quiet);
        Self(set.is_ok().then_some(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // What was pasted behind a password is no command of the shell. There is nothing to do about a
            // terminal that is gone.
            termios::tcsetattr(io::stdin(), OptionalActions::Flush, before).ok();
        }
    }
}

/// One line without its end, which is `what`.
fn line(input: &mut impl BufRead, what: &str) -> Result<String> {
    let mut line = String::new();
    input
        .take(PASSWORD_LINE_BYTES_MAX)
        .read_line(&mut line)
        .map_err(|error| {
            Failure::usage(format!("the password on stdin cannot be read: {error}"))
        })?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(Failure::usage(format!("there is no {what} on stdin")));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_password_is_one_line_without_its_end() {
        let mut input = "old one \r\nnew\n".as_bytes();
        assert_eq!(line(&mut input, "password").unwrap(), "old one ");
        assert_eq!(line(&mut input, "password").unwrap(), "new");
        let failure = line(&mut input, "new password").unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert_eq!(failure.to_string(), "there is no new password on stdin");
    }

    #[test]
    fn a_line_end_is_not_needed() {
        assert_eq!(
            line(&mut "secret".as_bytes(), "password").unwrap(),
            "secret"
        );
    }
}
