//! Bad input: each is refused with its reason, effect and field, and changes nothing.

use bytes::Bytes;
use magpie::v1::{
    BatchGetUsersRequest, ClientFrame, CreateRoomRequest, Effect, Error, GetMessageRequest,
    GetPresenceRequest, GetRoomRequest, Hello, InviteMembersRequest, ListEntriesRequest,
    ListMembersRequest, ListMessagesRequest, ListRoomsRequest, MarkReadRequest, Reason,
    SendMessageRequest, SetStatusRequest, State, UpdateProfileRequest, UpdateRoomRequest,
    client_frame, list_messages_request::Position, server_frame::Frame,
};
use magpie_tests::{
    api::new_id,
    guard::{event, guarded},
    person::{Person, message},
    raw, refusal,
    session::{Session, hello},
};
use prost::Message;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status};

use crate::scene::{Scene, live};

/// A send that is refused: what is wrong, the request, the reason, the field at fault.
type BadSend = (
    &'static str,
    SendMessageRequest,
    Reason,
    Option<&'static str>,
);

fn bad_sends(room: i64, foreign_room: i64) -> Vec<BadSend> {
    let id = |id: &'static [u8]| SendMessageRequest {
        client_message_id: Bytes::from_static(id),
        ..message(room, "text")
    };
    let reply = |seq| SendMessageRequest {
        reply_to_seq: Some(seq),
        ..message(room, "text")
    };
    let after = |seq| SendMessageRequest {
        after_seq: Some(seq),
        ..message(room, "text")
    };
    let (field, no_room, no_message) = (
        Reason::InvalidField,
        Reason::RoomNotFound,
        Reason::MessageNotFound,
    );
    let long = "x".repeat(100_001);
    let unknown = 4_242_424_242;
    vec![
        ("no text", message(room, ""), field, Some("text")),
        ("a long text", message(room, &long), field, Some("text")),
        ("a null", message(room, "a\0b"), field, Some("text")),
        ("no id", id(&[]), field, Some("client_message_id")),
        ("a short id", id(&[7; 15]), field, Some("client_message_id")),
        ("a long id", id(&[7; 17]), field, Some("client_message_id")),
        ("a negative cursor", after(-1), field, Some("after_seq")),
        ("an unknown room", message(unknown, "text"), no_room, None),
        (
            "a foreign room",
            message(foreign_room, "text"),
            no_room,
            None,
        ),
        ("a reply to nothing", reply(9_999), no_message, None),
        ("a reply to no message", reply(1), no_message, None),
    ]
}

#[tokio::test]
async fn bad_sends_are_refused_alike_by_frame_and_by_call() {
    guarded(async {
        let scene = Scene::new().await;
        let cat = scene.stranger().await;
        let foreign = cat.create_room("foreign").await;
        let session = live(&scene.bob).await;
        let head = scene.ann.log(scene.room).await.len();
        for (what, request, reason, field) in bad_sends(scene.room, foreign) {
            let by_call = scene
                .bob
                .send_request(request.clone())
                .await
                .expect_err(what);
            let by_call = refusal::of_status(&by_call);
            assert_eq!(by_call.reason(), reason, "{what}: {by_call:?}");
            if let Some(field) = field {
                refusal::expect_field(&by_call, field);
            }
            let by_frame = session.send(request).await.expect_err(what);
            // A frame waits for no answer to the call; it says the same of the same request.
            assert_eq!(by_frame, by_call, "{what}");
            // What is not even well formed is not looked up.
            let effect = match reason {
                Reason::InvalidField => Effect::AttemptNone,
                _ => Effect::None,
            };
            assert_eq!(by_frame.effect(), effect, "{what}");
        }
        session
            .send(message(scene.room, "good"))
            .await
            .expect("the stream goes on");
        assert_eq!(
            scene.ann.log(scene.room).await.len(),
            head + 1,
            "refusals change nothing"
        );
    })
    .await;
}

