//! Every setting, once: its flag, its variable, its default, its help. The file's key is the flag's
//! name.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum, builder::BoolishValueParser};

use magpie_discovery::Address;
use magpie_store::log::limits;

use super::{
    limits::{Limit, Profile},
    value::{Size, Span},
};
use crate::{
    limits::NODE_NAME_MAX,
    telemetry::{self, Format},
};

/// A Magpie chat node.
///
/// Without a command it runs. Every setting can be given as a flag, as the environment variable
/// shown with it, or as a key of the same name in a TOML file (--config); the first of these wins.
#[derive(Clone, Debug, Parser)]
#[command(name = "magpie-server", version, max_term_width = 100)]
pub struct Settings {
    /// What to do instead of running a node.
    #[command(subcommand)]
    pub action: Option<Action>,

    /// TOML file with settings. See docs/operations.md
    #[arg(long, global = true, value_name = "FILE", env = "MAGPIE_CONFIG", value_parser = path)]
    pub config: Option<PathBuf>,

    /// Where everything is kept [default: magpie-server in the user's data directory]
    #[arg(long, global = true, value_name = "DIR", env = "MAGPIE_DATA_DIR", value_parser = path)]
    pub data_dir: Option<PathBuf>,

    /// Free space of the disk below which no message, room or mark is taken; at least 192MiB
    #[arg(
        long,
        global = true,
        value_name = "SIZE",
        env = "MAGPIE_FREE_SPACE_MIN",
        default_value = "1GiB",
        value_parser = free_space
    )]
    pub free_space_min: Size,

    /// Address and port for clients: gRPC, gRPC-Web and /healthz
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        env = "MAGPIE_LISTEN",
        default_value = "127.0.0.1:7400",
        value_parser = listen
    )]
    pub listen: SocketAddr,

    /// Listens beyond this machine without TLS, such as behind a proxy that does TLS
    #[arg(
        long,
        global = true,
        value_name = "BOOL",
        env = "MAGPIE_INSECURE_LISTEN",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new()
    )]
    pub insecure_listen: bool,

    /// Certificate chain in PEM. With --tls-key, the public port speaks TLS
    #[arg(long, global = true, value_name = "FILE", env = "MAGPIE_TLS_CERT", value_parser = path)]
    pub tls_cert: Option<PathBuf>,

    /// Private key in PEM
    #[arg(long, global = true, value_name = "FILE", env = "MAGPIE_TLS_KEY", value_parser = path)]
    pub tls_key: Option<PathBuf>,

    /// Address and port for /metrics, or "off"
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        env = "MAGPIE_METRICS_LISTEN",
        default_value = "127.0.0.1:7401"
    )]
    pub metrics_listen: MetricsAddress,

    /// The name of this node, told to clients for support
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "MAGPIE_NODE_NAME",
        default_value = "magpie",
        value_parser = node_name
    )]
    pub node_name: String,

    /// Where clients are told to open their stream, such as `https://chat.example.org` [default: where
    /// they called]
    #[arg(long, global = true, value_name = "URL", env = "MAGPIE_ADVERTISE")]
    pub advertise: Option<Address>,

    /// Whether gRPC reflection tells clients the contract
    #[arg(
        long,
        global = true,
        value_name = "BOOL",
        env = "MAGPIE_REFLECTION",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new()
    )]
    pub reflection: bool,

    /// Origins of web pages that may call by gRPC-Web; "*" for any
    #[arg(
        long,
        global = true,
        value_name = "ORIGIN",
        env = "MAGPIE_CORS_ORIGINS",
        default_value = "*",
        value_delimiter = ',',
        value_parser = origin
    )]
    pub cors_origins: Vec<String>,

    /// How long clients may take to move elsewhere before a leaving node ends their streams
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "MAGPIE_DRAIN_WINDOW",
        default_value = "5s"
    )]
    pub drain_window: Span,

    /// How long leaving may take in all; what is not done by then is cut
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "MAGPIE_DRAIN_TIMEOUT",
        default_value = "30s"
    )]
    pub drain_timeout: Span,

    /// What is logged, such as "info" or "warn,magpie_server=debug"
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "MAGPIE_LOG",
        default_value = "info,h2=error,fjall=warn,lsm_tree=warn",
        value_parser = log_filter
    )]
    pub log: String,

    /// The form of the log, which goes to stderr
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "MAGPIE_LOG_FORMAT",
        default_value = "human"
    )]
    pub log_format: Format,

    /// The set of limits to start from
    #[arg(
        long,
        global = true,
        value_name = "PROFILE",
        env = "MAGPIE_LIMITS_PROFILE",
        default_value = "default"
    )]
    pub limits_profile: Profile,

    /// One limit, as NAME=VALUE; may be given again. In the file: the table `[limits]`. See
    /// docs/limits.md
    #[arg(
        long,
        global = true,
        value_name = "NAME=VALUE",
        env = "MAGPIE_LIMITS",
        value_delimiter = ','
    )]
    pub limit: Vec<Limit>,
}

