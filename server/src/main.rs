//! The node's program: reads what it was asked to do, does it, and says by its exit code what came
//! of it.

mod greeting;

use std::{
    error::Error,
    fmt::Display,
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Context, bail};
use magpie_server::{
    admin::{self, Command},
    config::{self, Action, Config, SignUp, User},
    node::{Node, NodeHandle, exit},
    telemetry,
};
use rustix::{fs::Mode, process::umask};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

fn main() -> ExitCode {
    let (config, action) = match config::from_process() {
        Ok(asked) => asked,
        Err(config::Error::Help(error)) => return help(&error),
        Err(config::Error::Usage(what)) => {
            let hint = "`magpie-server --help` shows all settings and commands";
            return fail(&format!("{what}\n  {hint}"), exit::USAGE);
        }
        Err(error) => return fail(&error, exit::USAGE),
    };
    // Only one provider is ever linked; saying so keeps a second one from being guessed at.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        return fail(&"another TLS provider is installed", exit::SOFTWARE);
    }
    // What a node writes is for its user alone.
    umask(Mode::RWXG | Mode::RWXO);
    match action {
        Action::Run => run(config),
        Action::Config => match io::stdout().write_all(config.shown.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, exit::IO),
        },
        Action::NewGeneration => raise_generation(&config),
        Action::User(user) => operate(&config, || command_about(user)),
        Action::SignUp {
            state: SignUp::Open,
        } => operate(&config, || Ok(Command::OpenSignUp)),
        Action::SignUp {
            state: SignUp::Closed,
        } => operate(&config, || Ok(Command::CloseSignUp)),
    }
}

fn raise_generation(config: &Config) -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, exit::SOFTWARE),
    };
    match runtime.block_on(Node::new_generation(config)) {
        Ok(generation) => say(&format!("The generation is now {generation}.\n")),
        Err(error) => fail_with_sources(&error, error.exit_code()),
    }
}

fn run(config: Config) -> ExitCode {
    let settings = &config.settings;
    match telemetry::filter(&settings.log) {
        Ok(filter) => telemetry::start(filter, settings.log_format),
        Err(error) => return fail(&format!("--log: {error}"), exit::USAGE),
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, exit::SOFTWARE),
    };
    let code = runtime.block_on(serve(config));
    // What is still running has had its time.
    runtime.shutdown_background();
    code
}

async fn serve(config: Config) -> ExitCode {
    // Before anything is stored, so that no signal meets a half-started node unprepared.
    let signals = signal(SignalKind::terminate())
        .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    let (mut terminate, mut interrupt) = match signals {
        Ok(signals) => signals,
        Err(error) => return fail(&error, exit::SOFTWARE),
    };
    let data_dir = config.data_dir.clone();
    let certificate = config.settings.tls_cert.clone();
    let started = tokio::select! {
        started = Node::start(config) => started,
        // Nobody was served yet, so there is nothing to finish.
        () = any(&mut terminate, &mut interrupt) => return ExitCode::SUCCESS,
    };
    let node = match started {
        Ok(node) => node,
        Err(error) => return fail_with_sources(&error, error.exit_code()),
    };
    log_start(&node, &data_dir);
    let greeted = say(&greeting::text(&node, &data_dir, certificate.as_deref()));
    if greeted != ExitCode::SUCCESS {
        tracing::debug!("nobody reads what is said at the start");
    }
    let drain = node.drain().clone();
    tokio::spawn(async move {
        any(&mut terminate, &mut interrupt).await;
        drain.leave();
        any(&mut terminate, &mut interrupt).await;
        tracing::warn!("told to leave a second time: exiting at once");
        std::process::exit(i32::from(exit::INTERRUPTED));
    });
    match node.wait().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.exit_code()),
    }
}

/// What is worth knowing later of how the node was started.
fn log_start(node: &NodeHandle, data_dir: &std::path::Path) {
    for (name, meant) in config::unknown_variables() {
        let meant = meant
            .map(|meant| format!("; {meant} is"))
            .unwrap_or_default();
        tracing::warn!("the variable {name} is no setting of a node{meant}");
    }
    tracing::info!(
        listen = %node.public,
        tls = node.tls,
        metrics = %node.metrics.map_or_else(|| "off".to_owned(), |address| address.to_string()),
        data_dir = %data_dir.display(),
        version = env!("CARGO_PKG_VERSION"),
        store = "fjall and SQLite, synced before each answer",
        "serving"
    );
    if !node.tls && !node.public.ip().is_loopback() {
        tracing::warn!(
            listen = %node.public,
            "no TLS: passwords cross the network in the clear unless a proxy in front does TLS"
        );
    }
}

async fn any(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn command_about(user: User) -> anyhow::Result<Command> {
    Ok(match user {
        User::ResetPassword { handle } => {
            let password = read_password()?.into();
            Command::ResetPassword { handle, password }
        }
        User::Disable { handle } => Command::DisableUser { handle },
        User::Enable { handle } => Command::EnableUser { handle },
    })
}

fn operate(config: &Config, command: impl FnOnce() -> anyhow::Result<Command>) -> ExitCode {
    let command = match command() {
        Ok(command) => command,
        Err(error) => return fail(&format!("{error:#}"), exit::USAGE),
    };
    let done =
        Runtime::new().map(|runtime| runtime.block_on(admin::call(&config.data_dir, command)));
    match done {
        Ok(Ok(done)) => say(&format!("{done}\n")),
        Ok(Err(error)) => fail_with_sources(&error, exit::UNAVAILABLE),
        Err(error) => fail(&error, exit::SOFTWARE),
    }
}

/// A password from a terminal without echo, or the first line of what is piped in.
fn read_password() -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        let password = rpassword::prompt_password("New password: ").context("no password")?;
        let again = rpassword::prompt_password("Once more: ").context("no password")?;
        if password != again {
            bail!("the two passwords differ");
        }
        return Ok(password);
    }
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .context("no password on stdin")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Help and version are no faults, and go to stdout.
fn help(text: &clap::Error) -> ExitCode {
    match text.print() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_closed) => ExitCode::from(exit::IO),
    }
}

fn say(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_closed) => ExitCode::from(exit::IO),
    }
}

fn fail_with_sources(error: &dyn Error, code: u8) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Some errors say their cause themselves.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    fail(&text, code)
}

fn fail(error: &dyn Display, code: u8) -> ExitCode {
    let text = format!("magpie-server: {error}\n");
    // Where stderr is closed, the exit code has to do.
    match io::stderr().write_all(text.as_bytes()) {
        Ok(()) | Err(_) => ExitCode::from(code),
    }
}
