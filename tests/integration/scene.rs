//! What most tests begin with: a node, two people, and a room with both of them.

use magpie::v1::{Entry, MemberChange, MemberChangeKind, State, entry::Body};
use magpie_tests::{
    device::Device,
    node::{Node, Setup},
    person::Person,
    session::{Received, Session},
};

/// A node with two people on it.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) node: Node,
    /// The owner of the room.
    pub(crate) ann: Person,
    /// A member of it.
    pub(crate) bob: Person,
    /// A group with both.
    pub(crate) room: i64,
}

impl Scene {
    /// On a node as most tests want it.
    pub(crate) async fn new() -> Self {
        Self::on(Setup::new()).await
    }

    /// On a node that is set up in its own way.
    pub(crate) async fn on(setup: Setup) -> Self {
        let node = setup.start().await;
        let ann = node.api().sign_up("ann").await;
        let bob = node.api().sign_up("bob").await;
        let room = ann.room_with("nest", &[&bob]).await;
        Self {
            node,
            ann,
            bob,
            room,
        }
    }

    /// Somebody else, who is in no room.
    pub(crate) async fn stranger(&self) -> Person {
        self.node.api().sign_up("cat").await
    }

    /// Has Ann send this many messages, numbered from 1, and returns the last seq.
    pub(crate) async fn ann_sends(&self, count: usize) -> i64 {
        let mut seq = 0;
        for number in 1..=count {
            let answer = self.ann.send(self.room, &format!("message {number}")).await;
            seq = answer.expect("a message is sent").seq;
        }
        seq
    }
}

/// Opens a stream from nothing and waits until it is live.
pub(crate) async fn live(person: &Person) -> Session {
    resume(person, State::default()).await
}

/// Opens a stream from a state and waits until it is live.
pub(crate) async fn resume(person: &Person, state: State) -> Session {
    let session = Session::open(person, state).await.expect("a stream opens");
    session.caught_up().await;
    session
}

/// What a device holds after the frames of one session.
pub(crate) fn device_after(person: &Person, received: &[Received]) -> Device {
    let mut device = Device::new(person.user_id);
    device.take_all(received.iter().map(|received| &received.frame));
    device
}

/// The entries with which a device of a member begins that holds nothing: from the member's own
/// joining on. What was before that is read by ListEntries.
pub(crate) fn since_joining<'a>(person: &Person, log: &'a [Entry]) -> &'a [Entry] {
    let joins = |entry: &Entry| match &entry.body {
        Some(Body::MembershipChanged(changed)) => changes_of(person, &changed.changes),
        Some(Body::RoomCreated(created)) => changes_of(person, &created.changes),
        _ => false,
    };
    let joined = log.iter().rposition(joins).expect("the person joined");
    &log[joined..]
}

fn changes_of(person: &Person, changes: &[MemberChange]) -> bool {
    let joined = |change: &MemberChange| change.kind() == MemberChangeKind::Joined;
    changes
        .iter()
        .any(|change| change.user_id == person.user_id && joined(change))
}
