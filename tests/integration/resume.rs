//! A device that was away gets what it missed, once, and counts it right.

use magpie::v1::{
    CreateRoomRequest, Hello, ListMessagesRequest, Reason, RoomCursor, RoomMarks, RoomSync,
    ServerFrame, State, list_messages_request::Position, server_frame::Frame,
};
use magpie_tests::{
    api::new_id,
    guard::guarded,
    person::{message, texts_of},
    refusal,
    session::{Session, hello},
};

use crate::scene::{Scene, device_after, live, resume, since_joining};

#[tokio::test]
async fn a_device_resumes_from_its_cursors_without_gap_or_repetition() {
    guarded(async {
        let mut scene = Scene::new().await;
        let session = live(&scene.bob).await;
        let seq = scene.ann_sends(3).await;
        session.event(scene.room, seq).await;
        let mut device = device_after(&scene.bob, &session.received());
        drop(session);
        scene.ann_sends(5).await;
        scene.node.kill_and_restart().await;
        let bob = scene.bob.over(scene.node.api());
        scene.ann = scene.ann.over(scene.node.api());
        let session = resume(&bob, device.state()).await;
        let live_seq = scene.ann_sends(1).await;
        session.event(scene.room, live_seq).await;
        device.take_all(session.received().iter().map(|received| &received.frame));
        assert_eq!(device.complaints, Vec::<String>::new());
        assert_eq!(device.repeated, 0, "what the device held is not sent again");
        let log = bob.log(scene.room).await;
        assert_eq!(device.entries(scene.room), since_joining(&bob, &log));
    })
    .await;
}

#[tokio::test]
async fn two_hundred_missed_entries_come_whole_and_one_more_is_stale() {
    guarded(async {
        let scene = Scene::new().await;
        let head = scene.ann.log(scene.room).await.len() as i64;
        let session = live(&scene.ann).await;
        for _ in 0..4 {
            let mut answers = Vec::new();
            for number in 0..50 {
                let frame = message(scene.room, &format!("message {number}"));
                let frame = magpie::v1::client_frame::Frame::SendMessage(frame);
                answers.push(session.ask(frame).await);
            }
            for answer in answers {
                answer.await.expect("sent");
            }
        }
        let sync = missed(&scene, head).await;
        assert!(!sync.stale);
        assert_eq!((sync.entries.len(), sync.after_seq), (200, head));
        assert_eq!(sync.through_seq, head + 200);

        scene.ann_sends(1).await;
        let sync = missed(&scene, head).await;
        assert!(sync.stale, "{} entries", sync.entries.len());
        assert!(sync.entries.is_empty());
        assert_eq!(sync.through_seq, head + 201, "the cursor goes to the head");
        assert_eq!(sync.summary.expect("a summary").unread_count, 201);
        let filled = scene.bob.log(scene.room).await;
        assert_eq!(filled.len() as i64, head + 201, "ListEntries fills the gap");
    })
    .await;
}

#[tokio::test]
async fn rooms_come_newest_first_and_only_where_something_was_missed() {
    guarded(async {
        let scene = Scene::new().await;
        let mut rooms = Vec::new();
        for title in ["one", "two", "three"] {
            rooms.push(scene.ann.room_with(title, &[&scene.bob]).await);
        }
        let session = live(&scene.bob).await;
        let device = device_after(&scene.bob, &session.received());
        drop(session);
        for room in [rooms[1], rooms[0]] {
            scene.ann.send(room, "news").await.expect("sent");
        }
        let session = resume(&scene.bob, device.state()).await;
        let synced: Vec<i64> = syncs(&session).iter().map(room_of).collect();
        assert_eq!(synced, [rooms[0], rooms[1]]);
        let sent = scene.ann.send(rooms[2], "live").await.expect("sent");
        session.event(rooms[2], sent.seq).await;
    })
    .await;
}

