//! How often one may do what costs the node a write or a look-up, and what one is told beyond it.

use magpie::v1::{
    CreateRoomRequest, Effect, InviteMembersRequest, OpenDirectRequest, Reason, SetStatusRequest,
    State, SyncRequest, UpdateProfileRequest, open_direct_request,
};
use magpie_tests::{
    api::new_id, guard::guarded, node::Setup, person::Person, refusal, session::Session,
};
use tonic::Status;

use crate::scene::Scene;

/// What every rate here allows at once.
const BURST: u64 = 3;

/// More than any of them allows.
const TRIES: u64 = 2 * BURST;

/// A node on which everything is soon too much.
async fn strict() -> Scene {
    let rates = [
        ("user_send_burst", "user_sends_per_minute"),
        ("user_claim_burst", "user_claims_per_minute"),
        ("user_opens_burst", "user_opens_per_minute"),
        ("profile_change_burst", "profile_changes_per_minute"),
        ("find_user_burst", "find_users_per_minute"),
    ];
    let setup = Setup::new().limit("session_control_per_minute", BURST);
    let strict = |setup: Setup, (burst, per_minute)| setup.limit(burst, BURST).limit(per_minute, 1);
    Scene::on(rates.into_iter().fold(setup, strict)).await
}

/// Tries something until it is refused, and checks that it is for the rate and after the burst.
async fn is_rated(what: &str, call: impl AsyncFn() -> Result<(), Status>) {
    for granted in 0..=TRIES {
        let Err(status) = call().await else { continue };
        let error = refusal::of_status(&status);
        assert_eq!(error.reason(), Reason::RateLimited, "{what}: {error:?}");
        assert_eq!(error.effect(), Effect::AttemptNone, "{what}: {error:?}");
        assert!(error.retry_after.is_some(), "{what}: {error:?}");
        assert!(granted <= BURST, "{what}: {granted} were granted");
        return;
    }
    panic!("{what} has no rate");
}

#[tokio::test]
async fn writes_to_the_account_store_have_rates() {
    guarded(async {
        let scene = strict().await;
        let cat = scene.stranger().await;
        is_rated("SetStatus", async || set_status(&cat).await).await;
        is_rated("UpdateProfile", async || update_profile(&cat).await).await;
        is_rated("CreateRoom", async || create_room(&cat).await).await;
        let (ann, bob) = (&scene.ann, scene.bob.user_id);
        is_rated("OpenDirect", async || open_direct(ann, bob).await).await;
    })
    .await;
}

#[tokio::test]
async fn beginning_sessions_has_a_rate() {
    guarded(async {
        let scene = strict().await;
        let cat = scene.stranger().await;
        is_rated("Sync", async || sync(&cat).await).await;
        let opened = Session::open(&cat, State::default()).await;
        let error = refusal::of_status(&opened.expect_err("it is one more"));
        assert_eq!(error.reason(), Reason::RateLimited, "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn names_cannot_be_tried_out_by_invitations() {
    guarded(async {
        let scene = strict().await;
        let cat = scene.stranger().await;
        let room = cat.create_room("nest").await;
        let tries = |number: usize| InviteMembersRequest {
            client_message_id: new_id(),
            room_id: room,
            handles: (0..50)
                .map(|name| format!("name_{number}_{name}"))
                .collect(),
            after_seq: None,
        };
        let mut granted = 0;
        for number in 0..TRIES as usize {
            let request = cat.asks(tries(number));
            let invited = cat.api.rooms().invite_members(request).await;
            granted += u32::from(invited.is_ok());
        }
        assert_eq!(granted, 1, "fifty unknown names take a burst");
        assert_eq!(cat.log(room).await.len(), 1, "nothing came of it");
    })
    .await;
}

async fn set_status(person: &Person) -> Result<(), Status> {
    let request = SetStatusRequest {
        status_text: Some("busy".to_owned()),
        ..SetStatusRequest::default()
    };
    let answer = person.api.presence().set_status(person.asks(request)).await;
    answer.map(drop)
}

async fn update_profile(person: &Person) -> Result<(), Status> {
    let request = UpdateProfileRequest {
        display_name: Some("Cat".to_owned()),
    };
    let answer = person
        .api
        .users()
        .update_profile(person.asks(request))
        .await;
    answer.map(drop)
}

async fn create_room(person: &Person) -> Result<(), Status> {
    let request = CreateRoomRequest {
        client_message_id: new_id(),
        title: "room".to_owned(),
    };
    let answer = person.api.rooms().create_room(person.asks(request)).await;
    answer.map(drop)
}

async fn open_direct(person: &Person, peer: i64) -> Result<(), Status> {
    let request = OpenDirectRequest {
        peer: Some(open_direct_request::Peer::UserId(peer)),
    };
    let answer = person.api.rooms().open_direct(person.asks(request)).await;
    answer.map(drop)
}

async fn sync(person: &Person) -> Result<(), Status> {
    let request = person.asks(SyncRequest::default());
    let answer = person.api.chat().sync(request).await;
    answer.map(drop)
}
