//! Ways in and out of an account, and what a stolen or revoked token is worth.

use std::time::Duration;

use magpie::v1::{
    ChangePasswordRequest, Effect, ListDevicesRequest, LogOutRequest, Reason, ReconnectAdvice,
    RenewToken, RevokeDeviceRequest, ServerFrame, State, client_frame, server_frame::Frame,
};
use magpie_tests::{
    api::PASSWORD,
    guard::{guarded, guarded_for},
    node::Setup,
    person::{Person, message},
    refusal,
    session::Session,
};
use tonic::Code;

use crate::scene::{Scene, live};

/// How long a revoked device may go on.
const REVOCATION_TIME_MAX: Duration = Duration::from_secs(5);

#[tokio::test]
async fn unknown_people_and_wrong_passwords_are_not_told_apart() {
    guarded(async {
        let scene = Scene::new().await;
        let api = scene.node.api();
        let wrong = api
            .try_log_in("ann", "not her password")
            .await
            .expect_err("refused");
        let unknown = api
            .try_log_in("nobody", "not her password")
            .await
            .expect_err("refused");
        let (wrong_error, unknown_error) =
            (refusal::of_status(&wrong), refusal::of_status(&unknown));
        refusal::expect(&wrong_error, Reason::WrongCredentials, Effect::AttemptNone);
        assert_eq!(wrong_error, unknown_error);
        assert_eq!(
            (wrong.code(), wrong.message()),
            (unknown.code(), unknown.message())
        );
        assert_eq!(wrong.code(), Code::Unauthenticated);
    })
    .await;
}

#[tokio::test]
async fn sign_up_refuses_what_makes_no_account() {
    guarded(async {
        let scene = Scene::new().await;
        let api = scene.node.api();
        let refused = async |handle: &str, password: &str| {
            let status = api
                .try_sign_up(handle, password)
                .await
                .expect_err("refused");
            refusal::of_status(&status)
        };
        refusal::expect(
            &refused("ANN", PASSWORD).await,
            Reason::HandleTaken,
            Effect::AttemptNone,
        );
        for handle in ["", "ab", "ann-marie", "änn", &"a".repeat(33)] {
            refusal::expect_field(&refused(handle, PASSWORD).await, "handle");
        }
        refusal::expect_field(&refused("dora", "short").await, "password");
        refusal::expect_field(&refused("dora", &"x".repeat(129)).await, "password");
        let weak = refused("dora", "password123").await;
        refusal::expect(&weak, Reason::PasswordTooWeak, Effect::AttemptNone);
        api.try_sign_up("dora", PASSWORD)
            .await
            .expect("no refusal left anything behind");
    })
    .await;
}

#[tokio::test]
async fn a_refresh_token_serves_until_its_successor_is_used() {
    guarded(async {
        let scene = Scene::new().await;
        let first = &scene.bob;
        let lost = first.renewed().await.expect("renewed");
        let again = first.renewed().await;
        let second = again.expect("a lost answer may be asked again");
        assert_ne!(lost.credentials.refresh_token, "");
        let third = second.renewed().await.expect("renewed");
        let session = live(&third).await;
        let reused = first.renewed().await.expect_err("stolen or copied");
        refusal::expect(
            &refusal::of_status(&reused),
            Reason::RefreshTokenInvalid,
            Effect::AttemptNone,
        );
        let family = third.renewed().await.expect_err("revoked");
        assert_eq!(
            refusal::of_status(&family).reason(),
            Reason::RefreshTokenInvalid
        );
        ends_revoked(&session).await;
    })
    .await;
}

#[tokio::test]
async fn revoking_a_device_ends_its_streams_and_calls() {
    guarded(async {
        let scene = Scene::new().await;
        let laptop = scene.node.api().log_in("bob").await;
        let (kept, ended) = (live(&scene.bob).await, live(&laptop).await);
        let devices = scene
            .bob
            .api
            .auth()
            .list_devices(scene.bob.asks(ListDevicesRequest {}))
            .await;
        let devices = devices.expect("listed").into_inner().devices;
        assert_eq!(devices.len(), 2);
        assert_eq!(devices.iter().filter(|device| device.current).count(), 1);
        let device_id = laptop.credentials.device_id;
        let revoke = RevokeDeviceRequest { device_id };
        scene
            .bob
            .api
            .auth()
            .revoke_device(scene.bob.asks(revoke))
            .await
            .expect("revoked");
        ends_revoked(&ended).await;
        let status = laptop
            .send(scene.room, "still here")
            .await
            .expect_err("refused");
        assert_eq!(refusal::of_status(&status).reason(), Reason::DeviceRevoked);
        let status = Session::open(&laptop, State::default())
            .await
            .expect_err("refused");
        assert_eq!(refusal::of_status(&status).reason(), Reason::DeviceRevoked);
        assert!(kept.is_open());
        let again = scene
            .bob
            .api
            .auth()
            .revoke_device(scene.bob.asks(revoke))
            .await;
        let again = refusal::of_status(&again.expect_err("ended already"));
        assert_eq!(again.reason(), Reason::DeviceNotFound);
    })
    .await;
}

