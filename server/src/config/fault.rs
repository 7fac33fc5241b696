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
