//! A stream of one device: it sends what it is told, and keeps every frame that came, with its
//! time.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use magpie::v1::{
    ClientFrame, Error, Hello, SendMessageRequest, SendMessageResponse, ServerFrame, State,
    SubscribeRequest, Welcome, client_frame, server_frame::Frame,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{guard, person::Person};

/// Frames that may wait in the test's own queue before they go out.
const QUEUE_FRAMES_MAX: usize = 1_024;

/// A frame that came, and when.
#[derive(Clone, Debug)]
pub struct Received {
    /// When it was read.
    pub at: Instant,
    /// What it was.
    pub frame: ServerFrame,
}

/// What came over a stream so far.
#[derive(Debug, Default)]
struct Tape {
    frames: Vec<Received>,
    end: Option<Result<(), Status>>,
}

/// An open stream. Dropping it cuts the stream without `Bye`.
#[derive(Debug)]
pub struct Session {
    /// The first answer.
    pub welcome: Welcome,
    commands: Option<mpsc::Sender<ClientFrame>>,
    tape: watch::Receiver<Tape>,
    next_request: AtomicU64,
    reader: JoinHandle<()>,
}

impl Session {
    /// Opens a stream for a device that holds `state`, and waits for Welcome.
    ///
    /// # Errors
    /// The Status with which the call ended before Welcome.
    pub async fn open(person: &Person, state: State) -> Result<Self, Status> {
        Self::open_with(person, hello(state)).await
    }

    /// The same, saying more than the state.
    ///
    /// # Errors
    /// The Status with which the call ended before Welcome.
    pub async fn open_with(person: &Person, hello: Hello) -> Result<Self, Status> {
        let first = ClientFrame {
            request_id: 0,
            frame: Some(client_frame::Frame::Hello(hello)),
        };
        Self::open_raw(person, first).await
    }

    /// The same, with any first frame.
    ///
    /// # Errors
    /// The Status with which the call ended before Welcome.
    ///
    /// # Panics
    /// When neither Welcome nor a Status comes in time.
    pub async fn open_raw(person: &Person, first: ClientFrame) -> Result<Self, Status> {
        let (commands, queue) = mpsc::channel(QUEUE_FRAMES_MAX);
        commands
            .try_send(first)
            .expect("an empty queue takes the first frame");
        let request = person.asks(ReceiverStream::new(queue));
        let mut chat = person.api.chat();
        let call = guard::event("an answer to Hello", chat.chat(request)).await?;
        Self::start(call.into_inner(), Some(commands)).await
    }

    /// Opens a session that only listens.
    ///
    /// # Errors
    /// The Status with which the call ended before Welcome.
    ///
    /// # Panics
    /// When neither Welcome nor a Status comes in time.
    pub async fn subscribe(person: &Person, hello: Hello) -> Result<Self, Status> {
        let request = person.asks(SubscribeRequest { hello: Some(hello) });
        let mut chat = person.api.chat();
        let call = guard::event("an answer to Subscribe", chat.subscribe(request)).await?;
        Self::start(call.into_inner(), None).await
    }

    async fn start(
        stream: Streaming<ServerFrame>,
        commands: Option<mpsc::Sender<ClientFrame>>,
    ) -> Result<Self, Status> {
        let (sender, tape) = watch::channel(Tape::default());
        let reader = tokio::spawn(record(stream, sender));
        let mut session = Self {
            welcome: Welcome::default(),
            commands,
            tape,
            next_request: AtomicU64::new(1),
            reader,
        };
        let mut tape = session.tape.clone();
        let opened = tape.wait_for(|tape| !tape.frames.is_empty() || tape.end.is_some());
        let opened = guard::event("Welcome", opened)
            .await
            .expect("the reader keeps the tape");
        match (opened.frames.first(), &opened.end) {
            (
                Some(Received {
                    frame:
                        ServerFrame {
                            frame: Some(Frame::Welcome(w)),
                            ..
                        },
                    ..
                }),
                _,
            ) => {
                session.welcome = w.clone();
            }
            (Some(other), _) => panic!("the first frame is not Welcome: {other:?}"),
            (None, Some(Err(status))) => return Err(status.clone()),
            (None, _) => panic!("the stream ended well before Welcome"),
        }
        Ok(session)
    }

    /// How many frames came so far: a place from which to look for later ones.
    pub fn position(&self) -> usize {
        self.tape.borrow().frames.len()
    }

    /// All frames so far.
    pub fn received(&self) -> Vec<Received> {
        self.tape.borrow().frames.clone()
    }

    /// Waits for the first frame, from a position on, from which `pick` takes something.
    ///
    /// # Panics
    /// When the stream ends before, or it does not come in time.
    pub async fn find<T>(
        &self,
        from: usize,
        what: &str,
        pick: impl Fn(&ServerFrame) -> Option<T>,
    ) -> T {
        self.find_within(guard::EVENT_TIME_MAX, from, what, pick)
            .await
    }

