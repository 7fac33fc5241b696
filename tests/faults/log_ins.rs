//! A flood of log-ins: passwords are checked a few at a time, the rest is shed at once, and sends go
//! on.

use std::time::{Duration, Instant};

use magpie::v1::Reason;
use magpie_tests::{api::PASSWORD, guard::guarded, node::Setup, refusal};

use crate::scene::Scene;

const LOG_INS: usize = 600;

#[tokio::test]
async fn a_flood_of_log_ins_is_shed_and_stops_no_send() {
    guarded(async {
        let mut scene = Scene::on(Setup::new().limit("password_waiting_max", 20)).await;
        let honest = scene.honest().await;
        let memory = scene.mark_memory();
        let apis: Vec<_> = (0..8).map(|_| scene.node.api()).collect();
        for api in &apis {
            // From its first answer on a connection knows how many calls it may have open.
            let attempt = api.try_log_in("nobody_at_all", PASSWORD).await;
            attempt.expect_err("nobody has this name");
        }
        let tries = (0..LOG_INS).map(|number| {
            let api = apis[number % apis.len()].clone();
            tokio::spawn(async move {
                let begin = Instant::now();
                let handle = format!("nobody_{number}");
                (api.try_log_in(&handle, PASSWORD).await, begin.elapsed())
            })
        });
        let tries: Vec<_> = tries.collect();
        let (mut checked, mut shed) = (0, Vec::new());
        for attempt in tries {
            let (result, elapsed) = attempt.await.expect("an attempt ends");
            let error = refusal::of_status(&result.expect_err("nobody has this name"));
            match error.reason() {
                Reason::Overloaded => {
                    assert!(error.retry_after.is_some(), "{error:?}");
                    shed.push(elapsed);
                }
                Reason::WrongCredentials => checked += 1,
                _ => panic!("{error:?}"),
            }
        }
        let waits = honest.stop_unharmed().await;
        shed.sort_unstable();
        let median = shed[shed.len() / 2];
        println!(
            "{checked} checked, {} shed, median {median:?}; {waits:?}",
            shed.len()
        );
        assert!(checked >= 20, "{checked} checked");
        assert!(shed.len() > LOG_INS / 2, "{} shed", shed.len());
        assert!(median < Duration::from_secs(1), "{median:?}");
        // 19 MiB a hash, two for each core, and what the allocator keeps of them.
        assert!(memory.growth() < 512 << 20, "{} MiB", memory.growth() >> 20);
    })
    .await;
}
