//! The address of a server, as people write it: what it may be, and what it tells. Pure.

use std::net::IpAddr;

const SERVER_FORM: &str = "write it as http://HOST:PORT or https://HOST:PORT";

/// Accepts the address of a server and takes a trailing slash off it.
pub(crate) fn server_url(input: &str) -> Result<String, String> {
    let url = input.trim_end_matches('/');
    let authority = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(|| {
            if url.is_empty() || url.contains("://") {
                SERVER_FORM.to_owned()
            } else {
                format!("write it as http://{url} or https://{url}")
            }
        })?;
    if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
        return Err(SERVER_FORM.to_owned());
    }
    Ok(url.to_owned())
}

/// Whether nobody on the way can read what goes to this server.
pub(crate) fn is_private(url: &str) -> bool {
    url.starts_with("https://") || is_loopback(url)
}

/// Whether the server is on this machine.
pub(crate) fn is_loopback(url: &str) -> bool {
    let host = host(url);
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The host of an address, without the brackets of one of IPv6.
pub(crate) fn host(url: &str) -> &str {
    let authority = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .unwrap_or(url);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_needs_its_scheme() {
        assert!(
            server_url("127.0.0.1:7400")
                .unwrap_err()
                .contains("http://127.0.0.1:7400")
        );
        assert_eq!(server_url("ftp://x").unwrap_err(), SERVER_FORM);
        assert_eq!(server_url("").unwrap_err(), SERVER_FORM);
        assert!(server_url("http://a/b").is_err());
        assert!(server_url("https://user@host").is_err());
    }

    #[test]
    fn only_tls_and_this_machine_are_private() {
        for url in [
            "https://h:1",
            "http://localhost:7400",
            "http://127.0.0.1:7400",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert!(is_private(url), "{url}");
        }
        for url in [
            "http://10.0.0.1:7400",
            "http://chat.example.org",
            "http://localhost.evil:1",
            "http://[2001:db8::1]:1",
        ] {
            assert!(!is_private(url), "{url}");
            assert!(!is_loopback(url), "{url}");
        }
        assert!(is_loopback("https://localhost:7400"));
        assert!(!is_loopback("https://chat.example.org"));
    }
}
