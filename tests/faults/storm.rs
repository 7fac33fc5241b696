//! All clients come back at once.

use std::time::{Duration, Instant};

use magpie::v1::State;
use magpie_tests::{files::raise_descriptor_limit, guard::guarded, node::Setup};
use tokio::net::TcpStream;

use crate::{peer::Peer, scene::Scene};

const CLIENTS: usize = 2_000;

#[tokio::test]
async fn all_of_two_thousand_clients_that_come_back_at_once_are_served() {
    guarded(async {
        raise_descriptor_limit();
        let scene = Scene::on(Setup::new().limit("user_sessions_max", 4_000)).await;
        let honest = scene.honest().await;
        let begin = Instant::now();
        let address = scene.node.address();
        // The connections first, so that the queue of the port meets all of them together.
        let connects = (0..CLIENTS).map(|_| TcpStream::connect(address));
        let streams = futures_util::future::join_all(connects).await;
        let connected = begin.elapsed();
        let streams: Vec<_> = streams
            .into_iter()
            .map(|stream| stream.expect("no connection is refused"))
            .collect();
        let (mallory, hello) = (
            &scene.mallory,
            magpie_tests::session::hello(State::default()),
        );
        let opening = streams.into_iter().map(|stream| {
            let hello = hello.clone();
            async move {
                let mut peer = Peer::over(stream, 1 << 16, 1 << 16).await;
                let mut stream = peer.chat_with(mallory, hello).await;
                let welcome = stream.next().await.expect("the connection lives");
                assert!(welcome.is_some(), "a stream begins with Welcome");
                (peer, stream)
            }
        });
        let open = futures_util::future::join_all(opening).await;
        let back = begin.elapsed();
        let waits = honest.stop_unharmed().await;
        println!(
            "{} connected in {connected:?}, back in {back:?}; {waits:?}",
            open.len()
        );
        assert!(back < Duration::from_secs(10), "{back:?}");
        assert!(open.iter().all(|(peer, _)| peer.is_open()));
    })
    .await;
}
