//! Queues of sessions over one connection's budget.

use futures_util::StreamExt;
use magpie_core::frame::Outlet as _;

use super::*;
use crate::router::Inboxes;

const KIB: usize = 1 << 10;
const BUDGET: usize = 960 * KIB;
/// Calls of one connection.
const SESSIONS: u64 = 32;

struct Connection {
    router: Arc<Router>,
    inboxes: Inboxes,
    budget: Arc<Budget>,
}

impl Connection {
    fn new() -> Self {
        let (router, inboxes) = Router::new(1, 1, usize::MAX);
        Self {
            router,
            inboxes,
            budget: Arc::new(Budget::new(BUDGET)),
        }
    }

    fn open(&self, session: u64) -> (Outlet, Frames) {
        let (router, budget) = (self.router.clone(), self.budget.clone());
        Outlet::new(SessionId(session), router, budget, &Limits::default())
    }

    fn open_all(&self) -> Vec<(Outlet, Frames)> {
        (0..SESSIONS).map(|session| self.open(session)).collect()
    }

    /// Whether the edge was told that a session is to be brought up to date.
    async fn told_drained(&mut self, session: u64) -> bool {
        let mut messages = Vec::new();
        self.inboxes.edges[0].take(&mut messages, 100).await;
        messages.iter().any(|message| {
            matches!(message, ToWorker::Input(Input::Drained(id)) if *id == SessionId(session))
        })
    }
}

fn frame(bytes: usize) -> (Bytes, usize) {
    (Bytes::from(vec![0; bytes]), bytes)
}

fn event(outlet: &Outlet, bytes: usize) -> bool {
    let (encoded, bytes) = frame(bytes);
    outlet.event(encoded, bytes)
}

fn reply(outlet: &Outlet, bytes: usize) -> bool {
    let (encoded, bytes) = frame(bytes);
    outlet.control(encoded, bytes, true)
}

#[tokio::test]
async fn large_events_of_all_sessions_hold_no_more_than_their_connection_may() {
    for bytes in [16 * KIB, 70 * KIB, 270 * KIB] {
        let connection = Connection::new();
        let mut sessions = connection.open_all();
        let mut taken = 0;
        for (outlet, _) in sessions.iter().cycle().take(20 * sessions.len()) {
            taken += bytes * usize::from(event(outlet, bytes));
        }
        let max = BUDGET + sessions.len() * EVENTS_FREE_BYTES;
        assert!((bytes..=max).contains(&taken), "{taken} of {max} bytes");
        for (_, frames) in &mut sessions {
            while let Some(Some(_)) = frames.next().now_or_never() {}
        }
        drop(sessions);
        assert_eq!(connection.budget.free(), BUDGET);
    }
}

#[tokio::test]
async fn session_without_room_is_brought_up_to_date_once_its_connection_has_some() {
    let mut connection = Connection::new();
    let all = connection.budget.try_take(BUDGET).expect("free");
    let (outlet, mut frames) = connection.open(7);
    assert!(!event(&outlet, 70 * KIB), "there is no room");
    assert!(!outlet.has_room());
    assert!(!event(&outlet, 1), "nothing is queued out of order");
    assert!(frames.next().now_or_never().is_none());
    drop(all);
    assert!(frames.next().now_or_never().is_none());
    assert!(connection.told_drained(7).await);
    assert!(outlet.has_room() && event(&outlet, 70 * KIB));
    assert_eq!(frames.next().await.expect("an event").len(), 70 * KIB);
}

#[tokio::test]
async fn answers_that_nobody_reads_hold_no_more_than_their_connection_may() {
    for bytes in [4, 300, 50 * KIB] {
        let connection = Connection::new();
        let mut sessions = connection.open_all();
        let mut taken = 0;
        for (outlet, _) in sessions.iter().cycle().take(1_000 * sessions.len()) {
            taken += (bytes + CONTROL_FRAME_OVERHEAD_BYTES) * usize::from(reply(outlet, bytes));
        }
        let max = BUDGET + sessions.len() * CONTROL_FREE_BYTES;
        assert!((bytes..=max).contains(&taken), "{taken} of {max} bytes");
        for (_, frames) in &mut sessions {
            while let Some(Some(_)) = frames.next().now_or_never() {}
        }
        assert_eq!(connection.budget.free(), BUDGET);
    }
}

#[tokio::test]
async fn who_leaves_many_bytes_of_answers_unread_is_taken_to_wait_for_as_many_as_one_may() {
    let connection = Connection::new();
    let (outlet, mut frames) = connection.open(7);
    assert!(reply(&outlet, 50 * KIB) && reply(&outlet, 50 * KIB));
    let unanswered_max = count(Limits::default().session_unanswered_max);
    assert_eq!(outlet.replies(), unanswered_max);
    frames.next().await.expect("an answer");
    assert_eq!(outlet.replies(), 1);
}

#[tokio::test]
async fn last_word_gets_through_without_room() {
    let connection = Connection::new();
    let _all = connection.budget.try_take(BUDGET).expect("free");
    let (outlet, mut frames) = connection.open(7);
    while reply(&outlet, 100) {}
    let (closing, bytes) = frame(150);
    assert!(outlet.control(closing, bytes, false));
    outlet.close();
    let mut last = 0;
    while let Some(frame) = frames.next().await {
        last = frame.len();
    }
    assert_eq!(last, 150);
}

#[tokio::test]
async fn sign_that_may_be_lost_is_no_sign_of_a_slow_reader() {
    let connection = Connection::new();
    let _all = connection.budget.try_take(BUDGET).expect("free");
    let (outlet, mut frames) = connection.open(7);
    assert!(event(&outlet, EVENTS_FREE_BYTES - 10));
    let (typing, bytes) = frame(20);
    outlet.ephemeral(typing, bytes);
    assert!(event(&outlet, 10), "the reader is not slow");
    for bytes in [EVENTS_FREE_BYTES - 10, 10] {
        assert_eq!(frames.next().await.expect("an event").len(), bytes);
    }
}

#[tokio::test]
async fn what_waits_in_all_outboxes_is_counted_until_it_is_taken() {
    let connection = Connection::new();
    let (outlet, mut frames) = connection.open(7);
    let (other, _frames) = connection.open(8);
    assert!(event(&outlet, 10) && reply(&outlet, 10) && event(&other, 10));
    assert_eq!(connection.router.outboxes().waiting(), 3);
    frames.next().await.expect("the answer");
    assert_eq!(connection.router.outboxes().waiting(), 2);
    other.close();
    drop(frames);
    assert_eq!(connection.router.outboxes().waiting(), 0);
}
