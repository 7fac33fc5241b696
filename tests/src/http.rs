//! The few plain HTTP/1.1 requests that tests make: health, metrics, gRPC-Web.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Sends one request on a connection of its own and returns the answer with its body unread.
///
/// # Panics
/// When the connection fails.
pub async fn request(address: SocketAddr, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let stream = TcpStream::connect(address)
        .await
        .expect("the node accepts connections");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("an HTTP/1.1 connection opens");
    tokio::spawn(connection);
    sender
        .send_request(request)
        .await
        .expect("the node answers HTTP/1.1")
}

/// Fetches a page: its status code and its body.
///
/// # Panics
/// When the connection fails.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let head = Request::get(path)
        .header(http::header::HOST, address.to_string())
        .body(Full::new(Bytes::new()))
        .expect("a path makes a request");
    let response = request(address, head).await;
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("the body arrives")
        .to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}
