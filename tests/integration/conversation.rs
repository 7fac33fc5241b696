//! Two people who talk over streams.

use std::time::Duration;

use magpie::v1::{
    Effect, MarkDeliveredRequest, MarkReadRequest, MarksChanged, MemberMarks, Reason,
    SendTypingRequest, ServerFrame, client_frame, server_frame::Frame,
};
use magpie_tests::{
    guard::guarded,
    node::Setup,
    person::{message, text_of, texts_of},
};

use crate::scene::{Scene, device_after, live};

#[tokio::test]
async fn a_message_reaches_everybody_once_under_the_answered_seq() {
    guarded(async {
        let scene = Scene::new().await;
        let (ann, bob) = (live(&scene.ann).await, live(&scene.bob).await);
        let request = message(
            scene.room,
            "Elster, pie, 喜鹊 \u{1f426}\r\n\u{202e}\u{1b}[31m",
        );
        let answer = ann.send(request.clone()).await.expect("a message is sent");
        let seen = bob.event(scene.room, answer.seq).await;
        let echo = ann.event(scene.room, answer.seq).await;
        assert_eq!(seen, echo, "everybody sees the same entry");
        assert_eq!(
            text_of(&seen),
            Some(request.text.as_str()),
            "text is stored unchanged"
        );
        assert_eq!(seen.client_message_id, request.client_message_id);
        assert_eq!(seen.actor_user_id, scene.ann.user_id);
        assert_eq!(seen.actor_device_id, scene.ann.credentials.device_id);
        assert_eq!(seen.create_time, answer.create_time);
        assert_eq!(
            scene.bob.log(scene.room).await.last(),
            Some(&seen),
            "and reads the same later"
        );
    })
    .await;
}

#[tokio::test]
async fn sends_of_a_session_keep_their_order_without_waiting_for_answers() {
    guarded(async {
        let scene = Scene::new().await;
        let (ann, bob) = (live(&scene.ann).await, live(&scene.bob).await);
        let texts: Vec<String> = (0..60).map(|number| format!("number {number}")).collect();
        let mut answers = Vec::new();
        for text in &texts {
            let frame = client_frame::Frame::SendMessage(message(scene.room, text));
            answers.push(ann.ask(frame).await);
        }
        let mut last = 0;
        for answer in answers {
            let Ok(Frame::SendMessage(answer)) = answer.await else {
                panic!("a refused send")
            };
            assert!(answer.seq > last, "{} after {last}", answer.seq);
            last = answer.seq;
        }
        bob.event(scene.room, last).await;
        let device = device_after(&scene.bob, &bob.received());
        assert_eq!(device.complaints, Vec::<String>::new());
        assert_eq!(texts_of(device.entries(scene.room)), texts);
        assert_eq!(
            device.repeated, 0,
            "nothing comes twice over a sound stream"
        );
    })
    .await;
}

