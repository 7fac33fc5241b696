//! Accounts: sign-up, log-in and log-out, who one is, and the password.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use magpie::{
    client::{Api, Error as ClientError},
    v1::{
        ChangePasswordRequest, GetProfileRequest, LogInRequest, Reason, RevokeDeviceRequest,
        SignUpRequest, User,
    },
};
use serde_json::{Value, json};

use crate::{
    address,
    app::App,
    args::{Device, Login, Signup},
    failure::{Exit, Failure, Result, reason_name},
    limits::DEVICE_NAME_CHARACTERS_MAX,
    link::{self, Fresh, Keeper, Link},
    names::Names,
    password::Source,
    rooms::incomplete,
    text,
};

pub(crate) async fn sign_up(app: &App, args: Signup) -> Result<()> {
    let place = Place {
        server: app.server()?,
        ca_file: app.global.ca_file.clone(),
    };
    let keeper = keeper(app, &args.handle, &place).await?;
    let password = Source::new(args.secret.password_stdin)?
        .new_one(&format!("New password for @{}: ", args.handle))?;
    let server = place.server;
    let target = link::target(&server, place.ca_file.as_deref())?;
    let request = SignUpRequest {
        handle: args.handle.clone(),
        display_name: args.name.unwrap_or_default(),
        password,
        device_name: device_name(args.device),
    };
    let retry = format!("it may have been made: try `magpie login {}`", args.handle);
    once(
        app,
        &server,
        &retry,
        Api::sign_up(target, request, Arc::new(keeper)),
    )
    .await?;
    let link = opened(app, &args.handle)?;
    let user = at_hand(&link).await;
    app.out.done(
        || {
            format!(
                "Welcome, {}. You are logged in on {server}.\n\
                 Next: magpie create \"Tea room\", or magpie chat @HANDLE to talk with somebody.",
                full_name(&user)
            )
        },
        || account_json(&link, &user),
    )
}

pub(crate) async fn log_in(app: &App, args: Login) -> Result<()> {
    let place = place(app, &args.handle)?;
    let keeper = keeper(app, &args.handle, &place).await?;
    let password = Source::new(args.secret.password_stdin)?
        .existing(&format!("Password for @{}: ", args.handle))?;
    let server = place.server;
    let target = link::target(&server, place.ca_file.as_deref())?;
    let request = LogInRequest {
        handle: args.handle.clone(),
        password,
        device_name: device_name(args.device),
    };
    let answer = Api::log_in(target, request, Arc::new(keeper));
    let held = app.store.load()?;
    let held = held.profiles.get(&profile_name(app, &args.handle));
    let former = held.map(|profile| profile.device_id);
    let (_, answer) = link::within(timeout(app), &server, answer).await?;
    if let Some(device_id) = answer.ended_device_id {
        app.out.notice(
            "device_ended",
            &format!(
                "your device {device_id} was logged out to make room for this one: the account had \
                 as many as it may"
            ),
        );
    }
    let link = opened(app, &args.handle)?;
    if let Some(device_id) = former {
        // Its credentials were just replaced: left alone, it would only fill the list of devices.
        // If this fails it still ends by itself in time.
        link.read(|api| async move {
            let request = RevokeDeviceRequest { device_id };
            api.auth().revoke_device(request).await
        })
        .await
        .ok();
    }
    let user = at_hand(&link).await;
    app.out.done(
        || format!("Logged in as {} on {server}.", full_name(&user)),
        || account_json(&link, &user),
    )
}

pub(crate) async fn log_out(app: &App, local: bool) -> Result<()> {
    let link = app.link()?;
    if !local {
        let answer = link::within(timeout(app), link.server(), link.api().log_out()).await;
        match answer {
            // The server knows this device no longer, so there is nothing to end.
            Err(failure) if failure.exit() != Exit::NotLoggedIn => {
                return Err(failure
                    .hint("to forget the credentials here all the same: `magpie logout --local`"));
            }
            Ok(()) | Err(_) => {}
        }
    }
    let name = link.profile_name().to_owned();
    app.store
        .update(|profiles| {
            profiles.remove(&name);
            Ok(())
        })
        .map_err(|failure| match local {
            true => failure,
            false => failure
                .detail("effect", json!("done"))
                .hint("the server has ended this device; `magpie logout --local` forgets it here"),
        })?;
    app.out.done(
        || {
            let handle = &link.profile().handle;
            match local {
                true => format!(
                    "Forgot @{handle} here. The server still has this device: `devices` lists it, and \
                     `devices revoke` logs it out."
                ),
                false => format!("Logged out @{handle}."),
            }
        },
        || json!({"type": "logged_out", "profile": name, "handle": link.profile().handle}),
    )
}

pub(crate) async fn who_am_i(app: &App) -> Result<()> {
    let link = app.link()?;
    let user = profile(&link).await?;
    app.out.say(
        || {
            format!(
                "{} on {} (profile {}, device {})",
                full_name(&user),
                link.server(),
                link.profile_name(),
                link.profile().device_id
            )
        },
        || account_json(&link, &user),
    )
}

