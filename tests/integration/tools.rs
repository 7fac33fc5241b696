//! The tools that engineers bring along: grpcurl, buf curl, health checks, a metrics scraper.

use std::{path::Path, process::Stdio, time::Duration};

use bytes::Bytes;
use magpie::v1::{ChangePasswordRequest, RefreshTokenRequest, RenewToken, client_frame};
use magpie_tests::{
    api::PASSWORD,
    binaries, files,
    guard::{event, guarded, guarded_for},
    http,
    node::{Node, Setup},
    person::message,
    raw,
};
use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};
use tonic::Code;

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
        let log_in = json!({ "handle": "ann", "password": PASSWORD });
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

/// A stub's author has the folder proto/ and nothing else.
#[tokio::test]
async fn the_contract_alone_is_enough_to_sign_up_send_and_read() {
    guarded_for(Duration::from_secs(60), async {
        let scene = Scene::new().await;
        let folder = tempfile::tempdir().expect("a folder");
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
        files::copy(&proto.join("magpie"), &folder.path().join("magpie"));
        let call = async |token: &str, method: &str, data: Value| {
            let url = format!("http://{}/magpie.v1.{method}", scene.node.address());
            let mut command = Command::new(binaries::tool("MAGPIE_BUF", "buf"));
            command
                .env("HOME", folder.path())
                .current_dir(folder.path())
                .args(["curl", "--http2-prior-knowledge", "--protocol", "grpc"])
                .args(["--schema", ".", "--header"])
                .arg(format!("authorization: Bearer {token}"))
                .args(["--data", &data.to_string(), &url]);
            let answer = ok(command, "").await;
            serde_json::from_str::<Value>(&answer).expect("JSON")
        };
        let sign_up = json!({ "handle": "stubs", "password": PASSWORD });
        let signed_up = call("", "AuthService/SignUp", sign_up).await;
        let token = signed_up["credentials"]["accessToken"].as_str();
        let token = token.expect("a token");
        let create = json!({ "clientMessageId": "AZZZZZZZcAAAAAAAAAAAAA==", "title": "stubs" });
        let created = call(token, "RoomService/CreateRoom", create).await;
        let room = &created["room"]["roomId"];
        let send = json!({
            "roomId": room,
            "clientMessageId": "AZZZZZZZcAAAAAAAAAAAAQ==",
            "text": "from the contract alone",
        });
        let sent = call(token, "MessageService/SendMessage", send).await;
        let list = json!({ "roomId": room });
        let page = call(token, "MessageService/ListMessages", list).await;
        let entry = &page["messages"][0]["entry"];
        assert_eq!(
            entry["message"]["text"], "from the contract alone",
            "{page}"
        );
        assert_eq!(entry["seq"], sent["seq"], "{page}");
    })
    .await;
}