    /// The same with a bound of its own.
    ///
    /// # Panics
    /// When the stream ends before, or it does not come in time.
    pub async fn find_within<T>(
        &self,
        bound: Duration,
        from: usize,
        what: &str,
        pick: impl Fn(&ServerFrame) -> Option<T>,
    ) -> T {
        let mut found = None;
        let mut scanned = from;
        let mut tape = self.tape.clone();
        let scan = tape.wait_for(|tape| {
            let fresh = tape.frames.get(scanned..).unwrap_or_default();
            found = fresh.iter().find_map(|received| pick(&received.frame));
            scanned = scanned.max(tape.frames.len());
            found.is_some() || tape.end.is_some()
        });
        let in_time = tokio::time::timeout(bound, scan).await.is_ok();
        found.unwrap_or_else(|| {
            let tape = self.tape.borrow();
            panic!(
                "no {what} (in time: {in_time}); end {:?}; frames {:#?}",
                tape.end, tape.frames
            )
        })
    }

    /// Waits for the end of the first catching up.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn caught_up(&self) {
        self.find(0, "CaughtUp", |frame| {
            matches!(frame.frame, Some(Frame::CaughtUp(_))).then_some(())
        })
        .await;
    }

    /// Waits for the event of an entry.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn event(&self, room_id: i64, seq: i64) -> magpie::v1::Entry {
        self.find(
            0,
            &format!("event {seq} of room {room_id}"),
            |frame| match &frame.frame {
                Some(Frame::Event(event)) => event
                    .entry
                    .clone()
                    .filter(|entry| (entry.room_id, entry.seq) == (room_id, seq)),
                _ => None,
            },
        )
        .await
    }

    /// Sends a frame that wants no answer.
    ///
    /// # Panics
    /// When the stream cannot take it.
    pub async fn tell(&self, frame: client_frame::Frame) {
        self.tell_raw(ClientFrame {
            request_id: 0,
            frame: Some(frame),
        })
        .await;
    }

    /// Sends a frame as it stands.
    ///
    /// # Panics
    /// When the stream cannot take it.
    pub async fn tell_raw(&self, frame: ClientFrame) {
        assert!(
            self.try_tell_raw(frame).await,
            "an open stream takes frames"
        );
    }

    /// The same where the server may end the stream meanwhile. False: it has.
    ///
    /// # Panics
    /// When the stream was half-closed, or has no room for a frame in time.
    pub async fn try_tell_raw(&self, frame: ClientFrame) -> bool {
        let commands = self
            .commands
            .as_ref()
            .expect("a stream that was not half-closed");
        let sent = guard::event("room for a frame", commands.send(frame)).await;
        sent.is_ok()
    }

    /// Sends a frame; the answer is awaited apart, so that several can be under way.
    ///
    /// # Panics
    /// When the stream cannot take it.
    pub async fn ask(
        &self,
        frame: client_frame::Frame,
    ) -> impl Future<Output = Result<Frame, Error>> + use<'_> {
        let request_id = self.next_request.fetch_add(1, Ordering::Relaxed);
        let from = self.position();
        self.tell_raw(ClientFrame {
            request_id,
            frame: Some(frame),
        })
        .await;
        async move {
            let what = format!("answer to {request_id}");
            let answer = self.find(from, &what, |frame| {
                frame
                    .frame
                    .clone()
                    .filter(|_| frame.request_id == request_id)
            });
            match answer.await {
                Frame::Error(error) => Err(error),
                other => Ok(other),
            }
        }
    }

    /// Sends a message and waits for the answer.
    ///
    /// # Errors
    /// The node's refusal.
    ///
    /// # Panics
    /// When the answer is of another kind.
    pub async fn send(&self, request: SendMessageRequest) -> Result<SendMessageResponse, Error> {
        let answer = self.ask(client_frame::Frame::SendMessage(request)).await;
        match answer.await? {
            Frame::SendMessage(answer) => Ok(answer),
            other => panic!("SendMessage was answered with {other:?}"),
        }
    }

    /// Half-closes the stream: no more commands.
    pub fn half_close(&mut self) {
        self.commands = None;
    }

    /// Waits for the end of the stream.
    ///
    /// # Errors
    /// The Status with which it ended.
    ///
    /// # Panics
    /// When it does not end within the bound.
    pub async fn ended_within(&self, bound: Duration) -> Result<(), Status> {
        let mut tape = self.tape.clone();
        let ended = tape.wait_for(|tape| tape.end.is_some());
        let ended = guard::event_within(bound, "the end of the stream", ended).await;
        let tape = ended.expect("the reader keeps the tape");
        tape.end.clone().expect("waited for")
    }

    /// Whether the stream is still open.
    pub fn is_open(&self) -> bool {
        self.tape.borrow().end.is_none()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The plainest Hello of a device that holds `state`.
pub fn hello(state: State) -> Hello {
    Hello {
        state: Some(state),
        client: "magpie-tests/0".to_owned(),
        ..Hello::default()
    }
}

async fn record(mut stream: Streaming<ServerFrame>, sender: watch::Sender<Tape>) {
    let end = loop {
        match stream.message().await {
            Ok(Some(frame)) => {
                let received = Received {
                    at: Instant::now(),
                    frame,
                };
                sender.send_modify(|tape| tape.frames.push(received));
            }
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        }
    };
    sender.send_modify(|tape| tape.end = Some(end));
    // The tape outlives the stream, and the receiver that asks for it last.
    sender.closed().await;
}
