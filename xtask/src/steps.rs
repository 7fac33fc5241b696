//! A chore's steps: each timed, all run even if one fails, and a table at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The steps that were run.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    passed: bool,
}

impl Steps {
    /// Runs one step; says what went wrong, and remembers it, where it failed. True if it passed.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> bool {
        println!("--- {name}");
        let start = Instant::now();
        let outcome = step();
        if let Err(error) = &outcome {
            eprintln!("{name}: {error:#}");
        }
        self.done.push(Step {
            name: name.to_owned(),
            took: start.elapsed(),
            passed: outcome.is_ok(),
        });
        outcome.is_ok()
    }

    /// Prints the seconds of each step.
    pub(crate) fn print(&self, chore: &str) {
        println!("--- seconds per step of {chore}");
        for step in &self.done {
            let outcome = if step.passed { "" } else { "  FAILED" };
            println!("{:>8.1}  {}{outcome}", step.took.as_secs_f64(), step.name);
        }
    }

    /// An error that names the steps that failed.
    pub(crate) fn verdict(&self) -> Result<()> {
        let failed: Vec<&str> = self
            .done
            .iter()
            .filter(|step| !step.passed)
            .map(|step| step.name.as_str())
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", failed.join(", "))
    }
}

/// Refuses a name of `--only` that means nothing, so that a slip of the pen does not pass as green.
pub(crate) fn known(only: &[String], names: &[&str]) -> Result<()> {
    for name in only {
        if !names.contains(&name.as_str()) {
            bail!("--only {name}: there are {}", names.join(", "));
        }
    }
    Ok(())
}

/// Whether a step was asked for.
pub(crate) fn wanted(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|asked| asked == name)
}
