//! What every command has at hand: the global flags, the credentials, the output, the clock.

use crate::{
    address,
    args::{self, Global},
    clock::Clock,
    credentials::Store,
    failure::{Failure, Result},
    link::Link,
    output::Output,
    text,
};

/// Names the server at sign-up and log-in, where no flag does.
const SERVER_VARIABLE: &str = "MAGPIE_SERVER";

/// What every command has at hand.
#[derive(Debug)]
pub(crate) struct App {
    /// The flags that every command takes.
    pub(crate) global: Global,
    /// The credentials.
    pub(crate) store: Store,
    /// Where to print.
    pub(crate) out: Output,
    /// How to show times.
    pub(crate) clock: Clock,
}

impl App {
    /// As the flags and the environment say.
    pub(crate) fn new(global: Global) -> Result<Self> {
        let dir = match &global.config_dir {
            Some(dir) => dir.clone(),
            None => Store::default_dir()?,
        };
        Ok(Self {
            store: Store::new(dir),
            out: Output::new(&global),
            clock: Clock::local(),
            global,
        })
    }

    /// The way of the chosen profile to its server.
    pub(crate) fn link(&self) -> Result<Link> {
        Link::open(&self.global, &self.store)
    }

    /// How the next command begins that goes on with what this one did: it names the account where
    /// the chosen one is another.
    pub(crate) fn program(&self, link: &Link) -> String {
        let held = self.store.load().unwrap_or_default();
        if held
            .select(None)
            .is_ok_and(|(chosen, _)| chosen == link.profile_name())
        {
            "magpie".to_owned()
        } else {
            format!("magpie --profile {}", text::shell_word(link.profile_name()))
        }
    }

    /// Where to sign up or log in.
    pub(crate) fn server(&self) -> Result<String> {
        if let Some(server) = &self.global.server {
            return Ok(server.clone());
        }
        match server_variable() {
            Some(server) => address::server_url(&server)
                .map_err(|wrong| Failure::usage(format!("{SERVER_VARIABLE}={server}: {wrong}"))),
            None => Ok(args::DEFAULT_SERVER.to_owned()),
        }
    }

    /// Whether that was said, and is not the default.
    pub(crate) fn names_server(&self) -> bool {
        self.global.server.is_some() || server_variable().is_some()
    }
}

fn server_variable() -> Option<String> {
    std::env::var(SERVER_VARIABLE)
        .ok()
        .filter(|server| !server.is_empty())
}
