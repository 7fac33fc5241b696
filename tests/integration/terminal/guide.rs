//! What docs/cli.md promises to scripts: the forms of `--json` and the exit codes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use magpie_tests::{
    api::PASSWORD,
    cli::{Ended, Home},
    files,
    guard::guarded_for,
    node::{Node, Setup},
    proxy::{Fault, FaultProxy},
};
use serde_json::Value;

use super::{notice, signed_up, value_with_text};

const TIME_MAX: Duration = Duration::from_secs(90);

fn guide() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    fs::read_to_string(path).expect("the guide is there")
}

/// The examples of the guide by `type`.
fn examples() -> BTreeMap<String, Value> {
    let guide = guide();
    let mut forms = BTreeMap::new();
    for block in guide.split("```json\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for line in block.lines() {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            let kind = value["type"].as_str().unwrap_or("error").to_owned();
            // The first error is a refusal of the server, the second one has all other members.
            forms.entry(kind).or_insert(value);
        }
    }
    forms
}

/// Members that are there only where they apply.
const OPTIONAL: &[&str] = &[
    "full_length",
    "hint",
    "effect",
    "retry_after_ms",
    "violations",
    "retry_id",
];

/// Says where a printed value has another form than its example; null fits everything.
fn difference(example: &Value, printed: &Value, at: &str) -> Option<String> {
    match (example, printed) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Object(wanted), Value::Object(there)) => {
            let required = |members: &serde_json::Map<String, Value>| -> BTreeSet<String> {
                let names = members.keys().cloned();
                names
                    .filter(|name| !OPTIONAL.contains(&name.as_str()))
                    .collect()
            };
            if required(wanted) != required(there) {
                return Some(format!(
                    "{at}: {:?}, not {:?}",
                    required(there),
                    required(wanted)
                ));
            }
            wanted
                .iter()
                .filter_map(|(name, value)| Some((name, value, there.get(name)?)))
                .find_map(|(name, value, there)| difference(value, there, &format!("{at}.{name}")))
        }
        (Value::Array(wanted), Value::Array(there)) => {
            let wanted = wanted.first()?;
            there
                .iter()
                .find_map(|value| difference(wanted, value, &format!("{at}[]")))
        }
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_)) => None,
        _ => Some(format!("{at}: {printed}, not such as {example}")),
    }
}

/// The examples, and which of them were held against something printed.
struct Forms {
    examples: BTreeMap<String, Value>,
    seen: BTreeSet<String>,
}

impl Forms {
    fn hold(&mut self, printed: &Value) {
        let kind = printed["type"].as_str().unwrap_or("error").to_owned();
        let example = self.examples.get(&kind);
        let example = example.unwrap_or_else(|| panic!("the guide has no {kind}: {printed}"));
        assert_eq!(difference(example, printed, &kind), None, "{printed}");
        self.seen.insert(kind);
    }

    /// Runs a command that succeeds, and holds each line that it prints.
    async fn run(&mut self, home: &Home, args: &[&str], input: &str) -> Vec<Value> {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let ended = home.run_with(&args, input).await;
        assert_eq!(ended.code, 0, "{args:?}: {ended:#?}");
        let values = lines(&ended.stdout);
        assert!(!values.is_empty(), "{args:?} printed nothing");
        for value in &values {
            self.hold(value);
        }
        values
    }
}

fn lines(printed: &str) -> Vec<Value> {
    let value = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line:?}"));
    printed.lines().map(value).collect()
}

fn last_error(ended: &Ended) -> Value {
    lines(&ended.stderr)
        .pop()
        .unwrap_or_else(|| panic!("no error: {ended:#?}"))
}

