//! The way to the server for one command: whose credentials, how long to wait, what to try again,
//! and what a failure of a call means to the person.

use std::{future::Future, sync::Arc, time::Duration};

use magpie::{
    client::{
        Api, BoxError, CredentialStore, Error as ClientError, LockedCredentials, Refusal, Target,
    },
    v1::{self, Effect},
};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Response, Status};

use crate::{
    args::Global,
    credentials::{Locked, Profile, Store},
    failure::{Exit, Failure, Result},
    retry::RetryId,
};

/// How long to wait before the second attempt; each further wait is twice as long.
const RETRY_WAIT: Duration = Duration::from_millis(200);
/// The longest wait between two attempts.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);

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
        let keeper = Keeper {
            store: store.clone(),
            profile_name: profile_name.clone(),
            fresh: None,
        };
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

/// The server to talk to, with the authorities that vouch for it.
pub(crate) fn target(server: &str, ca_file: Option<&std::path::Path>) -> Result<Target> {
    let target = Target::new(server);
    let Some(path) = ca_file else {
        return Ok(target);
    };
    let pem = std::fs::read(path)
        .map_err(|error| Failure::local(format!("{}: {error}", path.display())))?;
    Ok(target.with_ca(pem))
}

/// Waits for an answer that comes from outside a [`Link`], such as that of a log-in.
pub(crate) async fn within<T>(
    wait: Duration,
    server: &str,
    answer: impl Future<Output = std::result::Result<T, ClientError>>,
) -> Result<T> {
    match tokio::time::timeout(wait, answer).await {
        Ok(answer) => answer.map_err(|error| failed(&error, server)),
        Err(_) => Err(timed_out(server, wait)),
    }
}

/// What a failed call means where nothing may have been changed by it.
pub(crate) fn failed(error: &ClientError, server: &str) -> Failure {
    match error {
        ClientError::Refused(refusal) => Failure::refused(refusal),
        ClientError::Transport(cause) => Failure::unreachable(server, cause),
        ClientError::Status { code, message } => Failure::new(
            Exit::Unreachable,
            "BAD_ANSWER",
            format!("{server} does not answer as Magpie does: {code:?} {message}"),
        )
        .hint("is this the address of a Magpie node? name another with --server URL"),
        ClientError::Address { .. } => Failure::usage(error.to_string())
            .hint("an address is http://HOST:PORT or https://HOST:PORT"),
        ClientError::NotLoggedIn => Failure::not_logged_in("you are not logged in"),
        ClientError::Store(cause) => Failure::local(format!("credentials: {cause}")),
        _ => Failure::new(Exit::Unreachable, "BAD_ANSWER", error.to_string()),
    }
}

/// Whether the failure shows that no byte of the call reached a server.
pub(crate) fn never_left(error: &ClientError) -> bool {
    let ClientError::Transport(cause) = error else {
        return false;
    };
    let cause = cause.to_ascii_lowercase();
    [
        "connection refused",
        "dns error",
        "failed to lookup",
        "unreachable",
    ]
    .iter()
    .any(|sign| cause.contains(sign))
}

fn timed_out(server: &str, wait: Duration) -> Failure {
    Failure::new(
        Exit::Unreachable,
        "TIMED_OUT",
        format!("no answer from {server} within {} s", wait.as_secs()),
    )
    .hint("try again, or wait longer with --timeout SECONDS")
}

/// The attempts at one call, until a deadline.
struct Attempts {
    wait: Duration,
    deadline: Instant,
}

impl Attempts {
    fn new(wait: Duration) -> Self {
        Self {
            wait,
            deadline: Instant::now() + wait,
        }
    }