pub(crate) async fn change_password(app: &App, from_stdin: bool) -> Result<()> {
    let link = app.link()?;
    link::check_plain(link.server()).await?;
    let source = Source::new(from_stdin)?;
    let request = ChangePasswordRequest {
        old_password: source.existing("Old password: ")?,
        new_password: source.new_one("New password: ")?,
    };
    let mut auth = link.api().auth();
    let answer = async move {
        auth.change_password(request).await?;
        Ok(())
    };
    let retry = "it may have been changed: try `magpie login` with the new password";
    once(app, link.server(), retry, answer)
        .await
        .map_err(|failure| {
            if failure.reason() == reason_name(Reason::WrongCredentials) {
                failure.with_message("the old password is wrong".to_owned())
            } else {
                failure
            }
        })?;
    app.out.done(
        || "The password is changed. All your other devices are logged out.".to_owned(),
        || json!({"type": "password_changed"}),
    )
}

/// A call that must not be made twice: where its answer is lost, `otherwise` says what to do.
async fn once<T>(
    app: &App,
    server: &str,
    otherwise: &str,
    answer: impl Future<Output = std::result::Result<T, ClientError>>,
) -> Result<T> {
    let unknown = |cause: &str| {
        Failure::new(
            Exit::OutcomeUnknown,
            "OUTCOME_UNKNOWN",
            format!("the answer was lost, so the outcome is unknown: {cause}"),
        )
        .hint(otherwise)
    };
    match tokio::time::timeout(timeout(app), answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(match link::never_left(&error, server).await {
            Some(failure) => failure,
            None if error.is_transport() => unknown(&error.to_string()),
            None => link::failed(&error, server),
        }),
        Err(_) => Err(unknown("no answer in time")),
    }
}

/// A server, and who vouches for it.
struct Place {
    server: String,
    ca_file: Option<PathBuf>,
}

/// Where somebody logs in: where nothing says otherwise, where they did before.
fn place(app: &App, handle: &str) -> Result<Place> {
    let mut place = Place {
        server: app.server()?,
        ca_file: app.global.ca_file.clone(),
    };
    let profiles = app.store.load()?;
    let held = profiles.profiles.get(&profile_name(app, handle));
    if let Some(held) = held.filter(|held| held.handle == handle) {
        if !app.names_server() {
            place.server.clone_from(&held.server);
        }
        if place.ca_file.is_none() && place.server == held.server {
            place.ca_file.clone_from(&held.ca_file);
        }
    }
    Ok(place)
}

/// Where the new credentials go: to the profile named, else to one named as the handle.
async fn keeper(app: &App, handle: &str, place: &Place) -> Result<Keeper> {
    let name = profile_name(app, handle);
    let server = place.server.clone();
    app.store.load()?.check_free(&name, &server, handle)?;
    app.store.check_writable()?;
    link::check_plain(&server).await?;
    if !address::is_private(&server) {
        app.out.notice(
            "unencrypted",
            &format!("others on the way to {server} can read the password: https:// prevents it"),
        );
    }
    let ca_file = match &place.ca_file {
        Some(path) => Some(std::path::absolute(path)?),
        None => None,
    };
    let fresh = Fresh {
        server,
        ca_file,
        handle: handle.to_owned(),
    };
    Ok(Keeper::for_log_in(&app.store, &name, fresh))
}

fn profile_name(app: &App, handle: &str) -> String {
    app.global
        .profile
        .clone()
        .unwrap_or_else(|| handle.to_owned())
}

fn opened(app: &App, handle: &str) -> Result<Link> {
    let mut global = app.global.clone();
    global.profile = Some(profile_name(app, handle));
    Link::open(&global, &app.store)
}

async fn profile(link: &Link) -> Result<User> {
    let answer = link
        .read(|api| async move { api.users().get_profile(GetProfileRequest {}).await })
        .await?;
    answer.user.ok_or_else(|| incomplete("GetProfile"))
}

/// The profile after a log-in, which is done whether or not that can be had.
async fn at_hand(link: &Link) -> User {
    profile(link).await.unwrap_or_else(|_| User {
        user_id: link.profile().user_id,
        handle: link.profile().handle.clone(),
        ..User::default()
    })
}

fn full_name(user: &User) -> String {
    let mut names = Names::default();
    names.insert(user.clone());
    names.full(user.user_id)
}

fn account_json(link: &Link, user: &User) -> Value {
    json!({
        "type": "account",
        "profile": link.profile_name(),
        "server": link.server(),
        "user_id": user.user_id.to_string(),
        "handle": user.handle,
        "display_name": user.display_name,
        "device_id": link.profile().device_id.to_string(),
    })
}

/// What `devices` calls this installation.
fn device_name(device: Device) -> String {
    device.device_name.unwrap_or_else(|| {
        let host = rustix::system::uname();
        let name = format!("terminal on {}", host.nodename().to_string_lossy());
        text::one_line(&name)
            .chars()
            .take(DEVICE_NAME_CHARACTERS_MAX)
            .collect()
    })
}

fn timeout(app: &App) -> Duration {
    Duration::from_secs(app.global.timeout)
}
