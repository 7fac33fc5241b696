//! A node under attack: honest people in one room, and hostile ones in a room of their own, so that
//! what the honest notice is the node's doing.

use std::{fs, time::Duration};

use magpie::v1::State;
use magpie_tests::{
    memory::MemoryMark,
    node::{Node, Setup},
    person::Person,
    session::Session,
};

use crate::honest::Honest;

pub(crate) use magpie_tests::memory::CONNECTION_BYTES_MAX;

/// Ticks of the kernel's clock of CPU time in a second, as everywhere on Linux.
const TICKS_PER_SECOND: u64 = 100;

/// A node, two honest people and a hostile one.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) node: Node,
    pub(crate) ann: Person,
    pub(crate) bob: Person,
    /// Ann's and Bob's.
    pub(crate) room: i64,
    pub(crate) mallory: Person,
    /// Mallory's and Ann's.
    pub(crate) den: i64,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::on(Setup::new()).await
    }

    /// On a node that is set up in its own way.
    pub(crate) async fn on(setup: Setup) -> Self {
        let node = setup.start().await;
        let api = node.api();
        let ann = api.sign_up("ann").await;
        let bob = node.api().sign_up("bob").await;
        let mallory = node.api().sign_up("mallory").await;
        let room = ann.room_with("nest", &[&bob]).await;
        let den = mallory.room_with("den", &[&ann]).await;
        Self {
            node,
            ann,
            bob,
            room,
            mallory,
            den,
        }
    }

    /// Has Bob send from now on, over a connection of his own.
    pub(crate) async fn honest(&self) -> Honest {
        Honest::start(&self.bob, self.node.address(), self.room).await
    }

    /// Notes the node's memory, so that what it takes at the most from now on can be told.
    pub(crate) fn mark_memory(&mut self) -> MemoryMark {
        MemoryMark::of(self.node.process().pid())
    }

    /// The CPU time that the node has taken so far.
    pub(crate) fn cpu_time(&mut self) -> Duration {
        let path = format!("/proc/{}/stat", self.node.process().pid());
        let stat = fs::read_to_string(path).expect("a running process has a stat");
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number of ticks");
        // User and system time are the 14th and 15th field; the name is the second.
        Duration::from_millis((ticks(11) + ticks(12)) * 1_000 / TICKS_PER_SECOND)
    }
}

/// Shows a figure to whoever runs the tests with `--nocapture`.
#[expect(
    clippy::print_stdout,
    reason = "figures are what these tests are run for, too"
)]
pub(crate) fn note(figure: &str) {
    println!("{figure}");
}

/// Opens a stream from nothing and waits until it is live.
pub(crate) async fn live(person: &Person) -> Session {
    let session = Session::open(person, State::default())
        .await
        .expect("a stream opens");
    session.caught_up().await;
    session
}
