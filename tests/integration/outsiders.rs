//! People who are in no room of ours, and such as were in it: each command is refused with the same
//! reason and effect, and changes nothing.

use magpie::v1::{
    CreateRoomRequest, Device, Effect, Entry, Error, GetMessageRequest, GetProfileRequest,
    GetRoomRequest, InviteMembersRequest, LeaveRoomRequest, ListDevicesRequest, ListEntriesRequest,
    ListMembersRequest, ListMessagesRequest, ListRoomsRequest, MarkDeliveredRequest,
    MarkReadRequest, Member, Reason, RemoveMemberRequest, RoomSummary, SendTypingRequest,
    UpdateRoomRequest, User, client_frame,
};
use magpie_tests::{
    api::new_id,
    guard::guarded,
    node::Setup,
    person::{Person, message},
    refusal,
};
use tonic::Status;

use crate::scene::{Scene, live};

/// What became of a command: its name, and how it was refused, if it was.
type Attempt = (&'static str, Option<Error>);

fn attempt<T>(name: &'static str, answer: Result<T, Status>) -> Attempt {
    (name, answer.err().map(|status| refusal::of_status(&status)))
}

/// Every command on a room, by call and by frame.
async fn commands(person: &Person, room_id: i64, of: &Person) -> Vec<Attempt> {
    let (mut rooms, mut messages) = (person.api.rooms(), person.api.messages());
    let (client_message_id, after_seq) = (new_id, None);
    let invite = InviteMembersRequest {
        client_message_id: client_message_id(),
        room_id,
        handles: vec![of.handle.clone()],
        after_seq,
    };
    let leave = LeaveRoomRequest {
        client_message_id: client_message_id(),
        room_id,
        after_seq,
    };
    let remove = RemoveMemberRequest {
        client_message_id: client_message_id(),
        room_id,
        user_id: of.user_id,
        after_seq,
    };
    let update = UpdateRoomRequest {
        client_message_id: client_message_id(),
        room_id,
        title: Some("ours now".to_owned()),
        after_seq,
    };
    let read = MarkReadRequest { room_id, seq: 1 };
    let delivered = MarkDeliveredRequest { room_id, seq: 1 };
    let typing = SendTypingRequest { room_id };
    let send = message(room_id, "let me in");
    let mut attempts = vec![
        attempt("SendMessage", person.send_request(send.clone()).await),
        attempt("MarkRead", messages.mark_read(person.asks(read)).await),
        attempt(
            "MarkDelivered",
            messages.mark_delivered(person.asks(delivered)).await,
        ),
        attempt(
            "SendTyping",
            messages.send_typing(person.asks(typing)).await,
        ),
        attempt(
            "InviteMembers",
            rooms.invite_members(person.asks(invite)).await,
        ),
        attempt("LeaveRoom", rooms.leave_room(person.asks(leave)).await),
        attempt(
            "RemoveMember",
            rooms.remove_member(person.asks(remove)).await,
        ),
        attempt("UpdateRoom", rooms.update_room(person.asks(update)).await),
    ];
    let session = live(person).await;
    for (name, frame) in [
        ("send_message", client_frame::Frame::SendMessage(send)),
        ("mark_read", client_frame::Frame::MarkRead(read)),
        (
            "mark_delivered",
            client_frame::Frame::MarkDelivered(delivered),
        ),
        ("send_typing", client_frame::Frame::SendTyping(typing)),
    ] {
        attempts.push((name, session.ask(frame).await.await.err()));
    }
    attempts
}

/// Every call that reads something of a room.
async fn reads(person: &Person, room_id: i64) -> Vec<Attempt> {
    let (mut rooms, mut messages) = (person.api.rooms(), person.api.messages());
    let entries = ListEntriesRequest {
        room_id,
        ..ListEntriesRequest::default()
    };
    let page = ListMessagesRequest {
        room_id,
        ..ListMessagesRequest::default()
    };
    let get = GetMessageRequest { room_id, seq: 3 };
    let members = ListMembersRequest {
        room_id,
        ..ListMembersRequest::default()
    };
    let room = GetRoomRequest { room_id };
    vec![
        attempt(
            "ListEntries",
            messages.list_entries(person.asks(entries)).await,
        ),
        attempt(
            "ListMessages",
            messages.list_messages(person.asks(page)).await,
        ),
        attempt("GetMessage", messages.get_message(person.asks(get)).await),
        attempt(
            "ListMembers",
            rooms.list_members(person.asks(members)).await,
        ),
        attempt("GetRoom", rooms.get_room(person.asks(room)).await),
    ]
}

/// All that a refused command could have changed.
#[derive(Debug, PartialEq)]
struct Snapshot {
    log: Vec<Entry>,
    members: Vec<Member>,
    /// Of each of the people: rooms with marks and unread counts, profile, devices.
    people: Vec<(Vec<RoomSummary>, User, Vec<i64>)>,
}

impl Snapshot {
    /// Of a room, as a member sees it, and of people.
    async fn of(member: &Person, room_id: i64, people: &[&Person]) -> Self {
        let request = ListMembersRequest {
            room_id,
            ..ListMembersRequest::default()
        };
        let members = member
            .api
            .rooms()
            .list_members(member.asks(request))
            .await
            .expect("a member lists them");
        let mut of_people = Vec::new();
        for person in people {
            let request = ListRoomsRequest::default();
            let rooms = person.api.rooms().list_rooms(person.asks(request)).await;
            let request = GetProfileRequest::default();
            let user = person.api.users().get_profile(person.asks(request)).await;
            let request = ListDevicesRequest {};
            let devices = person.api.auth().list_devices(person.asks(request)).await;
            let devices = devices.expect("listed").into_inner().devices;
            of_people.push((
                rooms.expect("listed").into_inner().rooms,
                user.expect("read").into_inner().user.expect("a user"),
                devices
                    .iter()
                    .map(|device: &Device| device.device_id)
                    .collect(),
            ));
        }
        Self {
            log: member.log(room_id).await,
            members: members.into_inner().members,
            people: of_people,
        }
    }
}

/// Commands whose id is looked up before they are refused: nothing exists under it.
const LOOKED_UP: [&str; 6] = [
    "SendMessage",
    "send_message",
    "InviteMembers",
    "LeaveRoom",
    "RemoveMember",
    "UpdateRoom",
];

#[track_caller]
fn all_refused(attempts: &[Attempt], reason: Reason) {
    for (name, error) in attempts {
        let effect = if LOOKED_UP.contains(name) {
            Effect::None
        } else {
            Effect::AttemptNone
        };
        let error = error.as_ref();
        let error = error.unwrap_or_else(|| panic!("{name} was granted"));
        assert_eq!(
            (error.reason(), error.effect()),
            (reason, effect),
            "{name}: {error:?}"
        );
    }
}

#[tokio::test]
async fn who_never_was_a_member_is_refused_everything_and_changes_nothing() {
    guarded(async {
        let scene = Scene::new().await;
        let cat = scene.stranger().await;
        scene.ann_sends(3).await;
        let people = [&scene.ann, &scene.bob, &cat];
        let before = Snapshot::of(&scene.ann, scene.room, &people).await;
        let attempts = commands(&cat, scene.room, &scene.bob).await;
        all_refused(&attempts, Reason::RoomNotFound);
        let attempts = reads(&cat, scene.room).await;
        all_refused(&attempts, Reason::RoomNotFound);
        let after = Snapshot::of(&scene.ann, scene.room, &people).await;
        assert_eq!(after, before);
    })
    .await;
}

#[tokio::test]
async fn a_former_member_reads_the_past_and_is_refused_every_command() {
    guarded(async {
        let scene = Scene::new().await;
        scene.ann_sends(3).await;
        let removed = scene.ann.remove(scene.room, scene.bob.user_id).await;
        removed.expect("removed");
        let people = [&scene.ann, &scene.bob];
        let before = Snapshot::of(&scene.ann, scene.room, &people).await;
        let attempts = commands(&scene.bob, scene.room, &scene.ann).await;
        all_refused(&attempts, Reason::NotAMember);
        for (name, error) in reads(&scene.bob, scene.room).await {
            // Who is in the room now is no longer theirs to know.
            if name == "ListMembers" {
                all_refused(&[(name, error)], Reason::NotAMember);
            } else {
                assert_eq!(error, None, "{name}");
            }
        }
        let after = Snapshot::of(&scene.ann, scene.room, &people).await;
        assert_eq!(after, before);
    })
    .await;
}

#[tokio::test]
async fn a_full_room_and_a_full_account_refuse_one_more() {
    guarded(async {
        let small = Setup::new()
            .limit("room_members_max", 2)
            .limit("account_rooms_max", 2);
        let scene = Scene::on(small).await;
        let cat = scene.stranger().await;
        let people = [&scene.ann, &scene.bob, &cat];
        let before = Snapshot::of(&scene.ann, scene.room, &people).await;
        let invite = InviteMembersRequest {
            client_message_id: new_id(),
            room_id: scene.room,
            handles: vec![cat.handle.clone()],
            after_seq: None,
        };
        let ann = &scene.ann;
        let full = ann.api.rooms().invite_members(ann.asks(invite)).await;
        all_refused(&[attempt("InviteMembers", full)], Reason::RoomFull);
        let after = Snapshot::of(ann, scene.room, &people).await;
        assert_eq!(after, before);

        let create = |title: &str| CreateRoomRequest {
            client_message_id: new_id(),
            title: title.to_owned(),
        };
        let asked = async |request: &CreateRoomRequest| {
            ann.api.rooms().create_room(ann.asks(request.clone())).await
        };
        let second = create("the second");
        let created = asked(&second).await.expect("created").into_inner();
        let before = Snapshot::of(ann, scene.room, &people).await;
        let many = asked(&create("one too many")).await;
        all_refused(&[attempt("CreateRoom", many)], Reason::TooManyRooms);
        let again = asked(&second).await.expect("answered again").into_inner();
        assert_eq!(again, created, "a retry makes no further room");
        let after = Snapshot::of(ann, scene.room, &people).await;
        assert_eq!(after, before);
    })
    .await;
}
