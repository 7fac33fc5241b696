//! Who is in a room, who may do what, and what those see who are out of it.

use std::sync::Arc;

use magpie::v1::{
    InviteOutcome, ListMembersRequest, MemberChangeKind, MemberRole, Reason, ServerFrame,
    SyncRequest, UpdateRoomRequest, entry::Body, server_frame::Frame,
};
use magpie_tests::{
    api::new_id,
    chatter::{Chatter, Plan},
    guard::guarded,
    history::{History, device_complaints},
    person::{Person, message, text_of, texts_of},
    refusal,
};
use tonic::Status;

use crate::scene::{Scene, device_after, live, resume};

#[tokio::test]
async fn nothing_is_delivered_after_the_entry_that_removed_a_member() {
    guarded(async {
        let scene = Scene::new().await;
        let plan = plan(&scene);
        let chatter = Chatter::start(scene.ann.clone(), "ann", plan.clone());
        let session = live(&scene.bob).await;
        plan.history.more_answers(50).await;
        let removed = scene
            .ann
            .remove(scene.room, scene.bob.user_id)
            .await
            .expect("removed");
        plan.history.more_answers(50).await;
        chatter.stop().await;
        let last = session.event(scene.room, removed).await;
        assert_eq!(last.actor_user_id, scene.ann.user_id);
        // A round trip over the stream shows that nothing is under way any more.
        let refused = session
            .send(message(scene.room, "let me in"))
            .await
            .expect_err("refused");
        assert_eq!(refused.reason(), Reason::NotAMember);
        let log = scene.ann.log(scene.room).await;
        plan.history.check(scene.room, &log);
        let device = device_after(&scene.bob, &session.received());
        assert_eq!(
            device_complaints(&device, scene.room, &log),
            Vec::<String>::new()
        );
        assert_eq!(device.cursor(scene.room), removed);
        assert!(
            log.last().is_some_and(|entry| entry.seq > removed),
            "the load went on"
        );
        let page = scene
            .bob
            .entries_page(scene.room, removed - 1)
            .await
            .expect("history stays");
        assert_eq!((page.entries.len(), page.as_of_seq), (1, removed));
    })
    .await;
}

#[tokio::test]
async fn who_left_sees_nothing_until_the_return_and_counts_right_after_it() {
    guarded(async {
        let scene = Scene::new().await;
        let session = live(&scene.bob).await;
        scene.ann.send(scene.room, "before").await.expect("sent");
        let left = scene.bob.leave(scene.room).await.expect("left");
        session.event(scene.room, left).await;
        let mut device = device_after(&scene.bob, &session.received());
        drop(session);
        scene.ann.send(scene.room, "absent").await.expect("sent");
        let away = resume(&scene.bob, device.state()).await;
        device.take_all(away.received().iter().map(|received| &received.frame));
        drop(away);
        assert_eq!(
            device.cursor(scene.room),
            left,
            "nothing comes during the absence"
        );
        assert_eq!(texts_of(&scene.bob.log(scene.room).await), ["before"]);
        let away = scene
            .bob
            .summary(scene.room)
            .await
            .expect("a former member reads the room");
        assert_eq!((away.head_seq, away.unread_count), (left, 0));

        scene.ann.invite(scene.room, &[&scene.bob]).await;
        let sent = scene.ann.send(scene.room, "after").await.expect("sent");
        let session = resume(&scene.bob, device.state()).await;
        device.take_all(session.received().iter().map(|received| &received.frame));
        let log = scene.ann.log(scene.room).await;
        assert_eq!(
            device_complaints(&device, scene.room, &log),
            Vec::<String>::new()
        );
        assert_eq!(device.cursor(scene.room), sent.seq);
        let summary = scene
            .bob
            .summary(scene.room)
            .await
            .expect("a member reads the room");
        let readable = scene.bob.log(scene.room).await;
        let unread = readable.iter().filter(|entry| {
            let by_another = entry.actor_user_id != scene.bob.user_id;
            entry.seq > summary.read_seq && by_another && text_of(entry).is_some()
        });
        assert_eq!(
            summary.unread_count,
            unread.count() as i32,
            "counted from what can be read"
        );
    })
    .await;
}

