//! Debian's packages: installed where something is missing and this runs as root.

use std::{env, path::Path};

use anyhow::{Context, Result, bail};

use crate::run;

/// Makes sure of programs, each given with the Debian package that brings it.
pub(crate) fn debian(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&(&str, &str)> = programs.iter().filter(|(name, _)| !found(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let line = format!("apt-get install {}", packages.join(" "));
    if !found("apt-get") {
        bail!(
            "missing: {}; install them (on Debian: {line})",
            names.join(", ")
        );
    }
    if !is_root()? {
        bail!(
            "missing: {}; install them as root: {line}",
            names.join(", ")
        );
    }
    let here = Path::new("/");
    let mut update = run::command("apt-get", here);
    run::show(update.args(["update", "-qq"])).context("cannot refresh Debian's package lists")?;
    let mut install = run::command("apt-get", here);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&packages);
    run::show(&mut install)?;
    match names.iter().find(|name| !found(name)) {
        Some(name) => bail!("{line} brought no {name}"),
        None => Ok(()),
    }
}

/// Whether a program is on the path.
pub(super) fn found(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn is_root() -> Result<bool> {
    let user = run::output(run::command("id", Path::new("/")).arg("-u"))?;
    Ok(user.trim() == "0")
}
