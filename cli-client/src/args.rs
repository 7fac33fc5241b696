//! The command line: every command, flag and example, and what each value may be.

mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use self::values::handle;
use crate::{
    address::server_url,
    clock::{self, Position},
    credentials,
    limits::{
        EARLIER_MESSAGES_DEFAULT, HISTORY_MESSAGES_DEFAULT, HISTORY_MESSAGES_MAX,
        PAGE_MESSAGES_MAX, TIMEOUT_SECONDS_DEFAULT, TIMEOUT_SECONDS_MAX,
    },
    retry::RetryId,
};

/// The server that is asked where nothing says otherwise.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:7400";

const GLOBAL: &str = "Options of every command";

/// What to do first, for those who are new here.
pub(crate) const START: &str = "\
What to do first:
  magpie signup anna             make an account (asks for a password)
  magpie create \"Tea room\"       make a room
  magpie invite tea bob          add somebody by handle
  magpie chat tea                talk in it";

const MORE: &str = "\
ROOM is a room's id, @handle for the direct room with somebody, a part of a title that fits only
one of your rooms, or title:TITLE for a whole title. Titles can change, so scripts should use ids.

Exit codes: 0 done, 1 refused by the server, 2 wrong command line, 3 not logged in,
4 server unreachable or too slow, 5 outcome unknown (retry with the printed id),
6 done in part, 7 a problem on this machine. docs/cli.md has the forms of --json.";

