//! The public contract: `buf lint`, `buf format`, and `buf breaking` against the committed baseline.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

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
        fresh(workspace, &buf),
    ];
    outcomes.into_iter().collect()
}

/// Compares the contract with the baseline; an error where a stub made from the baseline could not
/// go on working.
pub(crate) fn breaking(workspace: &Workspace, buf: &Path) -> Result<()> {
    run::show(run::command(buf, workspace.root()).args(["breaking", "--against", BASELINE]))
        .context("the contract breaks its baseline; if it must, `cargo xtask generate --breaking`")
}

/// An error where the baseline is not the present contract: a change after it could not be told
/// from one that was never released.
fn fresh(workspace: &Workspace, buf: &Path) -> Result<()> {
    let built = workspace.target().join("contract.binpb");
    write_image(workspace, buf, &built)?;
    let committed = workspace.root().join(BASELINE);
    ensure!(
        read(&built)? == read(&committed)?,
        "{BASELINE} is behind the contract: `cargo xtask generate`"
    );
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Makes the present contract the baseline.
pub(crate) fn write_baseline(workspace: &Workspace, buf: &Path) -> Result<()> {
    write_image(workspace, buf, Path::new(BASELINE))
}

fn write_image(workspace: &Workspace, buf: &Path, to: &Path) -> Result<()> {
    // Source positions would change the file with every comment.
    let mut build = run::command(buf, workspace.root());
    build.args(["build", "--exclude-source-info", "--output"]);
    run::show(build.arg(to))
}
