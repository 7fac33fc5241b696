//! What is wrong with a server's certificate, and the way out: read from the words of the TLS
//! library, which hands on nothing else. Pure.

use std::net::IpAddr;

use crate::{address::host, text};

/// With what the words about a certificate begin.
const BEGIN: &str = "invalid peer certificate: ";

/// With what a cause ends that kept a call from leaving. So it is with all certificates that were
/// turned down.
pub(crate) const NOTHING_SENT: &str = "; nothing was sent";

/// What says that no authority signed it. The latter two: one has the name of the authority, but
/// another key, perhaps of another kind.
const STRANGERS: [&str; 3] = [
    "UnknownIssuer",
    "BadSignature",
    "UnsupportedSignatureAlgorithmForPublicKey",
];

/// Why a certificate was turned down.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// For the message: what is wrong with it.
    pub(crate) what: String,
    /// What the person may do.
    pub(crate) hint: String,
}

impl Fault {
    /// The fault of the certificate of `server` that `cause` tells of; `None` where it is about
    /// something else.
    pub(crate) fn of(server: &str, cause: &str) -> Option<Self> {
        let (_, said) = cause.split_once(BEGIN)?;
        let said = said.strip_suffix(NOTHING_SENT).unwrap_or(said);
        // What is a variant in one form and has more to say in another begins the same way.
        let said_plainly = said.trim_start_matches("certificate ");
        let host = host(server);
        Some(if said.contains("CaUsedAsEndEntity") {
            Self {
                what: "its certificate is that of an authority (CA:TRUE), not of a server".into(),
                hint: anew("make another for the node", host),
            }
        } else if said_plainly.starts_with("not valid for name")
            || said.starts_with("NotValidForName")
        {
            Self::name(server, host, said)
        } else if said_plainly.starts_with("expired") || said.starts_with("Expired") {
            Self {
                what: "its certificate has expired".to_owned(),
                hint: "whoever runs the node has to renew it; if they have, is the clock of this \
                       machine right?"
                    .to_owned(),
            }
        } else if said_plainly.starts_with("not valid yet") || said.starts_with("NotValidYet") {
            Self {
                what: "its certificate is not valid yet".to_owned(),
                hint: "are the clocks of this machine and of the one that made it right?"
                    .to_owned(),
            }
        } else if STRANGERS.iter().any(|begin| said.starts_with(begin)) {
            Self {
                what: "nobody whom this client trusts vouches for its certificate".to_owned(),
                hint: "if you do, name the authority that signed it, or itself where it is \
                       self-signed, with --ca-file FILE"
                    .to_owned(),
            }
        } else {
            Self {
                what: format!("its certificate cannot be used: {}", text::one_line(said)),
                hint: anew("the node needs another", host),
            }
        })
    }

    fn name(server: &str, host: &str, said: &str) -> Self {
        let names: Vec<&str> = said
            .split("DnsName(\"")
            .skip(1)
            .filter_map(|rest| rest.split_once('"'))
            .map(|(name, _)| name)
            .collect();
        let what = format!("its certificate is not for “{}”", text::one_line(host));
        // A name with a star is no address.
        let hint = match names.iter().find(|name| !name.contains('*')) {
            Some(name) => format!(
                "use a name that is in it: --server {}; or {}",
                text::one_line(&server.replacen(host, name, 1)),
                anew("make another for the node", host)
            ),
            None => anew("make another for the node", host),
        };
        if names.is_empty() {
            let what = format!("{what}: clients look at its subjectAltName alone");
            return Self { what, hint };
        }
        let names = text::one_line(&names.join(", "));
        let what = format!("{what} but for {names}");
        Self { what, hint }
    }
}

/// How to make a certificate that clients take.
fn anew(begin: &str, host: &str) -> String {
    let kind = match host.parse::<IpAddr>() {
        Ok(_) => "IP",
        Err(_) => "DNS",
    };
    format!(
        "{begin}: `openssl req -x509 …` with `-addext basicConstraints=critical,CA:FALSE -addext \
         subjectAltName={kind}:{}` (docs/operations.md has the whole command)",
        text::one_line(host)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "https://localhost:7400";

    fn fault(said: &str) -> Fault {
        Fault::of(SERVER, &format!("{BEGIN}{said}{NOTHING_SENT}")).expect("a fault")
    }

    #[test]
    fn an_authoritys_certificate_is_told_from_one_of_a_stranger() {
        let authority = fault("Other(OtherError(CaUsedAsEndEntity))");
        assert!(authority.what.contains("CA:TRUE"), "{authority:?}");
        assert!(authority.hint.contains("CA:FALSE"), "{authority:?}");
        assert!(authority.hint.contains("subjectAltName=DNS:localhost"));
        for said in STRANGERS {
            let stranger = fault(said);
            assert!(stranger.hint.contains("--ca-file FILE"), "{stranger:?}");
            assert!(!stranger.hint.contains("openssl"), "{stranger:?}");
        }
    }

    #[test]
    fn another_name_is_offered_where_there_is_one() {
        let begin = "certificate not valid for name \"localhost\"; certificate is";
        let other = fault(&format!("{begin} only valid for DnsName(\"a.example\")"));
        assert!(other.what.contains("localhost"), "{other:?}");
        assert!(other.hint.contains("--server https://a.example:7400"));
        let none = fault(&format!(
            "{begin} not valid for any names (according to its subjectAltName extension)"
        ));
        assert!(none.hint.contains("-addext"), "{none:?}");
        assert!(!none.hint.contains("--server"), "{none:?}");
        let star = fault(&format!("{begin} only valid for DnsName(\"*.example\")"));
        assert!(star.what.contains("*.example"), "{star:?}");
        assert!(!star.hint.contains("--server"), "{star:?}");
    }

    #[test]
    fn an_address_is_no_name() {
        let cause = format!("{BEGIN}Other(OtherError(CaUsedAsEndEntity))");
        for server in ["https://10.0.0.1:7400", "https://[::1]:7400"] {
            let fault = Fault::of(server, &cause).expect("a fault");
            assert!(fault.hint.contains("subjectAltName=IP:"), "{fault:?}");
        }
    }

    #[test]
    fn time_is_told_from_trust() {
        for said in ["Expired", "certificate expired: verification time 2 (UNIX)"] {
            assert!(fault(said).what.contains("expired"), "{said}");
        }
        for said in ["NotValidYet", "certificate not valid yet: verification"] {
            assert!(fault(said).what.contains("not valid yet"), "{said}");
        }
    }

    #[test]
    fn what_nobody_foresaw_is_said_as_it_is() {
        let odd = fault("BadEncoding").what;
        assert_eq!(odd, "its certificate cannot be used: BadEncoding");
    }

    #[test]
    fn what_is_not_about_a_certificate_is_no_fault_of_one() {
        assert_eq!(Fault::of(SERVER, "connection refused"), None);
    }
}
