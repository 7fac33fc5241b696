//! A person at a terminal: passwords without echo, colours, the first screen. The terminal is made by
//! `script`, which util-linux brings to every machine.

use std::{process::Stdio, time::Duration};

use magpie_tests::{
    api::PASSWORD,
    binaries,
    cli::Home,
    guard::{event, guarded_for},
    node::Node,
};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::sleep,
};

use super::{nest, signed_up};

const TIME_MAX: Duration = Duration::from_secs(60);

/// The client on a terminal of its own.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    shown: String,
}

impl Terminal {
    fn open(home: &Home, args: &str, coloured: bool) -> Self {
        let plain = home.command(&[]);
        let mut command = Command::new(binaries::tool("MAGPIE_SCRIPT", "script"));
        let line = format!("'{}' {args}", binaries::cli().display());
        command.args(["-q", "-e", "-f", "-c", &line, "/dev/null"]);
        let set = plain.as_std().get_envs();
        let set = set.filter_map(|(name, value)| Some((name, value?)));
        command
            .env_clear()
            .envs(set.filter(|(name, _)| !coloured || *name != "NO_COLOR"))
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .current_dir(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("script starts");
        Self {
            keys: child.stdin.take().expect("stdin is piped"),
            screen: child.stdout.take().expect("stdout is piped"),
            shown: String::new(),
            child,
        }
    }

    async fn shows(&mut self, what: &str) {
        self.gets_and_shows("", what).await;
    }

    /// Takes more keys than a terminal holds, while it shows.
    async fn gets_and_shows(&mut self, keys: &str, what: &str) {
        let mut keys = keys.as_bytes();
        let mut bytes = [0; 4_096];
        while !keys.is_empty() || !self.shown.contains(what) {
            tokio::select! {
                taken = self.keys.write(keys), if !keys.is_empty() => {
                    keys = &keys[taken.expect("it takes keys")..];
                }
                read = event(what, self.screen.read(&mut bytes)) => {
                    let count = read.expect("a terminal is readable");
                    assert_ne!(count, 0, "it ended without {what:?}: {}", self.shown);
                    self.shown
                        .push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
            }
        }
    }

    async fn types(&mut self, line: &str) {
        self.gets(format!("{line}\r").as_bytes()).await;
    }

    /// Takes keys that arrive at once.
    async fn gets(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).await.expect("it takes keys");
    }

    /// A conversation that has begun.
    async fn chat(home: &Home, args: &str) -> Self {
        let mut terminal = Self::open(home, args, false);
        terminal.shows("Type a message, or /help").await;
        terminal
    }

    /// A conversation after which something else reads the terminal, as a shell would.
    async fn chat_in_shell(home: &Home) -> Self {
        Self::chat(home, "chat nest; echo GONE; cat").await
    }

    /// What of the keys got to the one that reads after the conversation.
    async fn leaks(mut self) -> String {
        self.shows("GONE").await;
        self.gets(b"\x04").await;
        let (shown, _) = self.ends().await;
        let (_, after) = shown.split_once("GONE").expect("it was shown");
        after.to_owned()
    }

    /// All that was shown, and the exit code.
    async fn ends(mut self) -> (String, i32) {
        let mut rest = Vec::new();
        event("the end", self.screen.read_to_end(&mut rest))
            .await
            .ok();
        self.shown.push_str(&String::from_utf8_lossy(&rest));
        let status = event("the end", self.child.wait()).await.expect("a child");
        (self.shown, status.code().unwrap_or(-1))
    }
}

#[tokio::test]
async fn passwords_are_asked_for_without_echo() {
    guarded_for(TIME_MAX, async {
        let node = Node::start_new().await;
        let home = Home::new(node.address());
        let mut terminal = Terminal::open(&home, "signup ann", false);
        terminal.shows("New password for @ann").await;
        terminal.types(PASSWORD).await;
        terminal.shows("Once more").await;
        terminal.types(PASSWORD).await;
        let (shown, code) = terminal.ends().await;
        assert_eq!(code, 0, "{shown}");
        assert!(shown.contains("Welcome, @ann"), "{shown}");
        assert!(
            !shown.contains(PASSWORD),
            "the password is on the screen: {shown}"
        );

        let mut terminal = Terminal::open(&home, "passwd", false);
        terminal.shows("Old password").await;
        terminal.types("a wrong one").await;
        for tried in 0..3 {
            let again = "The two differ. Try again.".repeat(tried.min(1));
            terminal.shows(&again).await;
            terminal.shows("New password").await;
            terminal.types("one thing and then").await;
            terminal.shows("Once more").await;
            terminal.shown.clear();
            terminal.types("another").await;
        }
        let (shown, code) = terminal.ends().await;
        assert_eq!(code, 2, "{shown}");
        assert!(shown.contains("differ"), "{shown}");
    })
    .await;
}

#[tokio::test]
async fn colours_are_for_terminals_and_for_those_who_want_them() {
    guarded_for(TIME_MAX, async {
        let node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        let painted = async |args: &str, coloured: bool| {
            let (shown, code) = Terminal::open(&ann, args, coloured).ends().await;
            assert_eq!(code, 0, "{shown}");
            assert!(shown.contains("nest"), "{shown}");
            shown.contains("\u{1b}[")
        };
        assert!(painted("rooms", true).await, "on a terminal");
        assert!(!painted("rooms --no-color", true).await, "--no-color");
        assert!(!painted("rooms --json", true).await, "--json");
        assert!(!painted("rooms", false).await, "NO_COLOR");
        let mut piped = ann.command(&["rooms"]);
        piped.env_remove("NO_COLOR").env("TERM", "xterm-256color");
        let piped = event("the list", piped.output()).await.expect("it starts");
        assert!(!piped.stdout.contains(&0x1b), "in a pipe");
    })
    .await;
}

#[tokio::test]
async fn what_is_typed_for_a_conversation_that_does_not_begin_is_no_command_of_the_shell() {
    guarded_for(TIME_MAX, async {
        let mut node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        node.process().signal(Signal::STOP);
        let line = "chat nest --timeout 3; echo GONE; cat";
        let mut terminal = Terminal::open(&ann, line, false);
        terminal.gets(b"rm one\rrm two").await;
        let left = terminal.leaks().await;
        node.process().signal(Signal::CONT);
        assert!(!left.contains("rm"), "{left}");
    })
    .await;
}

#[tokio::test]
async fn a_conversation_at_a_terminal_ends_with_quit_and_leaves_it_clean() {
    guarded_for(TIME_MAX, async {
        let node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        let mut terminal = Terminal::open(&ann, "chat nest", true);
        terminal.shows("Type a message, or /help").await;
        terminal.types("hello at last").await;
        terminal.shows("ann").await;
        terminal.types("/quit").await;
        let (shown, code) = terminal.ends().await;
        assert_eq!(code, 0, "{shown}");
        // Bracketed paste is off again.
        assert!(shown.contains("\u{1b}[?2004l"), "{shown:?}");
        let texts = super::history_texts(&ann, &["history", "nest"]).await;
        assert_eq!(texts, ["hello at last"]);
    })
    .await;
}

#[tokio::test]
async fn lines_that_arrive_at_once_are_all_sent() {
    guarded_for(TIME_MAX, async {
        let node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        let mut terminal = Terminal::chat(&ann, "chat nest").await;
        let typed: Vec<String> = (1..=40).map(|number| format!("line {number}")).collect();
        terminal
            .gets(format!("{}\r", typed.join("\r")).as_bytes())
            .await;
        terminal.shows("ann: line 40").await;
        // A paste whose ends the terminal marks is one message.
        terminal
            .gets(b"\x1b[200~from\rthe board\r\x1b[201~\r/quit\r")
            .await;
        let (shown, code) = terminal.ends().await;
        assert_eq!(code, 0, "{shown}");
        let texts = super::history_texts(&ann, &["history", "nest", "-n", "100"]).await;
        assert_eq!(texts[..40], typed);
        assert_eq!(texts[40..], ["from\nthe board"]);
    })
    .await;
}

/// The line editor prints only while it reads, and the conversation waits for what is printed.
#[tokio::test]
async fn a_paste_of_any_length_is_sent_whole() {
    guarded_for(TIME_MAX, async {
        let node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        let mut terminal = Terminal::chat(&ann, "chat nest").await;
        let line = |number: usize| format!("line {number} of a board that somebody copied");
        let typed: Vec<String> = (1..=3_000).map(line).collect();
        terminal
            .gets_and_shows(&typed.join("\r"), "ann: line 2999 ")
            .await;
        terminal.gets(b"\r/quit\r").await;
        let (shown, code) = terminal.ends().await;
        assert_eq!(code, 0, "{shown}");
        let texts = super::history_texts(&ann, &["history", "nest", "-n", "5000"]).await;
        assert_eq!(texts, typed);
    })
    .await;
}

#[tokio::test]
async fn an_interrupt_does_not_wait_behind_a_paste() {
    guarded_for(TIME_MAX, async {
        let mut node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        let mut terminal = Terminal::chat(&ann, "--timeout 600 chat nest").await;
        node.process().signal(Signal::STOP);
        let typed: Vec<String> = (1..=600).map(|number| format!("line {number}")).collect();
        let keys = format!("{}\r", typed.join("\r"));
        terminal.gets_and_shows(&keys, "are not answered yet").await;
        terminal.gets(b"\x03").await;
        terminal
            .shows("-- waiting for 200 answers; Ctrl-C ends at once")
            .await;
        terminal.gets(b"\x03").await;
        let (shown, _) = terminal.ends().await;
        assert!(shown.contains("from here on: line 201"), "{shown}");
        node.process().signal(Signal::CONT);
    })
    .await;
}

#[tokio::test]
async fn a_terminal_that_is_not_utf_8_is_told_what_was_not_sent() {
    guarded_for(TIME_MAX, async {
        let node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        let mut terminal = Terminal::chat_in_shell(&ann).await;
        terminal.types("tea").await;
        terminal.shows("ann: tea").await;
        // More than the line editor reads at once, without and with marks.
        let board = format!("caf\u{e9}\r{}\r{}", "x".repeat(3_000), "leak\r".repeat(400));
        let board: Vec<u8> = board.chars().map(|letter| letter as u8).collect();
        for (start, end, last) in [("", "", "milk"), ("\x1b[200~", "\x1b[201~", "sugar")] {
            let keys = [start.as_bytes(), &board, end.as_bytes()].concat();
            terminal.gets(&keys).await;
            terminal.shows("a byte that is not UTF-8").await;
            terminal.shown.clear();
            terminal.types(last).await;
            terminal.shows(&format!("ann: {last}")).await;
        }
        terminal.gets(b"/quit\rleak\r").await;
        let after = terminal.leaks().await;
        assert!(!after.contains("leak"), "the shell got {after:?}");
        let texts = super::history_texts(&ann, &["history", "nest"]).await;
        assert_eq!(texts, ["tea", "milk", "sugar"]);
    })
    .await;
}

/// What is typed as the conversation ends is no command of the shell.
#[tokio::test]
async fn what_is_typed_at_the_end_goes_to_nobody() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, bob) = nest().await;
        let mut terminal = Terminal::chat_in_shell(&bob).await;
        let typing = async {
            // Faster than anybody types, for longer than the end takes.
            for _ in 0..300 {
                terminal.gets(b"leak\r").await;
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::join!(ann.run(&["remove", "nest", "bob"]), typing);
        let after = terminal.leaks().await;
        assert!(!after.contains("leak"), "the shell got {after:?}");
    })
    .await;
}