/// What to do instead of running a node.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Runs the node. The same as no command.
    Run,
    /// Prints the settings in force as a TOML file.
    Config,
    /// Raises the generation after the data directory was restored from a copy, so that clients
    /// drop what they hold of later messages, and ends all access tokens. The node must not be
    /// running.
    NewGeneration,
    /// Changes a user's account on the running node.
    #[command(subcommand)]
    User(User),
    /// Opens or closes sign-up on the running node.
    SignUp {
        /// Open or closed.
        state: SignUp,
    },
}

/// What to change of a user's account.
#[derive(Clone, Debug, Subcommand)]
pub enum User {
    /// Sets a new password, asked for on the terminal or read from stdin, and ends all devices.
    ResetPassword {
        /// Whose.
        handle: String,
    },
    /// Ends all of a user's devices and lets no new one in.
    Disable {
        /// Whose.
        handle: String,
    },
    /// Lets a disabled user in again.
    Enable {
        /// Whose.
        handle: String,
    },
}

/// Whether strangers may make accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SignUp {
    /// They may.
    Open,
    /// They may not.
    Closed,
}

/// Where metrics are served, if they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsAddress(pub Option<SocketAddr>);

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address = text.parse().map_err(|_error| {
            let example = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7401);
            format!("neither \"off\" nor an address such as {example}")
        })?;
        Ok(Self(Some(address)))
    }
}

fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_error| {
        "wanted is an IP address with a port, such as 127.0.0.1:7400 or [::1]:7400; 0.0.0.0:7400 \
         stands for all addresses of this machine"
    })
}

fn node_name(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length == 0 || length > NODE_NAME_MAX || text.chars().any(char::is_control) {
        return Err(format!(
            "a name has 1 to {NODE_NAME_MAX} characters, none of them control characters"
        ));
    }
    Ok(text.to_owned())
}

/// An origin as browsers send it in a header of that name (RFC 6454, section 6.1), or `*`. Apps in a
/// web view have schemes of their own.
fn origin(text: &str) -> Result<String, &'static str> {
    let in_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
        let named = !scheme.is_empty() && scheme.chars().all(in_scheme);
        // Behind any scheme stands what stands behind http.
        named && format!("http://{host}").parse::<Address>().is_ok()
    });
    if text == "*" || is_origin {
        Ok(text.to_owned())
    } else {
        Err("an origin is SCHEME://HOST[:PORT] without a path or a slash at its end, or \"*\"")
    }
}

/// The program's command line. A command shows the settings that it takes note of; the others stay
/// accepted there, so that one environment and one habit fit all.
pub(super) fn command() -> clap::Command {
    let command = Settings::command();
    let unread: Vec<clap::Arg> = command
        .get_arguments()
        .filter(|arg| !ALWAYS_READ.contains(&arg.get_id().as_str()))
        .map(|arg| arg.clone().hide(true))
        .collect();
    ABOUT_DATA.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| hiding(command, &unread))
    })
}

/// The settings that every command reads.
const ALWAYS_READ: [&str; 2] = ["config", "data_dir"];
/// The commands that only look for the data directory.
const ABOUT_DATA: [&str; 3] = ["new-generation", "user", "sign-up"];

fn hiding(command: clap::Command, unread: &[clap::Arg]) -> clap::Command {
    let command = command.args(unread);
    let names: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| hiding(command, unread))
    })
}

fn log_filter(text: &str) -> Result<String, String> {
    match telemetry::filter(text) {
        Ok(_filter) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Only a shell knows what `~` stands for, and it is none that reads the file or the environment.
fn path(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('~') {
        return Err("write the whole path: `~` is expanded by a shell only".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// The log store needs room for its memtables, whatever an operator is ready to risk.
fn free_space(text: &str) -> Result<Size, String> {
    let size: Size = text.parse()?;
    let least = limits::MEMTABLES_FREE_MIN * limits::MEMTABLE_BYTES;
    if size.0 < least {
        return Err(format!("at least {}MiB", least >> 20));
    }
    Ok(size)
}
