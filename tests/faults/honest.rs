//! An honest client that sends all the time and notes how long each answer takes.

use std::time::{Duration, Instant};

use magpie_tests::{
    person::{Person, message},
    session::Session,
};
use tokio::{sync::watch, task::JoinHandle};

use crate::scene::live;

/// Between two sends.
const PAUSE: Duration = Duration::from_millis(20);

/// A running honest client.
#[derive(Debug)]
pub(crate) struct Honest {
    stop: watch::Sender<bool>,
    task: JoinHandle<Vec<Duration>>,
}

/// How long an honest client waited for answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// 95 of 100 took no longer.
    pub(crate) p95: Duration,
    /// The longest.
    pub(crate) longest: Duration,
}

impl Honest {
    /// Opens a stream and sends until it is stopped.
    pub(crate) async fn start(person: &Person, room: i64) -> Self {
        let (stop, stopping) = watch::channel(false);
        let session = live(person).await;
        Self {
            stop,
            task: tokio::spawn(send(session, room, stopping)),
        }
    }

    /// Stops it. Every send was granted, in one stream.
    pub(crate) async fn stop(self) -> Waits {
        self.stop.send_replace(true);
        let mut waits = self.task.await.expect("an honest client is served");
        waits.sort_unstable();
        let sends = waits.len();
        let at = |share: usize| waits[(sends * share / 100).min(sends - 1)];
        Waits {
            p95: at(95),
            longest: at(100),
        }
    }

    /// Stops it, and checks that no send took longer than a bound that a busy machine keeps and a
    /// node that stands still does not.
    pub(crate) async fn stop_unharmed(self) -> Waits {
        let waits = self.stop().await;
        assert!(waits.longest < Duration::from_secs(3), "{waits:?}");
        assert!(waits.p95 < Duration::from_secs(1), "{waits:?}");
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
