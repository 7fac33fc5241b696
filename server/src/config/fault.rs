//! Whose fault a wrong setting is: that of a flag or of a variable, as one text that names it.

use std::ffi::{OsStr, OsString};

use clap::{
    Command,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

/// A setting whose value cannot be used.
pub(super) struct Wrong {
    /// The flag without its dashes, which is the key of the file as well.
    pub(super) name: String,
    /// What is wrong with which value.
    pub(super) reason: String,
}

/// The setting that an error is about, where it is about the value of one.
pub(super) fn wrong(error: &Error) -> Option<Wrong> {
    match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {}
        _ => return None,
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // It is written as in help, such as `--listen <ADDRESS>`.
    let flag = text(ContextKind::InvalidArg)?.strip_prefix("--")?;
    let end = flag.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let name = flag[..end.unwrap_or(flag.len())].to_owned();
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let why = match (error.get(ContextKind::ValidValue), error_source(error)) {
        (Some(ContextValue::Strings(accepted)), _) if !accepted.is_empty() => {
            format!("one of {}", accepted.join(", "))
        }
        (_, Some(why)) => why,
        (_, None) => "no value that it takes".to_owned(),
    };
    let reason = format!("{value:?} cannot be used: {why}");
    Some(Wrong { name, reason })
}

fn error_source(error: &Error) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}

/// What is wrong with the command line or the environment.
pub(super) fn text(command: &Command, args: &[OsString], error: &Error) -> String {
    match wrong(error) {
        Some(wrong) => {
            let place = place(command, args, &wrong.name);
            format!("{place}: {}", wrong.reason)
        }
        None => {
            let text = error.render().to_string();
            let text = match error.kind() {
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                    format!("a command is missing here\n\n{text}")
                }
                _ => text,
            };
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            // The library's last words send to the help of whatever was called.
            let said = text.split("\n\nFor more information").next();
            said.unwrap_or(text).trim_end().to_owned()
        }
    }
}

/// The flag, if it was given, else the variable: a default is never wrong.
pub(super) fn place(command: &Command, args: &[OsString], name: &str) -> String {
    let flag = format!("--{name}");
    let with_value = format!("{flag}=");
    let is_given = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        arg == flag.as_str() || arg.starts_with(&with_value)
    };
    let mut settings = command.get_arguments();
    let setting = settings.find(|arg| arg.get_long() == Some(name));
    let variable = setting
        .and_then(clap::Arg::get_env)
        .map(OsStr::to_string_lossy);
    match variable {
        Some(variable) if !args.iter().any(is_given) => variable.into_owned(),
        _ => flag,
    }
}

/// Which of these variables look like settings and are none; see [`super::unknown_variables`].
pub(super) fn unknown_variables(
    command: &Command,
    names: impl Iterator<Item = String>,
) -> Vec<(String, Option<String>)> {
    let variables = command.get_arguments().filter_map(clap::Arg::get_env);
    let known: Vec<&str> = variables.filter_map(OsStr::to_str).collect();
    let is_unknown = |name: &String| {
        let mut all = known.iter().chain(&OF_CLIENT);
        name.starts_with("MAGPIE_") && !all.any(|known| known == name)
    };
    let mut unknown: Vec<String> = names.filter(is_unknown).collect();
    unknown.sort_unstable();
    let meant = |name: &str| {
        let likeness = |known: &str| strsim::damerau_levenshtein(name, known);
        let nearest = known.iter().min_by_key(|known| likeness(known))?;
        (likeness(nearest) <= MISSPELLINGS_MAX).then(|| (*nearest).to_owned())
    };
    let pairs = unknown.into_iter().map(|name| {
        let meant = meant(&name);
        (name, meant)
    });
    pairs.collect()
}

/// Variables of the terminal client, which may be set in the same shell.
const OF_CLIENT: [&str; 4] = [
    "MAGPIE_SERVER",
    "MAGPIE_PROFILE",
    "MAGPIE_CA_FILE",
    "MAGPIE_CONFIG_DIR",
];
/// Letters that may be wrong for a variable to be taken for another.
const MISSPELLINGS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings;

    #[test]
    fn misspelt_variables_are_told_from_settings() {
        let names = [
            "MAGPIE_LISTEN",
            "MAGPIE_LISTN",
            "MAGPIE_SERVER",
            "MAGPIE_PORT_7400_TCP_ADDR",
            "PATH",
        ];
        let unknown =
            unknown_variables(&settings::command(), names.iter().map(ToString::to_string));
        let expected = [
            ("MAGPIE_LISTN".to_owned(), Some("MAGPIE_LISTEN".to_owned())),
            ("MAGPIE_PORT_7400_TCP_ADDR".to_owned(), None),
        ];
        assert_eq!(unknown, expected);
    }
}