#[tokio::test]
async fn what_was_missed_of_a_membership_comes_before_the_one_that_followed_it() {
    guarded(async {
        let scene = Scene::new().await;
        let session = live(&scene.bob).await;
        let mut polls = device_after(&scene.bob, &session.received());
        let mut streams = polls.clone();
        drop(session);
        for text in ["one", "two"] {
            scene.ann.send(scene.room, text).await.expect("sent");
        }
        let removed = scene.ann.remove(scene.room, scene.bob.user_id).await;
        let removed = removed.expect("removed");
        scene.ann.send(scene.room, "absent").await.expect("sent");
        scene.ann.invite(scene.room, &[&scene.bob]).await;
        scene.ann.send(scene.room, "back").await.expect("sent");

        let request = SyncRequest {
            state: Some(polls.state()),
            ..SyncRequest::default()
        };
        let request = scene.bob.asks(request);
        let answer = scene.bob.api.chat().sync(request).await.expect("a step");
        polls.take_all(&answer.into_inner().frames);
        let session = resume(&scene.bob, streams.state()).await;
        streams.take_all(session.received().iter().map(|received| &received.frame));
        let log = scene.ann.log(scene.room).await;
        for device in [streams, polls] {
            let complaints = device_complaints(&device, scene.room, &log);
            assert_eq!(complaints, Vec::<String>::new());
            let shown = device.entries(scene.room);
            assert_eq!(texts_of(shown), ["one", "two", "back"]);
            assert!(shown.iter().any(|entry| entry.seq == removed));
        }
        // Joining again moves the read mark.
        let summary = scene.bob.summary(scene.room).await.expect("a member");
        assert_eq!((summary.joined_seq, summary.unread_count), (removed + 2, 1));
        assert_eq!(summary.read_seq, removed + 2);
        drop(session);
    })
    .await;
}

#[tokio::test]
async fn a_leaving_owner_is_followed_by_the_longest_standing_member() {
    guarded(async {
        let scene = Scene::new().await;
        let cat = scene.stranger().await;
        scene.ann.invite(scene.room, &[&cat]).await;
        let left = scene.ann.leave(scene.room).await.expect("left");
        let log = scene.bob.log(scene.room).await;
        let Some(Body::MembershipChanged(changed)) = log.last().and_then(|e| e.body.clone()) else {
            panic!("{log:#?}")
        };
        let shape: Vec<_> = changed
            .changes
            .iter()
            .map(|change| (change.user_id, change.kind()))
            .collect();
        let expected = [
            (scene.ann.user_id, MemberChangeKind::Left),
            (scene.bob.user_id, MemberChangeKind::RoleChanged),
        ];
        assert_eq!(shape, expected, "in one entry");
        assert_eq!(log.last().map(|entry| entry.seq), Some(left));
        let bob = scene
            .bob
            .summary(scene.room)
            .await
            .expect("a member reads the room");
        assert_eq!(bob.role(), MemberRole::Owner);
        scene
            .bob
            .remove(scene.room, cat.user_id)
            .await
            .expect("an owner may remove");
        assert_eq!(members(&scene.bob, scene.room).await, [scene.bob.user_id]);
    })
    .await;
}

#[tokio::test]
async fn each_invitation_has_its_outcome() {
    guarded(async {
        let scene = Scene::new().await;
        let cat = scene.stranger().await;
        let request = magpie::v1::InviteMembersRequest {
            client_message_id: new_id(),
            room_id: scene.room,
            handles: ["ann", "CAT", "nobody_here"].map(str::to_owned).to_vec(),
            after_seq: None,
        };
        let invite = async || {
            let asked = scene.bob.asks(request.clone());
            let invited = scene.bob.api.rooms().invite_members(asked).await;
            invited.expect("any member invites").into_inner()
        };
        let invited = invite().await;
        let shape: Vec<_> = invited
            .results
            .iter()
            .map(|r| (r.handle.as_str(), r.outcome(), r.user_id))
            .collect();
        let expected = [
            ("ann", InviteOutcome::AlreadyMember, scene.ann.user_id),
            ("CAT", InviteOutcome::Added, cat.user_id),
            ("nobody_here", InviteOutcome::UserNotFound, 0),
        ];
        assert_eq!(shape, expected);
        // Who has an account only now was not added by what the same id did before.
        let late = scene.node.api().sign_up("nobody_here").await;
        let retried = invite().await;
        assert_eq!(retried.seq, invited.seq);
        assert_eq!(retried.results[..2], invited.results[..2]);
        let last = &retried.results[2];
        let not_added = (InviteOutcome::NotAdded, late.user_id);
        assert_eq!((last.outcome(), last.user_id), not_added);
        let again = scene.bob.invite(scene.room, &[&cat]).await;
        assert_eq!(again.seq, 0, "nobody was added: no entry");
        assert_eq!(scene.ann.log(scene.room).await.len() as i64, invited.seq);
    })
    .await;
}

