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
    let is_bare = env::args_os().len() == 1;
    match error.kind() {
        // The person wants to know what there is. With some variables set the command is missing.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
            if is_bare =>
        {
            return printed(&first::screen(args::START));
        }
        // Of a command that needs another, such as `profile`, its help says which there are.
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return printed(&error.render().to_string());
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

/// What was asked for, and nothing else is done.
fn printed(text: &str) -> ExitCode {
    let written = write!(io::stdout(), "{text}").and_then(|()| io::stdout().flush());
    match written.map_err(Failure::from) {
        Err(failure) if !failure.is_reader_gone() => {
            output::report(&failure, false);
            ExitCode::from(failure.exit() as u8)
        }
        _ => ExitCode::SUCCESS,
    }
}
