//! The stock chat: what a good engineer makes of tonic in an afternoon, with default settings.
//!
//! One bidirectional stream a member, a bounded channel a member, rooms in a map under a mutex.
//! It stores nothing, knows no accounts, and drops a member who does not keep up.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use pb::{Heard, Post, Say, heard, say, stock_chat_server};

mod pb {
    #![expect(
        unused_qualifications,
        unreachable_pub,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("stock_chat");
}

/// Posts that a member may be behind.
const OUTBOX_POSTS_MAX: usize = 256;

#[derive(Debug, Default)]
struct Room {
    posts: i64,
    members: HashMap<u64, mpsc::Sender<Result<Heard, Status>>>,
}

#[derive(Debug, Default)]
struct Rooms {
    next_member: u64,
    by_id: HashMap<u32, Room>,
}

#[derive(Clone, Debug, Default)]
struct StockChat(Arc<Mutex<Rooms>>);

impl StockChat {
    fn join(&self, id: u32, outbox: mpsc::Sender<Result<Heard, Status>>) -> u64 {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.next_member += 1;
        let member = rooms.next_member;
        outbox.try_send(Ok(hear(heard::Heard::Joined(id)))).ok();
        let room = rooms.by_id.entry(id).or_default();
        room.members.insert(member, outbox);
        member
    }

    fn post(&self, id: u32, member: u64, text: String) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(room) = rooms.by_id.get_mut(&id) else {
            return;
        };
        room.posts += 1;
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let time_ms = time.map_or(0, |time| time.as_millis());
        let post = hear(heard::Heard::Post(Post {
            room: id,
            number: room.posts,
            time_ms: i64::try_from(time_ms).unwrap_or(i64::MAX),
            member,
            text,
        }));
        room.members
            .retain(|_, outbox| outbox.try_send(Ok(post.clone())).is_ok());
    }

    fn leave(&self, id: u32, member: u64) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.by_id.get_mut(&id) {
            room.members.remove(&member);
        }
    }

    /// Reads what a member says until the stream ends.
    async fn listen(self, mut says: Streaming<Say>, outbox: mpsc::Sender<Result<Heard, Status>>) {
        let Ok(Some(Say {
            say: Some(say::Say::Join(room)),
        })) = says.message().await
        else {
            let refusal = Status::failed_precondition("join a room first");
            outbox.send(Err(refusal)).await.ok();
            return;
        };
        let member = self.join(room, outbox);
        while let Ok(Some(Say {
            say: Some(say::Say::Post(text)),
        })) = says.message().await
        {
            self.post(room, member, text);
        }
        self.leave(room, member);
    }
}

#[tonic::async_trait]
impl stock_chat_server::StockChat for StockChat {
    type TalkStream = ReceiverStream<Result<Heard, Status>>;

    async fn talk(
        &self,
        request: Request<Streaming<Say>>,
    ) -> Result<Response<Self::TalkStream>, Status> {
        let (outbox, events) = mpsc::channel(OUTBOX_POSTS_MAX);
        tokio::spawn(self.clone().listen(request.into_inner(), outbox));
        Ok(Response::new(ReceiverStream::new(events)))
    }
}

fn hear(heard: heard::Heard) -> Heard {
    Heard { heard: Some(heard) }
}

/// Serves until the process ends.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let chat = stock_chat_server::StockChatServer::new(StockChat::default());
    runtime
        .block_on(Server::builder().add_service(chat).serve(address))
        .context("the stock chat ended")
}
