//! Where a server is and how to get there: address, TLS, HTTP/2 keepalive. Knows no account.

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::client::{
    error::Error,
    limits::{CONNECT_TIMEOUT, PING_INTERVAL, PING_TIMEOUT},
};

/// The server to use.
#[derive(Debug, Clone)]
pub struct Target {
    address: String,
    ca_pem: Option<Vec<u8>>,
}

impl Target {
    /// The server at `http://host:port` or `https://host:port`. TLS trusts the system's
    /// authorities, or the well-known public ones where the system has none.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            ca_pem: None,
        }
    }

    /// Trusts these certificate authorities (PEM) and no others.
    #[must_use]
    pub fn with_ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// The address as given.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same trust at another address.
    pub(crate) fn at(&self, address: &str) -> Self {
        Self {
            address: address.to_owned(),
            ca_pem: self.ca_pem.clone(),
        }
    }

    /// A channel that connects at its first call.
    pub(crate) fn channel(&self) -> Result<Channel, Error> {
        Ok(self.endpoint()?.connect_lazy())
    }

    fn endpoint(&self) -> Result<Endpoint, Error> {
        let unusable = |message: String| Error::Address {
            address: self.address.clone(),
            message,
        };
        let endpoint = Endpoint::from_shared(self.address.clone())
            .map_err(|error| unusable(error.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true)
            .user_agent(concat!("magpie-rust/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| unusable(error.to_string()))?;
        match endpoint.uri().scheme_str() {
            Some("http") => return Ok(endpoint),
            Some("https") => {}
            _ => {
                return Err(unusable(
                    "it must begin with http:// or https://".to_owned(),
                ));
            }
        }
        let tls = ClientTlsConfig::new();
        let configured = match &self.ca_pem {
            Some(pem) if !is_certificate(pem) => {
                let message = "the certificate authority's file holds no PEM certificate";
                return Err(unusable(message.to_owned()));
            }
            Some(pem) => endpoint.tls_config(tls.ca_certificate(Certificate::from_pem(pem))),
            None => endpoint
                .clone()
                .tls_config(tls.clone().with_native_roots())
                .or_else(|_| endpoint.tls_config(tls.with_webpki_roots())),
        };
        configured.map_err(|error| unusable(error.to_string()))
    }
}

/// The TLS library takes a file without any certificate, and then trusts nobody.
fn is_certificate(pem: &[u8]) -> bool {
    let label = b"-----BEGIN CERTIFICATE-----";
    pem.windows(label.len()).any(|window| window == label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_without_a_scheme_is_refused_with_what_is_accepted() {
        for address in ["localhost:7400", "ftp://host:1", "", "http://"] {
            let error = Target::new(address).endpoint().expect_err(address);
            assert!(matches!(error, Error::Address { .. }), "{address}: {error}");
        }
    }

    #[test]
    fn broken_certificate_authority_is_refused() {
        let target = Target::new("https://localhost:7400").with_ca("no certificate");
        assert!(target.endpoint().is_err());
    }

    #[test]
    fn public_authorities_are_at_hand() {
        assert!(Target::new("https://localhost:7400").endpoint().is_ok());
    }
}
