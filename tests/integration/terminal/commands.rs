//! Single commands, each seen from the other side too.

use std::time::Duration;

use magpie_tests::{
    api::PASSWORD,
    cli::Home,
    guard::guarded_for,
    node::Setup,
    proxy::{Fault, FaultProxy},
};
use rustix::process::Signal;
use serde_json::Value;

use super::{history_texts, nest, signed_up};

const TIME_MAX: Duration = Duration::from_secs(60);

#[tokio::test]
async fn who_was_removed_is_out_and_who_is_no_owner_removes_nobody() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, bob) = nest().await;
        let refused = bob.run_with(&["remove", "nest", "ann", "--json"], "").await;
        assert_eq!(refused.code, 1, "{refused:#?}");
        assert!(refused.stderr.contains("PERMISSION_DENIED"), "{refused:#?}");
        ann.run(&["remove", "nest", "bob"]).await;
        let members = ann.run_json(&["members", "nest"]).await;
        assert_eq!(members.len(), 1, "{members:?}");
        assert_eq!(bob.run_json(&["rooms"]).await, Vec::<Value>::new());
        let refused = bob.run_with(&["send", "nest", "still here"], "").await;
        assert_eq!(refused.code, 1, "{refused:#?}");
    })
    .await;
}

#[tokio::test]
async fn who_names_oneself_is_told_what_to_type() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, _bob) = nest().await;
        let removed = ann.run_with(&["remove", "nest", "ann"], "").await;
        assert_eq!(removed.code, 1, "{removed:#?}");
        assert!(removed.stderr.contains("magpie leave nest"), "{removed:#?}");
        for command in [["direct", "ann"], ["history", "@ann"]] {
            let alone = ann.run_with(&command, "").await;
            assert_eq!(alone.code, 1, "{alone:#?}");
            assert!(alone.stderr.contains("magpie create"), "{alone:#?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_renamed_room_has_its_new_title_for_all() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, bob) = nest().await;
        ann.run(&["rename", "nest", "Tree house"]).await;
        assert_eq!(bob.run_json(&["rooms"]).await[0]["title"], "Tree house");
        let same = ann.run_json(&["rename", "tree", "Tree house"]).await;
        assert_eq!(same[0]["seq"], Value::Null, "nothing changed");
    })
    .await;
}

