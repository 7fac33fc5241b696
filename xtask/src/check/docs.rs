//! What documents promise: links that lead somewhere, and a paragraph for every reason.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

const REASONS: &str = "proto/magpie/v1/error.proto";
const ERRORS: &str = "docs/errors.md";

/// What is wrong with the documents.
pub(super) fn findings(workspace: &Workspace) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for path in workspace.files(&[".md"])? {
        let text = read(workspace, &path)?;
        findings.extend(dead_links(workspace.root(), &path, &text));
    }
    let contract = read(workspace, Path::new(REASONS))?;
    // A document that is not there explains no reason.
    let explained = fs::read_to_string(workspace.root().join(ERRORS)).unwrap_or_default();
    for reason in unexplained(&contract, &explained) {
        findings.push(format!("{ERRORS}: has nothing on {reason}"));
    }
    Ok(findings)
}

fn read(workspace: &Workspace, path: &Path) -> Result<String> {
    fs::read_to_string(workspace.root().join(path))
        .with_context(|| format!("cannot read {}", path.display()))
}

/// Relative links of a document that lead to no file.
fn dead_links(root: &Path, path: &Path, text: &str) -> Vec<String> {
    let folder = root.join(path.parent().unwrap_or_else(|| Path::new("")));
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for target in targets(line) {
            if !folder.join(&target).exists() {
                let at = format!("{}:{}", path.display(), index + 1);
                findings.push(format!(
                    "{at}: the link leads nowhere: {}",
                    target.display()
                ));
            }
        }
    }
    findings
}

/// The files that a line of Markdown links to: `](path)` and `](path#part)`.
fn targets(line: &str) -> Vec<PathBuf> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .map(PathBuf::from)
        .collect()
}

/// Reasons of the contract, without their prefix, that the document does not name as a word.
fn unexplained<'a>(contract: &'a str, document: &str) -> Vec<&'a str> {
    let named = |reason: &&str| {
        !document
            .split(|c: char| c != '_' && !c.is_ascii_alphanumeric())
            .any(|word| word == *reason)
    };
    contract
        .lines()
        .filter_map(|line| line.trim().strip_prefix("REASON_"))
        .filter_map(|line| line.split_once(" = "))
        .map(|(reason, _)| reason)
        .filter(|reason| *reason != "UNSPECIFIED")
        .filter(named)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_links_are_followed() {
        let line = "See [a](docs/a.md), [b](b.md#part), [c](https://example.test/), [d](#here).";
        assert_eq!(
            targets(line),
            [PathBuf::from("docs/a.md"), PathBuf::from("b.md")]
        );
    }

    #[test]
    fn every_reason_wants_a_paragraph() {
        let contract =
            "  REASON_UNSPECIFIED = 0;\n  REASON_TOO_LARGE = 3;\n  REASON_INTERNAL = 69;\n";
        assert_eq!(unexplained(contract, "### TOO_LARGE\n"), ["INTERNAL"]);
        assert_eq!(unexplained(contract, "TOO_LARGE_X INTERNAL"), ["TOO_LARGE"]);
    }
}
