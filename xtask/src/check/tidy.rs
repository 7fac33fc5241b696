//! House rules that no linter knows, line by line over the sources.
//!
//! Owns the rules for sources; what is said about documents is in `docs.rs`.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::docs;
use crate::{limits, workspace::Workspace};

/// Lines that a file may have beside its tests.
const FILE_LINES_MAX: usize = 500;

/// Words that leave something for later, split so that this file does not hold them.
const LATER: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// Attributes with which a test says less than it seems to.
const WEAK_TESTS: [&str; 2] = [concat!("#[ign", "ore"), concat!("#[should", "_panic")];

/// Reads every source that git knows or would add.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let files = workspace.files(&[".rs", ".proto", ".toml", ".md", ".yaml", "/run"])?;
    let mut findings = Vec::new();
    for path in &files {
        let text = fs::read_to_string(workspace.root().join(path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        findings.extend(findings_of(path, &text));
    }
    findings.extend(docs::findings(workspace)?);
    if !limits::is_fresh(workspace)? {
        findings.push(format!(
            "{}: is behind the sources: `cargo xtask generate`",
            limits::DOCUMENT
        ));
    }
    for name in limits::unused(workspace)? {
        findings.push(format!(
            "limit {name}: nothing reads it: enforce it or drop it"
        ));
    }
    println!("{} files looked at", files.len());
    super::report(&findings, "breaches of the house rules (CONTRIBUTING.md)")
}

fn findings_of(path: &Path, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(complaint) = complaint(line) {
            findings.push(format!("{}:{}: {complaint}", path.display(), index + 1));
        }
    }
    if path.extension().is_some_and(|extension| extension == "rs") {
        findings.extend(rust_findings(path, text));
    }
    findings
}

/// What is wrong with a line of any file.
fn complaint(line: &str) -> Option<String> {
    for word in LATER {
        if line.contains(word) {
            return Some(format!(
                "`{word}` leaves something for later: do it or drop it"
            ));
        }
    }
    for attribute in WEAK_TESTS {
        if line.trim_start().starts_with(attribute) {
            return Some(format!(
                "`{attribute}` weakens a test: assert what is meant"
            ));
        }
    }
    None
}

/// What is wrong with a Rust file as a whole.
fn rust_findings(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    let mut findings = Vec::new();
    let head = text.lines().next().unwrap_or_default();
    let said = head.strip_prefix("//! ").unwrap_or_default();
    if said.trim().len() <= 1 {
        findings.push(format!("{shown}:1: must open with `//!`: what it owns"));
    }
    if path.file_name().is_some_and(|name| name == "mod.rs") {
        findings.push(format!("{shown}: is foo.rs beside foo/, never mod.rs"));
    }
    let lines = lines_beside_tests(text);
    if lines > FILE_LINES_MAX && !is_test_source(path) {
        findings.push(format!(
            "{shown}: {lines} lines beside tests, {FILE_LINES_MAX} at most"
        ));
    }
    findings
}

/// Lines up to the test module, which by house order comes last.
fn lines_beside_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    });
    tests.unwrap_or(lines.len())
}

/// The sources of the tests package, of `tests/` folders, and `tests.rs` beside the code it tests.
fn is_test_source(path: &Path) -> bool {
    path.iter()
        .any(|part| part == "tests" || part == "tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, complaints: usize) {
        let findings = findings_of(Path::new(path), text);
        assert_eq!(findings.len(), complaints, "{findings:?}");
    }

    #[test]
    fn a_file_says_what_it_owns() {
        check("a.rs", "//! Owns the alphabet.\n", 0);
        check("a.rs", "use std::fs;\n", 1);
        check("a.rs", "//! .\n", 1);
        check("a.rs", "", 1);
        check("a.md", "# Title\n", 0);
    }

    #[test]
    fn nothing_is_left_for_later() {
        check("a.md", &format!("{}: write this\n", LATER[0]), 1);
        check(
            "a.rs",
            &format!("//! Owns it.\nfn f() {{ {}) }}\n", LATER[2]),
            1,
        );
        check(
            "a.rs",
            &format!("//! Owns it.\n    {}]\n", WEAK_TESTS[0]),
            1,
        );
    }

    #[test]
    fn only_lines_beside_the_tests_count() {
        let code = "let a = 1;\n".repeat(FILE_LINES_MAX - 1);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
        check("a.rs", &format!("//! Owns it.\n{code}{tests}"), 0);
        check("a.rs", &format!("//! Owns it.\n{code}\n{tests}"), 1);
        check("tests/a.rs", &format!("//! Owns it.\n{code}\n"), 0);
    }

    #[test]
    fn a_folder_has_its_file_beside_it() {
        check("a/mod.rs", "//! Owns it.\n", 1);
    }
}