/// Chat from a terminal, by hand or by script.
#[derive(Debug, Parser)]
#[command(name = "magpie", version, before_help = START, after_help = MORE)]
#[command(arg_required_else_help = true, subcommand_required = true)]
#[command(max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// The server [default: the profile's; at sign-up and a first log-in $MAGPIE_SERVER, else
    /// http://127.0.0.1:7400]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "URL", value_parser = server_url)]
    pub(crate) server: Option<String>,
    /// The account to act as, by its name here [default: the last one logged in or chosen]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "NAME", hide_env_values = true, env = "MAGPIE_PROFILE", value_parser = credentials::profile_name)]
    pub(crate) profile: Option<String>,
    /// The certificate authorities (PEM) to trust in the system's place; kept at log-in
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE", hide_env_values = true, env = "MAGPIE_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Print one JSON object per line, and errors as JSON on stderr
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Print without colours, as NO_COLOR does
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) no_color: bool,
    /// Where credentials are kept [default: $XDG_CONFIG_HOME/magpie]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR", hide_env_values = true, env = "MAGPIE_CONFIG_DIR")]
    pub(crate) config_dir: Option<PathBuf>,
    /// How long to wait for an answer
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "SECONDS", default_value_t = TIMEOUT_SECONDS_DEFAULT, value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_SECONDS_MAX))]
    pub(crate) timeout: u64,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an account and log in
    #[command(
        after_help = "Examples:\n  magpie signup anna --name \"Anna Lind\"\n  \
        echo \"$PASSWORD\" | magpie signup bot --password-stdin"
    )]
    Signup(Signup),
    /// Log in on this device
    #[command(after_help = "Examples:\n  magpie login anna\n  \
        magpie login anna --server https://chat.example.org --profile work")]
    Login(Login),
    /// Log this device out and forget its credentials
    Logout(Logout),
    /// Show who you are here
    Whoami,
    /// List the accounts kept here, or choose one
    Profile {
        #[command(subcommand)]
        action: ProfileAction,
    },
    /// Change the password; all other devices are logged out
    Passwd(Secret),
    /// List or end the devices of the account
    Devices {
        #[command(subcommand)]
        action: Option<DevicesAction>,
    },

    /// Make a room
    #[command(after_help = "Example:\n  magpie create \"Tea room\"")]
    Create(Create),
    /// Open the direct room with somebody
    Direct {
        /// The other person
        #[arg(value_parser = handle)]
        handle: String,
    },
    /// List your rooms, with what is unread
    Rooms {
        /// Show ids, kinds and roles as well
        #[arg(short, long)]
        long: bool,
        /// Show only rooms with something unread
        #[arg(short, long)]
        unread: bool,
    },
    /// List the members of a room
    Members {
        #[command(flatten)]
        room: Room,
    },
    /// Add people to a room
    #[command(after_help = "Example:\n  magpie invite tea bob carla")]
    Invite(Invite),
    /// Leave a room
    Leave(Leave),
    /// Remove somebody from a room that you own
    Remove(Remove),
    /// Give a room that you own another title
    Rename(Rename),

    /// Send a message; without TEXT it is read from stdin
    #[command(after_help = "Examples:\n  magpie send tea \"the kettle is on\"\n  \
        git log -1 | magpie send @bob\n  magpie send tea --reply-to 57 \"me too\"\n\n\
        The text is sent unchanged, but for one line end at the end of stdin.\n\
        A script that may be cut off gives an id of its own with --id: however often it\n\
        is run, the message appears once.")]
    Send(Send),
    /// Mark a room as read, to its end or to a seq
    Read {
        #[command(flatten)]
        room: Room,
        /// Everything up to this seq
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        seq: Option<i64>,
    },
    /// Follow rooms as things happen in them; ends with Ctrl-C
    #[command(after_help = "Examples:\n  magpie tail\n  magpie tail tea @bob\n  \
        magpie tail tea --after 57 --json\n\n\
        A lost connection is resumed without a gap, and told on stderr.")]
    Tail(Tail),
    /// Show messages of the past
    #[command(
        after_help = "Examples:\n  magpie history tea\n  magpie history tea -n 200\n  \
        magpie history tea --before 57\n  magpie history tea --around 2026-11-24T10:00"
    )]
    History(History),
    /// Show one message whole, however long
    Message {
        #[command(flatten)]
        room: Room,
        /// Its seq
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        seq: i64,
    },
    /// Show whether people are there
    Presence {
        /// Whom
        #[arg(required = true, value_name = "HANDLE", value_parser = handle)]
        handles: Vec<String>,
    },
    /// Set what others see while you are online
    #[command(after_help = "Examples:\n  magpie status busy \"in a meeting\"\n  \
        magpie status available \"\"     (removes the text)")]
    Status {
        /// Whether you may be disturbed
        availability: Availability,
        /// A few words; left as they are without, removed by ""
        text: Option<String>,
    },
    /// Talk in a room, line by line; /help there tells more
    Chat {
        #[command(flatten)]
        room: Room,
        /// How many earlier messages to show
        #[arg(short = 'n', long, default_value_t = EARLIER_MESSAGES_DEFAULT, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=i64::from(PAGE_MESSAGES_MAX)))]
        lines: u32,
    },
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Where a password comes from.
#[derive(Debug, Args)]
pub(crate) struct Secret {
    /// Read the password from stdin (for `passwd` two lines: the old one, the new one)
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// See [`Command::Signup`].
#[derive(Debug, Args)]
pub(crate) struct Signup {
    /// Your unique name: 3 to 32 of a-z, 0-9 and underscore
    #[arg(value_parser = handle)]
    pub(crate) handle: String,
    /// The name that people see [default: the handle]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) device: Device,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// See [`Command::Login`].
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Your handle
    #[arg(value_parser = handle)]
    pub(crate) handle: String,
    #[command(flatten)]
    pub(crate) device: Device,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// What this installation is called.
#[derive(Debug, Args)]
pub(crate) struct Device {
    /// What `devices` calls this one [default: terminal on HOST]
    #[arg(long, value_name = "NAME")]
    pub(crate) device_name: Option<String>,
}

/// See [`Command::Logout`].
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// Forget the credentials here without telling the server
    #[arg(long)]
    pub(crate) local: bool,
}

/// See [`Command::Profile`].
#[derive(Debug, Subcommand)]
pub(crate) enum ProfileAction {
    /// List the accounts kept here
    List,
    /// Choose the account to act as from now on
    Use {
        /// Its name here
        #[arg(value_parser = credentials::profile_name)]
        name: String,
    },
}

/// See [`Command::Devices`].
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum DevicesAction {
    /// List the devices of the account
    List,
    /// Log another device out
    Revoke {
        /// Its id, from `devices list`
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        device_id: i64,
    },
}

/// A room, as people name it.
#[derive(Debug, Args)]
pub(crate) struct Room {
    /// A room's id, @handle, a part of a title, or title:TITLE
    #[arg(value_name = "ROOM")]
    pub(crate) room: String,
}

/// The id of a command, so that it takes effect once however often it is run.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// Take effect once under this UUID, or the id that a failed attempt printed
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<RetryId>,
}

/// See [`Command::Create`].
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// 1 to 128 characters
    pub(crate) title: String,
    #[command(flatten)]
    pub(crate) retry: Retry,
}

/// See [`Command::Invite`].
#[derive(Debug, Args)]
pub(crate) struct Invite {
    #[command(flatten)]
    pub(crate) room: Room,
    /// Whom; at most 100 at once
    #[arg(required = true, value_name = "HANDLE", value_parser = handle)]
    pub(crate) handles: Vec<String>,
    #[command(flatten)]
    pub(crate) retry: Retry,
}