#[tokio::test]
async fn a_room_that_a_person_is_added_to_comes_alive_in_an_open_stream() {
    guarded(async {
        let scene = Scene::new().await;
        let session = live(&scene.bob).await;
        let from = session.position();
        let room = scene.ann.create_room("later").await;
        scene.ann.send(room, "before Bob").await.expect("sent");
        scene.ann.invite(room, &[&scene.bob]).await;
        let changed = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::AccountChanged(changed)) => changed
                .rooms
                .iter()
                .find(|r| r.room_id == room && r.member)
                .map(|_| ()),
            _ => None,
        };
        session
            .find(from, "AccountChanged with the room", changed)
            .await;
        let sent = scene.ann.send(room, "after").await.expect("sent");
        session.event(room, sent.seq).await;
        let device = device_after(&scene.bob, &session.received());
        assert_eq!(device.complaints, Vec::<String>::new());
        assert_eq!(
            texts_of(device.entries(room)).last().map(String::as_str),
            Some("after")
        );
        assert_eq!(
            texts_of(&scene.bob.log(room).await),
            ["before Bob", "after"]
        );
    })
    .await;
}

#[tokio::test]
async fn unread_counts_messages_of_others_after_the_read_mark() {
    guarded(async {
        let mut scene = Scene::new().await;
        let third = scene.ann_sends(3).await;
        assert_eq!(unread(&scene).await, 3);
        scene.ann_sends(2).await;
        scene
            .bob
            .mark_read(scene.room, third)
            .await
            .expect("stored");
        assert_eq!(unread(&scene).await, 2, "two lie after the mark");
        let lower = scene.bob.mark_read(scene.room, 1).await.expect("answered");
        assert_eq!(lower, third, "a mark never falls");
        scene.node.kill_and_restart().await;
        scene.ann = scene.ann.over(scene.node.api());
        scene.bob = scene.bob.over(scene.node.api());
        assert_eq!(unread(&scene).await, 2, "an answered mark survives a kill");
        scene.bob.send(scene.room, "mine").await.expect("sent");
        assert_eq!(unread(&scene).await, 0, "sending reads");
        scene
            .ann
            .room_with("entries of other kinds", &[&scene.bob])
            .await;
        let cat = scene.stranger().await;
        scene.ann.invite(scene.room, &[&cat]).await;
        assert_eq!(unread(&scene).await, 0, "only messages count");
    })
    .await;
}

#[tokio::test]
async fn marks_whose_answer_was_lost_are_said_again_by_hello() {
    guarded(async {
        let scene = Scene::new().await;
        let seq = scene.ann_sends(3).await;
        let marks = RoomMarks {
            room_id: scene.room,
            read_seq: seq - 1,
            delivered_seq: seq,
        };
        let generation = live(&scene.bob).await.welcome.generation;
        let state = State {
            generation,
            ..State::default()
        };
        let hello = Hello {
            marks: vec![marks],
            ..hello(state)
        };
        let session = Session::open_with(&scene.bob, hello).await.expect("opens");
        let stored = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::RoomSync(sync)) => sync.summary.as_ref().map(|room| room.read_seq),
            Some(Frame::MarksChanged(changed)) => {
                let own = changed
                    .marks
                    .iter()
                    .find(|mark| mark.user_id == scene.bob.user_id);
                own.map(|mark| mark.read_seq)
            }
            _ => None,
        };
        let reaches = |frame: &ServerFrame| stored(frame).filter(|read| *read == seq - 1);
        session.find(0, "the mark that was said", reaches).await;
        assert_eq!(unread(&scene).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_new_session_replaces_the_one_it_names_at_once() {
    guarded(async {
        let scene = Scene::new().await;
        let (former, other) = (live(&scene.bob).await, live(&scene.bob).await);
        let hello = Hello {
            replaces_session_id: former.welcome.session_id.clone(),
            ..hello(State::default())
        };
        let _session = Session::open_with(&scene.bob, hello).await.expect("opens");
        let closing = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::Closing(closing)) => closing.error.clone(),
            _ => None,
        };
        let error = former.find(0, "Closing", closing).await;
        assert_eq!(error.reason(), Reason::SessionReplaced, "{error:?}");
        assert!(other.is_open(), "only that one");
    })
    .await;
}

