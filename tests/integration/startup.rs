//! How a node starts, and how it says that it cannot.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use magpie::v1::State;
use magpie_tests::{
    api::Api,
    binaries,
    guard::{event, guarded, guarded_for},
    node::{Node, Setup, certificate},
    process::Process,
};
use serde_json::Value;
use tokio::process::Command;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::scene::{Scene, live, resume, since_joining};

/// What a wrong flag or a broken file ends with.
const USAGE: i32 = 64;

/// Any free port.
const FREE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Runs a node that has to end by itself; returns its exit code and what it wrote.
async fn ends(command: Command) -> (i32, String) {
    let mut process = Process::spawn(command);
    let status = process.ended_within(Duration::from_secs(10)).await;
    (
        status.code().unwrap_or(-1),
        process.all_output().await.join("\n"),
    )
}

fn on(data: &Path) -> Command {
    Setup::new().command(data, FREE, FREE)
}

#[tokio::test]
async fn wrong_flags_and_broken_files_name_the_key() {
    guarded(async {
        let folder = tempfile::tempdir().expect("a folder");
        let flagged = |flags: &[&str]| {
            let mut command = on(folder.path());
            command.args(flags);
            command
        };
        let (code, said) = ends(flagged(&["--listen", "x"])).await;
        assert_eq!(code, USAGE, "{said}");
        assert!(said.contains("--listen"), "{said}");
        let by_variable = Setup::new().env("MAGPIE_DRAIN_WINDOW", "soon");
        let (code, said) = ends(by_variable.command(folder.path(), FREE, FREE)).await;
        assert_eq!(code, USAGE, "{said}");
        assert!(said.contains("MAGPIE_DRAIN_WINDOW: \"soon\""), "{said}");
        assert!(!said.contains("--drain-window"), "{said}");
        let (code, said) = ends(flagged(&["--drain-window", "soon"])).await;
        assert_eq!(code, USAGE, "{said}");
        assert!(said.contains("drain-window"), "{said}");
        let (code, said) = ends(flagged(&["--limit", "no_such_limit=1"])).await;
        assert_eq!(code, USAGE, "{said}");
        assert!(said.contains("no_such_limit"), "{said}");
        let file = folder.path().join("magpie.toml");
        let contents = [
            ("drain-windov = \"1s\"", "drain-windov"),
            ("drain-window = 1.5", "drain-window"),
            ("[limits]\nroom_members_max = \"many\"", "room_members_max"),
            ("node-name = ", "magpie.toml"),
        ];
        for (text, key) in contents {
            fs::write(&file, text).expect("written");
            let (code, said) = ends(flagged(&["--config", &file.to_string_lossy()])).await;
            assert_eq!(code, USAGE, "{text}: {said}");
            assert!(said.contains(key), "{text}: {said}");
        }
        let (code, said) = ends(flagged(&["--config", "/no/such/file"])).await;
        assert_eq!(code, USAGE, "{said}");
        assert!(said.contains("/no/such/file"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn a_port_or_a_directory_in_use_is_said() {
    guarded(async {
        let scene = Scene::new().await;
        let folder = tempfile::tempdir().expect("a folder");
        let second = Setup::new().command(folder.path(), scene.node.address(), FREE);
        let (code, said) = ends(second).await;
        assert_ne!(code, 0, "{said}");
        assert!(said.contains(&scene.node.address().to_string()), "{said}");
        let (code, said) = ends(on(scene.node.data())).await;
        assert_ne!(code, 0, "{said}");
        assert!(
            said.contains(&*scene.node.data().to_string_lossy()),
            "{said}"
        );
        assert_eq!(code, 75, "{said}");
        assert!(said.contains("in use by process "), "{said}");
        assert!(said.contains("--data-dir"), "{said}");
        scene
            .ann
            .send(scene.room, "the first goes on")
            .await
            .expect("sent");
    })
    .await;
}

#[tokio::test]
async fn start_and_leave_taking_are_logged_once_and_calls_are_not() {
    guarded(async {
        for format in ["human", "json"] {
            let mut scene = Scene::on(Setup::new().flag("--log-format", format)).await;
            scene.ann.send(scene.room, "hello").await.expect("sent");
            scene.node.terminate();
            let process = scene.node.process();
            process.ended_within(Duration::from_secs(15)).await;
            let lines = process.all_output().await;
            let logged: Vec<&String> = lines
                .iter()
                .filter(|line| line.contains("INFO") || line.contains("WARN"))
                .collect();
            let parts = ["serving", "leaving: ", "left"];
            assert_eq!(logged.len(), parts.len(), "{logged:#?}");
            for (line, part) in logged.iter().zip(parts) {
                assert!(line.contains(part), "{part}: {line}");
            }
            let data = scene.node.data().to_string_lossy().into_owned();
            let address = scene.node.address().to_string();
            for fact in [data.as_str(), &address, "version", "store"] {
                assert!(logged[0].contains(fact), "{fact}: {}", logged[0]);
            }
            if format == "json" {
                let serving: Value = serde_json::from_str(logged[0]).expect("JSON");
                assert_eq!(serving["message"], "serving", "{serving}");
                assert_eq!(serving["listen"], address, "{serving}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_unusable_data_directory_is_said() {
    guarded(async {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "in the way").expect("written");
        let (code, said) = ends(on(&file.join("data"))).await;
        assert_ne!(code, 0, "{said}");
        assert!(said.contains(&*file.to_string_lossy()), "{said}");
    })
    .await;
}

#[tokio::test]
async fn without_tls_only_this_machine_is_served_unless_told_otherwise() {
    guarded(async {
        let folder = tempfile::tempdir().expect("a folder");
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let (code, said) = ends(Setup::new().command(folder.path(), everywhere, FREE)).await;
        assert_ne!(code, 0, "{said}");
        assert!(
            said.contains("--tls-cert") && said.contains("--insecure-listen"),
            "{said}"
        );
    })
    .await;
}

#[tokio::test]
async fn the_settings_in_force_are_printed_as_a_file_that_sets_the_same() {
    guarded(async {
        let folder = tempfile::tempdir().expect("a folder");
        let config = |args: &[&str]| {
            let mut command = Command::new(binaries::server());
            command.env_clear().arg("config").args(args);
            command
        };
        let data = folder.path().to_string_lossy().into_owned();
        let flags = [
            "--data-dir",
            &data,
            "--drain-window",
            "7s",
            "--limit",
            "room_members_max=9",
        ];
        let (code, printed) = ends(config(&flags)).await;
        assert_eq!(code, 0, "{printed}");
        assert!(
            printed.contains("7s") && printed.contains("room_members_max = 9"),
            "{printed}"
        );
        let file = folder.path().join("printed.toml");
        fs::write(&file, &printed).expect("written");
        let (code, again) = ends(config(&["--config", &file.to_string_lossy()])).await;
        assert_eq!((code, again), (0, printed));
    })
    .await;
}

#[tokio::test]
async fn a_node_speaks_tls_by_two_flags() {
    guarded(async {
        let node = Setup::new().tls().start().await;
        let authority = fs::read_to_string(certificate()).expect("readable");
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority))
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://{}", node.address()))
            .and_then(|endpoint| endpoint.tls_config(tls))
            .expect("an endpoint");
        let channel = event("a TLS connection", endpoint.connect())
            .await
            .expect("connects");
        let ann = Api::over(channel).sign_up("ann").await;
        let room = ann.create_room("safe").await;
        let session = live(&ann).await;
        let sent = ann.send(room, "over TLS").await.expect("sent");
        session.event(room, sent.seq).await;
        let plain = node
            .api()
            .try_log_in("ann", "x")
            .await
            .expect_err("TLS only");
        assert!(magpie_tests::refusal::is_lost(&plain), "{plain:?}");
    })
    .await;
}

#[tokio::test]
async fn half_a_data_directory_is_refused_and_not_made_anew() {
    guarded(async {
        let mut scene = Scene::new().await;
        scene.node.kill().await;
        let aside = tempfile::tempdir().expect("a folder");
        let parts = [
            "log",
            "accounts.sqlite",
            "accounts.sqlite-wal",
            "accounts.sqlite-shm",
        ];
        let (log, accounts) = parts.split_at(1);
        for half in [log, accounts] {
            let moved = |from: &Path, to: &Path| {
                for name in half {
                    // What SQLite needs no more it does not keep.
                    drop(fs::rename(from.join(name), to.join(name)));
                }
            };
            moved(scene.node.data(), aside.path());
            // Twice: the first must not have made what it misses.
            for _ in 0..2 {
                let (code, said) = ends(on(scene.node.data())).await;
                assert_eq!(code, 65, "{said}");
                assert!(said.contains(half[0]), "{said}");
            }
            moved(aside.path(), scene.node.data());
        }
        scene.node.start().await;
        let ann = scene.ann.over(scene.node.api());
        ann.send(scene.room, "all is there").await.expect("sent");
    })
    .await;
}

#[tokio::test]
async fn a_raised_generation_makes_clients_start_anew() {
    guarded(async {
        let mut scene = Scene::new().await;
        scene.ann_sends(2).await;
        let session = live(&scene.bob).await;
        let device = crate::scene::device_after(&scene.bob, &session.received());
        let generation = session.welcome.generation;
        drop(session);
        scene.node.kill().await;
        let mut command = Command::new(binaries::server());
        command
            .env_clear()
            .arg("new-generation")
            .arg("--data-dir")
            .arg(scene.node.data());
        let (code, said) = ends(command).await;
        assert_eq!(code, 0, "{said}");
        scene.node.start().await;
        let bob = scene.bob.over(scene.node.api());
        let bob = bob
            .renewed()
            .await
            .expect("access tokens ended, devices not");
        let session = resume(&bob, device.state()).await;
        assert!(session.welcome.generation > generation);
        let fresh = crate::scene::device_after(&bob, &session.received());
        let log = bob.log(scene.room).await;
        let expected = since_joining(&bob, &log);
        assert_eq!(fresh.entries(scene.room), expected, "all of it comes again");
    })
    .await;
}

#[tokio::test]
async fn damage_to_what_was_answered_is_never_served_silently() {
    guarded_for(Duration::from_secs(60), async {
        let mut refused = 0;
        for part in [1, 2, 3] {
            let mut scene = Scene::new().await;
            scene.ann_sends(40).await;
            let log = scene.ann.log(scene.room).await;
            // What is durable is noted once a second; damage to less may pass as a torn end.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            scene.node.kill().await;
            damage(&largest_file(&scene.node.data().join("log")), part);
            let mut process = Process::spawn(on(scene.node.data()));
            let listens = |line: &str| line.starts_with("Magpie listens on").then_some(());
            match process.line_or_end("its address", listens).await {
                None => {
                    assert!(!process.output().is_empty(), "a node that refuses says why");
                    refused += 1;
                }
                Some(()) => {
                    process.kill().await;
                    scene.node.start().await;
                    let again = scene.ann.over(scene.node.api()).log(scene.room).await;
                    assert_eq!(again, log, "after damage in quarter {part}");
                }
            }
        }
        assert!(refused > 0, "the damage met nothing");
    })
    .await;
}

/// Where most of the data is.
fn largest_file(folder: &Path) -> PathBuf {
    let files = magpie_tests::files::below(folder).into_iter();
    let length = |path: &PathBuf| {
        fs::metadata(path)
            .map(|file| file.len())
            .unwrap_or_default()
    };
    files
        .max_by_key(length)
        .expect("a data directory has files")
}

/// Flips a bit at the end of a quarter of what a file holds before its zeros.
fn damage(path: &Path, quarter: usize) {
    let mut bytes = fs::read(path).expect("readable");
    let length = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .expect("not only zeros");
    bytes[length * quarter / 4] ^= 0x10;
    fs::write(path, bytes).expect("written");
}

#[tokio::test]
async fn an_operator_changes_accounts_on_the_running_node() {
    guarded(async {
        let node = Node::start_new().await;
        let ann = node.api().sign_up("ann").await;
        let session = live(&ann).await;
        let run = async |args: &[&str]| {
            let mut command = Command::new(binaries::server());
            command
                .env_clear()
                .args(args)
                .arg("--data-dir")
                .arg(node.data());
            let (code, said) = ends(command).await;
            assert_eq!(code, 0, "{args:?}: {said}");
        };
        run(&["sign-up", "closed"]).await;
        let closed = node
            .api()
            .try_sign_up("bob", magpie_tests::api::PASSWORD)
            .await;
        let reason = |status| magpie_tests::refusal::of_status(&status).reason();
        assert_eq!(
            reason(closed.expect_err("closed")),
            magpie::v1::Reason::SignUpClosed
        );
        run(&["sign-up", "open"]).await;
        node.api().sign_up("bob").await;
        run(&["user", "disable", "ann"]).await;
        session.ended_within(Duration::from_secs(5)).await.ok();
        let disabled = node
            .api()
            .try_log_in("ann", magpie_tests::api::PASSWORD)
            .await;
        assert_eq!(
            reason(disabled.expect_err("disabled")),
            magpie::v1::Reason::UserDisabled
        );
        let open = magpie_tests::session::Session::open(&ann, State::default()).await;
        open.expect_err("a disabled user's token is worth nothing");
        run(&["user", "enable", "ann"]).await;
        node.api().log_in("ann").await;
    })
    .await;
}
