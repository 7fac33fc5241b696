//! The harness tested on its own, without a node.

use std::time::Duration;

use magpie_tests::{
    guard::{event, guarded},
    proxy::{Fault, FaultProxy},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A server that sends back what it gets.
async fn echo() -> (FaultProxy, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    (FaultProxy::start(address).await, server)
}

async fn round_trip(stream: &mut TcpStream) -> std::io::Result<u8> {
    stream.write_all(b"x").await?;
    stream.read_u8().await
}

#[tokio::test]
async fn proxy_passes_bytes_on() {
    guarded(async {
        let (proxy, _server) = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connects");
        assert_eq!(
            event("an echo", round_trip(&mut stream)).await.ok(),
            Some(b'x')
        );
        assert_eq!(proxy.accepted(), 1);
    })
    .await;
}

#[tokio::test]
async fn proxy_swallows_bytes_of_half_open_connections() {
    guarded(async {
        let (proxy, _server) = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connects");
        round_trip(&mut stream).await.expect("an echo");
        proxy.set_open(Fault::HalfOpen);
        let silence = tokio::time::timeout(Duration::from_millis(200), round_trip(&mut stream));
        assert!(silence.await.is_err(), "something came back");
        let mut fresh = TcpStream::connect(proxy.address()).await.expect("connects");
        assert_eq!(
            event("an echo", round_trip(&mut fresh)).await.ok(),
            Some(b'x')
        );
    })
    .await;
}

#[tokio::test]
async fn proxy_keeps_stalled_bytes_for_later() {
    guarded(async {
        let (proxy, _server) = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connects");
        round_trip(&mut stream).await.expect("an echo");
        proxy.set(Fault::Stall);
        stream
            .write_all(b"y")
            .await
            .expect("the socket takes a byte");
        let silence = tokio::time::timeout(Duration::from_millis(200), stream.read_u8());
        assert!(silence.await.is_err(), "something came back");
        proxy.set(Fault::None);
        assert_eq!(event("the echo", stream.read_u8()).await.ok(), Some(b'y'));
    })
    .await;
}

#[tokio::test]
async fn proxy_resets_connections() {
    guarded(async {
        let (proxy, _server) = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connects");
        round_trip(&mut stream).await.expect("an echo");
        proxy.reset_all();
        let error = event("the reset", stream.read_u8())
            .await
            .expect_err("no byte comes");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    })
    .await;
}

#[tokio::test]
async fn proxy_slows_connections_down() {
    guarded(async {
        let (proxy, _server) = echo().await;
        proxy.set(Fault::BytesPerSecond(10));
        let begin = std::time::Instant::now();
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connects");
        event("an echo", round_trip(&mut stream))
            .await
            .expect("an echo");
        assert!(
            begin.elapsed() >= Duration::from_millis(200),
            "{:?}",
            begin.elapsed()
        );
    })
    .await;
}
