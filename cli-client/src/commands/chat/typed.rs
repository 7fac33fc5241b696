//! What a typed line means. Pure.

/// What `/help` says.
pub(super) const HELP: &[&str] = &[
    "/reply SEQ TEXT  reply to a message",
    "/who             who is in the room, and who is there",
    "/read            mark everything as read",
    "/quit            leave this command (also Ctrl-D); the room stays yours",
    "//text           send a text that begins with a slash",
    "Enter            while the connection is lost: try again at once, as any line does",
];

/// What a typed line means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// An empty line.
    Nothing,
    /// A message.
    Text {
        text: String,
        reply_to: Option<i64>,
    },
    Quit,
    Help,
    Read,
    Who,
    /// A command that is none; says why.
    Wrong(String),
}

/// Reads a typed line.
pub(super) fn read(line: &str) -> Typed {
    let Some(command) = line.strip_prefix('/') else {
        return match line.trim() {
            "" => Typed::Nothing,
            _ => text(line, None),
        };
    };
    if command.starts_with('/') {
        return text(command, None);
    }
    let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
    if !rest.trim().is_empty()
        && matches!(
            name,
            "quit" | "q" | "exit" | "help" | "h" | "?" | "read" | "who"
        )
    {
        return Typed::Wrong(format!("/{name} takes nothing after it"));
    }
    match name {
        "quit" | "q" | "exit" => Typed::Quit,
        "help" | "h" | "?" => Typed::Help,
        "read" => Typed::Read,
        "who" => Typed::Who,
        "reply" | "r" => reply(rest),
        _ => Typed::Wrong(format!(
            "there is no command /{}; /help lists them, and //text sends a text that begins with /",
            crate::text::one_line(name)
        )),
    }
}

fn reply(rest: &str) -> Typed {
    let (seq, said) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
    let seq = seq.trim_start_matches('#').parse().ok();
    match seq.filter(|seq: &i64| *seq > 0) {
        Some(seq) if !said.trim().is_empty() => text(said, Some(seq)),
        _ => Typed::Wrong("write it as /reply SEQ TEXT, such as /reply 57 me too".to_owned()),
    }
}

fn text(text: &str, reply_to: Option<i64>) -> Typed {
    Typed::Text {
        text: text.to_owned(),
        reply_to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_messages_as_they_are() {
        assert_eq!(read("  hi there "), text("  hi there ", None));
        assert_eq!(read("   "), Typed::Nothing);
    }

    #[test]
    fn commands_are_not_sent() {
        assert_eq!(read("/quit"), Typed::Quit);
        assert_eq!(read("/who"), Typed::Who);
        assert_eq!(read("/read"), Typed::Read);
        assert!(matches!(read("/qiut"), Typed::Wrong(_)));
        assert!(matches!(read("/quit now"), Typed::Wrong(_)));
        assert_eq!(read("/quit "), Typed::Quit);
    }

    #[test]
    fn two_slashes_send_one() {
        assert_eq!(read("//etc"), text("/etc", None));
    }

    #[test]
    fn a_reply_needs_a_seq_and_a_text() {
        assert_eq!(read("/reply 57 me too"), text("me too", Some(57)));
        assert_eq!(read("/reply #57 me too"), text("me too", Some(57)));
        for bad in ["/reply", "/reply 57", "/reply x y", "/reply 0 y"] {
            assert!(matches!(read(bad), Typed::Wrong(_)), "{bad}");
        }
    }
}
