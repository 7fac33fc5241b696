//! An operator and a node, over a real socket.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, sync::Arc};

use magpie_core::refusal::Reason;
use magpie_store::account::sqlite::SqliteStore;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::oneshot,
    task::JoinHandle,
};

use super::*;
use crate::{
    auth::{Accounts, Limits, LogIn, SignUp},
    clock::Clock,
};

const PASSWORD: &str = "lumpy walnut cadence";

struct World {
    accounts: Accounts,
    directory: TempDir,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let store = SqliteStore::open(directory.path()).await.expect("it opens");
        let accounts = Accounts::open(Arc::new(store), Limits::default(), Clock::system()).await;
        let accounts = accounts.expect("it opens");
        let socket = Socket::open(directory.path()).expect("it opens");
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(socket.serve(accounts.clone(), async {
            stopped.await.expect("the test ends it");
        }));
        Self {
            accounts,
            directory,
            stop,
            served,
        }
    }

    async fn call(&self, command: Command) -> Result<String, CallError> {
        call(self.directory.path(), command).await
    }

    async fn sign_up(&self, handle: &str) -> Result<(), Reason> {
        let wish = SignUp {
            handle: handle.to_owned(),
            display_name: String::new(),
            password: PASSWORD.to_owned().into(),
            device_name: String::new(),
        };
        let done = self.accounts.sign_up(wish, peer()).await;
        done.map(drop).map_err(|refusal| refusal.reason)
    }

    async fn log_in(&self, handle: &str, password: &str) -> Result<(), Reason> {
        let wish = LogIn {
            handle: handle.to_owned(),
            password: password.to_owned().into(),
            device_name: String::new(),
        };
        let done = self.accounts.log_in(wish, peer()).await;
        done.map(drop).map_err(|refusal| refusal.reason)
    }
}

fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 1))
}

fn handle() -> String {
    "Ann".to_owned()
}

#[tokio::test]
async fn each_command_is_done() {
    let world = World::new().await;
    world.sign_up("ann").await.expect("it is open");

    world.call(Command::CloseSignUp).await.expect("it works");
    assert_eq!(world.sign_up("ben").await, Err(Reason::SignUpClosed));
    world.call(Command::OpenSignUp).await.expect("it works");
    world.sign_up("ben").await.expect("it is open");

    let disable = || world.call(Command::DisableUser { handle: handle() });
    let said = disable().await.expect("it works");
    assert!(said.starts_with("Disabled Ann. 1 device is"), "{said}");
    let said = disable().await.expect("it works");
    assert!(said.contains("No device was logged in"), "{said}");
    assert_eq!(
        world.log_in("ann", PASSWORD).await,
        Err(Reason::UserDisabled)
    );
    world
        .call(Command::EnableUser { handle: handle() })
        .await
        .expect("it works");
    world
        .log_in("ann", PASSWORD)
        .await
        .expect("the user is enabled");

    let password = "seven vivid otters";
    let reset = Command::ResetPassword {
        handle: handle(),
        password: password.to_owned().into(),
    };
    world.call(reset).await.expect("it works");
    assert_eq!(
        world.log_in("ann", PASSWORD).await,
        Err(Reason::WrongCredentials)
    );
    world
        .log_in("ann", password)
        .await
        .expect("it is the new one");
}

#[tokio::test]
async fn a_refusal_says_why() {
    let world = World::new().await;
    let error = world.call(Command::DisableUser { handle: handle() }).await;
    let error = error.expect_err("there is no such user");
    assert!(
        matches!(&error, CallError::Refused(why) if why.contains("no user")),
        "{error}"
    );
    world.sign_up("ann").await.expect("it is open");
    let weak = Command::ResetPassword {
        handle: handle(),
        password: "12345678".to_owned().into(),
    };
    let error = world.call(weak).await.expect_err("it is weak");
    assert!(
        matches!(&error, CallError::Refused(why) if why.contains("guess")),
        "{error}"
    );
    let long = "x".repeat(10_000).into();
    let error = world
        .call(Command::ResetPassword {
            handle: handle(),
            password: long,
        })
        .await;
    assert!(matches!(error, Err(CallError::TooLong)));
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_goes_with_the_node() {
    let world = World::new().await;
    let path = world.directory.path().join(SOCKET_NAME);
    let mode = fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    world.stop.send(()).expect("it is served");
    world.served.await.expect("it ends");
    assert!(!path.exists());
    let error = call(world.directory.path(), Command::OpenSignUp).await;
    assert!(matches!(error, Err(CallError::NoNode(_))));
}

#[tokio::test]
async fn the_socket_of_a_killed_node_is_replaced_but_no_other_file() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join(SOCKET_NAME);
    drop(std::os::unix::net::UnixListener::bind(&path).expect("the directory is ours"));
    let error = call(directory.path(), Command::OpenSignUp).await;
    assert!(
        matches!(error, Err(CallError::NoNode(_))),
        "nobody listens there"
    );
    drop(Socket::open(directory.path()).expect("it is replaced"));

    fs::write(&path, "precious").expect("the directory is ours");
    Socket::open(directory.path()).expect_err("it is not a socket");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
}

#[tokio::test]
async fn garbage_is_answered_and_not_repeated() {
    let world = World::new().await;
    let path = world.directory.path().join(SOCKET_NAME);
    let long = "x".repeat(100_000);
    for line in [
        "\n",
        "{\"command\":\"reset-password\",\"secret\":\"otters\"}\n",
        &long,
    ] {
        let mut stream = UnixStream::connect(&path).await.expect("it listens");
        // The node may answer and close before it has read all of it.
        drop(stream.write_all(line.as_bytes()).await);
        let mut answer = String::new();
        if stream.read_to_string(&mut answer).await.is_ok() {
            assert!(
                answer.contains("refused") && !answer.contains("otters"),
                "{answer}"
            );
        }
    }
    world
        .call(Command::OpenSignUp)
        .await
        .expect("it still serves");
}
