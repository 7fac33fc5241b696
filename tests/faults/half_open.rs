//! Clients that are gone without a word: their sockets are given back in the time that the limits
//! state.

use std::time::{Duration, Instant};

use magpie::v1::State;
use magpie_tests::{
    api::Api,
    files::raise_descriptor_limit,
    guard::{event_within, guarded},
    node::Setup,
    proxy::{Fault, FaultProxy},
    session::Session,
};

use crate::scene::Scene;

/// Clients that go. Each takes four descriptors of this machine's.
const CLIENTS: usize = 1_000;

#[tokio::test]
async fn sockets_of_clients_that_are_gone_are_freed_in_time() {
    guarded(async {
        raise_descriptor_limit();
        let setup = Setup::new()
            .limit("user_sessions_max", 2_000)
            .limit("ping_interval_millis", 1_500)
            .limit("ping_timeout_millis", 1_500);
        let mut scene = Scene::on(setup).await;
        let honest = scene.honest().await;
        let idle = scene.node.descriptors();
        let proxy = FaultProxy::start(scene.node.address()).await;
        let mut sessions = Vec::new();
        for _ in 0..CLIENTS / 100 {
            let opening = (0..100).map(|_| {
                let person = scene.mallory.over(Api::connect(proxy.address()));
                async move { Session::open(&person, State::default()).await }
            });
            for opened in futures_util::future::join_all(opening).await {
                sessions.push(opened.expect("a stream opens"));
            }
        }
        assert!(scene.node.descriptors() >= idle + CLIENTS);
        proxy.set_open(Fault::HalfOpen);
        let begin = Instant::now();
        event_within(Duration::from_secs(12), "sockets are freed", async {
            while scene.node.descriptors() > idle + 5 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        println!("{CLIENTS} sockets freed in {:?}", begin.elapsed());
        // An interval and a timeout; the rest is this machine's.
        assert!(
            begin.elapsed() < Duration::from_secs(8),
            "{:?}",
            begin.elapsed()
        );
        honest.stop_unharmed().await;
    })
    .await;
}
