//! The task of a session: it moves frames, time and randomness between the machine and the world,
//! and decides nothing that the machine could.

mod dial;

use std::{
    collections::HashMap,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::{Instant, SystemTime},
};

use rand::RngExt;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::sleep_until,
};

use self::dial::{Route, Stream, dial};
use crate::{
    client::{
        api::Api,
        error::Error,
        event::{MessageId, SendError, Sent},
        limits::{RENEWAL_RETRY, SKIP_AFTER},
        machine::{Dial, Machine, Setup, Transmit},
        marks::Kind,
        pending::{Draft, Outbox, PendingSend},
        progress::Delivery,
        rooms::Ask,
        session::{SessionOptions, Shared},
    },
    v1::{ListEntriesRequest, ListEntriesResponse, ServerFrame},
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
    asks: JoinSet<(Ask, Result<ListEntriesResponse, Error>)>,
    renewal: Option<Boxed<Result<(), Error>>>,
    renew_not_before: Instant,
    waiters: HashMap<MessageId, Vec<oneshot::Sender<Result<Sent, SendError>>>>,
    /// Since when somebody waits for an answer while the program takes no events.
    stuck_since: Option<Instant>,
    /// Nobody holds the session or its events any more.
    abandoned: bool,
}

/// What woke the task.
enum Wake {
    Command(Option<Command>),
    Frame(Result<Option<ServerFrame>, tonic::Status>),
    Dialed(Box<Dialed>),
    Page(Option<Result<(Ask, Result<ListEntriesResponse, Error>), tokio::task::JoinError>>),
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
        asks: JoinSet::new(),
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
        let due = self.due();
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
        let full = frames.filter(|frames| frames.capacity() == 0);
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
            page = asks.join_next(), if !asks.is_empty() => Wake::Page(page),
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

    fn handle(&mut self, wake: Wake, now: Instant) {
        match wake {
            Wake::Command(Some(command)) => self.handle_command(command, now),
            Wake::Command(None) => self.commands = None,
            Wake::Abandoned => {
                self.abandoned = true;
                self.machine.handle_bye();
            }
            Wake::Frame(frame) => self.handle_frame(frame, now),
            Wake::Dialed(dialed) => self.handle_dialed(*dialed, now),
            Wake::Page(Some(Ok((ask, page)))) => self.machine.handle_page(ask, page, now),
            Wake::Page(Some(Err(error))) => {
                tracing::error!(%error, "the call that fills a gap came to nothing");
            }
            Wake::Page(None) | Wake::Again => {}
            Wake::Renewed(result) => {
                self.renewal = None;
                if let Err(error) = result {
                    tracing::warn!(%error, "the access token could not be renewed");
                    self.renew_not_before = now + RENEWAL_RETRY;
                }
            }
            Wake::Token => self.handle_token(),
        }
        self.machine.handle_timeout(now);
    }

