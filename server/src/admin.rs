//! What an operator may do to a running node, over a Unix socket in the data directory that only
//! the node's own user may open: one line of JSON there, one line back.

mod client;
mod server;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub(crate) use self::client::holder;
pub use self::{
    client::{CallError, call},
    server::{ServeError, Socket},
};

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "admin.sock";

/// What an operator asks for.
#[derive(Clone, Debug)]
pub enum Command {
    /// Gives a user another password and ends all of the user's devices.
    ResetPassword {
        /// In any case.
        handle: String,
        /// In the clear.
        password: SecretString,
    },
    /// Disables a user and ends all of the user's devices.
    DisableUser {
        /// In any case.
        handle: String,
    },
    /// Lets a disabled user log in again.
    EnableUser {
        /// In any case.
        handle: String,
    },
    /// Lets people sign up.
    OpenSignUp,
    /// Lets nobody sign up.
    CloseSignUp,
}

/// A [`Command`] as it goes over the socket: secrets do not serialize by accident elsewhere.
#[derive(Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
enum Request {
    ResetPassword { handle: String, password: String },
    DisableUser { handle: String },
    EnableUser { handle: String },
    OpenSignUp,
    CloseSignUp,
}

/// The node's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
enum Answer {
    Done { message: String },
    Refused { message: String },
}

#[cfg(test)]
mod tests;