/// See [`Command::Leave`].
#[derive(Debug, Args)]
pub(crate) struct Leave {
    #[command(flatten)]
    pub(crate) room: Room,
    #[command(flatten)]
    pub(crate) retry: Retry,
}

/// See [`Command::Remove`].
#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    pub(crate) room: Room,
    /// Whom
    #[arg(value_parser = handle)]
    pub(crate) handle: String,
    #[command(flatten)]
    pub(crate) retry: Retry,
}

/// See [`Command::Rename`].
#[derive(Debug, Args)]
pub(crate) struct Rename {
    #[command(flatten)]
    pub(crate) room: Room,
    /// 1 to 128 characters
    pub(crate) title: String,
    #[command(flatten)]
    pub(crate) retry: Retry,
}

/// See [`Command::Send`].
#[derive(Debug, Args)]
pub(crate) struct Send {
    #[command(flatten)]
    pub(crate) room: Room,
    /// What to say
    pub(crate) text: Option<String>,
    /// Reply to the message with this seq
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) reply_to: Option<i64>,
    #[command(flatten)]
    pub(crate) retry: Retry,
}

/// See [`Command::Tail`].
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Which rooms; without any, all of them, also those you join later
    #[arg(value_name = "ROOM")]
    pub(crate) rooms: Vec<String>,
    /// Show the last COUNT messages of each named room first (0: only what is new)
    #[arg(short = 'n', long, default_value_t = EARLIER_MESSAGES_DEFAULT, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=i64::from(PAGE_MESSAGES_MAX)))]
    pub(crate) lines: u32,
    /// Begin after this seq: everything since then is shown first (one room)
    #[arg(long, value_name = "SEQ", conflicts_with = "lines", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) after: Option<i64>,
    /// Move the read mark to what is shown, and so over all that came before it in that room
    #[arg(long)]
    pub(crate) mark_read: bool,
}

/// See [`Command::History`].
#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) room: Room,
    /// Messages before this seq or time
    #[arg(long, value_name = "SEQ|TIME", value_parser = clock::place, group = "position")]
    pub(crate) before: Option<Position>,
    /// Messages after this seq, or from this time on
    #[arg(long, value_name = "SEQ|TIME", value_parser = clock::position, group = "position")]
    pub(crate) after: Option<Position>,
    /// Messages on both sides of this seq or time
    #[arg(long, value_name = "SEQ|TIME", value_parser = clock::place, group = "position")]
    pub(crate) around: Option<Position>,
    /// How many messages
    #[arg(short = 'n', long, default_value_t = HISTORY_MESSAGES_DEFAULT, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(HISTORY_MESSAGES_MAX)))]
    pub(crate) lines: u32,
}

/// What to show while online.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Availability {
    /// Shown as online or away
    Available,
    /// Shown as busy
    Busy,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    fn refused(line: &str) -> ErrorKind {
        parse(line).expect_err(line).kind()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bare_magpie_says_what_to_do_first() {
        let error = parse("magpie").unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
        assert!(error.to_string().starts_with("What to do first:"));
    }

    #[test]
    fn every_command_has_help() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }

    #[test]
    fn global_flags_may_stand_behind_the_command() {
        let cli = parse("magpie rooms --json --server http://h:1/").unwrap();
        assert!(cli.global.json);
        assert_eq!(cli.global.server.as_deref(), Some("http://h:1"));
    }

    #[test]
    fn a_password_is_never_an_argument() {
        assert_eq!(
            refused("magpie login anna secret"),
            ErrorKind::UnknownArgument
        );
        assert_eq!(
            refused("magpie signup anna --password x"),
            ErrorKind::UnknownArgument
        );
    }

    #[test]
    fn handles_lose_their_at_sign_and_their_capitals() {
        let Command::Invite(invite) = parse("magpie invite tea @Bob carla").unwrap().command else {
            panic!("not an invitation");
        };
        assert_eq!(invite.handles, ["bob", "carla"]);
        assert_eq!(refused("magpie direct no-such"), ErrorKind::ValueValidation);
    }

    #[test]
    fn one_position_is_enough_for_history() {
        assert!(parse("magpie history tea --around 57").is_ok());
        assert_eq!(
            refused("magpie history tea --before 57 --after 3"),
            ErrorKind::ArgumentConflict
        );
    }

    #[test]
    fn numbers_out_of_range_are_usage_errors() {
        assert_eq!(refused("magpie message tea 0"), ErrorKind::ValueValidation);
        assert_eq!(
            refused("magpie history tea -n 0"),
            ErrorKind::ValueValidation
        );
        assert_eq!(
            refused("magpie devices revoke x"),
            ErrorKind::ValueValidation
        );
    }
}
