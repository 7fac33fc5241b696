//! What a node finds again after it was killed: rooms, members, marks, and who is in no room any
//! more.

use std::{future::Future, sync::Arc, time::Duration};

use magpie::v1::{
    CreateRoomRequest, InviteMembersRequest, LeaveRoomRequest, ListMembersRequest,
    ListRoomsRequest, RoomCursor, RoomSummary, State, server_frame::Frame,
};
use magpie_tests::{
    api::new_id,
    guard::{event, guarded, guarded_for},
    node::Setup,
    person::{Person, message},
    refusal,
};
use tokio::sync::watch;
use tonic::Status;

use crate::scene::{Scene, live, resume};

/// How often the node is killed.
const KILLS: u32 = 20;

/// Between two attempts at a call whose answer was lost.
const BACKOFF: Duration = Duration::from_millis(15);

/// What was answered of one room.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Room {
    id: i64,
    /// Whether the person who was added has left.
    left: bool,
    /// The mark of the person who reads.
    read: i64,
}

/// Makes rooms, fills them and has people come, read and leave, until it is told to stop. What is
/// in the list was answered.
struct Making {
    /// Creates and invites.
    owner: Person,
    /// Is added and reads.
    reader: Person,
    /// Is added and leaves again.
    guest: Person,
    made: Arc<watch::Sender<Vec<Room>>>,
    stopping: watch::Receiver<bool>,
}

impl Making {
    async fn run(self) {
        while !*self.stopping.borrow() {
            self.make().await;
        }
    }

    async fn make(&self) {
        let create = CreateRoomRequest {
            client_message_id: new_id(),
            title: "made under kills".to_owned(),
        };
        let created = answered(async || {
            let request = self.owner.asks(create.clone());
            self.owner.api.rooms().create_room(request).await
        });
        let id = created.await.into_inner().room.expect("the room").room_id;
        let read = 0;
        let left = false;
        self.made
            .send_modify(|made| made.push(Room { id, left, read }));
        let invite = InviteMembersRequest {
            client_message_id: new_id(),
            room_id: id,
            handles: vec![self.reader.handle.clone(), self.guest.handle.clone()],
            after_seq: None,
        };
        answered(async || {
            let request = self.owner.asks(invite.clone());
            self.owner.api.rooms().invite_members(request).await
        })
        .await;
        let send = message(id, "to be read");
        let sent = answered(async || self.owner.send_request(send.clone()).await).await;
        let read = answered(async || self.reader.mark_read(id, sent.seq).await).await;
        assert_eq!(read, sent.seq, "a mark is where it was set");
        self.note(id, |room| room.read = read);
        let leave = LeaveRoomRequest {
            client_message_id: new_id(),
            room_id: id,
            after_seq: None,
        };
        answered(async || {
            let request = self.guest.asks(leave.clone());
            self.guest.api.rooms().leave_room(request).await
        })
        .await;
        self.note(id, |room| room.left = true);
        let lower = answered(async || self.reader.mark_read(id, 1).await).await;
        assert_eq!(lower, read, "a mark never falls");
    }

    fn note(&self, id: i64, change: impl Fn(&mut Room)) {
        self.made.send_modify(|made| {
            made.iter_mut()
                .filter(|room| room.id == id)
                .for_each(&change);
        });
    }
}

/// Asks again, with the same request, until there is an answer.
async fn answered<T, F>(ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, Status>>,
{
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(status) => assert!(refusal::is_lost(&status), "{status:?}"),
        }
        tokio::time::sleep(BACKOFF).await;
    }
}

#[tokio::test]
async fn rooms_members_and_marks_that_were_answered_survive_kills() {
    guarded_for(Duration::from_secs(120), async {
        // Slots end all the time, so that kills meet them half written.
        let mut scene = Scene::on(Setup::new().limit("slot_millis", 30)).await;
        let cat = scene.stranger().await;
        let (made, mut progress) = watch::channel(Vec::new());
        let made = Arc::new(made);
        let (stop, stopping) = watch::channel(false);
        let mut workers = Vec::new();
        for owner in [&scene.ann, &scene.bob] {
            let reader = if owner.user_id == scene.ann.user_id {
                &scene.bob
            } else {
                &scene.ann
            };
            let making = Making {
                owner: owner.over(scene.node.api()),
                reader: reader.over(scene.node.api()),
                guest: cat.over(scene.node.api()),
                made: Arc::clone(&made),
                stopping: stopping.clone(),
            };
            workers.push(tokio::spawn(making.run()));
        }
        for kill in 0..KILLS {
            let goal = progress.borrow().len() + 2;
            let more = progress.wait_for(|made| made.len() >= goal);
            event("more rooms", more).await.expect("the workers go on");
            // Another moment each time, within the life of a room.
            tokio::time::sleep(Duration::from_micros(u64::from(kill % 10) * 900)).await;
            scene.node.kill_and_restart().await;
        }
        stop.send_replace(true);
        for worker in workers {
            worker.await.expect("a worker ends well");
        }
        let people = [&scene.ann, &scene.bob, &cat].map(|person| person.over(scene.node.api()));
        all_is_there(&people, scene.room, &made.borrow().clone()).await;
        let before = lists(&people).await;
        for _ in 0..2 {
            scene.node.kill_and_restart().await;
            let people = people
                .each_ref()
                .map(|person| person.over(scene.node.api()));
            assert_eq!(lists(&people).await, before, "without traffic");
        }
    })
    .await;
}

