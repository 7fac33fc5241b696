//! The terminal client as people and scripts use it: journeys through the real program.

mod commands;
mod guide;
mod person;
mod ways;

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use magpie_tests::{
    api::PASSWORD,
    cli::Home,
    files,
    guard::{guarded, guarded_for},
    node::{Node, Setup},
};
use rustix::process::Signal;
use serde_json::Value;

async fn signed_up(node: &Node, handle: &str) -> Home {
    let home = Home::new(node.address());
    let ended = home
        .run_with(&["signup", handle, "--password-stdin"], PASSWORD)
        .await;
    assert_eq!(ended.code, 0, "{ended:#?}");
    home
}

/// A node, the owner of a room named `nest`, and a member.
async fn nest() -> (Node, Home, Home) {
    nest_on(Setup::new()).await
}

async fn nest_on(setup: Setup) -> (Node, Home, Home) {
    let node = setup.start().await;
    let (ann, bob) = (signed_up(&node, "ann").await, signed_up(&node, "bob").await);
    ann.run(&["create", "nest"]).await;
    ann.run(&["invite", "nest", "bob"]).await;
    (node, ann, bob)
}

#[tokio::test]
async fn two_people_sign_up_meet_and_talk() {
    guarded_for(Duration::from_secs(60), async {
        let node = Node::start_new().await;
        let (ann, bob) = (signed_up(&node, "ann").await, signed_up(&node, "bob").await);
        ann.run(&["create", "Tea room"]).await;
        ann.run(&["invite", "tea", "bob"]).await;
        let mut tail = bob.start(&["tail", "tea", "--json"]);
        ann.run(&["send", "tea", "the kettle is on"]).await;
        let piped = ann.run_with(&["send", "tea"], "from a pipe\n").await;
        assert_eq!(piped.code, 0, "{piped:#?}");
        let told = tail
            .line("the piped message", |line| {
                value_with_text(line, "from a pipe")
            })
            .await;
        assert_eq!(told["actor"]["handle"], "ann", "{told}");
        assert!(
            told["room_id"].is_string() && told["seq"].is_i64(),
            "{told}"
        );

        let rooms = bob.run_json(&["rooms"]).await;
        let room = &rooms[0];
        assert_eq!(
            (&room["title"], &room["unread_count"]),
            (&"Tea room".into(), &2.into())
        );
        bob.run(&["read", "tea"]).await;
        assert_eq!(bob.run_json(&["rooms"]).await[0]["unread_count"], 0);
        bob.run(&["send", "@ann", "psst"]).await;
        let direct = ann.run_json(&["history", "@bob"]).await;
        assert!(
            direct.iter().any(|entry| entry["text"] == "psst"),
            "{direct:?}"
        );
        let history = bob.run(&["history", "tea"]).await;
        assert!(history.contains("the kettle is on"), "{history}");
        let before = history_texts(&bob, &["history", "tea", "--before", "4"]).await;
        assert_eq!(before, ["the kettle is on"]);
        bob.run(&["leave", "tea"]).await;
        let refused = bob.run_with(&["send", "tea", "still here?"], "").await;
        assert_ne!(refused.code, 0, "{refused:#?}");
        tail.signal(Signal::INT);
        tail.ended_within(Duration::from_secs(5)).await;
    })
    .await;
}

#[tokio::test]
async fn tail_resumes_over_a_kill_without_gap_or_repetition() {
    guarded_for(Duration::from_secs(60), async {
        let mut node = Node::start_new().await;
        let (ann, bob) = (signed_up(&node, "ann").await, signed_up(&node, "bob").await);
        ann.run(&["create", "nest"]).await;
        ann.run(&["invite", "nest", "bob"]).await;
        let mut tail = bob.start(&["tail", "nest", "--after", "0", "--json"]);
        // Before it is live there is nothing to resume, whatever it has shown.
        tail.line("live", |line| notice(line, "live")).await;
        ann.run(&["send", "nest", "one"]).await;
        tail.line("one", |line| value_with_text(line, "one")).await;
        node.kill_and_restart().await;
        for kind in ["disconnected", "resumed"] {
            tail.line(kind, |line| notice(line, kind)).await;
        }
        ann.run(&["send", "nest", "two"]).await;
        ann.run(&["send", "nest", "three"]).await;
        tail.line("three", |line| value_with_text(line, "three"))
            .await;
        tail.signal(Signal::INT);
        tail.ended_within(Duration::from_secs(5)).await;
        let lines = tail.all_output().await;
        let texts: Vec<String> = lines.iter().filter_map(|line| text_in(line)).collect();
        assert_eq!(texts, ["one", "two", "three"], "{lines:#?}");
    })
    .await;
}

