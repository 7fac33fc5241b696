//! The way to the server for one command: whose credentials, how long to wait, what to try again,
//! and what a failure of a call means to the person.

mod attempts;
mod keeper;
mod probe;

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use magpie::client::{Api, Error as ClientError, Target};
use tonic::{Response, Status};

use self::attempts::Attempts;
use crate::{
    args::Global,
    certificate::NOTHING_SENT,
    credentials::{Profile, Store},
    failure::{Exit, Failure, Result},
    retry::RetryId,
};

pub(crate) use keeper::{Fresh, Keeper};

/// One profile's way to its server.
#[derive(Debug)]
pub(crate) struct Link {
    api: Api,
    server: String,
    profile_name: String,
    profile: Profile,
    timeout: Duration,
}

impl Link {
    /// How long one answer is waited for.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The way of the profile that the command line names.
    pub(crate) fn open(global: &Global, store: &Store) -> Result<Self> {
        let (profile_name, profile) = {
            let profiles = store.load()?;
            let (name, profile) = profiles.select(global.profile.as_deref())?;
            (name.to_owned(), profile.clone())
        };
        // Only a flag leads elsewhere: a variable that was set for another account must not make
        // this one's token go there.
        let server = global
            .server
            .clone()
            .unwrap_or_else(|| profile.server.clone());
        let ca_file = global.ca_file.clone().or_else(|| profile.ca_file.clone());
        let keeper = Keeper::for_renewals(store, &profile_name);
        let target = target(&server, ca_file.as_deref())?;
        let api = Api::open(target, profile.credentials(), Arc::new(keeper))
            .map_err(|error| failed(&error, &server))?;
        Ok(Self {
            api,
            server,
            profile_name,
            profile,
            timeout: Duration::from_secs(global.timeout),
        })
    }

    /// The client library's calls.
    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// Where the calls go.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The name of the profile.
    pub(crate) fn profile_name(&self) -> &str {
        &self.profile_name
    }

    /// The profile as it was at the start.
    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Makes a call that changes nothing, or that may be made again freely.
    pub(crate) async fn read<T, F, C>(&self, call: C) -> Result<T>
    where
        C: Fn(Api) -> F,
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let attempts = Attempts::new(self.timeout);
        attempts.read(&self.server, || call(self.api.clone())).await
    }

    /// Makes a call that takes effect once under `id`, again and again until it is answered.
    /// `given` says that the person gave the id, so that an earlier attempt may exist.
    pub(crate) async fn command<T, F, C>(&self, id: RetryId, given: bool, call: C) -> Result<T>
    where
        C: Fn(Api) -> F,
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let attempts = Attempts::new(self.timeout);
        let call = || call(self.api.clone());
        attempts.command(&self.server, id, given, call).await
    }
}

/// How a certificate begins in PEM (RFC 7468, section 5.1).
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The server to talk to, with the authorities that vouch for it.
pub(crate) fn target(server: &str, ca_file: Option<&Path>) -> Result<Target> {
    let target = Target::new(server);
    let Some(path) = ca_file else {
        return Ok(target);
    };
    let pem = std::fs::read(path)
        .map_err(|error| Failure::local(format!("{}: {error}", path.display())))?;
    if !pem
        .windows(CERTIFICATE.len())
        .any(|line| line == CERTIFICATE)
    {
        let said = format!("{} holds no certificate in PEM", path.display());
        return Err(Failure::local(said).hint(
            "--ca-file wants the certificate of an authority, or of the node where that is \
             self-signed; never a key",
        ));
    }
    Ok(target.with_ca(pem))
}

/// Before a password is asked for: whoever wrote http:// for a server that speaks TLS wanted it to
/// be encrypted, and a call would write it in clear before the server turns it down.
pub(crate) async fn check_plain(server: &str) -> Result<()> {
    if probe::speaks_tls(server).await {
        return Err(Failure::speaks_tls(server));
    }
    Ok(())
}

/// Waits for an answer that comes from outside a [`Link`], such as that of a log-in.
pub(crate) async fn within<T>(
    wait: Duration,
    server: &str,
    answer: impl Future<Output = std::result::Result<T, ClientError>>,
) -> Result<T> {
    match tokio::time::timeout(wait, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(match never_left(&error, server).await {
            Some(failure) => failure,
            None => failed(&error, server),
        }),
        Err(_) => Err(timed_out(server, wait)),
    }
}

/// What a failed call means where nothing may have been changed by it.
pub(crate) fn failed(error: &ClientError, server: &str) -> Failure {
    match error {
        ClientError::Refused(refusal) => Failure::refused(refusal),
        ClientError::Unreachable(cause) => {
            Failure::unreachable(server, &format!("{cause}{NOTHING_SENT}"))
        }
        ClientError::Transport(cause) => Failure::unreachable(server, cause),
        ClientError::Status { code, message } => Failure::new(
            Exit::Unreachable,
            "BAD_ANSWER",
            format!("{server} does not answer as Magpie does: {code:?} {message}").trim_end(),
        )
        .hint("is this the address of a Magpie node? name another with --server URL"),
        ClientError::Address { .. } => Failure::usage(error.to_string())
            .hint("an address is http://HOST:PORT or https://HOST:PORT"),
        ClientError::NotLoggedIn => Failure::not_logged_in("you are not logged in"),
        ClientError::Store(cause) => Failure::local(format!("credentials: {cause}")),
        _ => Failure::new(Exit::Unreachable, "BAD_ANSWER", error.to_string()),
    }
}

/// What to say where the failure shows that no server can have read the call.
pub(crate) async fn never_left(error: &ClientError, server: &str) -> Option<Failure> {
    match error {
        ClientError::Unreachable(_) => Some(failed(error, server)),
        ClientError::Transport(_) => {
            let speaks_tls = probe::speaks_tls(server).await;
            speaks_tls.then(|| Failure::speaks_tls(server))
        }
        _ => None,
    }
}

fn timed_out(server: &str, wait: Duration) -> Failure {
    Failure::new(
        Exit::Unreachable,
        "TIMED_OUT",
        format!("no answer from {server} within {} s", wait.as_secs()),
    )
    .hint("try again, or wait longer with --timeout SECONDS")
}