#[tokio::test]
async fn presence_and_status_are_what_others_see() {
    guarded_for(TIME_MAX, async {
        let (node, ann, bob) = nest().await;
        let state = async |handle: &str| ann.run_json(&["presence", handle]).await[0].clone();
        assert_eq!(state("bob").await["state"], "offline");
        let mut tail = bob.start(&["tail", "nest", "--json"]);
        tail.line("that it follows", |line| super::notice(line, "live"))
            .await;
        // Nobody need be at the terminal.
        assert_eq!(state("bob").await["state"], "away");
        bob.run(&["status", "busy", "building"]).await;
        let busy = state("bob").await;
        assert_eq!(
            (&busy["state"], &busy["status_text"]),
            (&"busy".into(), &"building".into())
        );
        let cat = signed_up(&node, "cat").await;
        assert_eq!(
            cat.run_json(&["presence", "bob"]).await[0]["state"],
            "not_visible"
        );
        let nobody = cat.run_with(&["presence", "dora"], "").await;
        assert_eq!(nobody.code, 1);
        let nobody = cat.run_with(&["presence", "dora", "bob"], "").await;
        assert_eq!(nobody.code, 6);
        assert!(nobody.stdout.contains("@bob"), "{nobody:#?}");
        assert!(nobody.stderr.contains("@dora"), "{nobody:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_changed_password_ends_the_other_devices() {
    guarded_for(TIME_MAX, async {
        let (node, ann, _bob) = nest().await;
        let phone = Home::new(node.address());
        let login = ["login", "ann", "--password-stdin"];
        assert_eq!(phone.run_with(&login, PASSWORD).await.code, 0);
        let new = "another sentence of some length";
        let wrong = format!("wrong\n{new}\n");
        let refused = ann.run_with(&["passwd", "--password-stdin"], &wrong).await;
        assert_eq!(refused.code, 1, "{refused:#?}");
        assert!(
            refused.stderr.contains("the old password is wrong"),
            "{refused:#?}"
        );
        let both = format!("{PASSWORD}\n{new}\n");
        let changed = ann.run_with(&["passwd", "--password-stdin"], &both).await;
        assert_eq!(changed.code, 0, "{changed:#?}");
        assert_eq!(ann.run_json(&["devices"]).await.len(), 1);
        assert_eq!(phone.run_with(&["rooms"], "").await.code, 3);
        assert_eq!(phone.run_with(&login, PASSWORD).await.code, 1);
        assert_eq!(phone.run_with(&login, new).await.code, 0);
    })
    .await;
}

#[tokio::test]
async fn a_revoked_device_is_logged_out() {
    guarded_for(TIME_MAX, async {
        let (node, ann, _bob) = nest().await;
        let phone = Home::new(node.address());
        let login = ["login", "ann", "--password-stdin", "--device-name", "phone"];
        assert_eq!(phone.run_with(&login, PASSWORD).await.code, 0);
        let devices = ann.run_json(&["devices", "list"]).await;
        let device = devices.iter().find(|device| device["name"] == "phone");
        let id = device.expect("the phone is listed")["device_id"].clone();
        ann.run(&["devices", "revoke", id.as_str().expect("ids are strings")])
            .await;
        assert_eq!(ann.run_json(&["devices"]).await.len(), 1);
        assert_eq!(phone.run_with(&["rooms"], "").await.code, 3);
        let again = ann
            .run_with(&["devices", "revoke", id.as_str().unwrap_or_default()], "")
            .await;
        assert_eq!(again.code, 1, "{again:#?}");
    })
    .await;
}

#[tokio::test]
async fn history_is_shown_before_after_and_around_a_seq_or_a_time() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, _bob) = nest().await;
        // Seqs 3 to 7.
        for text in ["one", "two", "three", "four", "five"] {
            ann.run(&["send", "nest", text]).await;
        }
        let texts = async |args: &[&str]| {
            let args: Vec<&str> = ["history", "nest"].iter().chain(args).copied().collect();
            history_texts(&ann, &args).await
        };
        assert_eq!(texts(&["-n", "2"]).await, ["four", "five"]);
        assert_eq!(texts(&["--before", "6", "-n", "2"]).await, ["two", "three"]);
        assert_eq!(texts(&["--after", "5"]).await, ["four", "five"]);
        assert_eq!(
            texts(&["--around", "5", "-n", "3"]).await,
            ["two", "three", "four"]
        );
        let log = ann.run_json(&["history", "nest"]).await;
        let third = log[2]["create_time"].as_str().expect("a time").to_owned();
        // Messages may fall into one millisecond, so what is before and after is counted from it.
        let earlier = |entry: &&Value| entry["create_time"].as_str() < Some(&third);
        let count = log.iter().filter(earlier).count();
        assert_eq!(texts(&["--before", &third]).await.len(), count);
        assert_eq!(texts(&["--after", &third]).await.len(), 5 - count);
        let around = texts(&["--around", &third, "-n", "5"]).await;
        assert!(around.contains(&"three".to_owned()), "{around:?}");
        assert_eq!(
            texts(&["--before", "2001-01-01"]).await,
            Vec::<String>::new()
        );
        assert_eq!(texts(&["--after", "2001-01-01T10:00"]).await.len(), 5);
        let wrong = ann
            .run_with(&["history", "nest", "--around", "soon"], "")
            .await;
        assert_eq!(wrong.code, 2, "{wrong:#?}");
    })
    .await;
}