#[tokio::test]
async fn a_state_of_another_generation_is_taken_as_empty() {
    guarded(async {
        let scene = Scene::new().await;
        let head = scene.ann_sends(3).await;
        let session = live(&scene.bob).await;
        let cursors = vec![RoomCursor {
            room_id: scene.room,
            seq: head,
            read_seq: 0,
        }];
        let generation = session.welcome.generation;
        assert!(generation > 0);
        let state = State {
            generation: generation + 7,
            account_revision: 1_000,
            cursors,
        };
        let session = resume(&scene.bob, state).await;
        let device = device_after(&scene.bob, &session.received());
        let log = scene.bob.log(scene.room).await;
        assert_eq!(device.entries(scene.room), since_joining(&scene.bob, &log));
        assert_eq!(session.welcome.generation, generation);
    })
    .await;
}

#[tokio::test]
async fn pages_of_messages_lie_before_after_and_around_a_seq() {
    guarded(async {
        let scene = Scene::new().await;
        let last = scene.ann_sends(20).await;
        let first = last - 19;
        let page = async |position: Option<Position>, page_size| {
            let request = ListMessagesRequest {
                room_id: scene.room,
                page_size,
                position,
            };
            let page = scene
                .bob
                .api
                .messages()
                .list_messages(scene.bob.asks(request))
                .await;
            let page = page.expect("a page").into_inner();
            let entry = |state: &magpie::v1::MessageState| state.entry.clone().expect("an entry");
            let seqs: Vec<i64> = page.messages.iter().map(|state| entry(state).seq).collect();
            let inside = |seq: &i64| (page.after_seq + 1..=page.through_seq).contains(seq);
            assert!(
                seqs.iter().all(inside),
                "{seqs:?} in ({}, {}]",
                page.after_seq,
                page.through_seq
            );
            assert_eq!(page.as_of_seq, last);
            seqs
        };
        let range = |from: i64, to: i64| (from..=to).collect::<Vec<i64>>();
        assert_eq!(page(None, 5).await, range(last - 4, last));
        assert_eq!(
            page(Some(Position::BeforeSeq(last)), 5).await,
            range(last - 5, last - 1)
        );
        assert_eq!(
            page(Some(Position::AfterSeq(0)), 5).await,
            range(first, first + 4)
        );
        assert_eq!(page(Some(Position::AfterSeq(last)), 5).await, range(1, 0));
        let around = page(Some(Position::AroundSeq(first + 10)), 5).await;
        assert!(
            around.contains(&(first + 10)) && around.len() == 5,
            "{around:?}"
        );
        assert!(
            around[0] < first + 10 && around[4] > first + 10,
            "{around:?}"
        );
        let time = |seq: i64| async move { seq };
        let middle = scene.bob.log(scene.room).await[time(first + 9).await as usize].clone();
        let at = middle.create_time.expect("a time");
        let later = page(Some(Position::AfterTime(at)), 1).await;
        assert!(
            later[0] <= middle.seq,
            "{later:?}: of this time or later, the nearest"
        );
    })
    .await;
}

#[tokio::test]
async fn a_cursor_beyond_the_head_is_refused() {
    guarded(async {
        let scene = Scene::new().await;
        let head = scene.ann_sends(1).await;
        let status = scene
            .bob
            .entries_page(scene.room, head + 1)
            .await
            .expect_err("refused");
        assert_eq!(refusal::of_status(&status).reason(), Reason::CursorAhead);
        let status = scene
            .bob
            .mark_read(scene.room, head + 1)
            .await
            .expect_err("refused");
        assert_eq!(refusal::of_status(&status).reason(), Reason::CursorAhead);
        assert!(
            scene
                .bob
                .entries_page(scene.room, head)
                .await
                .expect("a page")
                .entries
                .is_empty()
        );
    })
    .await;
}