#[tokio::test]
async fn what_a_node_leaves_unanswered_is_shown_and_need_not_be_waited_for() {
    guarded_for(TIME_MAX, async {
        let mut node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        let mut terminal = Terminal::chat(&ann, "--timeout 600 chat nest").await;
        terminal.types("one").await;
        terminal.shows("ann: one").await;
        node.process().signal(Signal::STOP);
        terminal.types("two").await;
        terminal.shows("-- not answered yet: two").await;
        terminal.gets(b"\x03").await;
        terminal
            .shows("-- waiting for 1 answer; Ctrl-C ends at once")
            .await;
        terminal.gets(b"\x03").await;
        // Its code is lost, since the shell between ends by Ctrl-C, too.
        let (shown, _) = terminal.ends().await;
        assert!(shown.contains("1 message was not answered"), "{shown}");
        node.process().signal(Signal::CONT);
        let texts = super::history_texts(&ann, &["history", "nest"]).await;
        assert_eq!(texts[0], "one");
    })
    .await;
}

#[tokio::test]
async fn a_conversation_ends_for_whoever_is_removed_from_it() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, bob) = nest().await;
        let mut terminal = Terminal::chat(&bob, "chat nest").await;
        terminal.types("still here").await;
        terminal.shows("bob: still here").await;
        ann.run(&["remove", "nest", "bob"]).await;
        let (shown, code) = terminal.ends().await;
        assert_eq!(code, 1, "{shown}");
        assert!(shown.contains("you were removed from “nest”"), "{shown}");
        // One who comes back later finds out before anything is typed.
        let room = ann.run_json(&["rooms"]).await[0]["room_id"].clone();
        let room = room.as_str().expect("an id");
        let late = bob.run_with(&["chat", room], "anybody?\n").await;
        assert_eq!(late.code, 1, "{late:#?}");
        assert!(late.stderr.contains("no member any more"), "{late:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_line_that_comes_as_the_conversation_ends_is_said() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, bob) = nest().await;
        let mut terminal = Terminal::chat(&bob, "chat nest").await;
        ann.run(&["remove", "nest", "bob"]).await;
        terminal.shows("removed").await;
        terminal.gets(b"but why\rnext\r").await;
        let (shown, code) = terminal.ends().await;
        assert_eq!(code, 6, "{shown}");
        let told = "nothing was sent of what was typed from here on: but why";
        assert!(shown.contains(told), "{shown}");
    })
    .await;
}
