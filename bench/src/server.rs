//! The servers under test, as running processes.

use std::{
    ffi::OsString,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Context as _;

use crate::{
    child::{Child, free_address},
    node,
};

/// Which server.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    Raw,
    Stock,
    Magpie,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Stock => "stock",
            Self::Magpie => "magpie",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let kinds = [Self::Raw, Self::Stock, Self::Magpie].into_iter();
        let mut named = kinds.filter(|kind| kind.name() == name);
        named
            .next()
            .ok_or_else(|| "use raw, stock or magpie".to_owned())
    }
}

/// A server that takes connections. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    metrics: SocketAddr,
}

impl Server {
    /// Starts a server with its files in `dir`. A node keeps its data there, over its runs.
    pub(crate) fn start(kind: Kind, node: Option<&Path>, dir: &Path) -> anyhow::Result<Self> {
        let (address, metrics) = (free_address()?, free_address()?);
        let serve = |role: &str| [role.into(), address.to_string().into()].to_vec();
        let this = || std::env::current_exe().context("no path to this program");
        let (program, args): (PathBuf, Vec<OsString>) = match kind {
            Kind::Raw => (this()?, serve("serve-raw")),
            Kind::Stock => (this()?, serve("serve-stock")),
            Kind::Magpie => (
                node.context("no node's program")?.to_owned(),
                node::arguments(address, metrics, &dir.join("data")),
            ),
        };
        let log = dir.join(kind.name()).with_extension("log");
        let mut child = Child::start(kind.name(), &program, &args, log)?;
        child.await_listening(address)?;
        Ok(Self {
            kind,
            child,
            address,
            metrics,
        })
    }

    /// How many fdatasyncs a node's log has made.
    pub(crate) fn fsyncs(&self) -> anyhow::Result<f64> {
        node::fsyncs(self.metrics)
    }
}
