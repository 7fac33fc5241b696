//! Ways to the client and out of it: a node's greeting, TLS, a reader that goes.

use std::{fs, net::SocketAddr, process::Stdio, time::Duration};

use magpie_tests::{
    api::PASSWORD,
    cli::Home,
    guard::{event_within, guarded_for},
    node::{Node, Setup, certificate},
    process::Process,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use super::{history_texts, signed_up};

const TIME_MAX: Duration = Duration::from_secs(60);
const PROGRAM: &str = "cargo run --release -p magpie-cli -- ";

#[tokio::test]
async fn a_line_of_a_pipe_that_is_no_text_is_refused_alone() {
    guarded_for(TIME_MAX, async {
        let node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        fs::write(ann.path().join("lines"), b"one\nt\xffo\nthree\n").expect("a file");
        let ended = ann.shell("chat nest < lines", "").await;
        assert_eq!(ended.code, 6, "{ended:#?}");
        assert!(
            ended.stdout.contains("NOT SENT: line 2 is not valid UTF-8"),
            "{ended:#?}"
        );
        let ended = ann.shell("chat nest --json < lines", "").await;
        assert_eq!(ended.code, 6, "{ended:#?}");
        assert!(
            ended.stderr.contains("\"reason\":\"NOT_SENT\""),
            "{ended:#?}"
        );
        let texts = history_texts(&ann, &["history", "nest"]).await;
        assert_eq!(texts, ["one", "three", "one", "three"]);
        let ended = ann.run_with(&["chat", "nest", "--json"], "a\0b\n").await;
        assert_eq!(ended.code, 6, "{ended:#?}");
        let told = ended.stderr.lines().next().expect("an error");
        let told: Value = serde_json::from_str(told).expect("JSON");
        assert_eq!(told["error"]["reason"], "INVALID_FIELD", "{told}");
        assert_eq!(told["error"]["text"], "a\0b", "{told}");
        let ended = ann.run_with(&["chat", "nest"], "/etc/hosts\n//etc\n").await;
        assert_eq!(ended.code, 6, "{ended:#?}");
        let said = "NOT SENT: line 1: there is no command /etc/hosts";
        assert!(ended.stdout.contains(said), "{ended:#?}");
        let ended = ann.shell("chat nest < .", "").await;
        assert_eq!(ended.code, 7, "{ended:#?}");
        assert!(ended.stderr.contains("stdin cannot be read"), "{ended:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_pipe_that_is_faster_than_the_node_loses_no_line() {
    guarded_for(TIME_MAX, async {
        let node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        let lines: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
        let ended = ann.run_with(&["chat", "nest"], &lines.join("\n")).await;
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let texts = history_texts(&ann, &["history", "nest", "-n", "2000"]).await;
        assert_eq!(texts, lines);
    })
    .await;
}

/// What a pipe holds beyond what was taken is said, however the conversation ends.
#[tokio::test]
async fn input_that_is_left_when_the_reader_goes_is_told() {
    guarded_for(TIME_MAX, async {
        let node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        let lines: Vec<String> = (1..=20_000).map(|number| number.to_string()).collect();
        fs::write(ann.path().join("lines"), lines.join("\n")).expect("a file");
        let mut taken = 0;
        for args in ["--json chat nest -n 0", "--json chat nest"] {
            let piped = format!("{args} < lines | head -n 1");
            let ended = ann.shell(&piped, "").await;
            let told = ended.stderr.lines().last().expect("an error");
            let told: Value = serde_json::from_str(told).expect("JSON");
            assert_eq!(told["error"]["reason"], "NOT_ALL_SENT", "{told}");
            let line = told["error"]["unread"]["line"].as_u64().expect("a line");
            assert_eq!(told["error"]["unread"]["text"], line.to_string());
            taken += line as usize - 1;
        }
        let texts = history_texts(&ann, &["history", "nest", "-n", "50000"]).await;
        assert_eq!(texts.len(), taken, "what was taken was sent");
    })
    .await;
}

/// What was done is said even where the result cannot be printed, so that nobody repeats it.
#[tokio::test]
async fn a_command_that_cannot_print_its_result_says_that_it_was_done() {
    guarded_for(TIME_MAX, async {
        let node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        let ended = ann.shell("send nest once > /dev/full", "").await;
        assert_eq!(ended.code, 7, "{ended:#?}");
        assert!(ended.stderr.contains("the command was done"), "{ended:#?}");
        assert!(ended.stderr.contains("Sent to nest as 2."), "{ended:#?}");
        let ended = ann.shell("create den --json > /dev/full", "").await;
        assert_eq!(ended.code, 7, "{ended:#?}");
        let told: Value = serde_json::from_str(&ended.stderr).expect("JSON");
        assert_eq!(told["error"]["effect"], "done", "{told}");
        assert_eq!(told["error"]["result"]["title"], "den", "{told}");
    })
    .await;
}

/// What a node prints for the person who started it works as it is printed, wherever it listens.
#[tokio::test]
async fn the_commands_that_a_node_prints_work_as_printed() {
    guarded_for(TIME_MAX, async {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        greets_well(Setup::new(), any).await;
        greets_well(Setup::new().tls(), any).await;
        let usual: SocketAddr = ([127, 0, 0, 1], 7400).into();
        // The usual port may be taken by a node of the person who runs the tests.
        if TcpListener::bind(usual).await.is_ok() {
            greets_well(Setup::new(), usual).await;
        }
    })
    .await;
}

async fn greets_well(setup: Setup, address: SocketAddr) {
    let data = tempfile::tempdir().expect("a temporary directory");
    let any = ([127, 0, 0, 1], 0).into();
    let mut node = Process::spawn(setup.command(data.path(), address, any));
    let ends = |line: &str| line.contains(" chat ").then_some(());
    node.line("what to type last", ends).await;
    let lines = node.output();
    let commands: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.trim().strip_prefix(PROGRAM))
        .collect();
    let first = |command: &&str| command.split(' ').next().unwrap_or_default().to_owned();
    let names: Vec<String> = commands.iter().map(first).collect();
    assert_eq!(names, ["signup", "create", "chat"], "{lines:#?}");
    let named = commands[0].contains("--server");
    assert_eq!(named, address.port() != 7400, "{}", commands[0]);
    let home = Home::new(address).without_server();
    for command in commands {
        // A person types the password; here it comes from a pipe.
        let (stdin, flag) = match command.starts_with("signup") {
            true => (PASSWORD, " --password-stdin"),
            false => ("hello\n", ""),
        };
        let ended = home.shell(&format!("{command}{flag}"), stdin).await;
        assert_eq!(ended.code, 0, "{command}: {ended:#?}");
    }
    assert_eq!(history_texts(&home, &["history", "tea"]).await, ["hello"]);
    node.kill().await;
}

#[tokio::test]
async fn tls_needs_only_the_authority_and_keeps_it() {
    guarded_for(TIME_MAX, async {
        let node = Setup::new().tls().start().await;
        let server = format!("https://localhost:{}", node.address().port());
        let home = Home::new(node.address());
        let signup = ["signup", "ann", "--server", &server, "--password-stdin"];
        let stranger = home.run_with(&signup, PASSWORD).await;
        assert_eq!(
            stranger.code, 4,
            "an authority that is not trusted: {stranger:#?}"
        );
        assert!(stranger.stderr.contains("--ca-file"), "{stranger:#?}");
        let plain = format!("http://{}", node.address());
        let refused = ["signup", "ann", "--server", &plain, "--password-stdin"];
        let refused = home.run_with(&refused, PASSWORD).await;
        assert_eq!(refused.code, 4, "http:// to TLS: {refused:#?}");
        assert!(refused.stderr.contains("https://"), "{refused:#?}");
        let authority = certificate().to_string_lossy().into_owned();
        let trusting: Vec<&str> = signup
            .iter()
            .copied()
            .chain(["--ca-file", &authority])
            .collect();
        let trusted = home.run_with(&trusting, PASSWORD).await;
        assert_eq!(trusted.code, 0, "{trusted:#?}");
        home.run(&["create", "safe"]).await;
        let create = ["create", "den", "--server", &plain];
        let lost = home.run_with(&create, "").await;
        assert_eq!(lost.code, 4, "http:// to TLS: {lost:#?}");
        assert!(lost.stderr.contains("https://"), "{lost:#?}");
        let open = Node::start_new().await;
        let secret = format!("https://{}", open.address());
        let create = ["create", "den", "--server", &secret];
        let lost = home.run_with(&create, "").await;
        assert_eq!(lost.code, 4, "https:// to plain HTTP: {lost:#?}");
        assert!(lost.stderr.contains("does not speak TLS"), "{lost:#?}");
        assert!(lost.stderr.contains("http://"), "{lost:#?}");
        home.run(&["chat", "safe"]).await;
        home.run(&["send", "safe", "over TLS"]).await;
        let mut tail = home.start(&["tail", "safe"]);
        let shown = |line: &str| line.contains("over TLS").then_some(());
        tail.line("the message", shown).await;
        let missing = home
            .run_with(&["rooms", "--ca-file", "nowhere.pem"], "")
            .await;
        assert_eq!(missing.code, 7, "{missing:#?}");
        assert!(missing.stderr.contains("nowhere.pem"), "{missing:#?}");
        let key = certificate().with_extension("key");
        let key = key.to_string_lossy();
        let wrong = home.run_with(&["rooms", "--ca-file", &key], "").await;
        assert_eq!(wrong.code, 7, "{wrong:#?}");
        assert!(wrong.stderr.contains("holds no certificate"), "{wrong:#?}");
    })
    .await;
}

/// The words of the TLS library are all that tells these apart, and another version may choose others.
#[tokio::test]
async fn a_certificate_that_is_no_good_is_said_with_the_way_out() {
    guarded_for(TIME_MAX, async {
        for (name, what, way) in [
            ("authority", "of an authority", "CA:FALSE"),
            (
                "elsewhere",
                "not for “localhost” but for chat.example.org",
                "--server https://chat.example.org:",
            ),
            ("expired", "has expired", "clock"),
        ] {
            let certificate = certificate().with_file_name(format!("{name}.crt"));
            let node = Setup::new().tls_with(&certificate).start().await;
            let server = format!("https://localhost:{}", node.address().port());
            let certificate = certificate.to_string_lossy();
            let signup = ["signup", "ann", "--password-stdin", "--server", &server];
            let trusting = [&signup[..], &["--ca-file", &certificate]].concat();
            let ended = Home::new(node.address())
                .run_with(&trusting, PASSWORD)
                .await;
            assert_eq!(ended.code, 4, "{name}: {ended:#?}");
            assert!(ended.stderr.contains(what), "{name}: {ended:#?}");
            assert!(ended.stderr.contains(way), "{name}: {ended:#?}");
            let trust = ended.stderr.contains("--ca-file");
            assert!(!trust, "trust is not what {name} lacks: {ended:#?}");
        }
    })
    .await;
}

/// A call would write the password before the server can turn it down.
#[tokio::test]
async fn a_password_does_not_leave_in_clear_for_a_server_that_speaks_tls() {
    guarded_for(TIME_MAX, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut peer, _) = listener.accept().await.expect("a peer");
                let mut bytes = [0; 4_096];
                let count = peer.read(&mut bytes).await.unwrap_or(0);
                tell.send(bytes[..count].to_vec())
                    .expect("it is listened to");
                // The alert `unexpected_message` of TLS 1.2 (RFC 5246, section 7.2).
                peer.write_all(&[0x15, 3, 3, 0, 2, 2, 10]).await.ok();
            }
        });
        let home = Home::new(address);
        for command in ["signup", "login"] {
            let args = [command, "ann", "--password-stdin"];
            let ended = home.run_with(&args, &format!("{PASSWORD}\n")).await;
            assert_eq!(ended.code, 4, "{ended:#?}");
            assert!(ended.stderr.contains("it speaks TLS"), "{ended:#?}");
        }
        let mut heard = Vec::new();
        while let Ok(bytes) = told.try_recv() {
            heard.extend(bytes);
        }
        assert!(heard.starts_with(b"PRI * HTTP/2.0"));
        let password = PASSWORD.as_bytes();
        let is_told = heard.windows(password.len()).any(|part| part == password);
        assert!(!is_told, "the password left in clear");
    })
    .await;
}

