//! A connection to a node: the generated clients over a channel of its own.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use magpie::v1::{
    Credentials, LogInRequest, SignUpRequest, auth_service_client::AuthServiceClient,
    chat_service_client::ChatServiceClient, discovery_service_client::DiscoveryServiceClient,
    message_service_client::MessageServiceClient, presence_service_client::PresenceServiceClient,
    room_service_client::RoomServiceClient, user_service_client::UserServiceClient,
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

use crate::person::Person;

/// The password of everybody in these tests; strong enough for the node's check.
pub const PASSWORD: &str = "seven magpies, a secret never told";

/// The largest answer that these clients take: above all that a node may send.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// A connection, which nobody has logged in on yet.
#[derive(Clone, Debug)]
pub struct Api {
    channel: Channel,
}

impl Api {
    /// Connects at the first call, and again whenever the connection was lost.
    ///
    /// # Panics
    /// Never, since every socket address makes a URI.
    pub fn connect(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .expect("an address makes a URI")
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true);
        Self {
            channel: endpoint.connect_lazy(),
        }
    }

    /// Goes over a channel that was made elsewhere, such as one with TLS.
    pub fn over(channel: Channel) -> Self {
        Self { channel }
    }

    /// Makes an account and logs its first device in.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn try_sign_up(&self, handle: &str, password: &str) -> Result<Credentials, Status> {
        let request = SignUpRequest {
            handle: handle.to_owned(),
            password: password.to_owned(),
            ..SignUpRequest::default()
        };
        let answer = self.auth().sign_up(request).await?.into_inner();
        Ok(answer.credentials.expect("SignUp answers with credentials"))
    }

    /// Makes an account that a test goes on with.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn sign_up(&self, handle: &str) -> Person {
        let credentials = self
            .try_sign_up(handle, PASSWORD)
            .await
            .expect("sign-up is granted");
        Person::new(self.clone(), handle, credentials)
    }

    /// Logs a new device in.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn try_log_in(&self, handle: &str, password: &str) -> Result<Credentials, Status> {
        let request = LogInRequest {
            handle: handle.to_owned(),
            password: password.to_owned(),
            device_name: "second".to_owned(),
        };
        let answer = self.auth().log_in(request).await?.into_inner();
        Ok(answer.credentials.expect("LogIn answers with credentials"))
    }

    /// Logs a new device in that a test goes on with.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn log_in(&self, handle: &str) -> Person {
        let credentials = self
            .try_log_in(handle, PASSWORD)
            .await
            .expect("log-in is granted");
        Person::new(self.clone(), handle, credentials)
    }

    /// The channel below.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The client of AuthService.
    pub fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel())
    }

    /// The client of UserService.
    pub fn users(&self) -> UserServiceClient<Channel> {
        UserServiceClient::new(self.channel())
    }

    /// The client of RoomService.
    pub fn rooms(&self) -> RoomServiceClient<Channel> {
        RoomServiceClient::new(self.channel())
    }

    /// The client of MessageService.
    pub fn messages(&self) -> MessageServiceClient<Channel> {
        MessageServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The client of ChatService.
    pub fn chat(&self) -> ChatServiceClient<Channel> {
        ChatServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The client of PresenceService.
    pub fn presence(&self) -> PresenceServiceClient<Channel> {
        PresenceServiceClient::new(self.channel())
    }

    /// The client of DiscoveryService.
    pub fn discovery(&self) -> DiscoveryServiceClient<Channel> {
        DiscoveryServiceClient::new(self.channel())
    }
}

/// A new client_message_id.
pub fn new_id() -> Bytes {
    Bytes::copy_from_slice(Uuid::now_v7().as_bytes())
}