#[tokio::test]
async fn every_form_of_json_is_what_the_guide_shows() {
    guarded_for(TIME_MAX, async {
        let mut node = Node::start_new().await;
        let (ann, bob) = (Home::new(node.address()), Home::new(node.address()));
        let seen = BTreeSet::new();
        let mut forms = Forms {
            examples: examples(),
            seen,
        };
        let secret = "--password-stdin";
        forms.run(&ann, &["signup", "ann", secret], PASSWORD).await;
        forms
            .run(&bob, &["signup", "bob", "--name", "Bob", secret], PASSWORD)
            .await;
        forms.run(&ann, &["whoami"], "").await;
        forms.run(&ann, &["profile", "list"], "").await;
        forms.run(&ann, &["profile", "use", "ann"], "").await;
        forms.run(&ann, &["create", "nest"], "").await;
        forms.run(&ann, &["invite", "nest", "bob"], "").await;
        forms.run(&ann, &["members", "nest"], "").await;
        forms.run(&bob, &["direct", "ann"], "").await;
        forms.run(&ann, &["send", "nest", "hello"], "").await;
        forms
            .run(
                &ann,
                &["send", "nest", "--reply-to", "3"],
                &"long ".repeat(9_000),
            )
            .await;
        forms.run(&bob, &["history", "nest"], "").await;
        forms.run(&bob, &["message", "nest", "4"], "").await;
        forms.run(&bob, &["read", "nest"], "").await;
        forms.run(&ann, &["rooms"], "").await;
        forms.run(&ann, &["rename", "nest", "Nest"], "").await;
        forms.run(&ann, &["presence", "bob", "ann"], "").await;
        forms.run(&ann, &["status", "busy", "building"], "").await;
        let phone = Home::new(node.address());
        let login = ["login", "ann", "--device-name", "phone", secret];
        forms.run(&phone, &login, PASSWORD).await;
        let devices = forms.run(&ann, &["devices"], "").await;
        let device = devices.iter().find(|device| device["name"] == "phone");
        let id = device.expect("the phone")["device_id"]
            .as_str()
            .expect("a string");
        forms.run(&ann, &["devices", "revoke", id], "").await;
        let both = format!("{PASSWORD}\nanother sentence of hers\n");
        forms.run(&ann, &["passwd", secret], &both).await;
        forms.run(&bob, &["chat", "nest"], "typed\n").await;
        forms.run(&ann, &["remove", "nest", "bob"], "").await;
        forms.run(&ann, &["invite", "nest", "bob"], "").await;
        forms.run(&bob, &["leave", "nest"], "").await;

        let mut tail = ann.start(&["tail", "nest", "--after", "0", "--json"]);
        ann.run(&["send", "nest", "the end"]).await;
        tail.line("the end", |line| value_with_text(line, "the end"))
            .await;
        tail.kill().await;
        let printed = tail.all_output().await;
        for line in printed.iter().filter(|line| notice(line, "live").is_none()) {
            forms.hold(&serde_json::from_str(line).expect("JSON"));
        }
        let refused = ann.run_with(&["send", "nowhere", "hi", "--json"], "").await;
        forms.hold(&last_error(&refused));
        forms.run(&ann, &["logout"], "").await;
        let shown: BTreeSet<String> = forms.examples.keys().cloned().collect();
        assert_eq!(
            forms.seen, shown,
            "each example was held against something printed"
        );
        node.kill().await;
    })
    .await;
}

#[tokio::test]
async fn every_exit_code_of_the_guide_comes_where_it_says() {
    guarded_for(TIME_MAX, async {
        let setup = Setup::new()
            .limit("room_send_burst", 2)
            .limit("room_sends_per_minute", 1);
        let node = setup.start().await;
        let (ann, _bob) = (signed_up(&node, "ann").await, signed_up(&node, "bob").await);
        let mut codes = BTreeSet::new();
        let mut expect = async |home: &Home, args: &[&str], code: i32, reason: &str| {
            let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
            let ended = home.run_with(&args, "").await;
            assert_eq!(ended.code, code, "{args:?}: {ended:#?}");
            if !reason.is_empty() {
                let error = last_error(&ended)["error"].clone();
                assert_eq!(error["reason"], reason, "{args:?}: {error}");
            }
            codes.insert(code);
        };
        expect(&ann, &["create", "nest"], 0, "").await;
        expect(&ann, &["send", "nest", "one"], 0, "").await;
        expect(
            &ann,
            &["--timeout", "1", "send", "nest", "two"],
            1,
            "RATE_LIMITED",
        )
        .await;
        // What cannot be sent does not keep a chat whose input has ended.
        let chat = ["--timeout", "1", "chat", "nest"];
        let ended = ann.run_with(&chat, "three\n").await;
        assert_eq!(ended.code, 5, "{ended:?}");
        expect(&ann, &["send", "nest", ""], 2, "USAGE").await;
        expect(&ann, &["nest"], 2, "USAGE").await;
        expect(&ann, &["create", "nest 2"], 0, "").await;
        expect(&ann, &["members", "nes"], 2, "AMBIGUOUS_ROOM").await;
        expect(&Home::new(node.address()), &["rooms"], 3, "NOT_LOGGED_IN").await;
        let nobody = ["--server", "http://127.0.0.1:1", "rooms"];
        expect(&ann, &nobody, 4, "UNREACHABLE").await;
        expect(
            &ann,
            &["invite", "nest 2", "bob", "nobody"],
            6,
            "NOT_ALL_INVITED",
        )
        .await;

        let proxy = FaultProxy::start(node.address()).await;
        proxy.set(Fault::Stall);
        let slow = format!("http://{}", proxy.address());
        let rooms = ["--server", &slow, "--timeout", "1", "rooms"];
        expect(&ann, &rooms, 4, "TIMED_OUT").await;
        let create = ["--server", &slow, "--timeout", "1", "create", "den"];
        expect(&ann, &create, 5, "OUTCOME_UNKNOWN").await;

        let file = files::below(ann.path());
        let file = file.iter().find(|path| path.ends_with("credentials.toml"));
        let file = file.expect("credentials are kept");
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).expect("it is ours");
        expect(&ann, &["rooms"], 7, "CREDENTIALS_EXPOSED").await;
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("it is ours");
        fs::write(file, "no = [").expect("it is ours");
        expect(&ann, &["rooms"], 7, "LOCAL").await;

        let guide = guide();
        let rows = guide.lines().skip_while(|line| *line != "## Exit codes");
        let named: BTreeSet<i32> = rows
            .skip(1)
            .take_while(|line| !line.starts_with("##"))
            .filter_map(|line| line.split('|').nth(1)?.trim().parse().ok())
            .collect();
        assert_eq!(codes, named, "each code of the guide was seen");
    })
    .await;
}
