//! docs/limits.md: the tables in it are made from the sources that declare the limits.
//!
//! Owns the place in the document between two marks; the text around it is written by hand.

mod declared;
mod value;

use std::{fs, path::Path};

use anyhow::{Context, Result};

use self::declared::Declared;
use crate::workspace::Workspace;

/// The document.
pub(crate) const DOCUMENT: &str = "docs/limits.md";

const BEGIN: &str = "<!-- made by `cargo xtask generate`: begin -->";
const END: &str = "<!-- made by `cargo xtask generate`: end -->";

/// A document without text, for a start.
const EMPTY: &str = "# Limits\n\n<!-- made by `cargo xtask generate`: begin -->\n\
    <!-- made by `cargo xtask generate`: end -->\n";

/// Writes the tables into the document. False if it held them already.
pub(crate) fn write(workspace: &Workspace) -> Result<bool> {
    let (old, new) = documents(workspace)?;
    if old.as_ref() == Some(&new) {
        return Ok(false);
    }
    let path = workspace.root().join(DOCUMENT);
    fs::write(&path, new).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

/// Whether the document says what the sources say.
pub(crate) fn is_fresh(workspace: &Workspace) -> Result<bool> {
    let (old, new) = documents(workspace)?;
    Ok(old.as_ref() == Some(&new))
}

/// The limits that no source reads: they promise a bound that nothing keeps.
pub(crate) fn unused(workspace: &Workspace) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut sources = String::new();
    for path in workspace.files(&[".rs"])? {
        let source = fs::read_to_string(workspace.root().join(&path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        if path.ends_with("limits.rs") {
            let declared = declared::find(&source);
            names.extend(declared.into_iter().flat_map(|declared| declared.limits));
        } else if !path
            .iter()
            .any(|part| part == "tests" || part == "tests.rs")
        {
            sources.push_str(&source);
        }
    }
    let unread = |name: &&str| !reads(&sources, name);
    let names = names.iter().map(|limit| limit.name.as_str());
    Ok(names.filter(unread).map(str::to_owned).collect())
}

/// Whether a source reads a limit, as `limits.name`.
fn reads(source: &str, name: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = source.match_indices(name).map(|(at, _)| at);
    found
        .any(|at| source[..at].ends_with('.') && !source[at + name.len()..].starts_with(is_of_name))
}

/// The document as it is, and as it should be.
fn documents(workspace: &Workspace) -> Result<(Option<String>, String)> {
    let mut tables = String::new();
    for path in workspace.files(&["limits.rs"])? {
        let source = fs::read_to_string(workspace.root().join(&path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        for declared in declared::find(&source) {
            tables.push_str(&table(&path, &declared));
        }
    }
    let path = workspace.root().join(DOCUMENT);
    let old = if path.exists() {
        let read = fs::read_to_string(&path);
        Some(read.with_context(|| format!("cannot read {}", path.display()))?)
    } else {
        None
    };
    let new = placed(old.as_deref().unwrap_or(EMPTY), &tables)?;
    Ok((old, new))
}

fn placed(document: &str, tables: &str) -> Result<String> {
    let parts = document.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) =
        parts.with_context(|| format!("{DOCUMENT} needs the lines `{BEGIN}` and `{END}`"))?;
    Ok(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}

fn table(path: &Path, declared: &Declared) -> String {
    let mut table = format!("\n## {}\n\n", declared.about.trim_end_matches('.'));
    table.push_str(&format!("Declared in `{}`.\n\n", path.display()));
    table.push_str("| limit | default | what it bounds |\n|---|---|---|\n");
    for limit in &declared.limits {
        let default = value::shown(&limit.default, &limit.unit);
        table.push_str(&format!(
            "| `{}` | {default} | {} |\n",
            limit.name, limit.about
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_between_the_marks_is_replaced() {
        let document = format!("# Limits\n{BEGIN}\nold\n{END}\nby hand\n");
        let placed = placed(&document, "new").unwrap();
        assert_eq!(placed, format!("# Limits\n{BEGIN}\nnew\n{END}\nby hand\n"));
    }

    #[test]
    fn a_limit_is_read_where_it_is_taken_from_limits() {
        assert!(reads("if count > self.limits.rooms_max {", "rooms_max"));
        assert!(!reads("limits.rooms_max_each, rooms_max", "rooms_max"));
        assert!(!reads("let limits = Limits { rooms_max: 5 };", "rooms_max"));
    }

    #[test]
    fn a_document_without_marks_is_left_alone() {
        assert!(placed("# Limits\n", "new").is_err());
        assert!(placed(EMPTY, "new").is_ok());
    }
}
