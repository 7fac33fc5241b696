//! Starting other programs: from the root, without what `cargo run` put into the environment.

use std::{
    env,
    ffi::OsStr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// What `cargo run` sets for the program it runs. Build scripts watch some of these (ring's does):
/// handed on, they would make every crate below them build again and again.
const CARGO_RUN_PREFIXES: [&str; 5] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_BIN_",
    "CARGO_CRATE_",
    "CARGO_PRIMARY_",
];

/// A command that runs in `dir`.
pub(crate) fn command(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        let inherited = name.to_string_lossy();
        if CARGO_RUN_PREFIXES
            .iter()
            .any(|prefix| inherited.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
}

/// The cargo that runs this program.
pub(crate) fn cargo(dir: &Path) -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), dir)
}

/// Runs it with its output shown; an error where it fails.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    Ok(())
}

/// Runs it and returns what it printed; an error, with what it complained about, where it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command
        .output()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !done.status.success() {
        let complaint = String::from_utf8_lossy(&done.stderr);
        bail!(
            "{} failed ({})\n{}",
            line(command),
            done.status,
            complaint.trim_end()
        );
    }
    String::from_utf8(done.stdout)
        .with_context(|| format!("{} printed something other than UTF-8", line(command)))
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program
        .file_name()
        .unwrap_or_else(|| command.get_program())
        .to_string_lossy();
    command
        .get_args()
        .fold(name.into_owned(), |mut line, argument| {
            line.push(' ');
            line.push_str(&argument.to_string_lossy());
            line
        })
}