    async fn read<T, F>(&self, server: &str, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        loop {
            let error = match timeout_at(self.deadline, call()).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => ClientError::from(status),
                Err(_) => return Err(timed_out(server, self.wait)),
            };
            match error
                .refusal()
                .and_then(|refusal| self.worth_waiting(refusal))
            {
                Some(wait) => sleep(wait).await,
                None => return Err(failed(&error, server)),
            }
        }
    }

    async fn command<T, F>(
        &self,
        server: &str,
        id: RetryId,
        given: bool,
        call: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        // Whether an attempt before the present one may have taken effect.
        let mut earlier = given;
        let mut backoff = RETRY_WAIT;
        loop {
            let error = match timeout_at(self.deadline, call()).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => ClientError::from(status),
                Err(_) => {
                    let cause = format!("no answer within {} s", self.wait.as_secs());
                    return Err(Failure::outcome_unknown(&cause, &id.to_string()));
                }
            };
            if let Some(refusal) = error.refusal() {
                if let Some(wait) = self.worth_waiting(refusal) {
                    earlier |= refusal.effect == Effect::Unknown;
                    sleep(wait).await;
                    continue;
                }
                let failure = Failure::refused(refusal);
                return Err(match refusal.effect {
                    Effect::None => failure,
                    Effect::AttemptNone if !earlier => failure,
                    _ => failure.with_unknown_outcome(&id.to_string()),
                });
            }
            if !earlier && never_left(&error) {
                return Err(failed(&error, server));
            }
            if !error.is_transport() {
                let failure = failed(&error, server);
                return Err(if earlier {
                    failure.with_unknown_outcome(&id.to_string())
                } else {
                    failure
                });
            }
            earlier = true;
            if Instant::now() + backoff >= self.deadline {
                return Err(Failure::outcome_unknown(
                    &error.to_string(),
                    &id.to_string(),
                ));
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(RETRY_WAIT_MAX);
        }
    }

    /// How long to wait before the same call, where that may help and there is the time.
    fn worth_waiting(&self, refusal: &Refusal) -> Option<Duration> {
        if !refusal.is_retriable() || refusal.reason == v1::Reason::StorageFull {
            return None;
        }
        let wait = refusal.retry_after.unwrap_or(RETRY_WAIT).max(RETRY_WAIT);
        (Instant::now() + wait < self.deadline).then_some(wait)
    }
}

/// Keeps one profile's credentials for the client library.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    store: Store,
    profile_name: String,
    /// At sign-up and log-in: where and who. Absent for renewals.
    fresh: Option<Fresh>,
}

/// Who logs in, and where.
#[derive(Clone, Debug)]
pub(crate) struct Fresh {
    pub(crate) server: String,
    pub(crate) ca_file: Option<std::path::PathBuf>,
    pub(crate) handle: String,
}

impl Keeper {
    /// Keeps what a log-in brings, under a new or the same profile.
    pub(crate) fn for_log_in(store: &Store, profile_name: &str, fresh: Fresh) -> Self {
        Self {
            store: store.clone(),
            profile_name: profile_name.to_owned(),
            fresh: Some(fresh),
        }
    }
}

impl CredentialStore for Keeper {
    fn lock(&self) -> std::result::Result<Box<dyn LockedCredentials>, BoxError> {
        Ok(Box::new(LockedKeeper {
            locked: self.store.lock()?,
            keeper: self.clone(),
        }))
    }
}

struct LockedKeeper {
    locked: Locked,
    keeper: Keeper,
}

impl LockedCredentials for LockedKeeper {
    fn load(&mut self) -> std::result::Result<Option<v1::Credentials>, BoxError> {
        let profiles = self.locked.load()?;
        let profile = profiles.profiles.get(&self.keeper.profile_name);
        Ok(profile.map(Profile::credentials))
    }

    fn save(&mut self, credentials: &v1::Credentials) -> std::result::Result<(), BoxError> {
        let mut profiles = self.locked.load()?;
        let name = &self.keeper.profile_name;
        if let Some(fresh) = &self.keeper.fresh {
            let mut profile = Profile::new(&fresh.server, &fresh.handle, credentials.clone());
            profile.ca_file.clone_from(&fresh.ca_file);
            profiles.insert(name, profile)?;
        } else {
            match profiles.profiles.get_mut(name) {
                Some(held) if held.device_id == credentials.device_id => {
                    *held = held.renewed(credentials.clone());
                }
                // Another log-in took the profile over, or a log-out ended it: these credentials
                // are good for this process only.
                Some(_) | None => return Ok(()),
            }
        }
        self.locked.save(&profiles)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
