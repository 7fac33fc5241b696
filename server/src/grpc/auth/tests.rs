//! The services as a client sees them: through the layer, with real messages.

use std::sync::Arc;

use magpie_core::refusal::Reason;
use magpie_store::account::sqlite::SqliteStore;
use tempfile::TempDir;

use super::*;
use crate::{
    auth::{Caller, Limits},
    clock::Clock,
    grpc::{api::UserService, status::error_of, user::Users},
};

struct World {
    accounts: Accounts,
    auth: Auth,
    users: Users,
    _directory: TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let store = SqliteStore::open(directory.path()).await.expect("it opens");
        let accounts = Accounts::open(Arc::new(store), Limits::default(), Clock::system()).await;
        let accounts = accounts.expect("it opens");
        Self {
            auth: Auth::new(accounts.clone(), "https://chat.example:7400".to_owned()),
            users: Users::new(accounts.clone()),
            accounts,
            _directory: directory,
        }
    }

    async fn sign_up(&self, handle: &str) -> v1::Credentials {
        let request = v1::SignUpRequest {
            handle: handle.to_owned(),
            password: "lumpy walnut cadence".to_owned(),
            ..Default::default()
        };
        let response = self
            .auth
            .sign_up(from_peer(request))
            .await
            .expect("nothing is in its way");
        response
            .into_inner()
            .credentials
            .expect("they are always there")
    }

    fn request<T>(&self, credentials: &v1::Credentials, message: T) -> Request<T> {
        let now = Clock::system().now().wall;
        let token = &credentials.access_token;
        let caller = self.accounts.authenticator().authenticate_token(token, now);
        let mut request = Request::new(message);
        request
            .extensions_mut()
            .insert::<Caller>(caller.expect("the token is good"));
        request
    }
}

fn from_peer<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let peer = SocketAddr::from(([192, 0, 2, 1], 1));
    let info = ConnInfo::new(peer, &crate::limits::Limits::default());
    request.extensions_mut().insert(info);
    request
}

#[tokio::test]
async fn credentials_hold_all_that_a_device_needs() {
    let world = World::new().await;
    let credentials = world.sign_up("ann").await;
    assert!(credentials.user_id > 0 && credentials.device_id > 0);
    assert_eq!(credentials.address, "https://chat.example:7400");
    let access = credentials.access_expire_time.expect("it ends").seconds;
    let refresh = credentials.refresh_expire_time.expect("it ends").seconds;
    let days = 90 * 24 * 60 * 60;
    assert!((days - 901..=days - 899).contains(&(refresh - access)));

    let refresh_token = credentials.refresh_token.clone();
    let request = from_peer(v1::RefreshTokenRequest { refresh_token });
    let renewed = world
        .auth
        .refresh_token(request)
        .await
        .expect("it is the latest");
    let renewed = renewed
        .into_inner()
        .credentials
        .expect("they are always there");
    assert_eq!(renewed.device_id, credentials.device_id);
    assert_ne!(renewed.refresh_token, credentials.refresh_token);
}

#[tokio::test]
async fn devices_are_listed_and_ended() {
    let world = World::new().await;
    let first = world.sign_up("ann").await;
    let wish = v1::LogInRequest {
        handle: "ann".to_owned(),
        password: "lumpy walnut cadence".to_owned(),
        device_name: "phone".to_owned(),
    };
    let second = world
        .auth
        .log_in(from_peer(wish))
        .await
        .expect("the password is right");
    let second = second.into_inner();
    assert_eq!(second.ended_device_id, None);
    let second = second.credentials.expect("they are always there");

    let request = world.request(&first, v1::ListDevicesRequest {});
    let devices = world
        .auth
        .list_devices(request)
        .await
        .expect("it works")
        .into_inner()
        .devices;
    let mut current: Vec<_> = devices.iter().map(|d| (d.device_id, d.current)).collect();
    current.sort_unstable();
    let mut expected = [(first.device_id, true), (second.device_id, false)];
    expected.sort_unstable();
    assert_eq!(current, expected);

    let device_id = second.device_id;
    let request = world.request(&first, v1::RevokeDeviceRequest { device_id });
    world.auth.revoke_device(request).await.expect("it is ours");
    for (device_id, reason) in [
        (device_id, v1::Reason::DeviceNotFound),
        (0, v1::Reason::InvalidField),
    ] {
        let request = world.request(&first, v1::RevokeDeviceRequest { device_id });
        let refused = world
            .auth
            .revoke_device(request)
            .await
            .expect_err("it is refused");
        assert_eq!(error_of(&refused).expect("a typed detail").reason(), reason);
    }
}

#[tokio::test]
async fn people_are_found_by_handle_and_by_id() {
    let world = World::new().await;
    let ann = world.sign_up("ann").await;
    let ben = world.sign_up("ben").await;
    let request = world.request(
        &ann,
        v1::FindUserRequest {
            handle: "BEN".to_owned(),
        },
    );
    let found = world
        .users
        .find_user(request)
        .await
        .expect("it is there")
        .into_inner();
    let found = found.user.expect("it is always there");
    assert_eq!((found.user_id, found.handle.as_str()), (ben.user_id, "ben"));
    assert!(found.create_time.is_some());

    let user_ids = vec![ben.user_id, i64::MAX, ann.user_id];
    let request = world.request(&ann, v1::BatchGetUsersRequest { user_ids });
    let users = world
        .users
        .batch_get_users(request)
        .await
        .expect("it works")
        .into_inner()
        .users;
    assert_eq!(users.len(), 2);

    let display_name = Some("Ann".to_owned());
    let request = world.request(&ann, v1::UpdateProfileRequest { display_name });
    world.users.update_profile(request).await.expect("it works");
    let request = world.request(&ann, v1::GetProfileRequest {});
    let profile = world
        .users
        .get_profile(request)
        .await
        .expect("it works")
        .into_inner();
    assert_eq!(
        profile.user.expect("it is always there").display_name,
        "Ann"
    );
}

#[tokio::test]
async fn a_call_that_passed_no_layer_is_nobodys() {
    let world = World::new().await;
    let refused = world.auth.log_out(Request::new(v1::LogOutRequest {})).await;
    assert_eq!(
        refused.expect_err("it is refused").code(),
        tonic::Code::Internal
    );
    let refused = world
        .users
        .get_profile(Request::new(v1::GetProfileRequest {}))
        .await;
    assert_eq!(
        refused.expect_err("it is refused").code(),
        tonic::Code::Internal
    );
}

#[test]
fn refusals_keep_their_reason_on_the_wire() {
    let status = refused(Refusal::new(Reason::HandleTaken, "taken"));
    assert_eq!(
        error_of(&status).expect("a typed detail").reason(),
        v1::Reason::HandleTaken
    );
}

#[test]
fn times_keep_their_milliseconds() {
    let time = timestamp(Timestamp(1_700_000_000_123));
    assert_eq!((time.seconds, time.nanos), (1_700_000_000, 123_000_000));
}
