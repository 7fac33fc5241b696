//! One client_message_id makes at most one entry, whatever is repeated, and however.

use std::time::Duration;

use magpie::v1::{
    CreateRoomRequest, Effect, Entry, InviteMembersRequest, LeaveRoomRequest, Reason,
    SendMessageRequest, UpdateRoomRequest, client_frame,
};
use magpie_tests::{
    api::new_id,
    guard::{guarded, guarded_for},
    node::Setup,
    person::{Person, message, text_of},
    refusal,
};

use crate::scene::{Scene, live};

#[tokio::test]
async fn a_repeated_send_is_answered_as_before_and_appends_nothing() {
    guarded(async {
        let scene = Scene::new().await;
        let session = live(&scene.ann).await;
        for after_seq in [None, Some(0), Some(2), Some(1_000_000)] {
            let request = SendMessageRequest {
                after_seq,
                ..message(scene.room, "once")
            };
            let first = session.send(request.clone()).await.expect("sent");
            let by_stream = session.send(request.clone()).await.expect("answered again");
            let by_call = scene
                .ann
                .send_request(request.clone())
                .await
                .expect("answered again");
            assert_eq!(
                [&by_stream, &by_call],
                [&first, &first],
                "after_seq {after_seq:?}"
            );
            assert_eq!(copies(&scene.ann.log(scene.room).await, &request), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_repeated_send_is_known_after_a_kill() {
    guarded(async {
        let mut scene = Scene::new().await;
        let stated = SendMessageRequest {
            after_seq: Some(2),
            ..message(scene.room, "stated")
        };
        let bare = message(scene.room, "bare");
        let mut first = Vec::new();
        for request in [&stated, &bare] {
            first.push(scene.ann.send_request(request.clone()).await.expect("sent"));
        }
        // Far more than a room's tail keeps in memory would be dear here; a restart empties it.
        scene.ann_sends(20).await;
        scene.node.kill_and_restart().await;
        let ann = scene.ann.over(scene.node.api());
        for (request, first) in [&stated, &bare].into_iter().zip(first) {
            let again = ann
                .send_request(request.clone())
                .await
                .expect("answered again");
            assert_eq!(again, first);
            assert_eq!(copies(&ann.log(scene.room).await, request), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_repeated_send_is_found_in_the_store_where_memory_has_forgotten_it() {
    guarded(async {
        let small = Setup::new()
            .limit("room_ids_max", 8)
            .limit("room_tail_entries_max", 8);
        let mut scene = Scene::on(small).await;
        let request = SendMessageRequest {
            after_seq: Some(2),
            ..message(scene.room, "long ago")
        };
        let first = scene.ann.send_request(request.clone()).await.expect("sent");
        scene.ann_sends(60).await;
        let again = scene.ann.send_request(request.clone()).await;
        assert_eq!(
            again.expect("answered again"),
            first,
            "while the room is loaded"
        );
        scene.node.kill_and_restart().await;
        let ann = scene.ann.over(scene.node.api());
        let again = ann.send_request(request.clone()).await;
        assert_eq!(again.expect("answered again"), first, "after a kill");
        let other = SendMessageRequest {
            text: "other".to_owned(),
            ..request.clone()
        };
        let status = ann.send_request(other).await.expect_err("refused");
        assert_eq!(refusal::of_status(&status).reason(), Reason::IdReused);
        assert_eq!(copies(&ann.log(scene.room).await, &request), 1);
    })
    .await;
}

/// Who states no cursor is searched for among as many entries as ids are kept.
#[tokio::test]
async fn a_repeated_send_without_a_cursor_is_found_in_the_store_after_a_kill() {
    guarded(async {
        let small = Setup::new()
            .limit("room_tail_entries_max", 8)
            .limit("room_ids_max", 200);
        let mut scene = Scene::on(small).await;
        let request = message(scene.room, "bare");
        let first = scene.ann.send_request(request.clone()).await.expect("sent");
        scene.ann_sends(60).await;
        // The first start reads all that has no hint yet, the second the tail alone.
        scene.node.kill_and_restart().await;
        scene.node.kill_and_restart().await;
        let ann = scene.ann.over(scene.node.api());
        let again = ann.send_request(request.clone()).await;
        assert_eq!(again.expect("answered again"), first);
        assert_eq!(copies(&ann.log(scene.room).await, &request), 1);
    })
    .await;
}

#[tokio::test]
async fn a_retry_from_too_long_ago_is_refused_and_appends_nothing() {
    /// Entries of one bucket, and some more.
    const SENDS: usize = 4_200;
    guarded_for(Duration::from_secs(120), async {
        let short = Setup::new()
            .limit("room_tail_entries_max", 8)
            .limit("room_ids_max", 8)
            .limit("dedup_buckets_max", 1);
        let scene = Scene::on(short).await;
        let request = SendMessageRequest {
            after_seq: Some(2),
            ..message(scene.room, "long ago")
        };
        scene.ann.send_request(request.clone()).await.expect("sent");
        let session = live(&scene.ann).await;
        let mut sent = 0;
        while sent < SENDS {
            let mut answers = Vec::new();
            for _ in 0..60 {
                sent += 1;
                let frame = message(scene.room, &sent.to_string());
                let frame = client_frame::Frame::SendMessage(frame);
                answers.push(session.ask(frame).await);
            }
            for answer in answers {
                answer.await.expect("sent");
            }
        }
        let head = scene.ann.summary(scene.room).await.expect("read").head_seq;
        let by_frame = session.send(request.clone()).await.expect_err("refused");
        let by_call = scene.ann.send_request(request).await.expect_err("refused");
        for error in [by_frame, refusal::of_status(&by_call)] {
            refusal::expect(&error, Reason::TooOldToRetry, Effect::AttemptNone);
        }
        let now = scene.ann.summary(scene.room).await.expect("read").head_seq;
        assert_eq!(now, head, "nothing was appended");
    })
    .await;
}

/// What was done is answered as before, whatever has changed since.
#[tokio::test]
async fn a_repeated_send_is_answered_while_its_sender_may_send_no_more() {
    guarded(async {
        let setup = Setup::new()
            .limit("room_send_burst", 3)
            .limit("room_sends_per_minute", 1);
        let scene = Scene::on(setup).await;
        let request = message(scene.room, "first");
        let first = scene.bob.send_request(request.clone()).await.expect("sent");
        for _ in 0..2 {
            scene.bob.send(scene.room, "more").await.expect("sent");
        }
        let limited = scene.bob.send(scene.room, "too much").await;
        let limited = refusal::of_status(&limited.expect_err("the rate is used up"));
        assert_eq!(limited.reason(), Reason::RateLimited, "{limited:?}");
        let again = scene.bob.send_request(request.clone()).await;
        assert_eq!(again.expect("answered again"), first, "while limited");

        let removed = scene.ann.remove(scene.room, scene.bob.user_id).await;
        removed.expect("removed");
        let refused = scene.bob.send(scene.room, "let me in").await;
        let refused = refusal::of_status(&refused.expect_err("no member"));
        assert_eq!(refused.reason(), Reason::NotAMember, "{refused:?}");
        let again = scene.bob.send_request(request.clone()).await;
        assert_eq!(again.expect("answered again"), first, "after the removal");
        assert_eq!(copies(&scene.ann.log(scene.room).await, &request), 1);
    })
    .await;
}

#[tokio::test]
async fn copies_that_are_sent_at_the_same_time_make_one_entry() {
    guarded(async {
        let scene = Scene::new().await;
        let request = message(scene.room, "at once");
        let attempts = (0..16).map(|_| {
            let person = scene.ann.over(scene.node.api());
            let request = request.clone();
            async move {
                person
                    .send_request(request)
                    .await
                    .expect("sent or known")
                    .seq
            }
        });
        let seqs = futures_util::future::join_all(attempts).await;
        assert!(seqs.iter().all(|seq| seq == &seqs[0]), "{seqs:?}");
        assert_eq!(copies(&scene.ann.log(scene.room).await, &request), 1);
    })
    .await;
}

#[tokio::test]
async fn the_same_id_with_other_content_is_refused() {
    guarded(async {
        let scene = Scene::new().await;
        let request = message(scene.room, "one thing");
        scene.ann.send_request(request.clone()).await.expect("sent");
        let head = scene.ann.log(scene.room).await.len();
        let other_text = SendMessageRequest {
            text: "another".to_owned(),
            ..request.clone()
        };
        let other_reply = SendMessageRequest {
            reply_to_seq: Some(3),
            ..request.clone()
        };
        for other in [other_text, other_reply] {
            let status = scene.ann.send_request(other).await.expect_err("refused");
            let error = refusal::of_status(&status);
            assert_eq!(error.reason(), Reason::IdReused, "{error:?}");
            assert_ne!(error.effect(), Effect::Unknown, "{error:?}");
        }
        assert_eq!(scene.ann.log(scene.room).await.len(), head);
    })
    .await;
}

#[tokio::test]
async fn an_id_is_the_senders_own_and_the_rooms_own() {
    guarded(async {
        let scene = Scene::new().await;
        let other_room = scene.ann.create_room("other").await;
        let request = message(scene.room, "same id");
        let anns = scene.ann.send_request(request.clone()).await.expect("sent");
        let bobs = scene.bob.send_request(request.clone()).await.expect("sent");
        assert_ne!(anns.seq, bobs.seq);
        let elsewhere = SendMessageRequest {
            room_id: other_room,
            ..request
        };
        scene.ann.send_request(elsewhere).await.expect("sent");
        assert_eq!(
            scene
                .ann
                .log(other_room)
                .await
                .iter()
                .filter_map(text_of)
                .count(),
            1
        );
    })
    .await;
}

#[tokio::test]
async fn commands_on_rooms_are_answered_as_before() {
    guarded(async {
        let mut scene = Scene::new().await;
        let cat = scene.stranger().await;
        let create = CreateRoomRequest {
            client_message_id: new_id(),
            title: "twice".to_owned(),
        };
        let room = created(&scene.ann, &create).await;
        let invite = InviteMembersRequest {
            client_message_id: new_id(),
            room_id: room,
            handles: vec!["bob".to_owned(), "cat".to_owned(), "nobody".to_owned()],
            after_seq: None,
        };
        let update = UpdateRoomRequest {
            client_message_id: new_id(),
            room_id: room,
            title: Some("thrice".to_owned()),
            after_seq: Some(1),
        };
        let leave = LeaveRoomRequest {
            client_message_id: new_id(),
            room_id: room,
            after_seq: None,
        };
        let run = async |ann: &Person, cat: &Person| {
            let mut rooms = ann.api.rooms();
            let invited = rooms
                .invite_members(ann.asks(invite.clone()))
                .await
                .expect("invited");
            let updated = rooms
                .update_room(ann.asks(update.clone()))
                .await
                .expect("updated");
            let left = cat
                .api
                .rooms()
                .leave_room(cat.asks(leave.clone()))
                .await
                .expect("left");
            let (invited, updated, left) = (
                invited.into_inner(),
                updated.into_inner(),
                left.into_inner(),
            );
            (invited, updated, left, ann.log(room).await.len())
        };
        let first = run(&scene.ann, &cat).await;
        assert_eq!(run(&scene.ann, &cat).await, first, "repeated at once");
        assert_eq!(created(&scene.ann, &create).await, room);
        scene.node.kill_and_restart().await;
        let (ann, cat) = (scene.ann.over(scene.node.api()), cat.over(scene.node.api()));
        assert_eq!(run(&ann, &cat).await, first, "repeated after a kill");
        assert_eq!(created(&ann, &create).await, room);
    })
    .await;
}

async fn created(person: &Person, request: &CreateRoomRequest) -> i64 {
    let answer = person
        .api
        .rooms()
        .create_room(person.asks(request.clone()))
        .await;
    answer
        .expect("created")
        .into_inner()
        .room
        .expect("the room is in the answer")
        .room_id
}

fn copies(log: &[Entry], request: &SendMessageRequest) -> usize {
    log.iter()
        .filter(|entry| entry.client_message_id == request.client_message_id)
        .count()
}