#[tokio::test]
async fn pages_out_of_range_name_the_field_at_fault() {
    guarded(async {
        let scene = Scene::new().await;
        let (bob, room_id) = (&scene.bob, scene.room);
        let (mut rooms, mut messages) = (bob.api.rooms(), bob.api.messages());
        for page_size in [-1, 201] {
            let entries = ListEntriesRequest {
                room_id,
                after_seq: 0,
                page_size,
            };
            at_fault("page_size", messages.list_entries(bob.asks(entries)).await);
            let page = ListMessagesRequest {
                room_id,
                page_size,
                position: None,
            };
            at_fault("page_size", messages.list_messages(bob.asks(page)).await);
            let page_token = String::new();
            let list = ListRoomsRequest {
                page_size,
                page_token,
            };
            at_fault("page_size", rooms.list_rooms(bob.asks(list)).await);
            let page_token = String::new();
            let list = ListMembersRequest {
                room_id,
                page_size,
                page_token,
            };
            at_fault("page_size", rooms.list_members(bob.asks(list)).await);
        }
        let list = ListRoomsRequest {
            page_size: 0,
            page_token: "no such page".to_owned(),
        };
        at_fault("page_token", rooms.list_rooms(bob.asks(list)).await);
        let entries = ListEntriesRequest {
            room_id,
            after_seq: -1,
            page_size: 0,
        };
        at_fault("after_seq", messages.list_entries(bob.asks(entries)).await);
        let mark = MarkReadRequest { room_id, seq: -1 };
        at_fault("seq", messages.mark_read(bob.asks(mark)).await);
    })
    .await;
}

#[tokio::test]
async fn names_and_numbers_out_of_range_name_the_field_at_fault() {
    guarded(async {
        let scene = Scene::new().await;
        let (bob, room_id) = (&scene.bob, scene.room);
        let (mut rooms, mut users) = (bob.api.rooms(), bob.api.users());
        let mut presence = bob.api.presence();
        for title in [String::new(), "x".repeat(129)] {
            let client_message_id = new_id();
            let create = CreateRoomRequest {
                client_message_id,
                title,
            };
            at_fault("title", rooms.create_room(bob.asks(create)).await);
        }
        let display_name = Some("x".repeat(65));
        let profile = UpdateProfileRequest { display_name };
        at_fault(
            "display_name",
            users.update_profile(bob.asks(profile)).await,
        );
        let status_text = Some("x".repeat(129));
        let status = SetStatusRequest {
            availability: 0,
            status_text,
        };
        at_fault("status_text", presence.set_status(bob.asks(status)).await);
        for count in [0, 101] {
            let user_ids: Vec<i64> = (1..=count).collect();
            let batch = BatchGetUsersRequest {
                user_ids: user_ids.clone(),
            };
            at_fault("user_ids", users.batch_get_users(bob.asks(batch)).await);
            let get = GetPresenceRequest { user_ids };
            at_fault("user_ids", presence.get_presence(bob.asks(get)).await);
            let invite = InviteMembersRequest {
                client_message_id: new_id(),
                room_id,
                handles: (0..count).map(|number| format!("user_{number}")).collect(),
                after_seq: None,
            };
            at_fault("handles", rooms.invite_members(bob.asks(invite)).await);
        }
    })
    .await;
}

/// Checks that a call was refused for one field, in all the forms in which tools look for it.
#[track_caller]
fn at_fault<T: std::fmt::Debug>(field: &str, answer: Result<T, Status>) {
    let status = answer.expect_err(field);
    assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
    refusal::expect_field(&refusal::of_status(&status), field);
    let details = refusal::detail_types(&status);
    for name in [
        "magpie.v1.Error",
        "google.rpc.ErrorInfo",
        "google.rpc.BadRequest",
    ] {
        assert!(
            details.iter().any(|detail| detail == name),
            "{name} in {details:?}"
        );
    }
}

#[tokio::test]
async fn unknown_and_foreign_things_are_not_told_apart() {
    guarded(async {
        let scene = Scene::new().await;
        let cat = scene.stranger().await;
        let foreign = cat.create_room("foreign").await;
        let get = async |room_id| {
            let request = scene.bob.asks(GetRoomRequest { room_id });
            let status = scene
                .bob
                .api
                .rooms()
                .get_room(request)
                .await
                .expect_err("refused");
            (status.code(), refusal::of_status(&status))
        };
        let (foreign, unknown) = (get(foreign).await, get(4_242_424_242).await);
        assert_eq!(foreign, unknown);
        assert_eq!(
            (foreign.0, foreign.1.reason()),
            (Code::NotFound, Reason::RoomNotFound)
        );
        let message = async |seq| {
            let request = scene.bob.asks(GetMessageRequest {
                room_id: scene.room,
                seq,
            });
            let answer = scene.bob.api.messages().get_message(request).await;
            refusal::of_status(&answer.expect_err("refused")).reason()
        };
        assert_eq!(
            message(1).await,
            Reason::MessageNotFound,
            "the creation is no message"
        );
        assert_eq!(message(99).await, Reason::MessageNotFound);
        let update = UpdateRoomRequest {
            client_message_id: new_id(),
            room_id: scene.room,
            title: None,
            after_seq: None,
        };
        let update = scene
            .ann
            .api
            .rooms()
            .update_room(scene.ann.asks(update))
            .await;
        let update = refusal::of_status(&update.expect_err("nothing to change"));
        assert_eq!(update.reason(), Reason::InvalidField, "{update:?}");
        let page = ListMessagesRequest {
            room_id: scene.room,
            page_size: 0,
            position: Some(Position::AfterSeq(99)),
        };
        let page = scene
            .bob
            .api
            .messages()
            .list_messages(scene.bob.asks(page))
            .await;
        let page = refusal::of_status(&page.expect_err("beyond the head"));
        assert_eq!(page.reason(), Reason::CursorAhead);
    })
    .await;
}