#[tokio::test]
async fn tail_tells_a_node_that_leaves_from_a_lost_connection() {
    guarded_for(Duration::from_secs(60), async {
        let quick = Setup::new().flag("--drain-window", "1s");
        let mut node = quick.start().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        let mut json = ann.start(&["tail", "nest", "--json"]);
        json.line("live", |line| notice(line, "live")).await;
        let mut human = ann.start(&["tail", "nest"]);
        let says = |words: &'static str| move |line: &str| line.contains(words).then_some(());
        human.line("live", says("following")).await;
        node.terminate();
        let lost = json
            .line("the end", |line| {
                let value: Value = serde_json::from_str(line).ok()?;
                let lost = value["notice"]["kind"] == "disconnected";
                lost.then_some(value)
            })
            .await;
        assert_eq!(lost["notice"]["draining"], true, "{lost}");
        human.line("why", says("maintenance")).await;
        node.ended_within(Duration::from_secs(15)).await;
        node.start().await;
        human.line("back", says("connected again")).await;
        let said = human.output().join("\n");
        assert!(!said.contains("connection lost"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn credentials_are_the_users_own_and_several_accounts_live_side_by_side() {
    guarded(async {
        let node = Node::start_new().await;
        let home = signed_up(&node, "ann").await;
        let ended = home
            .run_with(&["signup", "bob", "--password-stdin"], PASSWORD)
            .await;
        assert_eq!(ended.code, 0, "{ended:#?}");
        let files = files::below(home.path());
        assert!(!files.is_empty(), "credentials are in a file");
        for path in files {
            let mode = fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
            let text = String::from_utf8_lossy(&fs::read(&path).expect("readable")).into_owned();
            assert!(
                !text.contains(PASSWORD),
                "no password in {}",
                path.display()
            );
        }
        let who = async |args: &[&str]| home.run_json(args).await[0]["handle"].clone();
        assert_eq!(who(&["whoami"]).await, "bob");
        assert_eq!(who(&["--profile", "ann", "whoami"]).await, "ann");
        home.run(&["profile", "use", "ann"]).await;
        assert_eq!(who(&["whoami"]).await, "ann");
        let devices = home.run_json(&["devices"]).await;
        assert_eq!(devices.len(), 1, "{devices:?}");
        home.run(&["logout"]).await;
        let ended = home.run_with(&["--profile", "ann", "rooms"], "").await;
        assert_eq!(ended.code, 3, "not logged in: {ended:#?}");
    })
    .await;
}

#[tokio::test]
async fn exit_codes_and_errors_tell_what_to_do() {
    guarded_for(Duration::from_secs(60), async {
        let mut node = Node::start_new().await;
        let home = Home::new(node.address());
        let ended = home.run_with(&["rooms"], "").await;
        assert_eq!(ended.code, 3, "{ended:#?}");
        assert!(ended.stderr.contains("magpie login"), "{ended:#?}");
        let taken = signed_up(&node, "ann").await;
        let ended = home
            .run_with(&["signup", "ann", "--password-stdin"], PASSWORD)
            .await;
        assert_eq!(ended.code, 1, "{ended:#?}");
        let ended = home
            .run_with(&["login", "ann", "--password-stdin"], "wrong")
            .await;
        assert_ne!(ended.code, 0, "{ended:#?}");
        let ended = taken.run_with(&["send"], "").await;
        assert_eq!(ended.code, 2, "{ended:#?}");
        let ended = taken
            .run_with(&["send", "nowhere", "hi", "--json"], "")
            .await;
        assert_eq!(ended.code, 1, "{ended:#?}");
        let error: Value = serde_json::from_str(ended.stderr.lines().last().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
        assert!(error.to_string().contains("nowhere"), "{error}");
        node.kill().await;
        let ended = taken.run_with(&["--timeout", "2", "rooms"], "").await;
        assert_eq!(ended.code, 4, "{ended:#?}");
    })
    .await;
}

#[tokio::test]
async fn control_characters_of_others_do_not_reach_the_terminal() {
    guarded(async {
        let node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        ann.run(&["send", "nest", "a\u{1b}[2Jb\u{202e}c\rd"]).await;
        for output in [
            ann.run(&["history", "nest"]).await,
            ann.run(&["rooms"]).await,
        ] {
            let bad = output
                .chars()
                .find(|c| matches!(c, '\u{1b}' | '\u{202e}' | '\r'));
            assert_eq!(bad, None, "{output:?}");
        }
        let texts = history_texts(&ann, &["history", "nest"]).await;
        assert_eq!(
            texts,
            ["a\u{1b}[2Jb\u{202e}c\rd"],
            "JSON holds what was sent"
        );
    })
    .await;
}

#[tokio::test]
async fn the_plain_chat_mode_sends_lines_and_shows_others() {
    guarded_for(Duration::from_secs(60), async {
        let node = Node::start_new().await;
        let (ann, bob) = (signed_up(&node, "ann").await, signed_up(&node, "bob").await);
        ann.run(&["create", "nest"]).await;
        ann.run(&["invite", "nest", "bob"]).await;
        let mut tail = bob.start(&["tail", "nest", "--json"]);
        let ended = ann
            .run_with(&["chat", "nest"], "first line\nsecond line\n")
            .await;
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert!(ended.stdout.contains("second line"), "{ended:#?}");
        tail.line("the second line", |line| {
            value_with_text(line, "second line")
        })
        .await;
        let texts = history_texts(&bob, &["history", "nest"]).await;
        assert_eq!(texts, ["first line", "second line"]);
        let ended = ann.run_with(&["chat", "nest", "-n", "0"], "third\n").await;
        assert!(ended.stdout.contains("third"), "{ended:#?}");
        assert!(!ended.stdout.contains("second line"), "{ended:#?}");
        let ended = ann.run_with(&["chat", "nest", "--json"], "fourth\n").await;
        let shown = ended.stdout.lines();
        let shown = shown.filter_map(|line| value_with_text(line, "fourth"));
        assert_eq!(shown.count(), 1, "{ended:#?}");
        drop(tail);
    })
    .await;
}

/// A notice of this kind, as stderr holds it with `--json`.
fn notice(line: &str, kind: &str) -> Option<()> {
    let value: Value = serde_json::from_str(line).ok()?;
    (value["notice"]["kind"] == kind).then_some(())
}

fn value_with_text(line: &str, text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    (value["text"] == text).then_some(value)
}

fn text_in(line: &str) -> Option<String> {
    let value: Value = serde_json::from_str(line).ok()?;
    Some(value["text"].as_str()?.to_owned())
}

async fn history_texts(home: &Home, args: &[&str]) -> Vec<String> {
    let entries = home.run_json(args).await;
    entries
        .iter()
        .filter_map(|entry| entry["text"].as_str().map(str::to_owned))
        .collect()
}
