//! One function for each command; this file leads each to its own.

mod account;
mod chat;
mod devices;
mod follow;
mod history;
mod members;
mod message;
mod presence;
mod profile;
mod room;
mod tail;

use clap::CommandFactory;

use crate::{
    app::App,
    args::{Cli, Command, DevicesAction, ProfileAction},
    failure::Result,
};

/// Runs a command.
pub(crate) async fn run(app: &App, command: Command) -> Result<()> {
    match command {
        Command::Signup(args) => account::sign_up(app, args).await,
        Command::Login(args) => account::log_in(app, args).await,
        Command::Logout(args) => account::log_out(app, args.local).await,
        Command::Whoami => account::who_am_i(app).await,
        Command::Passwd(args) => account::change_password(app, args.password_stdin).await,
        Command::Profile { action } => match action {
            ProfileAction::List => profile::list(app),
            ProfileAction::Use { name } => profile::choose(app, &name),
        },
        Command::Devices { action } => match action.unwrap_or(DevicesAction::List) {
            DevicesAction::List => devices::list(app).await,
            DevicesAction::Revoke { device_id } => devices::revoke(app, device_id).await,
        },
        Command::Create(args) => room::create(app, args).await,
        Command::Direct { handle } => room::direct(app, &handle).await,
        Command::Rooms { long, unread } => room::list(app, long, unread).await,
        Command::Members { room } => members::list(app, &room.room).await,
        Command::Invite(args) => members::invite(app, args).await,
        Command::Leave(args) => members::leave(app, args).await,
        Command::Remove(args) => members::remove(app, args).await,
        Command::Rename(args) => room::rename(app, args).await,
        Command::Send(args) => message::send(app, args).await,
        Command::Read { room, seq } => message::read(app, &room.room, seq).await,
        Command::Message { room, seq } => message::whole(app, &room.room, seq).await,
        Command::History(args) => history::show(app, args).await,
        Command::Presence { handles } => presence::get(app, &handles).await,
        Command::Status { availability, text } => presence::set(app, availability, text).await,
        Command::Tail(args) => tail::run(app, args).await,
        Command::Chat { room, lines } => chat::run(app, &room.room, lines).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "magpie", &mut script);
            app.out.line(String::from_utf8_lossy(&script).trim_end())
        }
    }
}
