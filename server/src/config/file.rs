//! The file's part of the settings. Its keys are the flags' names, so it is turned into flags, and
//! checked as these are.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{
    Error, Settings,
    fault::{self, Wrong},
};

/// Flags that make no sense in a file.
const NOT_IN_FILE: [&str; 4] = ["config", "limit", "help", "version"];

/// A file that was read.
pub(super) struct File {
    path: PathBuf,
    table: Table,
    /// Where each key stands, such as `listen` or `limits.room_members_max`: the line, from 1.
    lines: BTreeMap<String, usize>,
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<File, Error> {
    let wrong = |line: Option<usize>, reason: String| Error::File {
        path: path.to_owned(),
        line,
        reason,
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(None, error.to_string()))?;
    let broken = |error: toml::de::Error| {
        let line = error.span().map(|span| line_at(&text, span.start));
        let shown = line.and_then(|line| text.lines().nth(line - 1));
        let shown = shown.map_or_else(String::new, |shown| format!(": {}", shown.trim()));
        wrong(line, format!("this is no TOML, {}{shown}", error.message()))
    };
    let document = DeTable::parse(&text).map_err(broken)?;
    let mut lines = BTreeMap::new();
    for (key, value) in document.get_ref() {
        let name = key.get_ref().to_string();
        if let DeValue::Table(table) = value.get_ref() {
            for key in table.keys() {
                let line = line_at(&text, key.span().start);
                lines.insert(format!("{name}.{}", key.get_ref()), line);
            }
        }
        lines.insert(name, line_at(&text, key.span().start));
    }
    let table = text.parse::<Table>().map_err(broken)?;
    Ok(File {
        path: path.to_owned(),
        table,
        lines,
    })
}

/// The line of a place in a text, from 1.
fn line_at(text: &str, place: usize) -> usize {
    let before = text.bytes().take(place);
    before.filter(|byte| *byte == b'\n').count() + 1
}

impl File {
    /// The flags that the file stands for, without those that were given elsewhere.
    pub(super) fn flags(&self, said: &BTreeSet<String>) -> Result<Vec<OsString>, Error> {
        let command = Settings::command();
        let known: BTreeSet<&str> = command
            .get_arguments()
            .filter_map(clap::Arg::get_long)
            .filter(|name| !NOT_IN_FILE.contains(name))
            .collect();
        let mut flags = Vec::new();
        for (key, value) in &self.table {
            if key == "limits" {
                continue;
            }
            if !known.contains(key.as_str()) {
                return Err(self.wrong_at(key, format!("there is no setting \"{key}\"")));
            }
            let value = plain(value).ok_or_else(|| {
                self.wrong_at(key, format!("{key}: not a string, number or list"))
            })?;
            if !said.contains(key) {
                flags.push(format!("--{key}={value}").into());
            }
        }
        Ok(flags)
    }

    /// The limits that the file sets.
    pub(super) fn limits(&self) -> Result<Vec<(String, u64)>, Error> {
        let Some(limits) = self.table.get("limits") else {
            return Ok(Vec::new());
        };
        let table = limits.as_table();
        let table =
            table.ok_or_else(|| self.wrong_at("limits", "limits: not a table".to_owned()))?;
        table
            .iter()
            .map(|(name, value)| {
                let number = value
                    .as_integer()
                    .and_then(|number| u64::try_from(number).ok());
                let key = format!("limits.{name}");
                let number = number
                    .ok_or_else(|| self.wrong_at(&key, format!("{key}: not a whole number")))?;
                Ok((name.clone(), number))
            })
            .collect()
    }

    /// An error about a key of the file.
    pub(super) fn wrong_at(&self, key: &str, reason: String) -> Error {
        Error::File {
            path: self.path.clone(),
            line: self.lines.get(key).copied(),
            reason,
        }
    }

    /// An error that the file's flags made.
    pub(super) fn fault(&self, error: &clap::Error) -> Error {
        match fault::wrong(error) {
            Some(Wrong { name, reason }) => self.wrong_at(&name, format!("{name}: {reason}")),
            None => self.wrong_at("", fault::text(&Settings::command(), &[], error)),
        }
    }
}

/// A value as a flag's text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(plain).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}
