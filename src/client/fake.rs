//! A server for the client's own tests: it keeps logs and streams as the contract says, and can be
//! told to misbehave. It stores nothing and checks little.

mod chat;

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use prost::Message as _;
use prost_types::Timestamp;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tonic::{
    Code, Request, Response, Status,
    server::Grpc,
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::{
    client::{Api, MemoryStore, Target},
    v1::{
        self, Closing, Credentials, Draining, Entry, Hello, ListEntriesRequest,
        ListEntriesResponse, LocateResponse, Message, Reason, RefreshTokenRequest,
        RefreshTokenResponse, RoomSummary, RoomSync, ServerFrame, entry::Body, server_frame::Frame,
    },
};

/// A running fake.
pub(super) struct Fake {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) address: SocketAddr,
    serving: JoinHandle<()>,
}

/// What the fake keeps, and how it is told to misbehave.
#[derive(Default)]
pub(super) struct State {
    pub(super) logs: BTreeMap<i64, Vec<Entry>>,
    pub(super) streams: HashMap<u64, mpsc::Sender<Result<ServerFrame, Status>>>,
    pub(super) hellos: Vec<Hello>,
    pub(super) generation: i64,
    pub(super) next_stream: u64,
    /// Refusals for the next sends, one after the other; the entry is not made.
    pub(super) refusals: Vec<v1::Error>,
    /// The refused send that must come again before others, by room.
    pub(super) guards: HashMap<i64, bytes::Bytes>,
    /// Sends that are made but not answered, as if the stream had been cut just then.
    pub(super) unanswered: usize,
    /// Live events that are left out.
    pub(super) lost_events: usize,
    /// Access tokens that are accepted; others have expired.
    pub(super) token: String,
    pub(super) renewals: usize,
    pub(super) renewed_in_band: Vec<String>,
    pub(super) sends: Vec<v1::SendMessageRequest>,
    pub(super) marks: Vec<v1::MarkReadRequest>,
    pub(super) pages: usize,
    pub(super) byes: usize,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State {
            generation: 1,
            token: "token-0".to_owned(),
            ..State::default()
        }));
        let service = service(state.clone());
        let router = axum::Router::new().fallback_service(service);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = tokio::spawn(async move {
            let routes = Server::builder().add_routes(Routes::from(router));
            routes
                .serve_with_incoming(incoming)
                .await
                .expect("a server");
        });
        Self {
            state,
            address,
            serving,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it was held")
    }

    pub(super) fn api(&self) -> Api {
        let target = Target::new(format!("http://{}", self.address));
        let credentials = self.state().credentials();
        Api::open(target, credentials, Arc::new(MemoryStore::default())).expect("an address")
    }

    /// Ends all streams without a word.
    pub(super) fn cut(&self) {
        self.state().streams.clear();
    }

    pub(super) fn drain(&self, window: Duration) {
        let window = prost_types::Duration::try_from(window).expect("a short time");
        self.state().tell(&Frame::Draining(Draining {
            reconnect_window: Some(window),
            alternative_addresses: Vec::new(),
        }));
    }

    pub(super) fn close(&self, reason: Reason, advice: v1::ReconnectAdvice) {
        self.state().tell(&Frame::Closing(Closing {
            error: Some(error(reason)),
            reconnect: advice.into(),
        }));
        self.cut();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl State {
    pub(super) fn credentials(&self) -> Credentials {
        let end = SystemTime::now() + Duration::from_secs(900);
        Credentials {
            user_id: 1,
            device_id: 2,
            access_token: self.token.clone(),
            access_expire_time: Some(Timestamp::from(end)),
            refresh_token: "refresh".to_owned(),
            ..Credentials::default()
        }
    }

    /// Appends a message, tells the streams, and returns its seq.
    pub(super) fn say(&mut self, room_id: i64, text: &str, id: &[u8]) -> i64 {
        let log = self.logs.entry(room_id).or_default();
        let seq = i64::try_from(log.len()).expect("a short log") + 1;
        let entry = Entry {
            room_id,
            seq,
            actor_user_id: 9,
            client_message_id: id.to_vec().into(),
            body: Some(Body::Message(Message {
                text: text.to_owned(),
                ..Message::default()
            })),
            ..Entry::default()
        };
        log.push(entry.clone());
        if self.lost_events > 0 {
            self.lost_events -= 1;
        } else {
            self.tell(&Frame::Event(v1::Event { entry: Some(entry) }));
        }
        seq
    }

    pub(super) fn tell(&self, frame: &Frame) {
        for stream in self.streams.values() {
            let frame = ServerFrame {
                request_id: 0,
                frame: Some(frame.clone()),
            };
            stream.try_send(Ok(frame)).ok();
        }
    }

    fn head(&self, room_id: i64) -> i64 {
        let length = self.logs.get(&room_id).map_or(0, Vec::len);
        i64::try_from(length).expect("a short log")
    }

    fn sync(&self, room_id: i64, after_seq: i64) -> RoomSync {
        let head_seq = self.head(room_id);
        let entries: Vec<_> = self.after(room_id, after_seq).cloned().collect();
        let stale = entries.len() > 200;
        RoomSync {
            summary: Some(RoomSummary {
                room_id,
                head_seq,
                ..RoomSummary::default()
            }),
            live: true,
            stale,
            entries: if stale { Vec::new() } else { entries },
            after_seq,
            through_seq: head_seq,
        }
    }

    fn after(&self, room_id: i64, seq: i64) -> impl Iterator<Item = &Entry> {
        let log = self.logs.get(&room_id).map_or(&[][..], Vec::as_slice);
        log.iter().filter(move |entry| entry.seq > seq)
    }

    fn page(&mut self, request: &ListEntriesRequest) -> ListEntriesResponse {
        self.pages += 1;
        let after = self.after(request.room_id, request.after_seq);
        let entries: Vec<_> = after.take(50).cloned().collect();
        let head = self.head(request.room_id);
        ListEntriesResponse {
            after_seq: request.after_seq,
            through_seq: entries.last().map_or(head, |entry| entry.seq),
            as_of_seq: head,
            entries,
        }
    }

    /// Whether the call's token is accepted.
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let expected = format!("Bearer {}", self.token);
        match request.metadata().get("authorization") {
            Some(token) if *token == *expected => Ok(()),
            Some(_) => Err(status(Code::Unauthenticated, &error(Reason::TokenExpired))),
            None => Err(status(
                Code::Unauthenticated,
                &error(Reason::Unauthenticated),
            )),
        }
    }
}

