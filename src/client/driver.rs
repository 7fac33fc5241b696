//! The task of a session: it moves frames, time and randomness between the machine and the world,
//! and decides nothing that the machine could.

mod chases;
mod dial;
mod inputs;
mod outputs;

use std::{
    collections::HashMap,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::{Instant, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};

use self::{
    chases::{Chases, Page},
    dial::Stream,
};
use crate::{
    client::{
        api::Api,
        error::Error,
        event::{MessageId, SendError, Sent},
        limits::TIMER_STEP,
        machine::{Machine, Setup},
        pending::{Draft, Outbox, PendingSend},
        progress::Delivery,
        session::{SessionOptions, Shared},
    },
    v1::ServerFrame,
};

/// What a handle asks of the task.
#[derive(Debug)]
pub(crate) enum Command {
    Send {
        draft: Draft,
        queued: oneshot::Sender<Result<(), SendError>>,
        outcome: Option<oneshot::Sender<Result<Sent, SendError>>>,
    },
    MarkRead {
        room_id: i64,
        seq: i64,
    },
    MarkDelivered {
        room_id: i64,
        seq: i64,
    },
    Typing {
        room_id: i64,
    },
    Watch {
        user_ids: Vec<i64>,
    },
    Idle {
        idle: bool,
    },
    Reconnect,
    Bye,
    Pending(oneshot::Sender<Vec<PendingSend>>),
}

/// What the task starts with.
pub(crate) struct Start {
    pub(crate) api: Api,
    pub(crate) options: SessionOptions,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: mpsc::Sender<Delivery>,
    pub(crate) shared: Arc<Shared>,
}

type Waiter = oneshot::Sender<Result<Sent, SendError>>;
type Dialed = (u64, Result<(Stream, ServerFrame), Error>);
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Driver {
    api: Api,
    machine: Machine,
    outbox: Box<dyn Outbox>,
    commands: Option<mpsc::Receiver<Command>>,
    events: mpsc::Sender<Delivery>,
    shared: Arc<Shared>,
    stream: Option<Stream>,
    dialing: Option<(u64, Boxed<Dialed>)>,
    /// Attempts in a row that failed.
    failures: u32,
    asks: Chases,
    renewal: Option<Boxed<Result<(), Error>>>,
    renew_not_before: Instant,
    waiters: HashMap<MessageId, Vec<Waiter>>,
    /// Since when somebody waits for an answer while the program takes no events.
    stuck_since: Option<Instant>,
    /// Nobody holds the session or its events any more.
    abandoned: bool,
}

/// What woke the task.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for a moment, and a box per frame would cost more"
)]
enum Wake {
    Command(Option<Command>),
    Frame(Result<Option<ServerFrame>, tonic::Status>),
    Dialed(Box<Dialed>),
    Page(Option<Page>),
    Renewed(Result<(), Error>),
    Token,
    /// Room in a queue, or a moment that has come: the machine is asked again.
    Again,
    /// Nobody takes events any more.
    Abandoned,
}

pub(crate) fn spawn(start: Start) {
    let Start {
        api,
        options,
        commands,
        events,
        shared,
    } = start;
    let now = now();
    let setup = Setup {
        state: options.state,
        watch_user_ids: options.watch_user_ids,
        idle: options.idle,
        client: options.client,
        profile: options.profile,
        seed: rand::random(),
    };
    let mut machine = Machine::new(setup, now);
    for pending in options.pending {
        machine.handle_send(pending, now, SystemTime::now());
    }
    let driver = Driver {
        api,
        machine,
        outbox: options.outbox,
        commands: Some(commands),
        events,
        shared,
        stream: None,
        dialing: None,
        failures: 0,
        asks: Chases::default(),
        renewal: None,
        renew_not_before: now,
        waiters: HashMap::new(),
        stuck_since: None,
        abandoned: false,
    };
    tokio::spawn(driver.run());
}

/// The runtime's clock, so that a test may stop it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Driver {
    async fn run(mut self) {
        let mut tokens = self.api.tokens().ok().map(|tokens| tokens.watch());
        loop {
            self.advance(now());
            if self.machine.is_ended() {
                break;
            }
            let wake = self.wait(&mut tokens).await;
            self.handle(wake, now());
        }
        self.finish().await;
    }

    /// Waits for whatever comes first.
    async fn wait<T>(&mut self, tokens: &mut Option<tokio::sync::watch::Receiver<T>>) -> Wake {
        // What is still due could not be done: something else is waited for, not time.
        let due = self.due().map(|due| due.max(now() + TIMER_STEP));
        let reads = self.machine.wants_frames();
        let drained = self.machine.is_drained();
        let Self {
            commands,
            events,
            stream,
            dialing,
            asks,
            renewal,
            abandoned,
            ..
        } = self;
        let may_be_abandoned = commands.is_none() && !*abandoned;
        let token_known = tokens.is_some();
        let (frames, answers) = match stream {
            Some(stream) => (Some(&stream.frames), Some(&mut stream.answers)),
            None => (None, None),
        };
        // A full queue to the transport is waited for; one with room was used already.
        let full = frames.filter(|frames| frames.capacity() == 0 && !frames.is_closed());
        tokio::select! {
            command = async {
                match commands {
                    Some(commands) => commands.recv().await,
                    None => pending().await,
                }
            } => Wake::Command(command),
            frame = async {
                match answers {
                    Some(answers) if reads => answers.message().await,
                    _ => pending().await,
                }
            } => Wake::Frame(frame),
            dialed = maybe(dialing.as_mut().map(|(_, work)| work)) => Wake::Dialed(Box::new(dialed)),
            page = asks.next(), if !asks.is_empty() => Wake::Page(page),
            renewed = maybe(renewal.as_mut()) => Wake::Renewed(renewed),
            changed = async {
                match tokens {
                    Some(tokens) => tokens.changed().await.is_ok(),
                    None => pending().await,
                }
            }, if token_known => {
                if !changed {
                    *tokens = None;
                }
                Wake::Token
            }
            _ = events.reserve(), if !drained => Wake::Again,
            () = events.closed(), if may_be_abandoned => Wake::Abandoned,
            () = async {
                match full {
                    Some(frames) => drop(frames.reserve().await),
                    None => pending().await,
                }
            } => Wake::Again,
            () = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => pending().await,
                }
            } => Wake::Again,
        }
    }

    /// Leaves behind what others still want to know.
    async fn finish(mut self) {
        self.shared.leave(self.machine.pending());
        self.stream = None;
        // In this order: who is told of the end finds what was left.
        self.commands = None;
        self.waiters.clear();
        while let Some(delivery) = self.machine.poll_event(now()) {
            if self.events.send(delivery).await.is_err() {
                return;
            }
        }
    }
}

/// Waits for the work, if there is any.
async fn maybe<T>(work: Option<&mut Boxed<T>>) -> T {
    match work {
        Some(work) => work.await,
        None => pending().await,
    }
}
