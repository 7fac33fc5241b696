//! What the layer lets through.

use std::{convert::Infallible, time::Duration};

use http::header::AUTHORIZATION;
use magpie::v1;
use magpie_core::{
    ids::{DeviceId, UserId},
    time::Timestamp,
};
use magpie_store::account::sqlite::SqliteStore;
use secrecy::ExposeSecret;
use tonic::Status;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::auth::{AccessKeys, Revocations};

struct World {
    keys: AccessKeys,
    revocations: Revocations,
    clock: Clock,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let store = SqliteStore::open(directory.path()).await.expect("it opens");
        let lifetime = Duration::from_secs(900);
        let keys = AccessKeys::load(&store, lifetime, Timestamp(0))
            .await
            .expect("it works");
        Self {
            keys,
            revocations: Revocations::new(lifetime),
            clock: Clock::from_fn(magpie_core::time::Now::default),
        }
    }

    fn token(&self) -> String {
        let token = self.keys.issue(user(), device(), Timestamp(0)).token;
        token.expose_secret().to_owned()
    }

    /// What the service behind the layer sees as the caller, or the reason of the refusal.
    async fn call(
        &self,
        path: &str,
        token: Option<&str>,
    ) -> Result<Option<Caller>, Option<v1::Reason>> {
        let authenticator = Authenticator::new(self.keys.clone(), self.revocations.clone());
        let layer = AuthnLayer::new(authenticator, self.clock.clone());
        let service = layer.layer(service_fn(async |request: Request<()>| {
            let mut response = Response::new(String::new());
            if let Some(caller) = request.extensions().get::<Caller>() {
                response.extensions_mut().insert(*caller);
            }
            Ok::<_, Infallible>(response)
        }));
        let mut request = Request::builder().uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut request = request.body(()).expect("it is a request");
        // Whatever came before the layer does not say who calls.
        let forged = Caller {
            user: user(),
            device: device(),
            expires: Timestamp(1),
        };
        request.extensions_mut().insert(forged);
        let response = service.oneshot(request).await.expect("it cannot fail");
        match Status::from_header_map(response.headers()) {
            None => Ok(response.extensions().get().copied()),
            Some(refused) => Err(status::error_of(&refused).map(|error| error.reason())),
        }
    }
}

fn user() -> UserId {
    UserId::new(7).expect("it is positive")
}

fn device() -> DeviceId {
    DeviceId::new(8).expect("it is positive")
}

#[tokio::test]
async fn a_call_with_a_token_has_a_caller() {
    let world = World::new().await;
    let caller = world
        .call("/magpie.v1.RoomService/GetRoom", Some(&world.token()))
        .await;
    let caller = caller.expect("the token is good").expect("it has a caller");
    assert_eq!((caller.user, caller.device), (user(), device()));
    assert_eq!(caller.expires, Timestamp(900_000));
}

#[tokio::test]
async fn a_call_without_a_good_token_is_refused_with_details() {
    let world = World::new().await;
    for token in [None, Some(""), Some("garbage")] {
        for path in [
            "/magpie.v1.ChatService/Chat",
            "/magpie.v1.AuthService/LogOut",
            "/magpie.v1.AuthService/SignUp/",
            "/magpie.v1.AuthService/signup",
            "/unknown.Service/Call",
        ] {
            let refused = world.call(path, token).await;
            assert_eq!(refused, Err(Some(v1::Reason::Unauthenticated)), "{path}");
        }
    }
}

#[tokio::test]
async fn the_ways_in_need_no_token_and_have_no_caller() {
    let world = World::new().await;
    for call in ["SignUp", "LogIn", "RefreshToken"] {
        let path = format!("/magpie.v1.AuthService/{call}");
        assert_eq!(world.call(&path, None).await, Ok(None));
        assert_eq!(world.call(&path, Some("garbage")).await, Ok(None));
    }
}

#[tokio::test]
async fn a_revoked_device_and_an_expired_token_are_told_so() {
    let mut world = World::new().await;
    let token = world.token();
    let path = "/magpie.v1.RoomService/GetRoom";
    world.clock = Clock::from_fn(|| magpie_core::time::Now {
        wall: Timestamp(900_000),
        ..Default::default()
    });
    assert_eq!(
        world.call(path, Some(&token)).await,
        Err(Some(v1::Reason::TokenExpired))
    );
    world.clock = Clock::from_fn(magpie_core::time::Now::default);
    world.revocations.add([device()], Timestamp(0));
    assert_eq!(
        world.call(path, Some(&token)).await,
        Err(Some(v1::Reason::DeviceRevoked))
    );
}
