//! HTTP/2 libraries end a connection on which too many small frames wait unread. An honest client
//! sends and gets such bursts, and must live.

use std::time::Duration;

use magpie::v1::{
    ClientFrame, Heartbeat, MarkReadRequest, SendTypingRequest, State, client_frame,
    server_frame::Frame,
};
use magpie_tests::{
    guard::{event, guarded},
    person::message,
    session::hello,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    peer::Peer,
    scene::{Scene, live},
};

/// Small frames of a burst.
const FRAMES: usize = 1_000;

#[tokio::test]
async fn a_burst_of_small_frames_from_a_client_is_taken() {
    guarded(async {
        let scene = Scene::new().await;
        let honest = scene.honest().await;
        for _ in 0..10 {
            let mut peer = Peer::connect(&scene.node, 1 << 20, 1 << 20).await;
            let mut stream = peer.chat(&scene.mallory).await;
            while !matches!(stream.next().await, Ok(Some(Frame::CaughtUp(_)))) {}
            for number in 0..FRAMES {
                let room_id = scene.den;
                stream.tell(
                    0,
                    match number % 20 {
                        0 => client_frame::Frame::SendTyping(SendTypingRequest { room_id }),
                        _ => client_frame::Frame::Heartbeat(Heartbeat {}),
                    },
                );
            }
            let mark = MarkReadRequest {
                room_id: scene.den,
                seq: 1,
            };
            stream.tell(7, client_frame::Frame::MarkRead(mark));
            loop {
                let frame = match stream.next().await {
                    Ok(frame) => frame,
                    Err(error) => panic!("{error:?}: {:?}", peer.ended().await),
                };
                stream.release();
                match frame.expect("the stream lives") {
                    Frame::MarkRead(_) => break,
                    Frame::Closing(closing) => panic!("{closing:?}"),
                    _ => {}
                }
            }
        }
        honest.stop_unharmed().await;
    })
    .await;
}

/// The windows are those of a client that chooses none.
#[tokio::test]
async fn a_burst_of_small_frames_to_a_client_that_stands_still_is_taken() {
    guarded(async {
        let scene = Scene::new().await;
        let honest = scene.honest().await;
        let (commands, queue) = mpsc::channel(8);
        let first = ClientFrame {
            request_id: 0,
            frame: Some(client_frame::Frame::Hello(hello(State::default()))),
        };
        commands.try_send(first).expect("an empty queue has room");
        let person = scene.mallory.over(scene.node.api());
        let request = person.asks(ReceiverStream::new(queue));
        let call = event("the stream", person.api.chat().chat(request)).await;
        let mut stream = call.expect("it opens").into_inner();
        let talker = live(&scene.ann).await;
        let mut last = 0;
        for _ in 0..FRAMES / 30 {
            let mut answers = Vec::new();
            for _ in 0..30 {
                let typing = SendTypingRequest { room_id: scene.den };
                talker.tell(client_frame::Frame::SendTyping(typing)).await;
                let frame = client_frame::Frame::SendMessage(message(scene.den, "hm"));
                answers.push(talker.ask(frame).await);
            }
            for answer in answers {
                let Ok(Frame::SendMessage(answer)) = answer.await else {
                    panic!("refused")
                };
                last = answer.seq;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        loop {
            let frame = event("a frame", stream.message()).await;
            let frame = frame.expect("the connection lives");
            match frame.and_then(|frame| frame.frame) {
                Some(Frame::Event(event))
                    if event.entry.as_ref().is_some_and(|entry| entry.seq == last) =>
                {
                    break;
                }
                Some(Frame::RoomSync(sync)) if sync.through_seq == last => break,
                Some(_) => {}
                None => panic!("the stream ended"),
            }
        }
        drop(commands);
        honest.stop_unharmed().await;
    })
    .await;
}
