//! Whether a server that was addressed as http:// speaks TLS. Such a server drops the connection in
//! whatever way the race of the two ends allows, so the client's own error does not tell.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::limits::PROBE_WAIT;

/// How a plain HTTP/2 connection begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How the alert begins by which TLS turns it down: its type, and the major version.
const ALERT: [u8; 2] = [0x15, 0x03];

/// Whether the server behind an http:// address answers plain HTTP/2 with an alert of TLS. Then no
/// call over plain HTTP/2 was ever understood there.
pub(super) async fn speaks_tls(server: &str) -> bool {
    let Some(authority) = server.strip_prefix("http://") else {
        return false;
    };
    let answer = async {
        let mut stream = match TcpStream::connect(authority).await {
            Ok(stream) => stream,
            // Without a port it is that of HTTP.
            Err(_) => TcpStream::connect((authority, 80)).await?,
        };
        stream.write_all(PREFACE).await?;
        let mut begin = [0; 2];
        stream.read_exact(&mut begin).await?;
        std::io::Result::Ok(begin)
    };
    matches!(timeout(PROBE_WAIT, answer).await, Ok(Ok(ALERT)))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Whether a server that answers so seems to speak TLS.
    async fn seems(answer: &'static [u8]) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut preface = [0; PREFACE.len()];
            stream.read_exact(&mut preface).await.unwrap();
            stream.write_all(answer).await.unwrap();
        };
        tokio::join!(speaks_tls(&server), serve).0
    }

    #[tokio::test]
    async fn an_alert_of_tls_is_told_from_plain_http() {
        assert!(seems(&[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46]).await);
        // The settings with which a plain server begins, and a server that hangs up.
        assert!(!seems(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await);
        assert!(!seems(&[]).await);
    }

    #[tokio::test]
    async fn where_nobody_listens_nobody_speaks_tls() {
        assert!(!speaks_tls("http://127.0.0.1:1").await);
        assert!(!speaks_tls("https://127.0.0.1:1").await);
    }
}
