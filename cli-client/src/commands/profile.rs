//! The accounts kept on this machine. Needs no server.

use serde_json::json;

use crate::{
    app::App,
    credentials::{Profile, Profiles},
    failure::{Failure, Result},
    output::Paint,
    render::Table,
    text,
};

pub(crate) fn list(app: &App) -> Result<()> {
    let profiles = app.store.load()?;
    let current = profiles.select(None).map(|(name, _)| name.to_owned()).ok();
    let is_current = |name: &str| current.as_deref() == Some(name);
    if app.out.is_json() {
        for (name, profile) in &profiles.profiles {
            app.out
                .line(&object(name, profile, is_current(name)).to_string())?;
        }
        return Ok(());
    }
    if profiles.profiles.is_empty() {
        return app
            .out
            .line("Nobody is logged in here. Begin with: magpie signup HANDLE");
    }
    for line in table(&profiles, is_current, app.out.paint()).lines() {
        app.out.line(&line)?;
    }
    Ok(())
}

pub(crate) fn choose(app: &App, name: &str) -> Result<()> {
    let profile = app.store.update(|profiles| {
        let Some(profile) = profiles.profiles.get(name).cloned() else {
            let known: Vec<&str> = profiles.profiles.keys().map(String::as_str).collect();
            let hint = match known.as_slice() {
                [] => "nobody is logged in here; begin with `magpie signup HANDLE`".to_owned(),
                known => format!("there are: {}", known.join(", ")),
            };
            return Err(Failure::usage(format!("there is no profile {name:?}")).hint(hint));
        };
        profiles.current = Some(name.to_owned());
        Ok(profile)
    })?;
    app.out.done(
        || format!("You act as @{} on {} now.", profile.handle, profile.server),
        || object(name, &profile, true),
    )
}

fn table(profiles: &Profiles, is_current: impl Fn(&str) -> bool, paint: Paint) -> Table {
    let mut table = Table::new(paint, &["", "PROFILE", "ACCOUNT", "SERVER"]);
    for (name, profile) in &profiles.profiles {
        let mark = if is_current(name) { "*" } else { " " };
        table.row([
            (mark.to_owned(), Paint::bold as _),
            (name.clone(), Paint::bold),
            (
                format!("@{}", text::one_line(&profile.handle)),
                Paint::plain,
            ),
            (text::one_line(&profile.server), Paint::dim),
        ]);
    }
    table
}

fn object(name: &str, profile: &Profile, current: bool) -> serde_json::Value {
    json!({
        "type": "profile",
        "profile": name,
        "server": profile.server,
        "user_id": profile.user_id.to_string(),
        "handle": profile.handle,
        "device_id": profile.device_id.to_string(),
        "current": current,
    })
}
