//! Where the node's log goes and in which form. Everything goes to stderr: stdout is for people.

use std::{
    env,
    io::{self, IsTerminal},
};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, filter::ParseError};

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Reads a filter such as `info,magpie_server::edge=debug`.
pub fn filter(directives: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(directives)
}

/// Sends the log of the process to stderr. Only the first call of a process has an effect, so
/// that tests may start several nodes.
pub fn start(filter: EnvFilter, format: Format) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none())
        .with_writer(io::stderr);
    let started = match format {
        Format::Human => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "the process has a log already");
    }
}