    fn handle_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Send {
                draft,
                queued,
                outcome,
            } => {
                let result = self.enqueue(draft, outcome, now);
                // Whoever asked may have lost interest; the message goes on.
                queued.send(result).ok();
            }
            Command::MarkRead { room_id, seq } => {
                self.machine.handle_mark(room_id, Kind::Read, seq, now);
            }
            Command::MarkDelivered { room_id, seq } => {
                self.machine.handle_mark(room_id, Kind::Delivered, seq, now);
            }
            Command::Typing { room_id } => self.machine.handle_typing(room_id, now),
            Command::Watch { user_ids } => self.machine.handle_watch(user_ids),
            Command::Idle { idle } => self.machine.handle_idle(idle),
            Command::Reconnect => self.machine.handle_reconnect(now),
            Command::Bye => self.machine.handle_bye(),
            Command::Pending(answer) => {
                answer.send(self.machine.pending()).ok();
            }
        }
    }

    fn enqueue(
        &mut self,
        draft: Draft,
        outcome: Option<oneshot::Sender<Result<Sent, SendError>>>,
        now: Instant,
    ) -> Result<(), SendError> {
        let wall = SystemTime::now();
        let id = draft.client_message_id;
        let pending = PendingSend {
            draft,
            queue_time: wall,
            transmitted: false,
            after_seq: None,
        };
        self.machine.check_send(&pending)?;
        if !self.machine.has_send(&pending) {
            self.outbox.put(&pending).map_err(outbox_error)?;
            self.machine.handle_send(pending, now, wall);
        }
        if let Some(outcome) = outcome {
            self.waiters.entry(id).or_default().push(outcome);
        }
        Ok(())
    }

    fn handle_frame(&mut self, frame: Result<Option<ServerFrame>, tonic::Status>, now: Instant) {
        let Some(stream) = &self.stream else {
            return;
        };
        let number = stream.number;
        match frame {
            Ok(Some(frame)) => self.machine.handle_frame(number, frame, now),
            Ok(None) => {
                let error = Error::Transport("the server ended the stream".to_owned());
                self.machine.handle_lost(number, error, now);
            }
            Err(status) => self.machine.handle_lost(number, status.into(), now),
        }
    }

    fn handle_dialed(&mut self, (number, result): Dialed, now: Instant) {
        self.dialing = None;
        match result {
            Ok((stream, first)) => {
                self.machine.handle_opened(number, first, now);
                if self.machine.current() == Some(number) {
                    self.failures = 0;
                    self.stream = Some(stream);
                    // It may have been renewed while this stream was being opened.
                    self.handle_token();
                    return;
                }
            }
            Err(error) => self.machine.handle_lost(number, error, now),
        }
        self.failures += 1;
    }

    fn handle_token(&mut self) {
        let (Some(stream), Ok(tokens)) = (&mut self.stream, self.api.tokens()) else {
            return;
        };
        let held = tokens.held();
        if held.version != stream.version {
            stream.version = held.version;
            let token = held.credentials.access_token.clone();
            self.machine.handle_token(token);
        }
    }

    /// Takes from the machine all that it has to give, as far as there is room for it.
    fn advance(&mut self, now: Instant) {
        self.machine.handle_timeout(now);
        self.notice_stuck(now);
        self.pass_outcomes();
        self.pass_events(now);
        let current = self.machine.current();
        if let Some(stream) = &self.stream
            && current != Some(stream.number)
        {
            self.stream = None;
        }
        if let Some((number, _)) = self.dialing
            && !self.machine.is_dialing(number)
        {
            self.dialing = None;
        }
        if let Some(wish) = self.machine.poll_dial(now) {
            self.dial(wish);
        }
        while let Some(ask) = self.machine.poll_ask(now) {
            self.ask(ask);
        }
        self.renew(now);
        self.pass_frames(now);
        // A frame that could not go out, or bye, may have settled something.
        self.pass_outcomes();
        self.pass_events(now);
    }

    fn notice_stuck(&mut self, now: Instant) {
        if self.waiters.is_empty() || self.machine.wants_frames() {
            self.stuck_since = None;
            return;
        }
        let since = *self.stuck_since.get_or_insert(now);
        if now >= since + SKIP_AFTER {
            self.machine.handle_stuck();
        }
    }

    fn pass_outcomes(&mut self) {
        while let Some(outcome) = self.machine.poll_outcome() {
            let id = outcome.client_message_id;
            // A message whose fate is unknown is settled too: it is not retried any more.
            if let Err(error) = self.outbox.remove(id) {
                tracing::error!(%error, "the outbox could not forget a message");
            }
            let waiters = self.waiters.remove(&id).unwrap_or_default();
            let mut told = false;
            for waiter in waiters {
                told |= waiter.send(outcome.result.clone()).is_ok();
            }
            if !told {
                self.machine.push_outcome(outcome);
            }
        }
    }

    fn pass_events(&mut self, now: Instant) {
        while !self.machine.is_drained() {
            match self.events.try_reserve() {
                Ok(permit) => {
                    if let Some(delivery) = self.machine.poll_event(now) {
                        permit.send(delivery);
                    }
                }
                Err(mpsc::error::TrySendError::Full(())) => return,
                // Nobody listens: a program that only sends.
                Err(mpsc::error::TrySendError::Closed(())) => {
                    drop(self.machine.poll_event(now));
                }
            }
        }
    }

    fn pass_frames(&mut self, now: Instant) {
        let Some(stream) = &self.stream else {
            return;
        };
        while let Ok(permit) = stream.frames.try_reserve() {
            let Some(Transmit { frame, first }) = self.machine.poll_frame(now) else {
                return;
            };
            if let Some(first) = first
                && let Err(error) = self.outbox.put(&first)
            {
                self.machine.withdraw(frame.request_id, outbox_error(error));
                continue;
            }
            permit.send(frame);
        }
    }

    fn dial(&mut self, wish: Dial) {
        let route = self.route(&wish);
        let (number, hello) = (wish.number, wish.hello);
        let work = dial(self.api.clone(), number, route, hello);
        self.dialing = Some((number, Box::pin(async move { (number, work.await) })));
    }

    /// The first attempt goes where the credentials say; when that fails, the usual address is
    /// asked, and tried, in turn.
    fn route(&self, wish: &Dial) -> Route {
        if !wish.alternatives.is_empty() {
            let at = rand::rng().random_range(0..wish.alternatives.len());
            return Route::At(wish.alternatives[at].clone());
        }
        let credentials = self.api.credentials().unwrap_or_default();
        match (credentials.address.is_empty(), self.failures) {
            (true, _) if wish.number == 1 => Route::Same,
            (true, _) => Route::Anew,
            (false, 0..2) => Route::At(credentials.address),
            (false, failures) if failures % 2 == 0 => Route::Locate,
            (false, _) => Route::Anew,
        }
    }

    fn ask(&mut self, ask: Ask) {
        let api = self.api.clone();
        self.asks.spawn(async move {
            let request = ListEntriesRequest {
                room_id: ask.room_id,
                after_seq: ask.after_seq,
                page_size: 0,
            };
            let answer = api.messages().list_entries(request).await;
            (
                ask,
                answer.map(tonic::Response::into_inner).map_err(Error::from),
            )
        });
    }

    fn renew(&mut self, now: Instant) {
        let wanted = self.machine.poll_renewal();
        let due = self.renew_at().is_some_and(|at| at <= now);
        if self.renewal.is_none() && (wanted || due) && now >= self.renew_not_before {
            let api = self.api.clone();
            self.renewal = Some(Box::pin(async move { api.renew().await }));
        }
    }

    /// When the token of the open stream is to be renewed.
    fn renew_at(&self) -> Option<Instant> {
        self.stream.as_ref()?;
        if self.renewal.is_some() {
            return None;
        }
        let held = self.api.tokens().ok()?.held();
        Some(held.renew_at.max(self.renew_not_before))
    }

    fn due(&self) -> Option<Instant> {
        let stuck = self.stuck_since.map(|since| since + SKIP_AFTER);
        let stuck = stuck.filter(|_| !self.machine.wants_frames());
        let due = [self.machine.poll_timeout(), self.renew_at(), stuck];
        due.into_iter().flatten().min()
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

fn outbox_error(error: crate::client::error::BoxError) -> SendError {
    SendError::Outbox(Arc::new(error))
}