#[tokio::test]
async fn tail_ends_well_with_its_reader_however_quiet_the_room_is() {
    guarded_for(TIME_MAX, async {
        let node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        ann.run(&["send", "nest", "the only message"]).await;
        let mut command = ann.command(&["tail", "nest"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut tail = command.spawn().expect("it starts");
        let mut reader = BufReader::new(tail.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        reader.read_line(&mut line).await.expect("a line");
        assert!(line.contains("the only message"), "{line}");
        drop(reader);
        let ended = event_within(Duration::from_secs(10), "the end", tail.wait()).await;
        assert_eq!(ended.expect("a child").code(), Some(0));
    })
    .await;
}

/// What is piped into a chat faster than it may be sent is waited for as long as answers come.
#[tokio::test]
async fn a_chat_waits_for_a_node_that_answers_slowly() {
    guarded_for(TIME_MAX, async {
        let slow = Setup::new()
            .limit("room_send_burst", 4)
            .limit("room_sends_per_minute", 120);
        let node = slow.start().await;
        let ann = signed_up(&node, "ann").await;
        ann.run(&["create", "nest"]).await;
        let lines: Vec<String> = (1..=9).map(|number| number.to_string()).collect();
        let chat = ["--timeout", "2", "chat", "nest"];
        let ended = ann.run_with(&chat, &lines.join("\n")).await;
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert_eq!(history_texts(&ann, &["history", "nest"]).await, lines);
    })
    .await;
}

#[tokio::test]
async fn no_title_passes_for_a_person() {
    guarded_for(TIME_MAX, async {
        let node = Node::start_new().await;
        let ann = signed_up(&node, "ann").await;
        let made = ann.run(&["create", "@bob"]).await;
        let next = made.lines().find(|line| line.starts_with("Next: "));
        let next = next.expect("a next step");
        assert!(!next.contains("@bob"), "{made:#?}");
        let rooms = ann.run(&["rooms"]).await;
        assert!(rooms.contains("“@bob”"), "{rooms:#?}");
    })
    .await;
}
