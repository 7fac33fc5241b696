//! What tests find around them: the node, the client and programs of others, told by environment.

use std::{ffi::OsString, process::Command};

use anyhow::Result;

use super::build::Built;
use crate::{tools, workspace::Workspace};

/// Variables that every test program is given.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    variables: Vec<(&'static str, OsString)>,
}

/// Installs what is missing, where a group calls programs of others at all.
pub(super) fn prepare(
    workspace: &Workspace,
    built: &Built,
    calls_programs: bool,
) -> Result<Surroundings> {
    let mut surroundings = Surroundings::default();
    let mut tell = |name, path: &std::path::Path| {
        surroundings
            .variables
            .push((name, path.as_os_str().to_owned()));
    };
    tell("MAGPIE_SERVER_BIN", built.binary("magpie-server")?);
    tell("MAGPIE_CLI_BIN", built.binary("magpie")?);
    if calls_programs {
        tools::debian(&[("strace", "strace")])?;
        tell("MAGPIE_BUF", &tools::buf(workspace)?);
        tell("MAGPIE_GRPCURL", &tools::grpcurl(workspace)?);
    }
    Ok(surroundings)
}

impl Surroundings {
    /// Gives the variables to a command.
    pub(super) fn tell(&self, command: &mut Command) {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }
}
