//! The Rust client: unary calls with tokens that renew themselves ([`Api`]), and a stream that
//! comes back by itself and hands out each entry once ([`Session`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use magpie::{
//!     client::{Api, Event, MemoryStore, Session, SessionOptions, Target},
//!     v1::LogInRequest,
//! };
//!
//! let request = LogInRequest {
//!     handle: "ada".into(),
//!     password: "correct horse battery".into(),
//!     device_name: "example".into(),
//! };
//! let target = Target::new("http://127.0.0.1:7400");
//! let (api, _) = Api::log_in(target, request, Arc::new(MemoryStore::default())).await?;
//! let (session, mut events) = Session::open(&api, SessionOptions::default());
//! while let Some(event) = events.next().await {
//!     if let Event::Entry(entry) = event {
//!         session.mark_read(entry.room_id, entry.seq).await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod api;
mod authorized;
mod backoff;
mod credentials;
mod driver;
mod error;
mod event;
#[cfg(test)]
mod fake;
pub mod limits;
mod machine;
mod marks;
mod outgoing;
mod pending;
mod progress;
mod rooms;
mod session;
mod target;
#[cfg(test)]
mod tests;
mod verdict;

pub use self::{
    api::Api,
    authorized::Authorized,
    backoff::Profile,
    credentials::{CredentialStore, LockedCredentials, MemoryStore},
    error::{BoxError, Error, Refusal},
    event::{Connected, Event, MessageId, RoomUpdate, SendError, Sent},
    pending::{Draft, NoOutbox, Outbox, PendingSend},
    session::{Events, Session, SessionEnded, SessionOptions},
    target::Target,
};
