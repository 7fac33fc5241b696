//! Reads `limits! { ... }` in a source: each limit with its comment, its default and its unit.

/// The limits that one macro call declares.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// What they are about.
    pub(super) about: String,
    pub(super) limits: Vec<Limit>,
}

/// One limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) name: String,
    /// What it bounds.
    pub(super) about: String,
    /// As it is written in the source.
    pub(super) default: String,
    pub(super) unit: String,
}

/// All that a source declares.
pub(super) fn find(source: &str) -> Vec<Declared> {
    let mut found: Vec<Declared> = Vec::new();
    let mut comment = String::new();
    let mut inside = false;
    for line in source.lines() {
        let trimmed = line.trim();
        if line.ends_with("limits! {") {
            inside = true;
            comment.clear();
        } else if line == "}" {
            inside = false;
        } else if !inside {
            continue;
        } else if let Some(text) = trimmed.strip_prefix("///") {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(text.trim());
        } else if trimmed.ends_with('{') {
            let about = std::mem::take(&mut comment);
            found.push(Declared {
                about,
                limits: Vec::new(),
            });
        } else if let (Some(mut limit), Some(declared)) = (limit(trimmed), found.last_mut()) {
            limit.about = std::mem::take(&mut comment);
            declared.limits.push(limit);
        }
    }
    found
}

/// `name: u64 = default, "unit";`
fn limit(line: &str) -> Option<Limit> {
    let (name, rest) = line.split_once(": u64 = ")?;
    let (default, unit) = rest.strip_suffix("\";")?.rsplit_once(", \"")?;
    Some(Limit {
        name: name.to_owned(),
        about: String::new(),
        default: default.to_owned(),
        unit: unit.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_is_read_whole() {
        let source = "//! Owns limits.\n\npub const OTHER: u64 = 1;\n\nmagpie_core::limits! {\n    \
            /// What rooms may hold.\n    Limits {\n        /// Entries,\n        /// at most.\n        \
            entries_max: u64 = 1_000, \"entries\";\n    }\n}\n";
        let limit = Limit {
            name: "entries_max".to_owned(),
            about: "Entries, at most.".to_owned(),
            default: "1_000".to_owned(),
            unit: "entries".to_owned(),
        };
        let about = "What rooms may hold.".to_owned();
        assert_eq!(
            find(source),
            [Declared {
                about,
                limits: vec![limit]
            }]
        );
    }

    #[test]
    fn a_source_without_declarations_has_none() {
        assert_eq!(
            find("macro_rules! limits {\n    ($x:ident) => {};\n}\n"),
            []
        );
    }
}
