//! The node's side of the socket.

use std::{
    fs,
    future::Future,
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use magpie_core::refusal::Refusal;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{Answer, Request, SOCKET_NAME};
use crate::{
    auth::Accounts,
    limits::{ADMIN_CONNECTIONS_MAX, ADMIN_LINE_BYTES_MAX, ADMIN_LINE_WAIT_MAX},
};

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the admin socket {}", path.display())]
pub struct ServeError {
    path: PathBuf,
    source: io::Error,
}

/// The open socket. Its file goes when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

impl Socket {
    /// Opens the socket in the data directory, of which this process holds the lock: a socket that
    /// a killed node left there is replaced.
    pub fn open(directory: &Path) -> Result<Self, ServeError> {
        let path = directory.join(SOCKET_NAME);
        let failed = |source| ServeError {
            path: path.clone(),
            source,
        };
        remove_left_over(&path).map_err(failed)?;
        let listener = UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let owner = rustix::process::geteuid().as_raw();
        Ok(Self {
            listener,
            path,
            owner,
        })
    }

    /// Serves operators until the node leaves.
    pub async fn serve(self, accounts: Accounts, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => {}
            () = self.accept(accounts) => {}
        }
    }

    async fn accept(&self, accounts: Accounts) {
        let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match self.listener.accept().await {
                Ok((stream, _)) if self.may_ask(&stream) => {
                    let accounts = accounts.clone();
                    tokio::spawn(async move {
                        let _place = place;
                        if let Err(error) = answer(stream, &accounts).await {
                            tracing::debug!(%error, "an operator's connection ended early");
                        }
                    });
                }
                Ok(_) => tracing::warn!("another user tried the admin socket"),
                Err(error) => {
                    tracing::warn!(%error, "an operator could not be let in");
                    // Out of descriptors, most likely: that does not pass within a moment.
                    sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Whether the other side runs as the node's user or as root. The mode of the file says the
    /// same, but not in the moment between the file's making and the setting of its mode.
    fn may_ask(&self, stream: &UnixStream) -> bool {
        stream
            .peer_cred()
            .is_ok_and(|peer| peer.uid() == self.owner || peer.uid() == 0)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the admin socket was gone already");
        }
    }
}

fn remove_left_over(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        // Not ours to remove: binding will fail and say so.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

async fn answer(mut stream: UnixStream, accounts: &Accounts) -> io::Result<()> {
    let (reading, mut writing) = stream.split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reading).take(ADMIN_LINE_BYTES_MAX);
    timeout(ADMIN_LINE_WAIT_MAX, reader.read_until(b'\n', &mut line)).await??;
    let answer = match serde_json::from_slice(&line) {
        Ok(request) => match perform(accounts, request).await {
            Ok(message) => Answer::Done { message },
            Err(refusal) => Answer::Refused {
                message: refusal.message.into_owned(),
            },
        },
        // Nothing of the line is repeated: it may hold a password.
        Err(_) => Answer::Refused {
            message: "the node does not know this command: use the magpie-server of its version"
                .to_owned(),
        },
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    timeout(ADMIN_LINE_WAIT_MAX, writing.write_all(&line)).await??;
    timeout(ADMIN_LINE_WAIT_MAX, writing.shutdown()).await?
}

/// Does it, and says what follows from it.
async fn perform(accounts: &Accounts, request: Request) -> Result<String, Refusal> {
    Ok(match request {
        Request::ResetPassword { handle, password } => {
            let devices = accounts.reset_password(&handle, password.into()).await?;
            tracing::info!(handle, devices, "an operator reset a password");
            let ended = ended(devices);
            format!("{handle} has the new password. {ended}")
        }
        Request::DisableUser { handle } => {
            let devices = accounts.set_disabled(&handle, true).await?;
            tracing::info!(handle, devices, "an operator disabled a user");
            let ended = ended(devices);
            format!(
                "Disabled {handle}. {ended} Nobody can log in as {handle} until `user enable {handle}`."
            )
        }
        Request::EnableUser { handle } => {
            accounts.set_disabled(&handle, false).await?;
            tracing::info!(handle, "an operator enabled a user");
            format!("Enabled {handle}, who can log in again with the password as it is.")
        }
        Request::OpenSignUp => {
            accounts.set_sign_up_open(true).await?;
            tracing::info!("an operator opened sign-up");
            "Sign-up is open: whoever reaches the node can make an account.".to_owned()
        }
        Request::CloseSignUp => {
            accounts.set_sign_up_open(false).await?;
            tracing::info!("an operator closed sign-up");
            "Sign-up is closed: nobody can make an account. Those who have one go on, and new ones \
             get SIGN_UP_CLOSED."
                .to_owned()
        }
    })
}

/// What became of the devices of somebody.
fn ended(devices: usize) -> String {
    match devices {
        0 => "No device was logged in.".to_owned(),
        1 => "1 device is logged out, and its sessions end.".to_owned(),
        devices => format!("{devices} devices are logged out, and their sessions end."),
    }
}
