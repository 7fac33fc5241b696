//! A node that runs out of descriptors waits for them, and does nothing else meanwhile.

use std::time::{Duration, Instant};

use magpie_tests::guard::{event, guarded};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::net::TcpStream;

use crate::scene::Scene;

#[tokio::test]
async fn a_node_without_descriptors_does_not_spin_and_accepts_again_once_it_has_some() {
    guarded(async {
        let mut scene = Scene::new().await;
        let honest = scene.honest().await;
        let used = scene.node.descriptors() as u64;
        let pid = i32::try_from(scene.node.process().pid()).ok();
        let limit = Rlimit {
            current: Some(used + 40),
            maximum: Some(used + 40),
        };
        let pid = pid.and_then(Pid::from_raw);
        prlimit(pid, Resource::Nofile, limit).expect("one's own child can be limited");
        let mut held = Vec::new();
        for _ in 0..120 {
            let stream = TcpStream::connect(scene.node.address()).await;
            held.push(stream.expect("the queue of connections takes it"));
        }
        event("want of descriptors", async {
            while (scene.node.descriptors() as u64) < used + 38 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        honest.stop_unharmed().await;
        let (begin, cpu) = (Instant::now(), scene.cpu_time());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (elapsed, spent) = (begin.elapsed(), scene.cpu_time().saturating_sub(cpu));
        println!("{spent:?} of CPU time in {elapsed:?} without descriptors");
        assert!(spent < elapsed / 5, "{spent:?} of CPU time in {elapsed:?}");
        drop(held);
        let late = scene.node.api().log_in("ann").await;
        late.send(scene.room, "back again").await.expect("granted");
    })
    .await;
}