/// With an empty request, as each is decodable: what answers is the call's own rule.
#[tokio::test]
async fn every_call_of_the_contract_is_served() {
    guarded(async {
        let scene = Scene::new().await;
        let set = FileDescriptorSet::decode(magpie::v1::FILE_DESCRIPTOR_SET).expect("descriptors");
        let services = set.file.iter().flat_map(|file| {
            let package = file.package();
            file.service.iter().map(move |service| (package, service))
        });
        let mut calls = 0;
        for (package, service) in services.filter(|(package, _)| *package == "magpie.v1") {
            for method in &service.method {
                let path = format!("/{package}.{}/{}", service.name(), method.name());
                let requests = tokio_stream::once(Bytes::new());
                // One call is the device's last.
                let caller = if method.name() == "LogOut" {
                    &scene.bob
                } else {
                    &scene.ann
                };
                let request = caller.asks(requests);
                let channel = scene.ann.api.channel();
                // A refusal may come before the first message of a stream or in its place.
                let answer = async {
                    let mut stream = raw::stream(channel, &path, request).await?;
                    stream.message().await
                };
                let answer = event(&path, answer).await;
                let code = answer.err().map_or(Code::Ok, |status| status.code());
                assert_ne!(code, Code::Unimplemented, "{path}");
                calls += 1;
            }
        }
        assert!(calls >= 30, "{calls} calls");
        let unknown = scene.ann.asks(tokio_stream::once(Bytes::new()));
        let path = "/magpie.v1.ChatService/NoSuchCall";
        let answer = raw::stream(scene.ann.api.channel(), path, unknown).await;
        let code = answer.err().map_or(Code::Ok, |status| status.code());
        assert_eq!(code, Code::Unimplemented, "what is not there is told apart");
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

/// Everything is logged that can be, in both forms, while passwords, tokens and texts come and go.
#[tokio::test]
async fn logs_hold_no_secret() {
    guarded_for(Duration::from_secs(60), async {
        for form in ["human", "json"] {
            let setup = Setup::new()
                .env("MAGPIE_LOG", "trace")
                .flag("--log-format", form);
            let mut scene = Scene::on(setup).await;
            let secrets = use_secrets(&scene).await;
            scene.node.terminate();
            let log = scene.node.process().all_output().await;
            for line in &log {
                for secret in &secrets {
                    assert!(!line.contains(secret), "{secret:?} in {line}");
                }
            }
            let traces = log.iter().filter(|line| line.contains("TRACE")).count();
            assert!(traces > 100, "{traces} lines of the lowest level");
            if form == "json" {
                let lines = log.iter().filter(|line| line.starts_with('{'));
                let values = lines.map(|line| serde_json::from_str::<Value>(line));
                let values: Vec<_> = values
                    .collect::<Result<_, _>>()
                    .expect("each line is one object");
                let is_whole = |value: &&Value| {
                    ["level", "timestamp", "target"]
                        .iter()
                        .all(|key| value[key].is_string())
                };
                let whole = values.iter().filter(is_whole).count();
                assert_eq!(whole, values.len());
                assert!(whole >= traces, "{whole} objects, {traces} traces");
            }
        }
    })
    .await;
}

/// Has secrets go through every part of the node that takes or makes some, and returns them.
async fn use_secrets(scene: &Scene) -> Vec<String> {
    let wrong = "a wrong secret";
    let (changed, reset) = (
        "another nest of silver spoons",
        "forty-two borrowed teaspoons",
    );
    let text = "the text of a message is nobody's business";
    let session = live(&scene.ann).await;
    session
        .send(message(scene.room, text))
        .await
        .expect("sent by frame");
    scene.ann.send(scene.room, text).await.expect("sent");
    let api = scene.node.api();
    api.try_log_in("ann", wrong).await.expect_err("refused");
    let refresh = RefreshTokenRequest {
        refresh_token: scene.ann.credentials.refresh_token.clone(),
    };
    let refreshed = api.auth().refresh_token(refresh).await.expect("renewed");
    let refreshed = refreshed.into_inner().credentials.expect("credentials");
    let access_token = refreshed.access_token.clone();
    let renew = RenewToken { access_token };
    let renewed = session.ask(client_frame::Frame::RenewToken(renew)).await;
    renewed.await.expect("renewed in the stream");
    let change = ChangePasswordRequest {
        old_password: PASSWORD.to_owned(),
        new_password: changed.to_owned(),
    };
    let bob = &scene.bob;
    let change = bob.api.auth().change_password(bob.asks(change)).await;
    change.expect("changed");
    let mut command = Command::new(binaries::server());
    command
        .env_clear()
        .arg("--data-dir")
        .arg(scene.node.data())
        .args(["user", "reset-password", "bob"]);
    let said = ok(command, &format!("{reset}\n")).await;
    api.try_log_in("bob", reset)
        .await
        .unwrap_or_else(|status| panic!("{status:?} after {said}"));
    let mut secrets = [PASSWORD, wrong, changed, reset, text]
        .map(str::to_owned)
        .to_vec();
    for credentials in [&scene.ann.credentials, &bob.credentials, &refreshed] {
        secrets.extend([
            credentials.access_token.clone(),
            credentials.refresh_token.clone(),
        ]);
    }
    secrets
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