#[tokio::test]
async fn logging_out_and_a_new_password_end_devices() {
    guarded(async {
        let scene = Scene::new().await;
        let api = scene.node.api();
        let (laptop, tablet) = (api.log_in("bob").await, api.log_in("bob").await);
        let (on_laptop, on_tablet) = (live(&laptop).await, live(&tablet).await);
        laptop
            .api
            .auth()
            .log_out(laptop.asks(LogOutRequest {}))
            .await
            .expect("logged out");
        ends_revoked(&on_laptop).await;
        let change = ChangePasswordRequest {
            old_password: PASSWORD.to_owned(),
            new_password: "another nest of silver spoons".to_owned(),
        };
        scene
            .bob
            .api
            .auth()
            .change_password(scene.bob.asks(change))
            .await
            .expect("changed");
        ends_revoked(&on_tablet).await;
        scene
            .bob
            .send(scene.room, "the device that changed it goes on")
            .await
            .expect("sent");
        api.try_log_in("bob", PASSWORD)
            .await
            .expect_err("the old password is gone");
        api.try_log_in("bob", "another nest of silver spoons")
            .await
            .expect("logs in");
    })
    .await;
}

#[tokio::test]
async fn an_eleventh_device_ends_the_least_recently_used() {
    guarded(async {
        let scene = Scene::new().await;
        let api = scene.node.api();
        let session = live(&scene.bob).await;
        for _ in 2..=10 {
            api.log_in("bob").await;
        }
        let request = magpie::v1::LogInRequest {
            handle: "bob".to_owned(),
            password: PASSWORD.to_owned(),
            device_name: String::new(),
        };
        let answer = api
            .auth()
            .log_in(request)
            .await
            .expect("logs in")
            .into_inner();
        assert_eq!(
            answer.ended_device_id,
            Some(scene.bob.credentials.device_id)
        );
        ends_revoked(&session).await;
    })
    .await;
}

#[tokio::test]
async fn a_ninth_session_ends_the_oldest() {
    guarded(async {
        let scene = Scene::new().await;
        let oldest = live(&scene.bob).await;
        let mut others = Vec::new();
        for _ in 0..8 {
            others.push(live(&scene.bob).await);
        }
        let error = oldest.find(0, "Closing", closing).await.0;
        assert_eq!(error.reason(), Reason::SessionReplaced, "{error:?}");
        assert!(others.iter().all(Session::is_open));
    })
    .await;
}

#[tokio::test]
async fn a_token_is_renewed_within_the_stream() {
    guarded(async {
        let scene = Scene::new().await;
        let session = live(&scene.bob).await;
        let fresh = scene.bob.renewed().await;
        let access_token = fresh.expect("renewed").credentials.access_token;
        let renew = client_frame::Frame::RenewToken(RenewToken { access_token });
        let answer = session.ask(renew).await.await;
        assert!(matches!(answer, Ok(Frame::Done(_))), "{answer:?}");
        // Another account's token is no renewal.
        let access_token = scene.ann.credentials.access_token.clone();
        let foreign = client_frame::Frame::RenewToken(RenewToken { access_token });
        let refused = session.ask(foreign).await.await.expect_err("refused");
        refusal::expect_field(&refused, "access_token");
    })
    .await;
}

/// Tokens are short only once both are signed up, so that no password's hash takes its time from
/// them. Ann's ends first: what ends Bob's stream had come to hers before.
#[tokio::test]
async fn a_stream_ends_with_its_token_unless_it_is_renewed() {
    guarded_for(Duration::from_secs(60), async {
        let mut scene = Scene::new().await;
        let short = Setup::new().limit("access_token_millis", 6_000);
        scene.node.set_up(short);
        scene.node.kill_and_restart().await;
        let api = scene.node.api();
        let brief = async |of: &Person| of.over(api.clone()).renewed().await.expect("renewed");
        let renewing = live(&brief(&scene.ann).await).await;
        let bob = brief(&scene.bob).await;
        let idle = live(&bob).await;
        // The token that Ann signed up with holds for longer.
        let access_token = scene.ann.credentials.access_token.clone();
        let renew = client_frame::Frame::RenewToken(RenewToken { access_token });
        renewing.ask(renew).await.await.expect("renewed");
        let bound = Duration::from_secs(20);
        let (error, advice) = idle.find_within(bound, 0, "Closing", closing).await;
        assert_eq!(error.reason(), Reason::TokenExpired, "{error:?}");
        assert_eq!(advice, ReconnectAdvice::Yes);
        renewing
            .send(message(scene.room, "the renewed stream goes on"))
            .await
            .expect("sent");
        let status = bob.send(scene.room, "too late").await.expect_err("refused");
        let error = refusal::of_status(&status);
        refusal::expect(&error, Reason::TokenExpired, Effect::AttemptNone);
    })
    .await;
}

#[tokio::test]
async fn accounts_and_tokens_survive_a_kill() {
    guarded(async {
        let mut scene = Scene::new().await;
        scene.node.kill_and_restart().await;
        let bob = scene.bob.over(scene.node.api());
        bob.send(scene.room, "the same token").await.expect("sent");
        bob.renewed().await.expect("renewed");
        bob.api.log_in("bob").await;
    })
    .await;
}

async fn ends_revoked(session: &Session) {
    let found = session
        .find_within(REVOCATION_TIME_MAX, 0, "Closing", closing)
        .await;
    assert_eq!(found.0.reason(), Reason::DeviceRevoked, "{found:?}");
    assert_eq!(found.1, ReconnectAdvice::No);
    session.ended_within(Duration::from_secs(2)).await.ok();
}

fn closing(frame: &ServerFrame) -> Option<(magpie::v1::Error, ReconnectAdvice)> {
    match &frame.frame {
        Some(Frame::Closing(closing)) => Some((closing.error.clone()?, closing.reconnect())),
        _ => None,
    }
}