#[tokio::test]
async fn reading_beyond_the_end_of_a_room_says_where_that_is() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, _bob) = nest().await;
        let beyond = ann.run_with(&["read", "nest", "99"], "").await;
        assert_eq!(beyond.code, 1, "{beyond:#?}");
        assert!(beyond.stderr.contains("the room ends at 2"), "{beyond:#?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_to_be_typed_next_names_the_account_that_acted() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, _bob) = nest().await;
        let login = ["signup", "cat", "--password-stdin"];
        assert_eq!(ann.run_with(&login, PASSWORD).await.code, 0);
        let said = ann.run(&["--profile", "ann", "create", "den"]).await;
        assert!(said.contains("magpie --profile ann invite den"), "{said}");
        let said = ann.run(&["create", "burrow"]).await;
        assert!(said.contains("Next: magpie invite burrow"), "{said}");
        // A title that would lead elsewhere is not named.
        let said = ann.run(&["create", "bur"]).await;
        let id = said
            .split_whitespace()
            .find_map(|word| word.strip_suffix('.'));
        let next = format!("Next: magpie invite {} HANDLE", id.expect("an id"));
        assert!(said.contains(&next), "{said}");
    })
    .await;
}

#[tokio::test]
async fn tail_ends_when_its_only_room_does() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, bob) = nest().await;
        let mut json = bob.start(&["tail", "nest", "--json"]);
        json.line("live", |line| super::notice(line, "live")).await;
        let mut human = bob.start(&["tail", "nest"]);
        let following = |line: &str| line.contains("following").then_some(());
        human.line("live", following).await;
        ann.run(&["remove", "nest", "bob"]).await;
        for tail in [&mut json, &mut human] {
            let status = tail.ended_within(Duration::from_secs(10)).await;
            assert_eq!(status.code(), Some(1), "{:#?}", tail.output());
        }
        let said = json.all_output().await.join("\n");
        assert!(said.contains("\"kind\":\"room_ended\""), "{said}");
        assert!(said.contains("\"change\":\"removed\""), "{said}");
        assert!(said.contains("\"reason\":\"NOT_A_MEMBER\""), "{said}");
        let said = human.all_output().await.join("\n");
        assert!(said.contains("you were removed from “nest”"), "{said}");
        // One who was a member only earlier has nothing to wait for either.
        let room = ann.run_json(&["rooms"]).await[0]["room_id"].clone();
        let room = room.as_str().expect("an id");
        let late = bob.run_with(&["tail", room], "").await;
        assert_eq!(late.code, 1, "{late:#?}");
        assert!(late.stderr.contains("no member any more"), "{late:#?}");
        assert!(!late.stderr.contains("“”"), "it is named: {late:#?}");
    })
    .await;
}

#[tokio::test]
async fn tail_goes_on_with_the_rooms_that_are_left() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, bob) = nest().await;
        ann.run(&["create", "den"]).await;
        ann.run(&["invite", "den", "bob"]).await;
        let mut tail = bob.start(&["tail", "nest", "den", "--json"]);
        tail.line("live", |line| super::notice(line, "live")).await;
        bob.run(&["leave", "nest"]).await;
        tail.line("the end", |line| super::notice(line, "room_ended"))
            .await;
        ann.run(&["send", "den", "still here"]).await;
        tail.line("the other room", |line| {
            super::value_with_text(line, "still here")
        })
        .await;
        bob.run(&["leave", "den"]).await;
        let status = tail.ended_within(Duration::from_secs(10)).await;
        assert_eq!(status.code(), Some(1), "{:#?}", tail.output());
    })
    .await;
}

