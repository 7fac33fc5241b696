//! The task of an edge, with the test in the place of the owners.

use std::time::Duration;

use futures_util::StreamExt;
use magpie::v1::{self, server_frame::Frame};
use magpie_core::{
    edge::{Caller, Hello, Said},
    time::Timestamp,
};
use magpie_store::account::{NewUser, sqlite::SqliteStore};
use prost::Message;
use tempfile::TempDir;

use super::*;
use crate::{grpc::wire::Contract, listen::Budget};

const PATIENCE: Duration = Duration::from_secs(10);

struct Rig {
    router: Arc<Router>,
    owner: Inbox<ToOwner>,
    /// What came to the owner and was not looked at.
    came: Vec<ToOwner>,
    caller: Caller,
    _directory: TempDir,
}

impl Rig {
    /// A running edge, and a user.
    async fn start(revocations: Revocations) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(directory.path()).await.expect("opens");
        let caller = Caller {
            user: UserId::new(1).expect("an id"),
            device: DeviceId::new(2).expect("an id"),
            expires: Timestamp(u64::MAX),
        };
        let user = NewUser {
            id: caller.user,
            handle: "ann".to_owned(),
            display_name: "Ann".to_owned(),
            password_hash: "$argon2id$of-a-password".to_owned().into(),
            created: Timestamp(1),
        };
        store.create_user(user, None).await.expect("made");
        let accounts: Arc<dyn AccountStore> = Arc::new(store);
        let (router, mut inboxes) = Router::new(1, 1, usize::MAX);
        let parts = Parts {
            router: router.clone(),
            accounts: accounts.clone(),
            presences: Presences::new(router.clone(), accounts),
            revocations,
            limits: Limits::default(),
            clock: Clock::system(),
            metrics: Arc::new(Metrics::new()),
        };
        let wire = Contract::new("here".to_owned(), 1, &parts.limits, 1_000);
        let task = Task::new(parts, 0, 1, wire);
        tokio::spawn(task.run(inboxes.edges.remove(0)));
        Self {
            router,
            owner: inboxes.owners.remove(0),
            came: Vec::new(),
            caller,
            _directory: directory,
        }
    }

    fn open(&self, session: u64) -> Frames {
        let budget = Arc::new(Budget::new(1 << 20));
        let session = SessionId(session);
        let (outlet, frames) =
            Outlet::new(session, self.router.clone(), budget, &Limits::default());
        let hello = Hello {
            generation: 1,
            ..Hello::default()
        };
        self.router.open(session, self.caller, hello, outlet);
        frames
    }

    fn tell(&self, input: Input<Outlet>) {
        self.router
            .to_edge(magpie_core::ids::EdgeId(0), ToWorker::Input(input));
    }

    fn watch_oneself(&self, session: u64) {
        let said = Ok(Said::Watch(vec![self.caller.user]));
        let frame = FrameIn { request: 0, said };
        self.tell(Input::Frame(SessionId(session), frame));
    }

    /// The next watch of somebody that the owner is told: whose it is.
    async fn next_watch(&mut self) -> SessionId {
        loop {
            for message in self.came.drain(..) {
                if let ToOwner::User(UserInput::Watch((_, session), users)) = message
                    && !users.is_empty()
                {
                    return session;
                }
            }
            let taken = self.owner.take(&mut self.came, 1);
            let taken = tokio::time::timeout(PATIENCE, taken).await;
            taken.expect("the owner is told something");
        }
    }
}

async fn next(frames: &mut Frames) -> Option<Frame> {
    let next = tokio::time::timeout(PATIENCE, frames.next()).await;
    let encoded = next.expect("a frame or the end")?;
    let frame = v1::ServerFrame::decode(encoded).expect("a frame of the contract");
    Some(frame.frame.expect("a frame that is known"))
}

async fn until_caught_up(frames: &mut Frames) {
    while !matches!(next(frames).await.expect("open"), Frame::CaughtUp(_)) {}
}

#[tokio::test]
async fn watch_of_a_session_that_ended_meanwhile_is_told_to_nobody() {
    let mut rig = Rig::start(Revocations::new(PATIENCE)).await;
    let (mut first, mut second) = (rig.open(1), rig.open(2));
    until_caught_up(&mut first).await;
    until_caught_up(&mut second).await;
    rig.watch_oneself(1);
    rig.tell(Input::Gone(SessionId(1)));
    rig.watch_oneself(2);
    assert_eq!(rig.next_watch().await, SessionId(2));
}

#[tokio::test]
async fn device_revoked_between_its_call_and_its_hello_gets_no_session() {
    let revocations = Revocations::new(PATIENCE);
    let rig = Rig::start(revocations.clone()).await;
    // Nobody holds a session that the news could end.
    revocations.add([rig.caller.device], Timestamp(1));
    let mut news = rig.open(1);
    let Some(Frame::Closing(closing)) = next(&mut news).await else {
        panic!("the session is open")
    };
    let reason = closing.error.expect("a reason").reason();
    assert_eq!(reason, v1::Reason::DeviceRevoked);
    assert!(next(&mut news).await.is_none());
}
