//! The public contract: `buf lint`, `buf format`, and `buf breaking` against the committed baseline.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{run, tools, workspace::Workspace};

/// The contract as it was last released, as an image that buf reads.
pub(crate) const BASELINE: &str = "proto/baseline.binpb";

/// Lints the contract and compares it with the baseline. `buf.yaml` says by which rules.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let buf = tools::buf(workspace)?;
    let format = ["format", "proto", "--diff", "--exit-code"];
    let outcomes = [
        run::show(run::command(&buf, workspace.root()).arg("lint")),
        run::show(run::command(&buf, workspace.root()).args(format)),
        breaking(workspace, &buf),
    ];
    outcomes.into_iter().collect()
}

/// Compares the contract with the baseline; an error where a stub made from the baseline could not
/// go on working.
pub(crate) fn breaking(workspace: &Workspace, buf: &Path) -> Result<()> {
    run::show(run::command(buf, workspace.root()).args(["breaking", "--against", BASELINE]))
        .context("the contract breaks its baseline; if it must, `cargo xtask generate --breaking`")
}

/// Makes the present contract the baseline.
pub(crate) fn write_baseline(workspace: &Workspace, buf: &Path) -> Result<()> {
    // Source positions would change the file with every comment.
    let build = ["build", "--exclude-source-info", "--output", BASELINE];
    run::show(run::command(buf, workspace.root()).args(build))
}