#[tokio::test]
async fn a_refused_send_holds_the_later_ones_back_so_that_order_is_kept() {
    guarded(async {
        let setup = Setup::new()
            .limit("room_send_burst", 4)
            .limit("room_sends_per_minute", 600);
        let scene = Scene::on(setup).await;
        let session = live(&scene.ann).await;
        let requests: Vec<_> = (0..12)
            .map(|number| message(scene.room, &format!("number {number}")))
            .collect();
        let mut waiting = requests.clone();
        let mut reasons = Vec::new();
        while !waiting.is_empty() {
            let mut answers = Vec::new();
            for request in &waiting {
                let frame = client_frame::Frame::SendMessage(request.clone());
                answers.push(session.ask(frame).await);
            }
            let mut refused = Vec::new();
            for (request, answer) in waiting.iter().zip(answers) {
                if let Err(error) = answer.await {
                    assert_ne!(error.effect(), Effect::Unknown, "{error:?}");
                    reasons.push(error.reason());
                    refused.push(request.clone());
                }
            }
            waiting = refused;
            // A client waits as it is told; a tenth of a second brings one more here.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        assert_eq!(reasons.first(), Some(&Reason::RateLimited), "{reasons:?}");
        assert!(reasons.contains(&Reason::EarlierSendRefused), "{reasons:?}");
        let texts: Vec<String> = requests.into_iter().map(|request| request.text).collect();
        assert_eq!(texts_of(&scene.bob.log(scene.room).await), texts);
    })
    .await;
}

#[tokio::test]
async fn a_direct_room_is_one_for_the_pair() {
    guarded(async {
        let scene = Scene::new().await;
        let (one, other) = tokio::join!(
            scene.ann.open_direct(&scene.bob),
            scene.bob.open_direct(&scene.ann)
        );
        assert_eq!(one, other);
        let summary = scene
            .ann
            .summary(one)
            .await
            .expect("a member reads the room");
        assert_eq!(summary.peer_user_id, scene.bob.user_id);
        assert_eq!(summary.member_count, 2);
        let bob = live(&scene.bob).await;
        let sent = scene
            .ann
            .send(one, "psst")
            .await
            .expect("a message is sent");
        assert_eq!(text_of(&bob.event(one, sent.seq).await), Some("psst"));
    })
    .await;
}

#[tokio::test]
async fn two_devices_of_an_account_see_each_others_messages_and_marks() {
    guarded(async {
        let scene = Scene::new().await;
        let laptop = scene.node.api().log_in("bob").await;
        let (phone, laptop) = (live(&scene.bob).await, live(&laptop).await);
        let seq = scene.ann_sends(3).await;
        laptop.event(scene.room, seq).await;
        let read = MarkReadRequest {
            room_id: scene.room,
            seq,
        };
        let read = phone.ask(client_frame::Frame::MarkRead(read)).await.await;
        assert!(matches!(read, Ok(Frame::MarkRead(read)) if read.read_seq == seq));
        let own_mark = marks_of(scene.bob.user_id, seq);
        laptop
            .find(0, "the account's own read mark", own_mark)
            .await;
        let answer = phone
            .send(message(scene.room, "from the phone"))
            .await
            .expect("sent");
        let echo = laptop.event(scene.room, answer.seq).await;
        assert_eq!(text_of(&echo), Some("from the phone"));
    })
    .await;
}

#[tokio::test]
async fn others_see_marks_and_typing_but_not_their_own() {
    guarded(async {
        let scene = Scene::new().await;
        let (ann, bob) = (live(&scene.ann).await, live(&scene.bob).await);
        let seq = scene.ann_sends(1).await;
        bob.event(scene.room, seq).await;
        let typing = SendTypingRequest {
            room_id: scene.room,
        };
        let typed = bob.ask(client_frame::Frame::SendTyping(typing)).await.await;
        assert!(matches!(typed, Ok(Frame::SendTyping(_))), "{typed:?}");
        let bobs_typing = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::Typing(typing)) => Some(typing.user_id),
            _ => None,
        };
        assert_eq!(ann.find(0, "typing", bobs_typing).await, scene.bob.user_id);
        scene
            .bob
            .mark_read(scene.room, seq)
            .await
            .expect("a mark is stored");
        ann.find(0, "Bob's read mark", marks_of(scene.bob.user_id, seq))
            .await;
        let own = bob
            .received()
            .iter()
            .any(|received| bobs_typing(&received.frame).is_some());
        assert!(!own, "nobody is told of their own typing");
    })
    .await;
}

/// Finds a frame that says that this user has read up to this seq.
fn marks_of(user_id: i64, seq: i64) -> impl Fn(&ServerFrame) -> Option<()> {
    move |frame| match &frame.frame {
        Some(Frame::MarksChanged(MarksChanged { marks, .. })) => marks
            .iter()
            .any(|m| m.user_id == user_id && m.read_seq >= seq)
            .then_some(()),
        _ => None,
    }
}

#[tokio::test]
async fn what_was_delivered_is_told_by_frame_and_by_call_and_never_falls() {
    guarded(async {
        let mut scene = Scene::new().await;
        let last = scene.ann_sends(3).await;
        let (ann, bob) = (live(&scene.ann).await, live(&scene.bob).await);
        let mark = |seq| MarkDeliveredRequest {
            room_id: scene.room,
            seq,
        };
        let by_frame = bob.ask(client_frame::Frame::MarkDelivered(mark(last - 1)));
        match by_frame.await.await {
            Ok(Frame::MarkDelivered(answer)) => assert_eq!(answer.delivered_seq, last - 1),
            other => panic!("{other:?}"),
        }
        let by_call = async |seq| {
            let request = scene.bob.asks(mark(seq));
            let answer = scene.bob.api.messages().mark_delivered(request).await;
            answer.expect("marked").into_inner().delivered_seq
        };
        assert_eq!(by_call(last).await, last);
        assert_eq!(by_call(1).await, last, "a mark never falls");
        let user_id = scene.bob.user_id;
        let of_bob = |marks: &[MemberMarks]| {
            let bobs = marks.iter().find(|mark| mark.user_id == user_id);
            bobs.map(|mark| (mark.delivered_seq, mark.read_seq))
        };
        let shown = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::MarksChanged(changed)) => {
                of_bob(&changed.marks).filter(|marks| marks.0 == last)
            }
            _ => None,
        };
        let (_, read) = ann.find(0, "Bob's mark", shown).await;
        assert!(read < last, "what was delivered is not read yet");
        drop((ann, bob));
        scene.node.kill_and_restart().await;
        let ann = scene.ann.over(scene.node.api());
        let summary = ann.summary(scene.room).await.expect("a member reads it");
        assert_eq!(of_bob(&summary.marks), Some((last, read)), "after a kill");
    })
    .await;
}
