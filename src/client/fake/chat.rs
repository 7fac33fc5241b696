//! The fake's stream.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, State};
use crate::v1::{
    ClientFrame, Done, Hello, MarkReadResponse, Reason, SendMessageRequest, SendMessageResponse,
    ServerFrame, Welcome, client_frame, server_frame::Frame,
};

type Frames = ReceiverStream<Result<ServerFrame, Status>>;

pub(super) async fn chat(
    state: Shared,
    request: Request<Streaming<ClientFrame>>,
) -> Result<Response<Frames>, Status> {
    lock(&state).admit(&request)?;
    let mut client = request.into_inner();
    let first = client.message().await?.and_then(|first| first.frame);
    let Some(client_frame::Frame::Hello(hello)) = first else {
        return Err(Status::invalid_argument("no Hello"));
    };
    let (sender, receiver) = mpsc::channel(4_096);
    let number = lock(&state).open(hello, &sender);
    // The stream ends when the fake forgets its sender: this task holds none.
    let weak = sender.downgrade();
    drop(sender);
    tokio::spawn(async move {
        while let Ok(Some(frame)) = client.message().await {
            let Some(sender) = weak.upgrade() else {
                return;
            };
            let mut state = lock(&state);
            if !state.streams.contains_key(&number) {
                return;
            }
            match state.answer(&frame) {
                Some(answer) => {
                    let answer = ServerFrame {
                        request_id: frame.request_id,
                        frame: Some(answer),
                    };
                    sender.try_send(Ok(answer)).ok();
                }
                None if matches!(frame.frame, Some(client_frame::Frame::Bye(_))) => {
                    state.byes += 1;
                    state.streams.remove(&number);
                }
                None => {}
            }
        }
        lock(&state).streams.remove(&number);
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

fn lock(state: &Shared) -> std::sync::MutexGuard<'_, State> {
    state.lock().expect("no panic while it was held")
}

impl State {
    fn open(&mut self, hello: Hello, sender: &mpsc::Sender<Result<ServerFrame, Status>>) -> u64 {
        let number = self.next_stream;
        self.next_stream += 1;
        if let Ok(replaced) = hello.replaces_session_id.parse::<u64>() {
            self.streams.remove(&replaced);
        }
        let held = hello.state.clone().unwrap_or_default();
        let same = held.generation == self.generation;
        let say = |frame| {
            let frame = ServerFrame {
                request_id: 0,
                frame: Some(frame),
            };
            sender.try_send(Ok(frame)).expect("an empty queue");
        };
        say(Frame::Welcome(Welcome {
            protocol: 1,
            session_id: number.to_string(),
            user_id: 1,
            device_id: 2,
            generation: self.generation,
            ..Welcome::default()
        }));
        for &room_id in self.logs.keys() {
            let cursor = held.cursors.iter().find(|cursor| cursor.room_id == room_id);
            let after = cursor.filter(|_| same).map_or(0, |cursor| cursor.seq);
            if after != self.head(room_id) {
                say(Frame::RoomSync(self.sync(room_id, after)));
            }
        }
        say(Frame::CaughtUp(crate::v1::CaughtUp {}));
        self.hellos.push(hello);
        self.streams.insert(number, sender.clone());
        number
    }

    fn answer(&mut self, frame: &ClientFrame) -> Option<Frame> {
        match frame.frame.as_ref()? {
            client_frame::Frame::SendMessage(request) => self.send(request),
            client_frame::Frame::MarkRead(request) => {
                self.marks.push(*request);
                let read_seq = request.seq;
                Some(Frame::MarkRead(MarkReadResponse { read_seq }))
            }
            client_frame::Frame::RenewToken(renew) => {
                self.renewed_in_band.push(renew.access_token.clone());
                Some(Frame::Done(Done {}))
            }
            _ => None,
        }
    }

    fn send(&mut self, request: &SendMessageRequest) -> Option<Frame> {
        self.sends.push(request.clone());
        let id = &request.client_message_id;
        if self
            .guards
            .get(&request.room_id)
            .is_some_and(|guard| guard != id)
        {
            return Some(Frame::Error(super::error(Reason::EarlierSendRefused)));
        }
        self.guards.remove(&request.room_id);
        if let Some(refusal) = self.refusals.pop() {
            if refusal.retry_after.is_some() {
                self.guards.insert(request.room_id, id.clone());
            }
            return Some(Frame::Error(refusal));
        }
        let log = self.logs.get(&request.room_id);
        let known = log.and_then(|log| log.iter().find(|entry| entry.client_message_id == id));
        let seq = match known.map(|entry| entry.seq) {
            Some(seq) => seq,
            None => self.say(request.room_id, &request.text, id),
        };
        if self.unanswered > 0 {
            self.unanswered -= 1;
            self.streams.clear();
            return None;
        }
        let create_time = None;
        Some(Frame::SendMessage(SendMessageResponse { seq, create_time }))
    }
}