#[tokio::test]
async fn only_the_owner_removes_and_renames() {
    guarded(async {
        let scene = Scene::new().await;
        let cat = scene.stranger().await;
        let head = scene.ann.log(scene.room).await.len();
        let ann_id = scene.ann.user_id;
        let denied = |status: Status, reason| {
            assert_eq!(refusal::of_status(&status).reason(), reason, "{status:?}");
        };
        denied(
            scene
                .bob
                .remove(scene.room, ann_id)
                .await
                .expect_err("no owner"),
            Reason::PermissionDenied,
        );
        denied(
            rename(&scene.bob, scene.room, "mine")
                .await
                .expect_err("no owner"),
            Reason::PermissionDenied,
        );
        denied(
            scene
                .ann
                .remove(scene.room, cat.user_id)
                .await
                .expect_err("no member"),
            Reason::UserNotFound,
        );
        denied(
            cat.send(scene.room, "hi").await.expect_err("no member"),
            Reason::RoomNotFound,
        );
        denied(
            cat.leave(scene.room).await.expect_err("no member"),
            Reason::RoomNotFound,
        );
        denied(
            cat.entries_page(scene.room, 0)
                .await
                .expect_err("no member"),
            Reason::RoomNotFound,
        );
        let direct = scene.ann.open_direct(&scene.bob).await;
        denied(
            scene.ann.leave(direct).await.expect_err("direct"),
            Reason::DirectRoom,
        );
        denied(
            scene
                .ann
                .remove(direct, scene.bob.user_id)
                .await
                .expect_err("direct"),
            Reason::DirectRoom,
        );
        denied(
            rename(&scene.ann, direct, "us").await.expect_err("direct"),
            Reason::DirectRoom,
        );
        assert_eq!(
            scene.ann.log(scene.room).await.len(),
            head,
            "refusals change nothing"
        );
    })
    .await;
}

#[tokio::test]
async fn a_new_title_reaches_everybody_and_an_equal_one_writes_nothing() {
    guarded(async {
        let scene = Scene::new().await;
        let session = live(&scene.bob).await;
        let seq = rename(&scene.ann, scene.room, "eyrie")
            .await
            .expect("renamed");
        let entry = session.event(scene.room, seq).await;
        assert!(matches!(entry.body, Some(Body::RoomUpdated(u)) if u.title() == "eyrie"));
        assert_eq!(
            rename(&scene.ann, scene.room, "eyrie")
                .await
                .expect("answered"),
            0
        );
        assert_eq!(
            scene.bob.summary(scene.room).await.expect("read").title,
            "eyrie"
        );
    })
    .await;
}

#[tokio::test]
async fn a_removed_member_is_told_by_the_account_and_a_left_room_is_not_live() {
    guarded(async {
        let scene = Scene::new().await;
        let session = live(&scene.bob).await;
        let from = session.position();
        let removed = scene
            .ann
            .remove(scene.room, scene.bob.user_id)
            .await
            .expect("removed");
        let told = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::AccountChanged(changed)) => changed
                .rooms
                .iter()
                .find(|r| r.room_id == scene.room && !r.member && r.left_seq == removed)
                .map(|_| ()),
            _ => None,
        };
        session
            .find(from, "AccountChanged without the room", told)
            .await;
        let fresh = live(&scene.bob).await;
        let device = device_after(&scene.bob, &fresh.received());
        assert_eq!(device.complaints, Vec::<String>::new());
        let live_again = fresh
            .received()
            .iter()
            .any(|received| match &received.frame.frame {
                Some(Frame::RoomSync(sync)) => sync.live,
                _ => false,
            });
        assert!(!live_again, "a former member's room is not live");
    })
    .await;
}

fn plan(scene: &Scene) -> Plan {
    Plan {
        room: scene.room,
        history: Arc::new(History::new()),
        states_after_seq: true,
    }
}

async fn rename(person: &Person, room_id: i64, title: &str) -> Result<i64, Status> {
    let request = UpdateRoomRequest {
        client_message_id: new_id(),
        room_id,
        title: Some(title.to_owned()),
        after_seq: None,
    };
    Ok(person
        .api
        .rooms()
        .update_room(person.asks(request))
        .await?
        .into_inner()
        .seq)
}

async fn members(person: &Person, room_id: i64) -> Vec<i64> {
    let request = ListMembersRequest {
        room_id,
        page_size: 1,
        page_token: String::new(),
    };
    let mut ids = Vec::new();
    let mut request = request;
    loop {
        let page = person
            .api
            .rooms()
            .list_members(person.asks(request.clone()))
            .await;
        let page = page.expect("a page").into_inner();
        ids.extend(page.members.iter().map(|member| member.user_id));
        if page.next_page_token.is_empty() {
            return ids;
        }
        request.page_token = page.next_page_token;
    }
}
