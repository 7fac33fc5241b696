//! The unary calls: one channel, the access token on every call, and its renewal. Knows no stream.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::timeout;
use tonic::transport::Channel;

use crate::{
    client::{
        authorized::Authorized,
        credentials::{CredentialStore, Tokens},
        error::Error,
        limits::CALL_TIMEOUT,
        target::Target,
    },
    v1::{
        Credentials, LogInRequest, LogInResponse, LogOutRequest, Reason, SignUpRequest,
        auth_service_client::AuthServiceClient, chat_service_client::ChatServiceClient,
        discovery_service_client::DiscoveryServiceClient,
        message_service_client::MessageServiceClient,
        presence_service_client::PresenceServiceClient, room_service_client::RoomServiceClient,
        user_service_client::UserServiceClient,
    },
};

/// A server as one device of one account sees it (or nobody yet). Cheap to clone.
///
/// Calls return `tonic::Status`; `?` turns it into [`Error`]. A call whose token has run out is
/// made again with a new one.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    target: Target,
    channel: Mutex<Channel>,
    tokens: Option<Tokens>,
}

impl Api {
    /// Without an account: for sign-up and log-in.
    pub fn anonymous(target: Target) -> Result<Self, Error> {
        Self::build(target, None)
    }

    /// With credentials of an earlier run, as its `store` holds them.
    pub fn open(
        target: Target,
        credentials: Credentials,
        store: Arc<dyn CredentialStore>,
    ) -> Result<Self, Error> {
        Self::build(target, Some(Tokens::new(credentials, store)))
    }

    /// Creates an account and stores its first credentials.
    pub async fn sign_up(
        target: Target,
        request: SignUpRequest,
        store: Arc<dyn CredentialStore>,
    ) -> Result<Self, Error> {
        let channel = target.channel()?;
        let mut auth = AuthServiceClient::new(channel);
        let answer = in_time(async { Ok(auth.sign_up(request).await?) }).await?;
        Self::first(target, answer.into_inner().credentials, store).await
    }

    /// Logs a new device in and stores its first credentials. The answer names the device that
    /// was ended to make room, if one was.
    pub async fn log_in(
        target: Target,
        request: LogInRequest,
        store: Arc<dyn CredentialStore>,
    ) -> Result<(Self, LogInResponse), Error> {
        let channel = target.channel()?;
        let mut auth = AuthServiceClient::new(channel);
        let answer = in_time(async { Ok(auth.log_in(request).await?) }).await?;
        let answer = answer.into_inner();
        let api = Self::first(target, answer.credentials.clone(), store).await?;
        Ok((api, answer))
    }

