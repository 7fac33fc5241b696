//! `magpie`: the terminal client. Reads the command line, runs one command, and turns its end into
//! an exit code. Knows nothing of what the commands do.

mod address;
mod app;
mod args;
mod certificate;
mod clock;
mod commands;
mod credentials;
mod failure;
mod first;
mod json;
mod limits;
mod link;
mod names;
mod output;
mod password;
mod render;
mod retry;
mod rooms;
mod stop;
mod terminal;
mod text;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, error::ErrorKind};

use crate::{
    app::App,
    args::Cli,
    failure::{Exit, Failure},
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let as_json = cli.global.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::report(&failure, as_json);
            ExitCode::from(failure.exit() as u8)
        }
    }
}

fn run(cli: Cli) -> failure::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let app = App::new(cli.global)?;
    let end = runtime.block_on(commands::run(&app, cli.command));
    // A thread that still reads the terminal must not hold the end up.
    runtime.shutdown_background();
    match end {
        // Whoever read the output has all that it wanted.
        Err(failure) if failure.is_reader_gone() => Ok(()),
        end => end,
    }
}

/// Help and version are no errors; what is wrong is said in the form that was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nothing is left to be done where the text cannot be printed.
            write!(io::stdout(), "{}", error.render()).ok();
            return ExitCode::SUCCESS;
        }
        // The person wants to know what there is.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if env::args_os().len() == 1 => {
            write!(io::stdout(), "{}", first::screen(args::START)).ok();
            return ExitCode::SUCCESS;
        }
        // Of a command that needs another, such as `profile`, its help says which there are.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            write!(io::stdout(), "{}", error.render()).ok();
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    if env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ");
        output::report(&Failure::usage(message), true);
    } else {
        error.print().ok();
    }
    ExitCode::from(Exit::Usage as u8)
}