/// Checks the lists of Ann, Bob and Cat, and the members of each room, against what was answered.
async fn all_is_there(people: &[Person; 3], first: i64, made: &[Room]) {
    let [ann, bob, cat] = people;
    let mut expected: Vec<i64> = made.iter().map(|room| room.id).chain([first]).collect();
    expected.sort_unstable();
    for person in [ann, bob] {
        let mut listed: Vec<i64> = list(person).await.iter().map(|room| room.room_id).collect();
        listed.sort_unstable();
        assert_eq!(listed, expected, "{}", person.handle);
    }
    assert_eq!(list(cat).await, [], "who left every room is in none");
    for room in made {
        assert!(room.left && room.read > 0, "{room:?}: was gone through");
        let mut members = members(ann, room.id).await;
        members.sort_unstable();
        let mut both = [ann.user_id, bob.user_id];
        both.sort_unstable();
        assert_eq!(members, both, "{room:?}");
        let marks = [ann, bob].map(async |person| {
            let summary = person.summary(room.id).await.expect("a member reads it");
            (summary.read_seq, summary.unread_count)
        });
        let marks = futures_util::future::join_all(marks).await;
        // Both have read it: one said so, the other wrote it.
        assert_eq!(marks, [(room.read, 0), (room.read, 0)], "{room:?}");
    }
}

async fn lists(people: &[Person; 3]) -> Vec<Vec<RoomSummary>> {
    futures_util::future::join_all(people.iter().map(list)).await
}

/// All of a person's rooms, page by page.
async fn list(person: &Person) -> Vec<RoomSummary> {
    let mut rooms = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListRoomsRequest {
            page_size: 0,
            page_token,
        };
        let page = person.api.rooms().list_rooms(person.asks(request)).await;
        let page = page.expect("a page").into_inner();
        rooms.extend(page.rooms);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return rooms;
        }
    }
}

async fn members(person: &Person, room_id: i64) -> Vec<i64> {
    let request = ListMembersRequest {
        room_id,
        ..ListMembersRequest::default()
    };
    let page = person.api.rooms().list_members(person.asks(request)).await;
    let members = page.expect("a page").into_inner().members;
    members.iter().map(|member| member.user_id).collect()
}

/// A room at its head that is not in memory is followed without being loaded: whether the follower
/// is a member is looked up before the next entry leaves.
#[tokio::test]
async fn nothing_of_an_unloaded_room_reaches_somebody_who_was_removed_from_it() {
    guarded(async {
        let mut scene = Scene::on(Setup::new().limit("slot_millis", 1)).await;
        let generation = live(&scene.bob).await.welcome.generation;
        let removed = scene.ann.remove(scene.room, scene.bob.user_id).await;
        let removed = removed.expect("removed");
        // The first start finishes what was left; the second finds nothing to load a room for.
        scene.node.kill_and_restart().await;
        scene.node.terminate();
        let status = scene.node.ended_within(Duration::from_secs(20)).await;
        assert_eq!(status.code(), Some(0));
        scene.node.start().await;
        let ann = scene.ann.over(scene.node.api());
        let bob = scene.bob.over(scene.node.api());
        let cursor = RoomCursor {
            room_id: scene.room,
            seq: removed,
            read_seq: removed,
        };
        let state = State {
            generation,
            account_revision: 0,
            cursors: vec![cursor],
        };
        let session = resume(&bob, state).await;
        assert_eq!(scene.node.metric("magpie_rooms").await, 0.0, "in memory");
        for _ in 0..3 {
            ann.send(scene.room, "among us").await.expect("sent");
        }
        // A round trip over the stream shows that nothing is under way any more.
        let refused = session.send(message(scene.room, "let me in")).await;
        refused.expect_err("no member");
        for received in session.received() {
            let told = match received.frame.frame {
                Some(Frame::Event(event)) => event.entry.map_or(0, |entry| entry.seq),
                Some(Frame::RoomSync(sync)) => sync.through_seq,
                _ => 0,
            };
            assert!(told <= removed, "{told} came after {removed}");
        }
    })
    .await;
}
