//! What single values of the command line may be. Pure.

/// Accepts `anna` and `@anna`; the server says what else a handle may not be.
pub(super) fn handle(input: &str) -> Result<String, String> {
    let bare = input.strip_prefix('@').unwrap_or(input);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !(3..=32).contains(&bare.len()) || !bare.bytes().all(fits) {
        return Err("a handle is 3 to 32 of a-z, 0-9 and underscore".to_owned());
    }
    Ok(bare.to_ascii_lowercase())
}

/// Accepts the address of a server and takes a trailing slash off it.
pub(crate) fn server_url(input: &str) -> Result<String, String> {
    let url = input.trim_end_matches('/');
    let authority = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(|| format!("write it as http://{url} or https://{url}"))?;
    if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
        return Err("write it as http://HOST:PORT or https://HOST:PORT".to_owned());
    }
    Ok(url.to_owned())
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
        assert!(server_url("http://a/b").is_err());
        assert!(server_url("https://user@host").is_err());
    }
}