#[tokio::test]
async fn refusals_are_said_in_words_of_the_room() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, _bob) = nest().await;
        let told = ann.run_with(&["tail", "nest", "--after", "9999"], "").await;
        assert_eq!(told.code, 1, "{told:#?}");
        assert!(told.stderr.contains("the room ends at 2"), "{told:#?}");
        let beyond = ["history", "nest", "--after", "9999"];
        let told = ann.run_with(&beyond, "").await;
        assert_eq!(told.code, 1, "{told:#?}");
        assert!(told.stderr.contains("the room ends at 2"), "{told:#?}");
        let told = ann.run_with(&[&beyond[..], &["--json"]].concat(), "").await;
        assert!(told.stderr.contains("\"CURSOR_AHEAD\""), "{told:#?}");
        let sent = ann.run_json(&["send", "nest", "one"]).await;
        let id = sent[0]["client_message_id"].as_str().expect("an id");
        let again = ["send", "nest", "two", "--id", id];
        let told = ann.run_with(&again, "").await;
        assert_eq!(told.code, 1, "{told:#?}");
        assert!(told.stderr.contains("used before"), "{told:#?}");
        let told = ann.run_with(&[&again[..], &["--json"]].concat(), "").await;
        assert!(told.stderr.contains("\"ID_REUSED\""), "{told:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_look_up_outlasts_a_lost_connection_and_says_when_nothing_was_sent() {
    guarded_for(TIME_MAX, async {
        let (node, ann, _bob) = nest().await;
        let proxy = FaultProxy::start(node.address()).await;
        let server = format!("http://{}", proxy.address());
        let send = ["--server", &server, "send", "nest", "over a cut"];
        proxy.set(Fault::HalfOpen);
        let short = [&send[..], &["--timeout", "2"]].concat();
        let ended = ann.run_with(&short, "").await;
        assert_eq!(ended.code, 4, "{ended:#?}");
        assert!(ended.stderr.contains("not sent"), "{ended:#?}");
        let before = proxy.accepted();
        let sending = ann.run_with(&send, "");
        let mending = async {
            while proxy.accepted() == before {
                tokio::task::yield_now().await;
            }
            proxy.set(Fault::None);
            proxy.reset_all();
        };
        let (ended, ()) = tokio::join!(sending, mending);
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert_eq!(
            history_texts(&ann, &["history", "nest"]).await,
            ["over a cut"]
        );
    })
    .await;
}

#[tokio::test]
async fn tail_marks_as_read_what_it_shows_of_the_past() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, bob) = nest().await;
        for text in ["one", "two"] {
            ann.run(&["send", "nest", text]).await;
        }
        let mut tail = bob.start(&["tail", "nest", "--mark-read"]);
        let following = |line: &str| line.contains("following").then_some(());
        tail.line("live", following).await;
        tail.signal(Signal::INT);
        let status = tail.ended_within(Duration::from_secs(10)).await;
        assert!(status.success(), "{:#?}", tail.output());
        let room = &bob.run_json(&["rooms"]).await[0];
        assert_eq!(room["unread_count"], 0, "{room}");
    })
    .await;
}

#[tokio::test]
async fn tail_calls_a_room_what_it_is_called_now() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, bob) = nest().await;
        let mut tail = bob.start(&["tail"]);
        let following = |line: &str| line.contains("following").then_some(());
        tail.line("live", following).await;
        ann.run(&["rename", "nest", "den"]).await;
        ann.run(&["send", "den", "moved in"]).await;
        let moved = |line: &str| line.contains("moved in").then(|| line.to_owned());
        let line = tail.line("the message", moved).await;
        assert!(line.contains("den") && !line.contains("nest"), "{line}");
    })
    .await;
}

#[tokio::test]
async fn chat_says_why_a_message_waits() {
    guarded_for(TIME_MAX, async {
        let (mut node, ann, _bob) = nest().await;
        node.set_up(Setup::new().flag("--free-space-min", "100000GiB"));
        node.kill_and_restart().await;
        let chat = ["--timeout", "3", "chat", "nest"];
        let human = ann.run_with(&chat, "hello\n").await;
        assert_eq!(human.code, 5, "{human:#?}");
        let told = human.stderr.matches("too little free space").count();
        assert_eq!(told, 2, "when it is refused, and at the end: {human:#?}");
        let json = ann
            .run_with(&[&chat[..], &["--json"]].concat(), "hello\n")
            .await;
        let said = json
            .stderr
            .lines()
            .find(|line| line.contains("\"delayed\""));
        let said = said.expect("a notice");
        assert!(said.contains("\"reason\":\"STORAGE_FULL\""), "{said}");
    })
    .await;
}

#[tokio::test]
async fn chat_says_once_that_the_server_takes_messages_at_its_pace() {
    guarded_for(TIME_MAX, async {
        let setup = Setup::new()
            .limit("room_send_burst", 2)
            .limit("room_sends_per_minute", 600);
        let (_node, ann, _bob) = super::nest_on(setup).await;
        let lines: String = (1..=12).map(|line| format!("line {line}\n")).collect();
        let chat = ann.run_with(&["chat", "nest", "-n", "0"], &lines).await;
        assert_eq!(chat.code, 0, "{chat:#?}");
        assert_eq!(chat.stderr.matches("at its pace").count(), 1, "{chat:#?}");
        let texts = history_texts(&ann, &["history", "nest", "-n", "12"]).await;
        assert_eq!(texts.join("\n") + "\n", lines);
    })
    .await;
}

