//! `cargo xtask check`: everything that can be said about the project without running it.
//!
//! Owns the order of the steps; what each looks at is in its file.

mod contract;
mod dependencies;
mod docs;
mod licence;
mod policy;
mod tidy;

pub(crate) use contract::{BASELINE, breaking, write_baseline};

use anyhow::{Context, Result};

use crate::{
    run,
    steps::{self, Steps},
    workspace::Workspace,
};

/// Quick ones first, so that a slip is told within seconds.
const STEPS: [&str; 6] = ["fmt", "tidy", "contract", "dependencies", "clippy", "doc"];

/// Runs all steps, or those of `--only`.
pub(crate) fn run(workspace: &Workspace, only: &[String]) -> Result<()> {
    steps::known(only, &STEPS)?;
    let mut steps = Steps::default();
    for name in STEPS {
        if steps::wanted(only, name) {
            steps.run(name, || step(workspace, name));
        }
    }
    steps.print("check");
    steps.verdict()
}

fn step(workspace: &Workspace, name: &str) -> Result<()> {
    match name {
        "fmt" => fmt(workspace),
        "tidy" => tidy::check(workspace),
        "contract" => contract::check(workspace),
        "dependencies" => dependencies::check(workspace),
        "clippy" => clippy(workspace),
        _ => doc(workspace),
    }
}

/// Names files only: what to do about them is one command, and what it changes nobody reads.
fn fmt(workspace: &Workspace) -> Result<()> {
    let mut fmt = run::cargo(workspace.root());
    fmt.args(["fmt", "--all", "--", "--check", "--files-with-diff"]);
    run::show(&mut fmt).context("these files are not formatted: `cargo fmt --all`")
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let mut clippy = run::cargo(workspace.root());
    clippy.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--keep-going",
        "--",
        "-D",
        "warnings",
    ]);
    run::show(&mut clippy)
}

/// Names `--examples` so that cargo takes the features of development dependencies in, as clippy
/// does: with another set of features it would check half of the dependencies a second time.
///
/// One at a time: some libraries and programs have the same name, so their pages have the same
/// place, and two that are written at once remove each other's folder.
fn doc(workspace: &Workspace) -> Result<()> {
    let mut doc = run::cargo(workspace.root());
    doc.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--quiet",
    ]);
    doc.args(["--lib", "--bins", "--examples", "--jobs", "1"]);
    // Private items are documented for those who work on the project; they may be linked to.
    doc.env(
        "RUSTDOCFLAGS",
        "-D warnings -A rustdoc::private-intra-doc-links",
    );
    run::show(&mut doc)
}

/// Lists what was found wrong; an error where there is anything.
fn report(findings: &[String], what: &str) -> Result<()> {
    for finding in findings {
        eprintln!("{finding}");
    }
    anyhow::ensure!(findings.is_empty(), "{} {what}", findings.len());
    Ok(())
}
