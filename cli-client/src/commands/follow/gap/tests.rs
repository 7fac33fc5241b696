//! Gaps against a server that has pages, and a mood.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use magpie::v1::{self, ListEntriesResponse, Reason};
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, UnaryService},
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

use super::*;
use crate::{
    commands::follow::tests::{TEA, follower, link_to},
    failure::Exit,
};

/// Pages of three entries of a room with nine.
#[derive(Clone, Default)]
struct Pages(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    /// Answers before these are refusals.
    refuses: usize,
    reason: Reason,
    calls: usize,
}

impl UnaryService<ListEntriesRequest> for Pages {
    type Response = ListEntriesResponse;
    type Future = Ready<std::result::Result<Response<ListEntriesResponse>, Status>>;

    fn call(&mut self, request: Request<ListEntriesRequest>) -> Self::Future {
        let mut asked = self.0.lock().unwrap();
        asked.calls += 1;
        if asked.calls <= asked.refuses {
            return ready(Err(refusal(asked.reason)));
        }
        let after_seq = request.get_ref().after_seq;
        let entry = |seq| Entry {
            room_id: TEA,
            seq,
            actor_user_id: 1,
            ..Entry::default()
        };
        ready(Ok(Response::new(ListEntriesResponse {
            entries: (after_seq + 1..=after_seq + 3).map(entry).collect(),
            after_seq,
            through_seq: after_seq + 3,
            as_of_seq: 19,
        })))
    }
}

/// A refusal as a call's status carries it.
fn refusal(reason: Reason) -> Status {
    let error = v1::Error {
        reason: reason.into(),
        effect: v1::Effect::None.into(),
        ..v1::Error::default()
    };
    // google.rpc.Status with one detail, by its field numbers.
    let any = prost_types::Any {
        type_url: "type.googleapis.com/magpie.v1.Error".to_owned(),
        value: prost::Message::encode_to_vec(&error),
    };
    let any = prost::Message::encode_to_vec(&any);
    let mut details = vec![0x1a, u8::try_from(any.len()).unwrap()];
    details.extend(any);
    Status::with_details(Code::ResourceExhausted, "refused", details.into())
}

impl NamedService for Pages {
    const NAME: &'static str = "magpie.v1.MessageService";
}

impl Service<http::Request<Body>> for Pages {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let pages = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(grpc.unary(pages, request).await)
        })
    }
}

/// Serves the pages until the test ends; returns where.
async fn serve(pages: Pages) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder().add_service(pages);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

fn gap() -> Gap {
    Gap {
        room_id: TEA,
        after_seq: 10,
        through_seq: 19,
    }
}

fn seqs(entries: Option<Vec<Entry>>) -> Option<Vec<i64>> {
    Some(entries?.iter().map(|entry| entry.seq).collect())
}

#[tokio::test]
async fn a_gap_is_handed_on_page_by_page() {
    let pages = Pages::default();
    let (_dir, link) = link_to(&serve(pages.clone()).await, 10);
    let (mut follower, mut gap) = (follower(&link, None), gap());
    for (calls, first) in [(1, 11), (2, 14), (3, 17)] {
        let page = seqs(follower.next_page(&mut gap).await.unwrap());
        assert_eq!(page, Some(vec![first, first + 1, first + 2]));
        assert_eq!(pages.0.lock().unwrap().calls, calls);
    }
    assert_eq!(seqs(follower.next_page(&mut gap).await.unwrap()), None);
    assert_eq!(pages.0.lock().unwrap().calls, 3);
}

#[tokio::test]
async fn a_server_that_is_overloaded_for_longer_than_one_answer_may_take_is_asked_again() {
    let pages = Pages::default();
    *pages.0.lock().unwrap() = Asked {
        // One second holds five attempts at the most.
        refuses: 6,
        reason: Reason::Overloaded,
        calls: 0,
    };
    let (_dir, link) = link_to(&serve(pages.clone()).await, 1);
    let (mut follower, mut gap) = (follower(&link, None), gap());
    let page = follower.next_page(&mut gap).await.unwrap();
    assert_eq!(seqs(page), Some(vec![11, 12, 13]));
}

#[tokio::test]
async fn a_refusal_for_good_ends_it() {
    let pages = Pages::default();
    *pages.0.lock().unwrap() = Asked {
        refuses: usize::MAX,
        reason: Reason::RoomNotFound,
        calls: 0,
    };
    let (_dir, link) = link_to(&serve(pages.clone()).await, 1);
    let (mut follower, mut gap) = (follower(&link, None), gap());
    let failure = follower.next_page(&mut gap).await.unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused);
    assert_eq!(pages.0.lock().unwrap().calls, 1);
}
