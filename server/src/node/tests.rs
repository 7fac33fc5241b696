//! A node in this process, from start to end, over its ports.

mod disk;

use std::time::Duration;

use bytes::Bytes;
use magpie::v1::{self, auth_service_client::AuthServiceClient};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::*;
use crate::grpc::status;

const PASSWORD: &str = "seven magpies, a secret never told";

struct Running {
    node: NodeHandle,
    dir: TempDir,
}

async fn start_with(flags: &[&str]) -> Running {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(config(&dir, flags)).await.expect("starts");
    Running { node, dir }
}

fn config(dir: &TempDir, flags: &[&str]) -> Config {
    let data_dir = format!("--data-dir={}", dir.path().display());
    let ports = ["--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"];
    let flags = [&[data_dir.as_str()], &ports[..], flags].concat();
    Config::from_flags(flags).expect("valid settings")
}

impl Running {
    fn channel(&self) -> Channel {
        let address = format!("http://{}", self.node.public);
        Channel::from_shared(address)
            .expect("an address")
            .connect_lazy()
    }

    async fn end(self) {
        self.node.shutdown();
        self.node.wait().await.expect("ends well");
        drop(self.dir);
    }
}

/// Sends a request over HTTP/1.1 and returns all of the answer.
async fn http1(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!("{request}Host: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn ports_answer_people_and_monitors() {
    let running = start_with(&[]).await;
    let health = http1(running.node.public, "GET /healthz HTTP/1.1\r\n").await;
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let root = http1(running.node.public, "GET / HTTP/1.1\r\n").await;
    assert!(root.contains("Magpie"), "{root}");
    let metrics = running.node.metrics.expect("served");
    let page = http1(metrics, "GET /metrics HTTP/1.1\r\n").await;
    assert!(page.contains("magpie_connections"), "{page}");
    running.end().await;
}

#[tokio::test]
async fn health_follows_the_drain() {
    let running = start_with(&["--drain-window=1h", "--drain-timeout=1h"]).await;
    let mut client = HealthClient::new(running.channel());
    let service = "magpie.v1.AuthService".to_owned();
    let ask = HealthCheckRequest { service };
    let serving = client
        .check(ask.clone())
        .await
        .expect("answered")
        .into_inner();
    assert_eq!(serving.status, 1);
    let mut watch = client
        .watch(ask.clone())
        .await
        .expect("answered")
        .into_inner();
    assert_eq!(
        watch
            .message()
            .await
            .expect("open")
            .expect("a status")
            .status,
        1
    );

    // A session keeps the node in its first stage.
    let session = running.node.drain().session();
    running.node.shutdown();
    assert_eq!(
        watch
            .message()
            .await
            .expect("open")
            .expect("a status")
            .status,
        2
    );
    let health = http1(running.node.public, "GET /healthz HTTP/1.1\r\n").await;
    assert!(health.starts_with("HTTP/1.1 503"), "{health}");
    let mut auth = AuthServiceClient::new(running.channel());
    let refused = auth
        .log_in(v1::LogInRequest::default())
        .await
        .expect_err("refused");
    assert_ne!(
        refused.code(),
        Code::Unavailable,
        "unary calls go on until the end"
    );

    drop(session);
    running.node.wait().await.expect("ends well");
}

#[tokio::test]
async fn draining_node_refuses_new_sessions() {
    let running = start_with(&["--drain-window=1h", "--drain-timeout=1h"]).await;
    let session = running.node.drain().session();
    running.node.shutdown();
    let mut chat = v1::chat_service_client::ChatServiceClient::new(running.channel());
    let refused = chat
        .subscribe(v1::SubscribeRequest::default())
        .await
        .expect_err("refused");
    let error = status::error_of(&refused).expect("a typed detail");
    assert_eq!(error.reason(), v1::Reason::Draining);
    assert!(error.retry_after.is_some());
    drop(session);
    running.node.wait().await.expect("ends well");
}

#[tokio::test]
async fn call_that_never_ends_does_not_hold_the_node_beyond_its_deadline() {
    let running = start_with(&["--drain-window=10ms", "--drain-timeout=300ms"]).await;
    // More than a call's window: the client comes to what follows it once the node reads the call.
    let mut half = vec![0, 0, 2, 0, 0];
    half.resize(80 << 10, 0x0a);
    let (reading, is_read) = tokio::sync::oneshot::channel();
    let half = futures_util::stream::once(async { Ok::<_, std::io::Error>(Bytes::from(half)) });
    let never = futures_util::stream::once(async move {
        reading.send(()).expect("the test waits for it");
        std::future::pending().await
    });
    let body = futures_util::StreamExt::chain(half, never);
    let request = ::http::Request::post("/magpie.v1.AuthService/LogIn")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(axum::body::Body::from_stream(body)))
        .expect("a request");
    let mut channel = running.channel();
    let ready = tower::ServiceExt::ready(&mut channel)
        .await
        .expect("connects");
    let call = tokio::spawn(tower::Service::call(ready, request));
    let begun = timeout(Duration::from_secs(5), is_read).await;
    begun.expect("in time").expect("the node reads the call");
    running.node.shutdown();
    let ended = timeout(Duration::from_secs(5), running.node.wait()).await;
    ended.expect("within the deadline").expect("ends well");
    call.abort();
}

#[tokio::test]
async fn message_over_the_limit_is_refused_with_its_reason() {
    let running = start_with(&["--limit=message_bytes_max=1000"]).await;
    let mut auth = AuthServiceClient::new(running.channel());
    let request = v1::LogInRequest {
        handle: "x".repeat(2_000),
        ..Default::default()
    };
    let refused = auth.log_in(request).await.expect_err("refused");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let error = status::error_of(&refused).expect("a typed detail");
    assert_eq!(error.reason(), v1::Reason::TooLarge);
    let page = http1(
        running.node.metrics.expect("served"),
        "GET /metrics HTTP/1.1\r\n",
    )
    .await;
    assert!(
        page.contains("magpie_errors_total{reason=\"TOO_LARGE\"} 1"),
        "{page}"
    );
    running.end().await;
}

