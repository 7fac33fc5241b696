//! `cargo xtask test`: builds everything once, then runs every test there is.
//!
//! Owns the groups of tests and the closing count. Knows no test: groups are the targets of the
//! tests package, and whatever lies beside the code.

mod build;
mod group;
mod programs;
mod tally;
mod watch;

use anyhow::{Result, bail, ensure};

use crate::{
    run,
    steps::{self, Steps},
    test::{build::Built, group::Group, programs::Surroundings, tally::Tally},
    workspace::Workspace,
};

/// Tests in comments, which cargo alone can run.
const DOC: &str = "doc";

/// Runs all groups, or those of `--only`; `arguments` go to each test program.
pub(crate) fn run(workspace: &Workspace, only: &[String], arguments: &[String]) -> Result<()> {
    let groups = group::names(workspace.metadata());
    let mut names: Vec<&str> = groups.iter().map(String::as_str).collect();
    names.push(DOC);
    steps::known(only, &names)?;

    let mut steps = Steps::default();
    let mut tally = Tally::default();
    let prepared = prepare(workspace, only, &names, &mut steps);
    if let Some((built, surroundings)) = prepared {
        for group in built
            .groups(&groups)
            .filter(|group| steps::wanted(only, &group.name))
        {
            let wanted = arguments.to_vec();
            steps.run(&group.name, || {
                run_group(&group, &surroundings, &wanted, &mut tally)
            });
        }
        if steps::wanted(only, DOC) {
            steps.run(DOC, || doc_tests(workspace, arguments, &mut tally));
        }
    }
    steps.print("test");
    // The count is the last line on standard output, whatever the verdict.
    println!("{tally}");
    steps.verdict()?;
    all_ran(&tally)
}

/// A test that was skipped proves nothing, and no test at all proves less.
fn all_ran(tally: &Tally) -> Result<()> {
    ensure!(tally.ran_any(), "no test was run");
    let skipped = tally.skipped();
    ensure!(
        skipped == 0,
        "{skipped} tests were skipped: make them run, or remove them"
    );
    Ok(())
}

/// Builds, and brings what the groups call. None where that failed.
fn prepare(
    workspace: &Workspace,
    only: &[String],
    names: &[&str],
    steps: &mut Steps,
) -> Option<(Built, Surroundings)> {
    let mut built = None;
    steps.run("build", || {
        built = Some(build::all(workspace)?);
        Ok(())
    });
    let built = built?;
    let outside = names
        .iter()
        .any(|name| group::calls_programs(name) && steps::wanted(only, name));
    let mut surroundings = None;
    steps.run("tools", || {
        surroundings = Some(programs::prepare(workspace, &built, outside)?);
        Ok(())
    });
    Some((built, surroundings?))
}

/// Runs the test programs of a group one after the other: each uses all cores by itself.
fn run_group(
    group: &Group<'_>,
    surroundings: &Surroundings,
    arguments: &[String],
    tally: &mut Tally,
) -> Result<()> {
    let mut failed = Vec::new();
    for program in &group.programs {
        println!("running {}", program.name);
        let mut command = run::command(&program.executable, &program.folder);
        surroundings.tell(&mut command);
        // As cargo does; tests find their data by it.
        command
            .env("CARGO_MANIFEST_DIR", &program.folder)
            .args(group::arguments(&group.name, arguments));
        if !watch::watch(&mut command, tally)? {
            failed.push(program.name.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("failed in {}", failed.join(", "));
    }
    Ok(())
}

fn doc_tests(workspace: &Workspace, arguments: &[String], tally: &mut Tally) -> Result<()> {
    let mut cargo = run::cargo(workspace.root());
    cargo
        .args(["test", "--workspace", "--doc", "--quiet", "--"])
        .args(arguments);
    ensure!(
        watch::watch(&mut cargo, tally)?,
        "a test in a comment failed"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_or_not_run_fails() {
        let after = |line: &str| {
            let mut tally = Tally::default();
            tally.add(line);
            all_ran(&tally).is_ok()
        };
        assert!(after(
            "test result: ok. 5 passed; 0 failed; 0 ignored; 7 filtered out"
        ));
        assert!(!after(
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 filtered out"
        ));
        assert!(!after(
            "test result: ok. 0 passed; 0 failed; 0 ignored; 7 filtered out"
        ));
    }
}
