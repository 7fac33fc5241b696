//! `cargo xtask bench`: the benchmarks, built for speed, beside the node they measure.

use std::env;

use anyhow::{Context, Result};

use crate::{run, workspace::Workspace};

/// Builds the node and the bench program in the release profile and runs the latter.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let mut build = run::cargo(workspace.root());
    build.args([
        "build",
        "--release",
        "-p",
        "magpie-server",
        "-p",
        "magpie-bench",
    ]);
    run::show(&mut build)?;
    let release = workspace.target().join("release");
    // Paths among the arguments are meant from where the person is.
    let here = env::current_dir().context("there is no current folder")?;
    let mut bench = run::command(release.join("magpie-bench"), &here);
    bench
        .env("MAGPIE_SERVER_BIN", release.join("magpie-server"))
        .args(arguments);
    run::show(&mut bench)
}
