//! What a program holds of a session: the handle that commands, and the events. The work is done
//! by a task of its own.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::{
    client::{
        api::Api,
        backoff::Profile,
        driver::{self, Command, Start},
        event::{Event, MessageId, SendError, Sent},
        limits::{COMMANDS_QUEUED_MAX, EVENTS_QUEUED_MAX},
        pending::{Draft, NoOutbox, Outbox, PendingSend},
        progress::{Delivery, Progress},
    },
    v1::State,
};

/// How a session starts.
pub struct SessionOptions {
    /// What the device holds: [`Session::state`] of an earlier session, or empty.
    pub state: State,
    /// Messages of an earlier session whose fate is not known, oldest first.
    pub pending: Vec<PendingSend>,
    /// Where pending messages are kept.
    pub outbox: Box<dyn Outbox>,
    /// Users whose presence is followed.
    pub watch_user_ids: Vec<i64>,
    /// Whether the person is away from the device.
    pub idle: bool,
    /// Name and version of the program, such as `magpie-cli/0.1.0`.
    pub client: String,
    /// How fast to reconnect.
    pub profile: Profile,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            state: State::default(),
            pending: Vec::new(),
            outbox: Box::new(NoOutbox),
            watch_user_ids: Vec::new(),
            idle: false,
            client: concat!("magpie-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            profile: Profile::default(),
        }
    }
}

impl fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOptions").finish_non_exhaustive()
    }
}

/// The program's hold on a session. Cheap to clone. The session ends by [`Session::bye`], by
/// itself, or (cleanly as well) when all handles and the [`Events`] are dropped.
#[derive(Debug, Clone)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// What outlives the session's task.
#[derive(Debug)]
pub(crate) struct Shared {
    progress: Mutex<Progress>,
    /// What was not sent when the session ended.
    left_over: Mutex<Vec<PendingSend>>,
}

/// The session has ended, so it takes no commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session has ended")]
pub struct SessionEnded;

impl Session {
    /// Starts a session on the current Tokio runtime. It connects by itself, and connects again
    /// whenever the stream is lost, until it ends.
    pub fn open(api: &Api, options: SessionOptions) -> (Self, Events) {
        let (commands, receiver) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let (sender, events) = mpsc::channel(EVENTS_QUEUED_MAX);
        let shared = Arc::new(Shared {
            progress: Mutex::new(Progress::new(&options.state)),
            left_over: Mutex::default(),
        });
        driver::spawn(Start {
            api: api.clone(),
            options,
            commands: receiver,
            events: sender,
            shared: shared.clone(),
        });
        let events = Events {
            receiver: events,
            shared: shared.clone(),
        };
        (Self { commands, shared }, events)
    }

    /// Sends a text and waits until it is durable, over reconnects too, for at most 7 days. Messages to one room keep
    /// the order in which these calls were first polled. Dropping the future does not take the
    /// message back: its outcome is an event then.
    pub async fn send(&self, room_id: i64, text: impl Into<String>) -> Result<Sent, SendError> {
        self.send_draft(Draft::new(room_id, text)).await
    }

    /// As [`Session::send`].
    pub async fn send_draft(&self, draft: Draft) -> Result<Sent, SendError> {
        let (outcome, receiver) = oneshot::channel();
        self.enqueue(draft, Some(outcome)).await?;
        receiver.await.unwrap_or(Err(SendError::SessionEnded))
    }

    /// Queues a message (in the outbox too) and returns; [`Event::SendOutcome`] follows.
    pub async fn post(&self, draft: Draft) -> Result<MessageId, SendError> {
        let id = draft.client_message_id;
        self.enqueue(draft, None).await?;
        Ok(id)
    }

    /// Moves the read mark, here and on the person's other devices. It is said until the server has
    /// it or the session ends; what the program wants to survive its own end it says again then.
    pub async fn mark_read(&self, room_id: i64, seq: i64) -> Result<(), SessionEnded> {
        self.command(Command::MarkRead { room_id, seq }).await
    }

    /// Moves the delivered mark. Calls are gathered for a second or two.
    pub async fn mark_delivered(&self, room_id: i64, seq: i64) -> Result<(), SessionEnded> {
        self.command(Command::MarkDelivered { room_id, seq }).await
    }

    /// Says that the person is typing. May be called at each key: it is said at most every 3 s.
    pub async fn typing(&self, room_id: i64) -> Result<(), SessionEnded> {
        self.command(Command::Typing { room_id }).await
    }

    /// Replaces the set of users whose presence is followed (at most 500; more are left out).
    pub async fn watch(&self, user_ids: Vec<i64>) -> Result<(), SessionEnded> {
        self.command(Command::Watch { user_ids }).await
    }

    /// Says whether the person is away from the device.
    pub async fn set_idle(&self, idle: bool) -> Result<(), SessionEnded> {
        self.command(Command::Idle { idle }).await
    }

    /// Loses the stream on purpose and opens another: for a device that knows that its network
    /// changed, and for tests.
    pub async fn reconnect(&self) -> Result<(), SessionEnded> {
        self.command(Command::Reconnect).await
    }

    /// Ends the session cleanly (offline at once) and waits for the end. Messages that are not
    /// answered yet stay pending.
    pub async fn bye(&self) {
        if self.command(Command::Bye).await.is_ok() {
            self.commands.closed().await;
        }
    }

    /// What the device holds, counting the events that [`Events::next`] has returned. Store it
    /// after handling them, and give it to the next session.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// The messages whose outcome is not known yet, oldest first. Also after the session's end.
    pub async fn pending(&self) -> Vec<PendingSend> {
        let (sender, receiver) = oneshot::channel();
        if self.command(Command::Pending(sender)).await.is_ok()
            && let Ok(pending) = receiver.await
        {
            return pending;
        }
        // The task leaves this behind before it stops taking commands.
        self.shared.left_over()
    }

    async fn enqueue(
        &self,
        draft: Draft,
        outcome: Option<oneshot::Sender<Result<Sent, SendError>>>,
    ) -> Result<(), SendError> {
        let (queued, receiver) = oneshot::channel();
        let command = Command::Send {
            draft,
            queued,
            outcome,
        };
        let ended = |_| SendError::SessionEnded;
        self.command(command).await.map_err(ended)?;
        receiver.await.unwrap_or(Err(SendError::SessionEnded))
    }

    async fn command(&self, command: Command) -> Result<(), SessionEnded> {
        let sent = self.commands.send(command).await;
        sent.map_err(|_| SessionEnded)
    }
}

impl Shared {
    pub(crate) fn state(&self) -> State {
        lock(&self.progress).state()
    }

    pub(crate) fn left_over(&self) -> Vec<PendingSend> {
        lock(&self.left_over).clone()
    }

    pub(crate) fn leave(&self, pending: Vec<PendingSend>) {
        *lock(&self.left_over) = pending;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session's events, in order. While they are not taken, the session stops reading its stream.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Delivery>,
    shared: Arc<Shared>,
}

impl Events {
    /// The next event; `None` after [`Event::Ended`]. Cancel safe: where the future is dropped no event
    /// is lost.
    pub async fn next(&mut self) -> Option<Event> {
        let delivery = self.receiver.recv().await?;
        Some(self.take(delivery))
    }

    /// What the device holds; see [`Session::state`].
    pub fn state(&self) -> State {
        self.shared.state()
    }

    fn take(&self, delivery: Delivery) -> Event {
        lock(&self.shared.progress).apply(&delivery);
        delivery.event
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let next = self.receiver.poll_recv(cx);
        next.map(|delivery| delivery.map(|delivery| self.take(delivery)))
    }
}
