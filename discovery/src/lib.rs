//! How clients find the node that serves them best. Knows addresses; knows nothing of streams, rooms
//! or the wire.
//!
//! A node alone answers every client alike: [`Standalone`]. Finding others is for deployments of
//! several nodes.

use std::{fmt, str::FromStr};

/// Where a client can reach a node: `http://host:port` or `https://host:port`, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

/// The text is no address of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected http://HOST[:PORT] or https://HOST[:PORT], without a path")]
pub struct NotAnAddress;

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let host = rest.ok_or(NotAnAddress)?;
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if host.is_empty() || host.starts_with(':') || !host.chars().all(allowed) {
            return Err(NotAnAddress);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a client should open its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The best node; none: the one that was asked.
    pub best: Option<Address>,
    /// Others that would serve, best first.
    pub alternatives: Vec<Address>,
}

/// The discovery of a node that is alone.
#[derive(Clone, Debug, Default)]
pub struct Standalone {
    advertise: Option<Address>,
}

impl Standalone {
    /// A node that clients reach at `advertise`, or wherever they reached it.
    pub fn new(advertise: Option<Address>) -> Self {
        Self { advertise }
    }

    /// Where a client should open its stream.
    pub fn locate(&self) -> Location {
        Location {
            best: self.advertise.clone(),
            alternatives: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_scheme_and_a_host() {
        for good in [
            "http://127.0.0.1:7400",
            "https://chat.example.org",
            "http://[::1]:7400",
        ] {
            assert_eq!(
                good.parse::<Address>().map(|a| a.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "",
            "chat.example.org",
            "https://",
            "http://:7400",
            "https://a/b",
            "ftp://a",
        ] {
            assert_eq!(bad.parse::<Address>(), Err(NotAnAddress), "{bad}");
        }
    }

    #[test]
    fn a_node_alone_sends_clients_where_it_was_told_to() {
        assert_eq!(Standalone::default().locate(), Location::default());
        let address: Address = "https://chat.example.org".parse().expect("an address");
        let location = Standalone::new(Some(address.clone())).locate();
        assert_eq!(location.best, Some(address));
    }
}
