//! The node's settings: from flags, environment and a TOML file, in this order of precedence. Each
//! setting is declared once, in [`Settings`]; the file's keys and `magpie-server config` follow from
//! the flags.

mod directory;
mod fault;
mod file;
mod limits;
mod settings;
mod show;
mod value;

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf};

use clap::{ArgMatches, CommandFactory, FromArgMatches, parser::ValueSource};

pub use self::{
    limits::{Limit, Limits, Profile},
    settings::{Action, MetricsAddress, Settings, SignUp, User},
    value::{Size, Span},
};

/// What the program was asked to do, and all settings in force.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings.
    pub settings: Settings,
    /// The limits of all parts.
    pub limits: Limits,
    /// Where data is kept.
    pub data_dir: PathBuf,
    /// All of it as a TOML file, which would set the same.
    pub shown: String,
}

/// Why the settings cannot be used. Its text says which one is at fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Help or the version was asked for.
    #[error("{}", .0.render())]
    Help(clap::Error),
    /// A flag or variable is at fault.
    #[error("{0}")]
    Usage(String),
    /// The file is at fault.
    #[error("{}:{} {reason}", path.display(), line.map(|line| format!("{line}:")).unwrap_or_default())]
    File {
        /// Which file.
        path: PathBuf,
        /// The line at fault, from 1.
        line: Option<usize>,
        /// What is wrong, naming the key.
        reason: String,
    },
    /// Two settings do not fit together.
    #[error("{0}")]
    Conflict(String),
}

/// What the program was asked to do, from the arguments and the environment of the process.
pub fn from_process() -> Result<(Config, Action), Error> {
    let (config, action) = from_args(std::env::args_os())?;
    Ok((config, action.unwrap_or(Action::Run)))
}

/// Variables that look like settings of a node and are none, such as misspelt ones, with the setting
/// that each may have meant. They are no error: where services are named after Magpie, platforms
/// set such variables themselves.
pub fn unknown_variables() -> Vec<(String, Option<String>)> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    fault::unknown_variables(&settings::command(), names)
}

impl Config {
    /// The settings that these flags make, such as for a test.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_flags<I: IntoIterator<Item: Into<OsString>>>(flags: I) -> Result<Self, Error> {
        let program = OsString::from("magpie-server");
        let args = std::iter::once(program).chain(flags.into_iter().map(Into::into));
        Ok(from_args(args)?.0)
    }
}

fn from_args<I>(args: I) -> Result<(Config, Option<Action>), Error>
where
    I: IntoIterator<Item = OsString>,
{
    let args: Vec<OsString> = args.into_iter().collect();
    let command = settings::command();
    let process = |error: clap::Error| match error.use_stderr() {
        true => Error::Usage(fault::text(&command, &args, &error)),
        false => Error::Help(error),
    };
    let mut matches = matches(&args).map_err(process)?;
    let mut limits = Limits::default();
    if let Some(path) = matches.get_one::<PathBuf>("config").cloned() {
        let file = file::read(&path)?;
        // All of it has to be right, also what a flag or a variable overrides.
        let mut whole = args.clone();
        whole.truncate(1);
        whole.extend(file.flags(&BTreeSet::new())?);
        self::matches(&whole).map_err(|error| file.fault(&error))?;
        let flags = file.flags(&said(&matches))?;
        let mut with_file = args.clone();
        with_file.splice(1..1, flags);
        // Only the file's flags are new, so what is wrong now is wrong in the file.
        matches = self::matches(&with_file).map_err(|error| file.fault(&error))?;
        limits.set_profile(profile(&matches));
        for (name, value) in file.limits()? {
            limits
                .set(&name, value)
                .map_err(|reason| file.wrong_at(&format!("limits.{name}"), reason))?;
        }
    } else {
        limits.set_profile(profile(&matches));
    }
    let settings = Settings::from_arg_matches(&matches).map_err(process)?;
    for limit in &settings.limit {
        limits.set(&limit.name, limit.value).map_err(|reason| {
            let place = fault::place(&command, &args, "limit");
            Error::Usage(format!("{place}: {reason}"))
        })?;
    }
    limits.check().map_err(Error::Conflict)?;
    if settings.tls_cert.is_some() != settings.tls_key.is_some() {
        return Err(Error::Conflict(
            "--tls-cert and --tls-key are given together or not at all".to_owned(),
        ));
    }
    if settings.drain_window.0 > settings.drain_timeout.0 {
        return Err(Error::Conflict(
            "drain-window is longer than drain-timeout, which ends it: make it shorter".to_owned(),
        ));
    }
    let data_dir = settings.data_dir.clone().or_else(directory::default);
    let data_dir = data_dir.ok_or_else(|| {
        let why = "there is no place for data: neither XDG_DATA_HOME nor HOME is set to an absolute path; \
                   choose a directory with --data-dir";
        Error::Usage(why.to_owned())
    })?;
    let shown = show::toml(&Settings::command(), &matches, &data_dir, &limits);
    let action = settings.action.clone();
    Ok((
        Config {
            settings,
            limits,
            data_dir,
            shown,
        },
        action,
    ))
}

fn matches(args: &[OsString]) -> Result<ArgMatches, clap::Error> {
    settings::command().try_get_matches_from(args)
}

fn profile(matches: &ArgMatches) -> Profile {
    matches
        .get_one("limits_profile")
        .copied()
        .unwrap_or_default()
}

/// The settings that were given by flag or environment, and so are not the file's to set.
fn said(matches: &ArgMatches) -> BTreeSet<String> {
    matches
        .ids()
        .filter(|id| {
            let source = matches.value_source(id.as_str());
            matches!(
                source,
                Some(ValueSource::CommandLine | ValueSource::EnvVariable)
            )
        })
        .map(|id| id.as_str().replace('_', "-"))
        .collect()
}

#[cfg(test)]
mod tests;
