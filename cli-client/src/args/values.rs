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
