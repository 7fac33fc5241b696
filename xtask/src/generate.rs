//! `cargo xtask generate`: the committed files that are made from others.

use anyhow::Result;

use crate::{
    check::{BASELINE, breaking, write_baseline},
    limits, tools,
    workspace::Workspace,
};

/// Writes them anew. The baseline moves only to a contract that it is compatible with, unless the
/// break is accepted.
pub(crate) fn run(workspace: &Workspace, accept_breaking: bool) -> Result<()> {
    if limits::write(workspace)? {
        println!("wrote {}", limits::DOCUMENT);
    }
    let buf = tools::buf(workspace)?;
    if !accept_breaking && workspace.root().join(BASELINE).exists() {
        breaking(workspace, &buf)?;
    }
    write_baseline(workspace, &buf)?;
    println!("wrote {BASELINE}");
    Ok(())
}
