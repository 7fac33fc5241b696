//! Programs that are not cargo's: found, or installed once into the cache.
//!
//! Owns their versions. A version is part of its folder's name, so that a newer one is installed
//! beside the old one, and another branch of the project goes on with its own.

mod apt;

pub(crate) use apt::debian;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{run, workspace::Workspace};

const BUF_VERSION: &str = "1.75.0";
/// One that the Go of Debian 12 can build.
const GRPCURL_VERSION: &str = "1.8.9";

/// The buf that lints the contract and calls a node: a native program inside an npm package.
pub(crate) fn buf(workspace: &Workspace) -> Result<PathBuf> {
    let cache = workspace.cache()?;
    let folder = cache.join(format!("buf-{BUF_VERSION}"));
    let bin = buf_in(&folder);
    if bin.is_file() {
        return Ok(bin);
    }
    debian(&[("npm", "npm")])?;
    install(&folder, |fresh| {
        let mut npm = run::command("npm", &cache);
        npm.args([
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--loglevel=error",
        ]);
        npm.arg("--prefix")
            .arg(fresh)
            .arg(format!("@bufbuild/buf@{BUF_VERSION}"));
        npm
    })?;
    ensure!(bin.is_file(), "npm brought no {}", bin.display());
    Ok(bin)
}

fn buf_in(folder: &Path) -> PathBuf {
    let system = match (env::consts::OS, env::consts::ARCH) {
        ("macos", "aarch64") => "darwin-arm64",
        ("macos", _) => "darwin-x64",
        (_, "aarch64") => "linux-aarch64",
        _ => "linux-x64",
    };
    folder.join(format!("node_modules/@bufbuild/buf-{system}/bin/buf"))
}

/// The grpcurl that people use: a Go program, built from its module.
pub(crate) fn grpcurl(workspace: &Workspace) -> Result<PathBuf> {
    let cache = workspace.cache()?;
    let folder = cache.join(format!("grpcurl-{GRPCURL_VERSION}"));
    let bin = folder.join("grpcurl");
    if bin.is_file() {
        return Ok(bin);
    }
    let go = go()?;
    install(&folder, |fresh| {
        let mut install = run::command(&go, &cache);
        install
            .env("GOBIN", fresh)
            .env("GOFLAGS", "")
            .env("CGO_ENABLED", "0");
        install.arg("install");
        install.arg(format!(
            "github.com/fullstorydev/grpcurl/cmd/grpcurl@v{GRPCURL_VERSION}"
        ));
        install
    })?;
    Ok(bin)
}

/// Go, also where its own installer puts it without telling the path.
fn go() -> Result<PathBuf> {
    let usual = PathBuf::from("/usr/local/go/bin/go");
    if !apt::found("go") && usual.is_file() {
        return Ok(usual);
    }
    debian(&[("go", "golang-go")])?;
    Ok(PathBuf::from("go"))
}

/// Fills a folder of the cache: whole or not at all, so that an install that was cut short is not
/// taken for one, and two that run at once do no harm.
fn install(folder: &Path, command: impl FnOnce(&Path) -> Command) -> Result<()> {
    let mut fresh = folder.as_os_str().to_owned();
    fresh.push(format!(".fresh-{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    fs::create_dir_all(&fresh).with_context(|| format!("cannot create {}", fresh.display()))?;
    println!("installing into {}", folder.display());
    let outcome = run::show(&mut command(&fresh)).and_then(|()| {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::rename(&fresh, folder)?;
        Ok(())
    });
    if outcome.is_err() && fresh.exists() {
        fs::remove_dir_all(&fresh).context("cannot remove what a failed install left")?;
    }
    outcome.with_context(|| format!("cannot install {}", folder.display()))
}
