//! What a person who started the node reads: where it is, and what to type next.

use std::{net::SocketAddr, path::Path};

use magpie_server::node::NodeHandle;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use webpki::EndEntityCert;

/// What every machine calls itself.
const LOCAL: &str = "localhost";

pub(super) fn text(node: &NodeHandle, data_dir: &Path, certificate: Option<&Path>) -> String {
    let scheme = match node.tls {
        true => "https",
        false => "http",
    };
    let metrics = match node.metrics {
        Some(address) => format!("Metrics are on http://{address}/metrics\n"),
        None => String::new(),
    };
    let options = options(node.public, certificate.filter(|_| node.tls));
    let magpie = "cargo run --release -p magpie-cli --";
    format!(
        "Magpie listens on {scheme}://{}\n{metrics}Data is kept in {}\n\n\
         In another terminal, type next:\n\
         \x20 {magpie} signup alice{options}\n\
         \x20 {magpie} create tea\n\
         \x20 {magpie} chat tea\n\n\
         Ctrl-C stops the node.\n",
        node.public,
        data_dir.display()
    )
}

/// What the client has to be told of a node that is not where it looks by itself. Signing up keeps
/// it, so only that has to name it.
fn options(public: SocketAddr, certificate: Option<&Path>) -> String {
    let port = public.port();
    match certificate {
        Some(file) => format!(
            " --server https://{}:{port} --ca-file {}",
            name(file).unwrap_or_else(|| LOCAL.to_owned()),
            file.display()
        ),
        // All addresses of the machine, of which none is called so.
        None if public.ip().is_unspecified() => format!(" --server http://{LOCAL}:{port}"),
        None if public == SocketAddr::from(([127, 0, 0, 1], 7400)) => String::new(),
        None => format!(" --server http://{public}"),
    }
}

/// A name that the certificate is for: this machine's own where that is one of them.
fn name(certificate: &Path) -> Option<String> {
    let der = CertificateDer::from_pem_file(certificate).ok()?;
    let certificate = EndEntityCert::try_from(&der).ok()?;
    let names: Vec<_> = certificate.valid_dns_names().collect();
    let mut own = names.iter().filter(|name| **name == LOCAL);
    let mut whole = names.iter().filter(|name| !name.contains('*'));
    own.next()
        .or_else(|| whole.next())
        .map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_default_address_needs_no_word() {
        let said = |address: &str| options(address.parse().expect("an address"), None);
        assert_eq!(said("127.0.0.1:7400"), "");
        assert_eq!(said("127.0.0.1:7402"), " --server http://127.0.0.1:7402");
        assert_eq!(said("0.0.0.0:7400"), " --server http://localhost:7400");
        assert_eq!(said("[::]:7400"), " --server http://localhost:7400");
    }

    #[test]
    fn certificate_is_named_where_the_node_speaks_tls() {
        let address = SocketAddr::from(([127, 0, 0, 1], 7400));
        let said = options(address, Some(Path::new("cert.pem")));
        assert_eq!(said, " --server https://localhost:7400 --ca-file cert.pem");
    }

    #[test]
    fn server_is_called_as_its_certificate_calls_it() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
        let called = |file: &str| name(&data.join(file));
        assert_eq!(called("localhost.crt").as_deref(), Some("localhost"));
        assert_eq!(called("elsewhere.crt").as_deref(), Some("chat.example.org"));
        assert_eq!(called("README.md"), None);
    }
}