#[tokio::test]
async fn mistakes_that_would_reach_too_far_are_refused() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, bob) = nest().await;
        // Whoever titles a room with the id of another does not get what was meant for that one.
        let foreign = "914302218391784166";
        ann.run(&["create", foreign]).await;
        ann.run(&["invite", &format!("title:{foreign}"), "bob"])
            .await;
        let sent = bob.run_with(&["send", foreign, "a secret"], "").await;
        assert_eq!(sent.code, 1, "{sent:#?}");
        assert!(sent.stderr.contains("title:"), "{sent:#?}");

        let devices = bob.run_json(&["devices"]).await;
        let device = devices[0]["device_id"].as_str().expect("an id");
        let revoked = bob.run_with(&["devices", "revoke", device], "").await;
        assert_eq!(revoked.code, 2, "{revoked:#?}");
        assert!(revoked.stderr.contains("logout"), "{revoked:#?}");

        let crowd: Vec<_> = (0..101).map(|at| format!("guest_{at}")).collect();
        let invite: Vec<_> = ["invite", "nest"]
            .into_iter()
            .chain(crowd.iter().map(String::as_str))
            .collect();
        let invited = ann.run_with(&invite, "").await;
        assert_eq!(invited.code, 2, "{invited:#?}");
        assert!(
            invited.stderr.contains("nobody was invited"),
            "{invited:#?}"
        );
    })
    .await;
}

#[tokio::test]
async fn who_logs_in_again_need_not_say_where() {
    guarded_for(TIME_MAX, async {
        let (node, ann, _bob) = nest().await;
        let away = Home::new(node.address()).without_server();
        let server = format!("http://{}", node.address());
        let login = ["login", "ann", "--password-stdin"];
        let first = away
            .run_with(&[&login[..], &["--server", &server]].concat(), PASSWORD)
            .await;
        assert_eq!(first.code, 0, "{first:#?}");
        let devices = away.run_json(&["devices"]).await;
        let here = devices.iter().find(|device| device["current"] == true);
        let device = here.expect("this one")["device_id"]
            .as_str()
            .expect("an id");
        ann.run(&["devices", "revoke", device]).await;
        let revoked = away.run_with(&["rooms"], "").await;
        assert_eq!(revoked.code, 3, "{revoked:#?}");
        let again = away.run_with(&login, PASSWORD).await;
        assert_eq!(again.code, 0, "{again:#?}");
        assert!(again.stdout.contains(&server), "{again:#?}");
    })
    .await;
}

#[tokio::test]
async fn tail_says_what_was_written_while_the_reader_was_not_in_the_room() {
    guarded_for(TIME_MAX, async {
        let (_node, ann, bob) = nest().await;
        let mut tail = bob.start(&["tail", "--json"]);
        tail.line("live", |line| super::notice(line, "live")).await;
        ann.run(&["remove", "nest", "bob"]).await;
        tail.line("the end", |line| super::notice(line, "room_ended"))
            .await;
        ann.run(&["send", "nest", "while bob is out"]).await;
        ann.run(&["invite", "nest", "bob"]).await;
        let absence = |line: &str| line.contains("absence").then(|| line.to_owned());
        let said = tail.line("the absence", absence).await;
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let notice = &said["notice"];
        assert_eq!(notice["after_seq"], 3, "{said}");
        assert_eq!(notice["through_seq"], 4, "{said}");
        let words = notice["message"].as_str().expect("words");
        let (_, command) = words.split_once('`').expect("a command");
        let args: Vec<_> = command.trim_end_matches('`').split(' ').skip(1).collect();
        let shown = bob.run(&args).await;
        assert!(shown.contains("while bob is out"), "{shown}");
    })
    .await;
}
