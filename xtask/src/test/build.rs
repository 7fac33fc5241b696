//! One build for everything, and what came out of it.
//!
//! One command line on purpose: cargo chooses the features of dependencies by what it is asked to
//! build, so a second command with other packages would compile half of them again.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::group::{self, Group, Program};
use crate::{run, workspace::Workspace};

/// Programs that were built.
#[derive(Debug)]
pub(super) struct Built {
    tests: Vec<Program>,
    /// Programs that users run, by name.
    binaries: Vec<(String, PathBuf)>,
}

/// Builds libraries, programs, examples and tests of the workspace.
pub(super) fn all(workspace: &Workspace) -> Result<Built> {
    let mut cargo = run::cargo(workspace.root());
    cargo.args(["build", "--workspace", "--all-targets", "--quiet"]);
    cargo
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().context("cannot start cargo")?;
    let stdout = child
        .stdout
        .take()
        .context("cargo has no standard output")?;
    let mut built = Built {
        tests: Vec::new(),
        binaries: Vec::new(),
    };
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read from cargo")?;
        // Cargo's own lines are JSON; whatever else is printed is no artefact.
        if let Ok(message) = serde_json::from_str::<Value>(&line) {
            built.take(&message);
        }
    }
    ensure!(child.wait()?.success(), "the build failed");
    built.tests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(built)
}

impl Built {
    /// Notes the executable of which cargo tells, if there is one.
    fn take(&mut self, message: &Value) -> Option<()> {
        let executable = PathBuf::from(message["executable"].as_str()?);
        let target = message["target"]["name"].as_str()?;
        if message["profile"]["test"] == true {
            let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
            let package = package_name(message["package_id"].as_str()?);
            let is_test_target = message["target"]["kind"][0] == "test";
            self.tests.push(Program {
                name: format!("{package}::{target}"),
                group: group::of(package, target, is_test_target),
                executable,
                folder: folder.to_path_buf(),
            });
        } else {
            self.binaries.push((target.to_owned(), executable));
        }
        Some(())
    }

    /// The program of this name that users run.
    pub(super) fn binary(&self, name: &str) -> Result<&Path> {
        let found = self.binaries.iter().find(|(target, _)| target == name);
        found
            .map(|(_, path)| path.as_path())
            .with_context(|| format!("there is no program {name}"))
    }

    /// The test programs, by group, in the order of `names`.
    pub(super) fn groups<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = Group<'a>> {
        names.iter().map(|name| Group {
            name: name.clone(),
            programs: self
                .tests
                .iter()
                .filter(|program| program.group == *name)
                .collect(),
        })
    }
}

/// The name in a package id: `path+file:///folder/name#version`, or `...#name@version` where the
/// folder has another name.
fn package_name(id: &str) -> &str {
    let (folder, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    match fragment.rsplit_once('@') {
        Some((name, _)) => name,
        None => folder.rsplit('/').next().unwrap_or(folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_id_names_its_package() {
        assert_eq!(
            package_name("path+file:///w/server#magpie-server@0.1.0"),
            "magpie-server"
        );
        assert_eq!(package_name("path+file:///w/xtask#0.1.0"), "xtask");
    }

    #[test]
    fn tests_and_programs_are_told_apart() {
        let mut built = Built {
            tests: Vec::new(),
            binaries: Vec::new(),
        };
        let mut message = serde_json::json!({
            "package_id": "path+file:///w/tests#magpie-tests@0.1.0",
            "manifest_path": "/w/tests/Cargo.toml",
            "target": { "name": "integration", "kind": ["test"] },
            "profile": { "test": true },
            "executable": "/t/integration-1",
        });
        built.take(&message);
        message["profile"]["test"] = false.into();
        built.take(&message);
        message["executable"] = Value::Null;
        built.take(&message);
        assert_eq!(built.tests.len(), 1);
        assert_eq!(built.tests[0].group, "integration");
        assert_eq!(built.tests[0].folder, Path::new("/w/tests"));
        assert_eq!(built.binaries.len(), 1);
    }
}
