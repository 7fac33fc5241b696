//! The file's part of the settings. Its keys are the flags' names, so it is turned into flags, and
//! checked as these are.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use toml::{Table, Value};

use super::{Error, Settings};

/// Flags that make no sense in a file.
const NOT_IN_FILE: [&str; 4] = ["config", "limit", "help", "version"];

/// A file that was read.
pub(super) struct File {
    path: PathBuf,
    table: Table,
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<File, Error> {
    let wrong = |reason: String| Error::File {
        path: path.to_owned(),
        reason,
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let table = text
        .parse::<Table>()
        .map_err(|error| wrong(error.to_string()))?;
    Ok(File {
        path: path.to_owned(),
        table,
    })
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
                return Err(self.wrong(format!("there is no setting \"{key}\"")));
            }
            let value = plain(value)
                .ok_or_else(|| self.wrong(format!("{key}: not a string, number or list")))?;
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
        let table = table.ok_or_else(|| self.wrong("limits: not a table".to_owned()))?;
        table
            .iter()
            .map(|(name, value)| {
                let number = value
                    .as_integer()
                    .and_then(|number| u64::try_from(number).ok());
                let number = number
                    .ok_or_else(|| self.wrong(format!("limits.{name}: not a whole number")))?;
                Ok((name.clone(), number))
            })
            .collect()
    }

    /// An error about something in the file.
    pub(super) fn wrong(&self, reason: String) -> Error {
        Error::File {
            path: self.path.clone(),
            reason,
        }
    }

    /// An error that the file's flags made.
    pub(super) fn fault(&self, error: &Error) -> Error {
        let Error::Usage(error) = error else {
            return self.wrong(error.to_string());
        };
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        self.wrong(first.strip_prefix("error: ").unwrap_or(first).to_owned())
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
