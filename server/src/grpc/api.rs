//! The services' traits and servers, generated from `proto/magpie/v1` by build.rs.

#![expect(
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]

tonic::include_proto!("magpie.v1");

pub use self::{
    auth_service_server::{AuthService, AuthServiceServer},
    chat_service_server::{ChatService, ChatServiceServer},
    discovery_service_server::{DiscoveryService, DiscoveryServiceServer},
    message_service_server::{MessageService, MessageServiceServer},
    presence_service_server::{PresenceService, PresenceServiceServer},
    room_service_server::{RoomService, RoomServiceServer},
    user_service_server::{UserService, UserServiceServer},
};
