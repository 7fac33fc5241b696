//! The operator's side of the socket.

use std::{
    io,
    path::{Path, PathBuf},
};

use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

use super::{Answer, Command, Request, SOCKET_NAME};
use crate::limits::{ADMIN_LINE_BYTES_MAX, ADMIN_LINE_WAIT_MAX};

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No node has this data directory.
    #[error("no node is running with the data directory {}", .0.display())]
    NoNode(PathBuf),
    /// The socket belongs to another user.
    #[error("only the user who runs the node may give it commands: try `sudo`")]
    Denied,
    /// The command is longer than any that can be right.
    #[error("the command is too long")]
    TooLong,
    /// The connection failed, and the command may or may not have been done.
    #[error("the node did not answer: look into its log, then try again")]
    Io(#[from] io::Error),
    /// The node said no.
    #[error("{0}")]
    Refused(String),
}

/// Has the node of this data directory do a command, and returns what it did, for people. All of
/// them are safe to retry.
pub async fn call(directory: &Path, command: Command) -> Result<String, CallError> {
    let path = directory.join(SOCKET_NAME);
    let stream = UnixStream::connect(&path)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                CallError::NoNode(directory.to_owned())
            }
            io::ErrorKind::PermissionDenied => CallError::Denied,
            _ => CallError::Io(error),
        })?;
    let mut line = serde_json::to_vec(&request(command)).map_err(io::Error::from)?;
    line.push(b'\n');
    if line.len() as u64 > ADMIN_LINE_BYTES_MAX {
        return Err(CallError::TooLong);
    }
    let answer = timeout(ADMIN_LINE_WAIT_MAX, exchange(stream, &line))
        .await
        .map_err(io::Error::from)?;
    match answer? {
        Answer::Done { message } => Ok(message),
        Answer::Refused { message } => Err(CallError::Refused(message)),
    }
}

/// The process that serves the socket of a data directory, if one does.
pub(crate) async fn holder(directory: &Path) -> Option<u32> {
    let stream = UnixStream::connect(directory.join(SOCKET_NAME));
    let stream = timeout(ADMIN_LINE_WAIT_MAX, stream).await.ok()?.ok()?;
    let pid = stream.peer_cred().ok()?.pid()?;
    u32::try_from(pid).ok().filter(|pid| *pid > 0)
}

async fn exchange(mut stream: UnixStream, line: &[u8]) -> io::Result<Answer> {
    stream.write_all(line).await?;
    let mut answer = Vec::new();
    let mut reader = BufReader::new(stream).take(ADMIN_LINE_BYTES_MAX);
    reader.read_until(b'\n', &mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}

fn request(command: Command) -> Request {
    match command {
        Command::ResetPassword { handle, password } => Request::ResetPassword {
            handle,
            password: password.expose_secret().to_owned(),
        },
        Command::DisableUser { handle } => Request::DisableUser { handle },
        Command::EnableUser { handle } => Request::EnableUser { handle },
        Command::OpenSignUp => Request::OpenSignUp,
        Command::CloseSignUp => Request::CloseSignUp,
    }
}