    /// Ends this device at the server: its tokens and streams. Safe to retry, also where it is done
    /// already. The credentials stay in the [`CredentialStore`], of no more use: the program forgets
    /// them.
    ///
    /// # Errors
    /// Of the network, or a refusal.
    pub async fn log_out(&self) -> Result<(), Error> {
        match self
            .auth()
            .log_out(LogOutRequest {})
            .await
            .map_err(Error::from)
        {
            Err(Error::Refused(refusal)) if refusal.reason == Reason::DeviceRevoked => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// The address given.
    pub fn address(&self) -> &str {
        self.inner.target.address()
    }

    /// The account; 0 without one.
    pub fn user_id(&self) -> i64 {
        self.credentials()
            .map_or(0, |credentials| credentials.user_id)
    }

    /// The credentials in use. They are secrets.
    pub fn credentials(&self) -> Option<Credentials> {
        Some(self.inner.tokens.as_ref()?.held().credentials.clone())
    }

    /// An access token that is good for a while yet; renewed first where it is not.
    pub async fn access_token(&self) -> Result<String, Error> {
        let held = in_time(self.tokens()?.fresh(self.channel())).await?;
        Ok(held.credentials.access_token.clone())
    }

    /// Renews the credentials now.
    pub async fn renew(&self) -> Result<(), Error> {
        let tokens = self.tokens()?;
        in_time(tokens.renew(self.channel(), tokens.held().version)).await?;
        Ok(())
    }

    /// Accounts and devices.
    pub fn auth(&self) -> AuthServiceClient<Authorized> {
        AuthServiceClient::new(self.authorized())
    }

    /// Profiles.
    pub fn users(&self) -> UserServiceClient<Authorized> {
        UserServiceClient::new(self.authorized())
    }

    /// Rooms and members.
    pub fn rooms(&self) -> RoomServiceClient<Authorized> {
        RoomServiceClient::new(self.authorized())
    }

    /// Sending, marking and reading history.
    pub fn messages(&self) -> MessageServiceClient<Authorized> {
        MessageServiceClient::new(self.authorized())
    }

    /// The stream in its raw form; [`Session`](crate::client::Session) is the comfortable one.
    pub fn chat(&self) -> ChatServiceClient<Authorized> {
        ChatServiceClient::new(self.authorized())
    }

    /// Presence.
    pub fn presence(&self) -> PresenceServiceClient<Authorized> {
        PresenceServiceClient::new(self.authorized())
    }

    /// Which node to use.
    pub fn discovery(&self) -> DiscoveryServiceClient<Authorized> {
        DiscoveryServiceClient::new(self.authorized())
    }

    pub(crate) fn channel(&self) -> Channel {
        let channel = self.inner.channel.lock();
        channel.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new connection in the place of one that may be dead; running calls keep theirs.
    pub(crate) fn reconnect(&self) -> Result<Channel, Error> {
        let fresh = self.inner.target.channel()?;
        *self
            .inner
            .channel
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        Ok(fresh)
    }

    pub(crate) fn target(&self) -> &Target {
        &self.inner.target
    }

    pub(crate) fn tokens(&self) -> Result<&Tokens, Error> {
        self.inner.tokens.as_ref().ok_or(Error::NotLoggedIn)
    }

    fn authorized(&self) -> Authorized {
        Authorized::new(self.clone())
    }

    fn build(target: Target, tokens: Option<Tokens>) -> Result<Self, Error> {
        let channel = Mutex::new(target.channel()?);
        let inner = Arc::new(Inner {
            target,
            channel,
            tokens,
        });
        Ok(Self { inner })
    }

    async fn first(
        target: Target,
        credentials: Option<Credentials>,
        store: Arc<dyn CredentialStore>,
    ) -> Result<Self, Error> {
        let credentials =
            credentials.ok_or(Error::Protocol("an answer to a log-in without credentials"))?;
        let api = Self::open(target, credentials, store)?;
        api.tokens()?.save_first().await?;
        Ok(api)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Api");
        debug.field("address", &self.address());
        debug.field("user_id", &self.user_id()).finish()
    }
}

/// A server that answers PINGs but not the call would be waited for without an end.
async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Err(Error::Transport("no answer in time".to_owned()));
    timeout(CALL_TIMEOUT, call).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::{net::TcpListener, time::Instant};

    use super::*;
    use crate::client::MemoryStore;

    /// Calls a server that takes connections and never says a word, and returns how long that
    /// took.
    async fn silence<T, F>(call: impl FnOnce(Target) -> F) -> Duration
    where
        F: Future<Output = Result<T, Error>>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let started = Instant::now();
        let answer = call(Target::new(format!("http://{address}"))).await;
        let error = answer.err().expect("no answer");
        assert!(error.is_transport(), "{error}");
        started.elapsed()
    }

    fn store() -> Arc<MemoryStore> {
        Arc::new(MemoryStore::default())
    }

    #[tokio::test(start_paused = true)]
    async fn sign_up_log_in_and_renewal_do_not_wait_for_ever() {
        let sign_up = |target| Api::sign_up(target, SignUpRequest::default(), store());
        let log_in = |target| Api::log_in(target, LogInRequest::default(), store());
        let expired = Credentials {
            access_expire_time: Some(SystemTime::UNIX_EPOCH.into()),
            ..Credentials::default()
        };
        let renew = |target| async {
            let api = Api::open(target, expired.clone(), store())?;
            api.renew().await
        };
        let token = |target| async {
            let api = Api::open(target, expired.clone(), store())?;
            api.access_token().await
        };
        let waits = [
            silence(sign_up).await,
            silence(log_in).await,
            silence(renew).await,
            silence(token).await,
        ];
        for wait in waits {
            assert_eq!(wait.as_secs(), CALL_TIMEOUT.as_secs(), "{waits:?}");
        }
    }
}
