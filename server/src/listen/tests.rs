//! Connections in this process, over real sockets.

use std::time::Duration;

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

struct Served {
    address: SocketAddr,
    drain: Drain,
    metrics: Arc<Metrics>,
    task: tokio::task::JoinHandle<()>,
}

fn options() -> Options {
    Options {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        insecure: false,
        tls: None,
    }
}

fn serve(limits: Limits, app: Router) -> Served {
    let listener = Listener::bind(&options(), Arc::new(limits)).expect("a free port");
    let address = listener.address();
    let drain = Drain::new(Duration::ZERO);
    let metrics = Arc::new(Metrics::new());
    let task = tokio::spawn(listener.run(app, Arc::clone(&metrics), drain.clone()));
    Served {
        address,
        drain,
        metrics,
        task,
    }
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// All that the connection says until its end.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset is an end as well.
    drop(read.expect("an end"));
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn ask(stream: &mut TcpStream) {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("written");
    let mut bytes = vec![0; 4_096];
    let read = timeout(PATIENCE, stream.read(&mut bytes))
        .await
        .expect("an answer");
    let text = String::from_utf8_lossy(&bytes[..read.expect("open")]).into_owned();
    assert!(text.ends_with("hello"), "{text}");
}

#[tokio::test]
async fn connection_without_a_call_is_closed() {
    let limits = Limits {
        handshake_millis: 50,
        ..Limits::default()
    };
    let served = serve(limits, hello());
    let mut silent = TcpStream::connect(served.address).await.expect("connects");
    assert_eq!(rest(&mut silent).await, "");
    assert!(served.metrics.encode().contains("why=\"Silent\"} 1"));
}

#[tokio::test]
async fn address_with_too_many_connections_gets_no_further_one() {
    let limits = Limits {
        connections_per_address_max: 1,
        ..Limits::default()
    };
    let served = serve(limits, hello());
    let mut first = TcpStream::connect(served.address).await.expect("connects");
    ask(&mut first).await;
    let mut second = TcpStream::connect(served.address).await.expect("connects");
    assert_eq!(rest(&mut second).await, "");
    ask(&mut first).await;
    assert!(served.metrics.encode().contains("why=\"AddressFull\"} 1"));
}

#[tokio::test]
async fn idle_connections_end_when_the_node_closes() {
    let served = serve(Limits::default(), hello());
    let mut idle = TcpStream::connect(served.address).await.expect("connects");
    ask(&mut idle).await;
    served.drain.close();
    timeout(PATIENCE, served.task)
        .await
        .expect("ends")
        .expect("well");
    assert_eq!(rest(&mut idle).await, "");
    TcpStream::connect(served.address)
        .await
        .expect_err("nobody listens");
}

#[tokio::test]
async fn call_in_progress_is_answered_before_its_connection_ends() {
    let (begun, mut began) = tokio::sync::mpsc::channel(1);
    let finish = Arc::new(tokio::sync::Notify::new());
    let finished = Arc::clone(&finish);
    let slow = get(move || async move {
        begun.send(()).await.expect("awaited");
        finished.notified().await;
        "late"
    });
    let served = serve(Limits::default(), Router::new().route("/", slow));
    let mut stream = TcpStream::connect(served.address).await.expect("connects");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("written");
    began.recv().await.expect("begun");
    served.drain.close();
    finish.notify_one();
    let answer = rest(&mut stream).await;
    assert!(answer.ends_with("late"), "{answer}");
    timeout(PATIENCE, served.task)
        .await
        .expect("ends")
        .expect("well");
}

#[tokio::test]
async fn call_that_never_ends_is_cut() {
    let (begun, mut began) = tokio::sync::mpsc::channel(1);
    let stuck = get(move || async move {
        begun.send(()).await.expect("awaited");
        std::future::pending::<&str>().await
    });
    let served = serve(Limits::default(), Router::new().route("/", stuck));
    let mut stream = TcpStream::connect(served.address).await.expect("connects");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("written");
    began.recv().await.expect("begun");
    served.drain.cut_now();
    timeout(PATIENCE, served.task)
        .await
        .expect("ends")
        .expect("well");
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn plain_text_beyond_this_machine_needs_a_word() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let limits = Arc::new(Limits::default());
    let mut options = Options {
        address: everywhere,
        ..options()
    };
    let refused = Listener::bind(&options, Arc::clone(&limits)).expect_err("refused");
    assert!(matches!(refused, Error::NotLoopback(_)), "{refused}");
    options.insecure = true;
    Listener::bind(&options, limits).expect("told so");
}

#[tokio::test]
async fn port_in_use_is_said() {
    let limits = Arc::new(Limits::default());
    let first = Listener::bind(&options(), Arc::clone(&limits)).expect("a free port");
    let options = Options {
        address: first.address(),
        ..options()
    };
    let refused = Listener::bind(&options, limits).expect_err("refused");
    assert!(matches!(refused, Error::InUse(_)), "{refused}");
}

#[tokio::test]
async fn file_that_is_no_certificate_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("certificate.pem");
    std::fs::write(&path, "no certificate").expect("written");
    let options = Options {
        tls: Some((path.clone(), path)),
        ..options()
    };
    let refused = Listener::bind(&options, Arc::new(Limits::default())).expect_err("refused");
    assert!(refused.to_string().contains("certificate.pem"), "{refused}");
}
