//! An honest client that sends all the time and notes how long each answer takes.

use std::{
    net::SocketAddr,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use magpie_tests::{
    api::Api,
    person::{Person, message},
    session::Session,
};
use tokio::{
    runtime::Builder,
    sync::{oneshot, watch},
    task::spawn_blocking,
};

use crate::scene::live;

/// Between two sends.
const PAUSE: Duration = Duration::from_millis(20);

/// A running honest client.
#[derive(Debug)]
pub(crate) struct Honest {
    stop: watch::Sender<bool>,
    thread: JoinHandle<Vec<Duration>>,
}

/// How long an honest client waited for answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// Half of them took no longer.
    pub(crate) median: Duration,
    /// The longest.
    pub(crate) longest: Duration,
}

impl Honest {
    /// Opens a stream and sends until it is stopped. On a thread of its own, so that it waits for
    /// the node and not for the hostile clients of the same test.
    pub(crate) async fn start(person: &Person, node: SocketAddr, room: i64) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (opened, is_open) = oneshot::channel();
        let person = person.clone();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let session = live(&person.over(Api::connect(node))).await;
                opened.send(()).expect("the test waits for it");
                send(session, room, stopping).await
            })
        });
        is_open.await.expect("a stream opens");
        Self { stop, thread }
    }

    /// Stops it. Every send was granted, in one stream.
    pub(crate) async fn stop(self) -> Waits {
        self.stop.send_replace(true);
        let ended = spawn_blocking(|| self.thread.join()).await;
        let ended = ended.expect("the end of a thread can be awaited");
        let mut waits = ended.expect("an honest client is served");
        waits.sort_unstable();
        let sends = waits.len();
        let at = |share: usize| waits[(sends * share / 100).min(sends - 1)];
        Waits {
            median: at(50),
            longest: at(100),
        }
    }

    /// Stops it, and checks that no send took longer than a bound that a busy machine keeps and a
    /// node that stands still does not.
    pub(crate) async fn stop_unharmed(self) -> Waits {
        let waits = self.stop().await;
        assert!(waits.longest < Duration::from_secs(3), "{waits:?}");
        assert!(waits.median < Duration::from_millis(500), "{waits:?}");
        waits
    }
}

async fn send(session: Session, room: i64, stopping: watch::Receiver<bool>) -> Vec<Duration> {
    let mut waits = Vec::new();
    while waits.is_empty() || !*stopping.borrow() {
        let begin = Instant::now();
        let text = format!("message {}", waits.len());
        session
            .send(message(room, &text))
            .await
            .expect("an honest send is granted");
        waits.push(begin.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    waits
}
