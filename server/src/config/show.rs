//! The settings in force, as the file that would set them.

use std::{fmt::Write, path::Path};

use clap::{ArgMatches, Command};

use super::Limits;

pub(super) fn toml(
    command: &Command,
    matches: &ArgMatches,
    data_dir: &Path,
    limits: &Limits,
) -> String {
    let mut page = String::new();
    for arg in command.get_arguments() {
        let Some(name) = arg
            .get_long()
            .filter(|name| !["config", "limit"].contains(name))
        else {
            continue;
        };
        let raw = matches.try_get_raw(arg.get_id().as_str()).ok().flatten();
        let mut values: Vec<String> = raw
            .into_iter()
            .flatten()
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        if name == "data-dir" {
            values = vec![data_dir.display().to_string()];
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let list = arg.get_value_delimiter().is_some();
        line(&mut page, &help.replace('\n', " "), name, &values, list);
    }
    page.push_str("[limits]\n");
    for ((name, unit, _, what), value) in limits.all() {
        let what = what.trim();
        writeln!(page, "# {what} ({unit})\n{name} = {value}").expect("a String takes all");
    }
    page
}

fn line(page: &mut String, help: &str, name: &str, values: &[String], list: bool) {
    let quote = |value: &String| match value.as_str() {
        "true" | "false" => value.clone(),
        text => toml::Value::from(text).to_string(),
    };
    let values: Vec<String> = values.iter().map(quote).collect();
    let value = match &values[..] {
        [] => String::new(),
        values if list => format!("[{}]", values.join(", ")),
        values => values.join(", "),
    };
    let off = if value.is_empty() { "# " } else { "" };
    writeln!(page, "# {help}\n{off}{name} = {value}\n").expect("a String takes all");
}