#[tokio::test]
async fn web_page_of_another_origin_may_call_and_read_refusals() {
    let running = start_with(&[]).await;
    let path = "/magpie.v1.UserService/GetProfile HTTP/1.1\r\nOrigin: https://a.example\r\n";
    let preflight = format!(
        "OPTIONS {path}Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: content-type,x-grpc-web,authorization\r\n"
    );
    let answer = http1(running.node.public, &preflight).await.to_lowercase();
    assert!(
        answer.contains("access-control-allow-origin: *"),
        "{answer}"
    );
    assert!(answer.contains("authorization"), "{answer}");

    let call =
        format!("POST {path}Content-Type: application/grpc-web+proto\r\nContent-Length: 0\r\n");
    let answer = http1(running.node.public, &call).await.to_lowercase();
    assert!(answer.contains("grpc-status: 16"), "{answer}");
    assert!(answer.contains("grpc-status-details-bin: "), "{answer}");
    let exposed = answer
        .lines()
        .find(|line| line.starts_with("access-control-expose-headers"));
    assert!(
        exposed
            .expect("exposed")
            .contains("grpc-status-details-bin"),
        "{answer}"
    );
    running.end().await;
}

#[tokio::test]
async fn accounts_outlive_the_node() {
    let Running { node, dir } = start_with(&[]).await;
    let first = Running { node, dir };
    let request = v1::SignUpRequest {
        handle: "alice".to_owned(),
        password: PASSWORD.to_owned(),
        ..Default::default()
    };
    let mut auth = AuthServiceClient::new(first.channel());
    let credentials = auth
        .sign_up(request)
        .await
        .expect("signed up")
        .into_inner()
        .credentials;
    let token = credentials.expect("credentials").access_token;
    first.node.shutdown();
    first.node.wait().await.expect("ends well");

    let node = Node::start(config(&first.dir, &[]))
        .await
        .expect("starts again");
    let second = Running {
        node,
        dir: first.dir,
    };
    let mut users = v1::user_service_client::UserServiceClient::new(second.channel());
    let mut request = Request::new(v1::GetProfileRequest::default());
    let bearer = format!("Bearer {token}").parse().expect("a header");
    request.metadata_mut().insert("authorization", bearer);
    let user = users
        .get_profile(request)
        .await
        .expect("the token holds")
        .into_inner()
        .user;
    assert_eq!(user.expect("a user").handle, "alice");
    second.end().await;
}

#[tokio::test]
async fn what_keeps_a_node_from_starting_is_said_by_its_exit_code() {
    let running = start_with(&[]).await;
    let refused = |config: Config| async move {
        let error = Node::start(config).await.expect_err("does not start");
        (error.exit_code(), error.to_string())
    };
    let other = tempfile::tempdir().expect("a directory");
    let port = format!("--listen={}", running.node.public);
    let (code, text) = refused(second_config(&other, &port)).await;
    assert_eq!(code, exit::UNAVAILABLE, "{text}");
    let (code, text) = refused(config(&running.dir, &[])).await;
    assert_eq!(code, exit::IN_USE, "{text}");
    let (code, text) = refused(second_config(&other, "--listen=0.0.0.0:0")).await;
    assert_eq!(code, exit::USAGE, "{text}");
    assert!(text.contains("--insecure-listen"), "{text}");
    running.end().await;
}

fn second_config(dir: &TempDir, listen: &str) -> Config {
    let data_dir = format!("--data-dir={}", dir.path().display());
    Config::from_flags([&data_dir, listen, "--metrics-listen=off"]).expect("valid settings")
}

#[tokio::test]
async fn reflection_names_the_services_unless_it_is_off() {
    use tonic_reflection::pb::{v1 as current, v1alpha as former};

    let running = start_with(&[]).await;
    let list = current::server_reflection_request::MessageRequest::ListServices(String::new());
    let ask = current::ServerReflectionRequest {
        message_request: Some(list),
        ..Default::default()
    };
    let mut client =
        current::server_reflection_client::ServerReflectionClient::new(running.channel());
    let asks = tokio_stream::once(ask.clone());
    let mut answers = client
        .server_reflection_info(asks)
        .await
        .expect("taken")
        .into_inner();
    let answer = answers
        .message()
        .await
        .expect("open")
        .expect("an answer")
        .message_response;
    let text = format!("{answer:?}");
    assert!(text.contains("magpie.v1.ChatService"), "{text}");
    assert!(text.contains("grpc.health.v1.Health"), "{text}");

    let list = former::server_reflection_request::MessageRequest::ListServices(String::new());
    let old = former::ServerReflectionRequest {
        message_request: Some(list),
        ..Default::default()
    };
    let mut client =
        former::server_reflection_client::ServerReflectionClient::new(running.channel());
    let mut answers = client
        .server_reflection_info(tokio_stream::once(old))
        .await
        .expect("taken")
        .into_inner();
    let answer = answers.message().await.expect("open").expect("an answer");
    let text = format!("{:?}", answer.message_response);
    assert!(text.contains("magpie.v1.ChatService"), "{text}");
    running.end().await;

    let running = start_with(&["--reflection=false"]).await;
    let mut client =
        current::server_reflection_client::ServerReflectionClient::new(running.channel());
    let refused = client.server_reflection_info(tokio_stream::once(ask)).await;
    // Whoever is not known is told nothing about what there is.
    assert!(refused.is_err());
    running.end().await;
}
