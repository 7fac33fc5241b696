//! Somebody who sends all the time, and comes back with the same messages whenever the stream is
//! lost: the load under which nodes are killed and networks cut. Written after the protocol alone.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use magpie::v1::{
    ClientFrame, Error, Reason, SendMessageRequest, ServerFrame, client_frame, server_frame::Frame,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{
    device::Device,
    history::History,
    person::{Person, message},
    refusal,
    session::hello,
};

/// Messages that are transmitted and not yet answered.
const WINDOW: usize = 8;

/// How long a chatter waits before it connects again.
const BACKOFF: Duration = Duration::from_millis(15);

/// What chatters are set on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The room to send to.
    pub room: i64,
    /// Where sends and answers are noted.
    pub history: Arc<History>,
    /// Whether `after_seq` is stated, as the client library does; or left out, as a stub's author
    /// may.
    pub states_after_seq: bool,
}

/// A running chatter.
#[derive(Debug)]
pub struct Chatter {
    stop: watch::Sender<bool>,
    task: JoinHandle<Device>,
}

impl Chatter {
    /// Starts one.
    pub fn start(person: Person, name: &str, plan: Plan) -> Self {
        let (stop, stopping) = watch::channel(false);
        let state = Chatting {
            device: Device::new(person.user_id),
            person,
            name: name.to_owned(),
            plan,
            pending: VecDeque::new(),
            made: 0,
            stopping,
        };
        Self {
            stop,
            task: tokio::spawn(state.run()),
        }
    }

    /// Stops it once all that it sent is answered, and returns what its device holds.
    ///
    /// # Panics
    /// When it met an answer that the contract does not allow here.
    pub async fn stop(self) -> Device {
        self.stop.send_replace(true);
        self.task.await.expect("a chatter ends well")
    }
}

struct Chatting {
    person: Person,
    name: String,
    plan: Plan,
    device: Device,
    /// What is not answered yet, oldest first, under its key in the history.
    pending: VecDeque<(u64, SendMessageRequest)>,
    made: usize,
    stopping: watch::Receiver<bool>,
}

impl Chatting {
    async fn run(mut self) -> Device {
        while !self.is_done() {
            if let Err(status) = self.session().await {
                self.judge(&status);
            }
            tokio::time::sleep(BACKOFF).await;
        }
        self.device
    }

    fn is_done(&self) -> bool {
        *self.stopping.borrow() && self.pending.is_empty()
    }

    /// A lost connection is what this load is for; a refusal must be one that asks to come again.
    fn judge(&self, status: &Status) {
        if let Some(error) = refusal::try_of_status(status) {
            assert!(may_come_again(&error), "{}: {error:?}", self.name);
        } else {
            assert!(refusal::is_lost(status), "{}: {status:?}", self.name);
        }
    }

    async fn session(&mut self) -> Result<(), Status> {
        let (commands, queue) = mpsc::channel(2 * WINDOW);
        let first = client_frame::Frame::Hello(hello(self.device.state()));
        let first = ClientFrame {
            request_id: 0,
            frame: Some(first),
        };
        commands
            .try_send(first)
            .expect("an empty queue takes the first frame");
        let request = self.person.asks(ReceiverStream::new(queue));
        let stream = self.person.api.chat().chat(request).await?.into_inner();
        self.converse(stream, commands).await
    }

    async fn converse(
        &mut self,
        mut stream: Streaming<ServerFrame>,
        commands: mpsc::Sender<ClientFrame>,
    ) -> Result<(), Status> {
        let mut transmitted = 0;
        while !self.is_done() {
            self.refill();
            for (key, request) in self.pending.iter().skip(transmitted) {
                let frame = Some(client_frame::Frame::SendMessage(request.clone()));
                // A stream that has ended is noticed below.
                commands
                    .send(ClientFrame {
                        request_id: key + 1,
                        frame,
                    })
                    .await
                    .ok();
            }
            transmitted = self.pending.len();
            let mut stopping = self.stopping.clone();
            let frame = tokio::select! {
                frame = stream.message() => frame?,
                _ = stopping.wait_for(|&stop| stop), if !*self.stopping.borrow() => continue,
            };
            let Some(frame) = frame else { return Ok(()) };
            self.device.take(&frame);
            match frame.frame {
                Some(Frame::SendMessage(answer)) => {
                    self.answered(frame.request_id, answer.seq);
                    transmitted = self.pending.len();
                }
                Some(Frame::Error(error)) => {
                    assert!(may_come_again(&error), "{}: {error:?}", self.name);
                    return Ok(());
                }
                Some(Frame::Closing(closing)) => {
                    let error = closing.error.unwrap_or_default();
                    assert!(may_come_again(&error), "{}: {error:?}", self.name);
                    return Ok(());
                }
                _ => {}
            }
        }
        commands.send(bye()).await.ok();
        Ok(())
    }

    fn refill(&mut self) {
        while self.pending.len() < WINDOW && !*self.stopping.borrow() {
            self.made += 1;
            let mut request = message(self.plan.room, &format!("{} {}", self.name, self.made));
            let head = self.device.cursor(self.plan.room);
            request.after_seq = self.plan.states_after_seq.then_some(head);
            let key = self.plan.history.started(&self.name, &request);
            self.pending.push_back((key, request));
        }
    }

    fn answered(&mut self, request_id: u64, seq: i64) {
        let place = self
            .pending
            .iter()
            .position(|(key, _)| key + 1 == request_id);
        let place = place.unwrap_or_else(|| panic!("{}: an answer to nothing", self.name));
        self.pending.remove(place);
        self.plan.history.answered(request_id - 1, seq);
    }
}

fn may_come_again(error: &Error) -> bool {
    matches!(
        error.reason(),
        Reason::Draining | Reason::Overloaded | Reason::EarlierSendRefused | Reason::SlowReader
    )
}

fn bye() -> ClientFrame {
    let frame = Some(client_frame::Frame::Bye(magpie::v1::Bye {}));
    ClientFrame {
        request_id: 0,
        frame,
    }
}