#[tokio::test]
async fn before_welcome_a_refusal_ends_the_call() {
    guarded(async {
        let scene = Scene::new().await;
        let bob = &scene.bob;
        let open = async |person: &Person, frame: Option<client_frame::Frame>| {
            let first = ClientFrame {
                request_id: 1,
                frame,
            };
            let status = Session::open_raw(person, first).await.expect_err("refused");
            refusal::of_status(&status).reason()
        };
        let not_hello = client_frame::Frame::SendMessage(message(scene.room, "early"));
        assert_eq!(open(bob, Some(not_hello)).await, Reason::FrameOutOfOrder);
        let newer = Hello {
            protocol_min: 2,
            protocol_max: 3,
            ..hello(State::default())
        };
        let newer = client_frame::Frame::Hello(newer);
        assert_eq!(open(bob, Some(newer)).await, Reason::UnsupportedProtocol);
        let chatty = Hello {
            client: "x".repeat(65),
            ..hello(State::default())
        };
        let chatty = client_frame::Frame::Hello(chatty);
        assert_eq!(open(bob, Some(chatty)).await, Reason::InvalidField);
        let crowd = Hello {
            watch_user_ids: (1..=501).collect(),
            ..hello(State::default())
        };
        let crowd = client_frame::Frame::Hello(crowd);
        assert_eq!(open(bob, Some(crowd)).await, Reason::InvalidField);
        for token in ["", "nonsense", "eyJhbGciOiJub25lIn0.e30."] {
            let mut nobody = bob.clone();
            nobody.credentials.access_token = token.to_owned();
            let good = client_frame::Frame::Hello(hello(State::default()));
            assert_eq!(
                open(&nobody, Some(good)).await,
                Reason::Unauthenticated,
                "{token:?}"
            );
        }
        let without = bob
            .api
            .rooms()
            .list_rooms(ListRoomsRequest::default())
            .await;
        let without = without.expect_err("no token");
        assert_eq!(without.code(), Code::Unauthenticated);
        assert_eq!(
            refusal::of_status(&without).reason(),
            Reason::Unauthenticated
        );
        assert_eq!(scene.ann.log(scene.room).await.len(), 2, "nothing was sent");
    })
    .await;
}

#[tokio::test]
async fn after_welcome_a_refusal_is_a_frame_and_the_stream_goes_on() {
    guarded(async {
        let scene = Scene::new().await;
        let session = live(&scene.bob).await;
        let second = client_frame::Frame::Hello(hello(State::default()));
        let second = session.ask(second).await.await.expect_err("a second Hello");
        refusal::expect(&second, Reason::FrameOutOfOrder, Effect::AttemptNone);
        // A member of a newer client's oneof comes out as no member at all.
        session
            .tell_raw(ClientFrame {
                request_id: 777,
                frame: None,
            })
            .await;
        let error: Error = session
            .find(0, "a refusal", |frame| match &frame.frame {
                Some(Frame::Error(error)) if frame.request_id == 777 => Some(error.clone()),
                _ => None,
            })
            .await;
        refusal::expect(&error, Reason::UnknownFrame, Effect::AttemptNone);
        session
            .send(message(scene.room, "still here"))
            .await
            .expect("the stream goes on");
    })
    .await;
}