#[tokio::test]
async fn a_device_that_is_ahead_of_the_log_is_told_to_start_anew() {
    guarded(async {
        let scene = Scene::new().await;
        let generation = live(&scene.bob).await.welcome.generation;
        let state = State {
            generation,
            account_revision: 0,
            cursors: vec![RoomCursor {
                room_id: scene.room,
                seq: 500,
                read_seq: 0,
            }],
        };
        let session = Session::open(&scene.bob, state).await.expect("welcomed");
        let closing = |frame: &ServerFrame| match &frame.frame {
            Some(Frame::Closing(closing)) => closing.error.clone(),
            _ => None,
        };
        let error = session.find(0, "Closing", closing).await;
        assert_eq!(error.reason(), Reason::CursorAhead, "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn long_text_is_previewed_in_events_and_read_whole() {
    guarded(async {
        let scene = Scene::new().await;
        let (ann, bob) = (live(&scene.ann).await, live(&scene.bob).await);
        let text: String = "喜鹊 magpie ".chars().cycle().take(100_000).collect();
        let request = message(scene.room, &text);
        let sent = ann
            .send(request.clone())
            .await
            .expect("100,000 characters are taken");
        let event = bob.event(scene.room, sent.seq).await;
        let Some(magpie::v1::entry::Body::Message(preview)) = event.body else {
            panic!("no text")
        };
        assert_eq!(preview.full_length, 100_000);
        assert_eq!(preview.text, text.chars().take(2_000).collect::<String>());
        let get = magpie::v1::GetMessageRequest {
            room_id: scene.room,
            seq: sent.seq,
        };
        let whole = scene
            .bob
            .api
            .messages()
            .get_message(scene.bob.asks(get))
            .await;
        let whole = whole
            .expect("read")
            .into_inner()
            .message
            .and_then(|state| state.entry);
        assert_eq!(texts_of(&[whole.expect("an entry")]), [text]);
        let again = ann.send(request).await.expect("answered again");
        assert_eq!(again, sent, "a long text is idempotent too");
    })
    .await;
}

#[tokio::test]
async fn a_retried_room_is_listed_once() {
    guarded(async {
        let scene = Scene::new().await;
        let request = CreateRoomRequest {
            client_message_id: new_id(),
            title: "x".to_owned(),
        };
        for _ in 0..3 {
            let request = scene.ann.asks(request.clone());
            scene
                .ann
                .api
                .rooms()
                .create_room(request)
                .await
                .expect("created or known");
        }
        let session = live(&scene.ann).await;
        assert_eq!(syncs(&session).len(), 2, "the scene's room and this one");
    })
    .await;
}

/// The RoomSync of the scene's room that Bob gets who comes back at this cursor.
async fn missed(scene: &Scene, seq: i64) -> RoomSync {
    let generation = live(&scene.bob).await.welcome.generation;
    let cursors = vec![RoomCursor {
        room_id: scene.room,
        seq,
        read_seq: 0,
    }];
    let session = resume(
        &scene.bob,
        State {
            generation,
            account_revision: 0,
            cursors,
        },
    )
    .await;
    let syncs = syncs(&session);
    syncs
        .into_iter()
        .find(|sync| room_of(sync) == scene.room)
        .expect("the room is synced")
}

async fn unread(scene: &Scene) -> i32 {
    scene
        .bob
        .summary(scene.room)
        .await
        .expect("a member reads the room")
        .unread_count
}

fn syncs(session: &Session) -> Vec<RoomSync> {
    let sync = |frame: ServerFrame| match frame.frame {
        Some(Frame::RoomSync(sync)) => Some(sync),
        _ => None,
    };
    session
        .received()
        .into_iter()
        .filter_map(|received| sync(received.frame))
        .collect()
}

fn room_of(sync: &RoomSync) -> i64 {
    sync.summary.as_ref().expect("a summary").room_id
}