pub(super) fn error(reason: Reason) -> v1::Error {
    v1::Error {
        reason: reason.into(),
        message: "as the test wishes".to_owned(),
        effect: v1::Effect::AttemptNone.into(),
        ..v1::Error::default()
    }
}

fn status(code: Code, error: &v1::Error) -> Status {
    // google.rpc.Status with one detail, by its field numbers.
    let any = prost_types::Any {
        type_url: "type.googleapis.com/magpie.v1.Error".to_owned(),
        value: error.encode_to_vec(),
    };
    let mut details = vec![0x1a];
    prost::encoding::encode_varint(any.encoded_len() as u64, &mut details);
    details.extend(any.encode_to_vec());
    Status::with_details(code, "refused", details.into())
}

type Shared = Arc<Mutex<State>>;

fn service(
    state: Shared,
) -> impl tower::Service<
    axum::extract::Request,
    Response = http::Response<tonic::body::Body>,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    service_fn(move |request: axum::extract::Request| {
        let state = state.clone();
        async move {
            let path = request.uri().path().to_owned();
            let response = match path.rsplit('/').next() {
                Some("Chat") => {
                    let chat = service_fn(move |request| chat::chat(state.clone(), request));
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.streaming(chat, request).await
                }
                Some("RefreshToken") => {
                    let refresh = service_fn(move |_: Request<RefreshTokenRequest>| {
                        let mut state = state.lock().expect("no panic while it was held");
                        state.renewals += 1;
                        state.token = format!("token-{}", state.renewals);
                        let credentials = Some(state.credentials());
                        let answer = Response::new(RefreshTokenResponse { credentials });
                        async move { Ok::<_, Status>(answer) }
                    });
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.unary(refresh, request).await
                }
                Some("ListEntries") => {
                    let list = service_fn(move |request: Request<ListEntriesRequest>| {
                        let mut state = state.lock().expect("no panic while it was held");
                        let answer = state.admit(&request);
                        let answer = answer.map(|()| Response::new(state.page(request.get_ref())));
                        async move { answer }
                    });
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.unary(list, request).await
                }
                _ => {
                    let locate = service_fn(|_: Request<v1::LocateRequest>| async {
                        Ok::<_, Status>(Response::new(LocateResponse::default()))
                    });
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.unary(locate, request).await
                }
            };
            Ok(response)
        }
    })
}
