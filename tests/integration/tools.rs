//! The tools that engineers bring along: grpcurl, buf curl, health checks, a metrics scraper.

use std::{process::Stdio, time::Duration};

use magpie_tests::{
    binaries,
    guard::guarded,
    http,
    node::{Node, Setup},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::scene::{Scene, live};

/// Runs a tool with something on its stdin; returns its exit code and what it wrote.
async fn run(mut command: Command, input: &str) -> (i32, String, String) {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("the tool starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(input.as_bytes()).await.ok();
    drop(stdin);
    let output = child.wait_with_output().await.expect("the tool ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn grpcurl(args: &[&str]) -> Command {
    let mut command = Command::new(binaries::tool("MAGPIE_GRPCURL", "grpcurl"));
    command.arg("-plaintext").args(args);
    command
}

async fn ok(command: Command, input: &str) -> String {
    let shown = format!("{command:?}");
    let (code, stdout, stderr) = run(command, input).await;
    assert_eq!(code, 0, "{shown}: {stdout} {stderr}");
    stdout
}

#[tokio::test]
async fn grpcurl_finds_its_way_by_reflection_alone() {
    guarded(async {
        let scene = Scene::new().await;
        let address = scene.node.address().to_string();
        let services = ok(grpcurl(&[&address, "list"]), "").await;
        for service in [
            "Auth",
            "User",
            "Room",
            "Message",
            "Chat",
            "Presence",
            "Discovery",
        ] {
            assert!(
                services.contains(&format!("magpie.v1.{service}Service")),
                "{services}"
            );
        }
        assert!(services.contains("grpc.health.v1.Health"), "{services}");
        let described = ok(grpcurl(&[&address, "describe", "magpie.v1.Entry"]), "").await;
        assert!(described.contains("membership_changed"), "{described}");
        let log_in = json!({ "handle": "ann", "password": magpie_tests::api::PASSWORD });
        let data = log_in.to_string();
        let method = "magpie.v1.AuthService/LogIn";
        let answer = ok(grpcurl(&["-d", &data, &address, method]), "").await;
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let token = answer["credentials"]["accessToken"]
            .as_str()
            .expect("a token")
            .to_owned();
        let header = format!("authorization: Bearer {token}");
        let send = json!({
            "roomId": scene.room.to_string(),
            "clientMessageId": "AZZZZZZZcAAAAAAAAAAAAA==",
            "text": "from grpcurl",
        });
        let method = "magpie.v1.MessageService/SendMessage";
        let data = send.to_string();
        let answer = ok(grpcurl(&["-H", &header, "-d", &data, &address, method]), "").await;
        assert!(answer.contains("\"seq\": \"3\""), "{answer}");

        // With -d the stream is half-closed after Hello: events go on.
        let hello = json!({ "hello": {} }).to_string();
        let args = ["-H", &header, "-max-time", "3", "-d", &hello, &address];
        let chat = grpcurl(&[&args[..], &["magpie.v1.ChatService/Chat"]].concat());
        let (_, frames, stderr) = run(chat, "").await;
        assert!(frames.contains("\"caughtUp\""), "{frames} {stderr}");
        assert!(frames.contains("from grpcurl"), "{frames}");
    })
    .await;
}

#[tokio::test]
async fn grpcurl_shows_a_refusal_with_its_details() {
    guarded(async {
        let scene = Scene::new().await;
        let header = format!(
            "authorization: Bearer {}",
            scene.ann.credentials.access_token
        );
        let address = scene.node.address().to_string();
        let data = json!({ "roomId": "1", "clientMessageId": "AA==", "text": "" }).to_string();
        let method = "magpie.v1.MessageService/SendMessage";
        let (code, stdout, stderr) =
            run(grpcurl(&["-H", &header, "-d", &data, &address, method]), "").await;
        assert_ne!(code, 0);
        let said = stdout + &stderr;
        assert!(said.contains("InvalidArgument"), "{said}");
        assert!(said.contains("REASON_INVALID_FIELD"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn buf_curl_calls_by_reflection_over_grpc_and_grpc_web() {
    guarded(async {
        let scene = Scene::new().await;
        for protocol in ["grpc", "grpcweb"] {
            let mut command = Command::new(binaries::tool("MAGPIE_BUF", "buf"));
            let url = format!(
                "http://{}/magpie.v1.RoomService/ListRooms",
                scene.node.address()
            );
            command
                .env("HOME", scene.node.data())
                .args([
                    "curl",
                    "--http2-prior-knowledge",
                    "--reflect",
                    "--protocol",
                    protocol,
                ])
                .arg("--header")
                .arg(format!(
                    "authorization: Bearer {}",
                    scene.ann.credentials.access_token
                ))
                .args(["--data", "{}", &url]);
            let answer: Value = serde_json::from_str(&ok(command, "").await).expect("JSON");
            assert_eq!(answer["rooms"][0]["title"], "nest", "{protocol}: {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn health_is_served_by_grpc_and_by_http_and_follows_the_drain() {
    guarded(async {
        let drained = Setup::new()
            .flag("--drain-window", "3s")
            .flag("--drain-timeout", "6s");
        let mut scene = Scene::on(drained).await;
        let address = scene.node.address();
        let check = ["grpc.health.v1.Health/Check"];
        for service in ["", "magpie.v1.ChatService"] {
            let data = json!({ "service": service }).to_string();
            let at = address.to_string();
            let answer = ok(grpcurl(&[&["-d", &data, &at], &check[..]].concat()), "").await;
            assert!(answer.contains("\"SERVING\""), "{service}: {answer}");
        }
        assert_eq!(http::get(address, "/healthz").await.0, 200);
        // An open stream keeps the node draining for a while.
        let _session = live(&scene.ann).await;
        scene.node.terminate();
        let at = address.to_string();
        let mut said = String::new();
        while !said.contains("NOT_SERVING") && !said.contains("refused") {
            let (_, stdout, stderr) =
                run(grpcurl(&[&["-d", "{}", &at], &check[..]].concat()), "").await;
            said = stdout + &stderr;
        }
        scene.node.ended_within(Duration::from_secs(20)).await;
    })
    .await;
}

#[tokio::test]
async fn metrics_count_what_happened() {
    guarded(async {
        let scene = Scene::new().await;
        let session = live(&scene.bob).await;
        let seq = scene.ann_sends(5).await;
        session.event(scene.room, seq).await;
        scene.ann.send(scene.room, "").await.expect_err("refused");
        let page = scene.node.metrics().await;
        for part in [
            "stream",
            "send",
            "deliver",
            "answer_seconds",
            "queue",
            "sync",
            "INVALID_FIELD",
        ] {
            let found = page.to_lowercase().contains(&part.to_lowercase());
            assert!(found, "nothing about {part} in:\n{page}");
        }
        assert!(
            page.trim_end().ends_with("# EOF"),
            "OpenMetrics ends with EOF"
        );
    })
    .await;
}

#[tokio::test]
async fn logs_hold_no_secret() {
    guarded(async {
        let mut scene = Scene::on(Setup::new().env("MAGPIE_LOG", "trace")).await;
        let session = live(&scene.ann).await;
        scene
            .node
            .api()
            .try_log_in("ann", "a wrong secret")
            .await
            .expect_err("refused");
        let text = "the text of a message is nobody's business";
        scene.ann.send(scene.room, text).await.expect("sent");
        drop(session);
        scene.node.terminate();
        let mut log = scene.node.process().all_output().await;
        log.retain(|line| !line.is_empty());
        let secrets = [
            magpie_tests::api::PASSWORD,
            "a wrong secret",
            text,
            &scene.ann.credentials.refresh_token,
            &scene.ann.credentials.access_token,
        ];
        for line in log {
            for secret in secrets {
                assert!(!line.contains(secret), "{secret:?} in {line}");
            }
        }
    })
    .await;
}

/// The node says how to go on, and what it says works as it is printed.
#[tokio::test]
async fn discovery_answers_to_stay() {
    guarded(async {
        let node = Node::start_new().await;
        let ann = node.api().sign_up("ann").await;
        let request = ann.asks(magpie::v1::LocateRequest {});
        let located = ann
            .api
            .discovery()
            .locate(request)
            .await
            .expect("located")
            .into_inner();
        assert_eq!(located.address, "", "stay on the address that was used");
        assert_eq!(ann.credentials.address, "");
    })
    .await;
}