#[tokio::test]
async fn bytes_that_do_not_decode_are_refused() {
    guarded(async {
        let scene = Scene::new().await;
        let path = "/magpie.v1.MessageService/SendMessage";
        let send = message(scene.room, "ab").encode_to_vec();
        for bytes in [
            without_utf8(send),
            b"\xff\xff\xff\xff garbage".to_vec(),
            vec![0x1a, 0x7f],
        ] {
            let request = scene.bob.asks(Bytes::from(bytes));
            let status = raw::unary(scene.bob.api.channel(), path, request).await;
            let status = status.expect_err("refused");
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
            assert_eq!(refusal::of_status(&status).reason(), Reason::Undecodable);
        }
        // No message at all, and more than one.
        let send = |text: &str| Bytes::from(message(scene.room, text).encode_to_vec());
        for messages in [vec![], vec![send("one"), send("two")]] {
            let request = scene.bob.asks(tokio_stream::iter(messages));
            let status = raw::stream(scene.bob.api.channel(), path, request).await;
            let status = status.map(drop).expect_err("refused");
            assert_eq!(refusal::of_status(&status).reason(), Reason::Undecodable);
        }
        let large = message(scene.room, &"x".repeat(600 << 10)).encode_to_vec();
        let request = scene.bob.asks(Bytes::from(large));
        let status = raw::unary(scene.bob.api.channel(), path, request).await;
        let status = status.expect_err("refused");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert_eq!(refusal::of_status(&status).reason(), Reason::TooLarge);
        scene
            .bob
            .send(scene.room, "fine")
            .await
            .expect("the connection goes on");
    })
    .await;
}

/// The bytes of a message that has the text "ab", which is no UTF-8 in them any more.
fn without_utf8(mut bytes: Vec<u8>) -> Vec<u8> {
    let place = bytes.windows(2).rposition(|pair| pair == b"ab");
    bytes[place.expect("the text")] = 0xff;
    bytes
}

#[tokio::test]
async fn a_stream_that_turns_to_garbage_is_closed_with_a_reason() {
    guarded(async {
        let scene = Scene::new().await;
        let head = scene.ann.log(scene.room).await.len();
        let frame = |request_id, frame| {
            let frame = Some(frame);
            ClientFrame { request_id, frame }.encode_to_vec()
        };
        let send = client_frame::Frame::SendMessage(message(scene.room, "ab"));
        let long = client_frame::Frame::SendMessage(message(scene.room, &"x".repeat(600 << 10)));
        let garbage = [
            (b"\xff\xff\xff\xff".to_vec(), Reason::Undecodable),
            (without_utf8(frame(1, send)), Reason::Undecodable),
            (frame(1, long), Reason::TooLarge),
        ];
        for (garbage, reason) in garbage {
            let first = frame(0, client_frame::Frame::Hello(hello(State::default())));
            let (sender, frames) = tokio::sync::mpsc::channel(2);
            sender.send(Bytes::from(first)).await.expect("taken");
            let frames = tokio_stream::wrappers::ReceiverStream::new(frames);
            let request: Request<_> = scene.bob.asks(frames);
            let path = "/magpie.v1.ChatService/Chat";
            let mut stream = raw::stream(scene.bob.api.channel(), path, request)
                .await
                .expect("opens");
            let welcome = event("Welcome", stream.next()).await;
            welcome.expect("a frame").expect("no refusal");
            sender.send(Bytes::from(garbage)).await.expect("taken");
            let frames = stream.map_while(Result::ok).collect::<Vec<Bytes>>();
            let frames = event("the stream ends", frames).await;
            let last = frames.last().expect("frames came").clone();
            let last = magpie::v1::ServerFrame::decode(last).expect("a frame");
            let Some(Frame::Closing(closing)) = last.frame else {
                panic!("{last:?}")
            };
            let error = closing.error.expect("a reason");
            assert_eq!(error.reason(), reason, "{error:?}");
        }
        let log = scene.ann.log(scene.room).await;
        assert_eq!(log.len(), head, "nothing was sent");
    })
    .await;
}

#[tokio::test]
async fn rates_are_refused_with_the_time_to_wait() {
    guarded(async {
        let scene = Scene::on(magpie_tests::node::Setup::new().default_limits()).await;
        let mut refused = None;
        for number in 0..60 {
            match scene
                .ann
                .send(scene.room, &format!("message {number}"))
                .await
            {
                Ok(_) => {}
                Err(status) => {
                    refused = Some(refusal::of_status(&status));
                    break;
                }
            }
        }
        let refused = refused.expect("60 messages in a moment are too many");
        assert_eq!(refused.reason(), Reason::RateLimited, "{refused:?}");
        assert_ne!(refused.effect(), Effect::Unknown);
        assert!(refused.retry_after.is_some(), "{refused:?}");
        let session = live(&scene.bob).await;
        session
            .send(message(scene.room, "Bob is free"))
            .await
            .expect("others send on");
    })
    .await;
}
