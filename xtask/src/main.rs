//! The project's chores, so that cargo is the only tool to know: `cargo xtask --help`.
//!
//! Owns the command line and which chore runs; each chore has a file of its own.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to the person who runs it"
)]

mod bench;
mod check;
mod generate;
mod limits;
mod run;
mod steps;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

const HELP: &str = "\
The project's chores.

Usage: cargo xtask CHORE [OPTIONS]

Chores:
  check      Formatting, house rules, the contract (buf lint, buf breaking), dependencies'
             licences and sources, clippy and documentation; every warning is an error
      --only STEP   One of: fmt, tidy, contract, dependencies, clippy, doc (may be repeated)
  test       Builds everything once, installs what the tests call, and runs all tests
      --only GROUP  One of: unit, doc, or a test target of tests/: faults, integration,
                    simulation (may be repeated)
      -- ARGS       Handed to the test programs, such as part of a test's name
  bench      Runs the benchmarks in the release profile
      ARGS          Handed to the bench program; `cargo xtask bench --help` lists them
  generate   Writes the committed files that are made from others: proto/baseline.binpb and the
             tables of docs/limits.md
      --breaking    Accept a contract that breaks the committed baseline

Tools that are not cargo's (buf, grpcurl) are installed once into $MAGPIE_CACHE, by default
~/.cache/magpie. As root, missing Debian packages are installed by apt-get.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((chore, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    if matches!(chore.as_str(), "help" | "--help" | "-h") {
        print!("{HELP}");
        return Ok(());
    }
    if chore == "bench" {
        return bench::run(&Workspace::find()?, rest);
    }
    let options = Options::parse(rest)?;
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    let workspace = Workspace::find()?;
    match chore.as_str() {
        "check" => {
            options.refuse(Allowed {
                only: true,
                rest: false,
                breaking: false,
            })?;
            check::run(&workspace, &options.only)
        }
        "test" => {
            options.refuse(Allowed {
                only: true,
                rest: true,
                breaking: false,
            })?;
            test::run(&workspace, &options.only, &options.rest)
        }
        "generate" => {
            options.refuse(Allowed {
                only: false,
                rest: false,
                breaking: true,
            })?;
            generate::run(&workspace, options.breaking)
        }
        other => bail!("there is no chore `{other}`; `cargo xtask --help` lists them"),
    }
}

/// What may follow a chore's name.
#[derive(Debug, Default)]
struct Options {
    help: bool,
    only: Vec<String>,
    breaking: bool,
    /// What comes after `--`.
    rest: Vec<String>,
}

/// Which options a chore takes.
struct Allowed {
    only: bool,
    rest: bool,
    breaking: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--help" | "-h" => options.help = true,
                "--only" => {
                    let value = arguments.next().context("--only wants a name after it")?;
                    options.only.extend(value.split(',').map(str::to_owned));
                }
                "--breaking" => options.breaking = true,
                "--" => options.rest.extend(arguments.by_ref().cloned()),
                other => bail!("unknown option `{other}`; see `cargo xtask --help`"),
            }
        }
        Ok(options)
    }

    fn refuse(&self, allowed: Allowed) -> Result<()> {
        if !allowed.only && !self.only.is_empty() {
            bail!("this chore takes no --only");
        }
        if !allowed.rest && !self.rest.is_empty() {
            bail!("this chore takes nothing after --");
        }
        if !allowed.breaking && self.breaking {
            bail!("this chore takes no --breaking");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options> {
        let owned: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        Options::parse(&owned)
    }

    #[test]
    fn only_may_be_repeated_and_listed() {
        let options = parse(&["--only", "unit,doc", "--only", "stubs"]).unwrap();
        assert_eq!(options.only, ["unit", "doc", "stubs"]);
    }

    #[test]
    fn what_follows_two_dashes_is_handed_on() {
        let options = parse(&["--", "resume", "--nocapture"]).unwrap();
        assert_eq!(options.rest, ["resume", "--nocapture"]);
    }

    #[test]
    fn unknown_options_are_refused() {
        assert!(parse(&["--onyl", "unit"]).is_err());
        assert!(parse(&["--only"]).is_err());
    }
}
