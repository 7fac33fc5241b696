//! What every log store must do, as checks that run against any of them. Knows no store.

use bytes::Bytes;
use magpie_core::{
    entry::{Body, ChangeKind, Entry, MemberChange, Message, Role, RoomKind},
    ids::{DeviceId, Epoch, MessageId, Partition, RoomId, Seq, Slot, UserId},
    rows::{Boundary, Hint, Marks, MemberRow, Order, Pointer, Row, Settings, Span, StoredEntry},
    time::Timestamp,
};

use super::LogStore;

/// Runs all checks against an empty store. Needs no runtime beyond what the store itself needs.
///
/// # Panics
/// Panics at the first thing that the store does wrong.
pub async fn check(store: &dyn LogStore) {
    entries_come_back_as_they_were(store).await;
    entries_are_ordered_and_cut(store).await;
    boundaries_bodies_and_pointers_are_found(store).await;
    rows_of_a_room_are_overwritten(store).await;
    hints_belong_to_their_partition(store).await;
    slots_that_are_done_are_not_pending(store).await;
    what_was_never_written_is_absent(store).await;
    repeating_a_write_changes_nothing(store).await;
    assert!(!fenced(store).await, "one owner alone is not fenced");
}

/// A message as a store gets it, for checks and tests.
///
/// # Panics
/// Panics if `seq` is negative.
pub fn message(seq: i64, epoch: u64, text: &str) -> StoredEntry {
    stored(
        seq,
        epoch,
        Body::Message(Message {
            wire: Bytes::copy_from_slice(text.as_bytes()),
            long: false,
        }),
    )
}

fn stored(seq: i64, epoch: u64, body: Body) -> StoredEntry {
    StoredEntry {
        epoch: Epoch(epoch),
        committed_upto: at(seq).prev(),
        entry: Entry {
            seq: at(seq),
            time: Timestamp(1_700_000_000_000 + seq.unsigned_abs()),
            actor: user(7),
            device: DeviceId::new(9),
            id: MessageId([seq.to_le_bytes()[0]; 16]),
            body,
        },
    }
}

/// A room of its own for each check, so that they share a store.
fn room(id: i64) -> RoomId {
    RoomId::new(id).expect("checks use positive ids")
}

fn user(id: i64) -> UserId {
    UserId::new(id).expect("checks use positive ids")
}

fn at(seq: i64) -> Seq {
    Seq::new(seq).expect("checks use seqs that are not negative")
}

async fn write(store: &dyn LogStore, rows: Vec<Row>) {
    store.write(rows).await.expect("writing works");
}

async fn entries(store: &dyn LogStore, room: RoomId, after: i64, through: Seq) -> Vec<StoredEntry> {
    let above = Span::above(at(after));
    let entries = store.entries(room, Span { through, ..above }).await;
    entries.expect("reading works")
}

async fn fenced(store: &dyn LogStore) -> bool {
    store.fenced().await.expect("reading works")
}

async fn entries_come_back_as_they_were(store: &dyn LogStore) {
    let room = room(101);
    let change = |id, kind| MemberChange {
        user: user(id),
        kind,
    };
    let mut without_device = message(5, 1, "");
    without_device.entry.device = None;
    let written = vec![
        stored(
            1,
            1,
            Body::Created {
                kind: RoomKind::Group,
                title: "Größe \u{1f426}".to_owned(),
                changes: vec![
                    change(1, ChangeKind::Joined(Role::Owner)),
                    change(i64::MAX, ChangeKind::Joined(Role::Member)),
                ],
            },
        ),
        stored(
            2,
            1,
            Body::Membership(vec![
                change(1, ChangeKind::Left),
                change(2, ChangeKind::Removed),
                change(3, ChangeKind::RoleChanged(Role::Owner)),
            ]),
        ),
        stored(
            3,
            1,
            Body::Updated {
                title: Some(String::new()),
            },
        ),
        stored(
            4,
            1,
            Body::Message(Message {
                wire: Bytes::from_static(&[0, 255, 128]),
                long: true,
            }),
        ),
        without_device,
    ];
    let rows = written.iter().cloned().map(|entry| Row::Entry(room, entry));
    write(store, rows.collect()).await;
    assert_eq!(entries(store, room, 0, Seq::MAX).await, written);
}

async fn entries_are_ordered_and_cut(store: &dyn LogStore) {
    let (room, neighbour) = (room(102), room(103));
    // 300 lies behind 2 only if keys compare as numbers do; the ghosts share a seq.
    let written = [
        message(300, 2, "c"),
        message(2, 3, "ghost"),
        message(2, 2, "b"),
        message(1, 2, "a"),
    ];
    for entry in written {
        write(store, vec![Row::Entry(room, entry)]).await;
    }
    write(store, vec![Row::Entry(neighbour, message(2, 2, "other"))]).await;

    let places = |entries: Vec<StoredEntry>| -> Vec<(i64, u64)> {
        let place = |stored: &StoredEntry| (stored.entry.seq.get(), stored.epoch.0);
        entries.iter().map(place).collect()
    };
    let all = entries(store, room, 0, Seq::MAX).await;
    assert_eq!(places(all), [(1, 2), (2, 2), (2, 3), (300, 2)]);
    let middle = entries(store, room, 1, at(299)).await;
    assert_eq!(places(middle), [(2, 2), (2, 3)], "(after, through]");
    let through = entries(store, room, 2, at(300)).await;
    assert_eq!(places(through), [(300, 2)], "through is part of it");
    assert_eq!(entries(store, room, 300, Seq::MAX).await, []);
    assert_eq!(
        entries(store, room, 5, at(2)).await,
        [],
        "backwards is empty"
    );
    let read = async |span| places(store.entries(room, span).await.expect("reading works"));
    let up = Span::above(Seq::ZERO);
    let order = Order::Descending;
    let down = Span { order, ..up };
    assert_eq!(read(down).await, [(300, 2), (2, 3), (2, 2), (1, 2)]);
    let rows = |rows_max, span| Span { rows_max, ..span };
    assert_eq!(read(rows(1, up)).await, [(1, 2)]);
    let whole = "the rows of one seq are never parted";
    assert_eq!(read(rows(2, up)).await, [(1, 2), (2, 2), (2, 3)], "{whole}");
    let three = [(300, 2), (2, 3), (2, 2)];
    assert_eq!(read(rows(2, down)).await, three, "{whole}");
    let bytes = |bytes_max, span| Span { bytes_max, ..span };
    assert_eq!(read(bytes(1, up)).await, [(1, 2)], "the first is given");
    assert_eq!(read(bytes(1, down)).await, [(300, 2)], "the first is given");
    let cost = message(1, 2, "a").entry.cost() as u64;
    assert_eq!(read(bytes(cost, up)).await, [(1, 2)]);
    assert_eq!(read(bytes(2 * cost, up)).await, [(1, 2), (2, 2), (2, 3)]);
}

async fn boundaries_bodies_and_pointers_are_found(store: &dyn LogStore) {
    let room = room(104);
    let boundary = |epoch, start, prev| Boundary {
        epoch: Epoch(epoch),
        start: at(start),
        prev: Epoch(prev),
    };
    let id = MessageId([7; 16]);
    let pointer = |seq, epoch| Pointer {
        seq: at(seq),
        epoch: Epoch(epoch),
    };
    let body = Bytes::from(vec![b'x'; 300_000]);
    write(
        store,
        vec![
            Row::Boundary(room, boundary(1, 1, 0)),
            Row::Boundary(room, boundary(4, 5000, 1)),
            Row::Body(room, at(3), Epoch(1), body.clone()),
            Row::Pointer(room, user(1), id, pointer(3, 1)),
            Row::Pointer(room, user(1), id, pointer(5000, 4)),
            Row::Pointer(room, user(2), id, pointer(4, 1)),
        ],
    )
    .await;

    let mut boundaries = store.boundaries(room).await.expect("reading works");
    boundaries.sort_by_key(|boundary| boundary.epoch);
    assert_eq!(boundaries, [boundary(1, 1, 0), boundary(4, 5000, 1)]);

    let found = store.body(room, at(3), Epoch(1)).await;
    assert_eq!(found.expect("reading works"), Some(body));
    let other_epoch = store.body(room, at(3), Epoch(2)).await;
    assert_eq!(other_epoch.expect("reading works"), None);

    let pointers = async |sender, after, through| {
        let pointers = store.pointers(room, user(sender), id, after, through).await;
        let mut pointers = pointers.expect("reading works");
        pointers.sort_by_key(|pointer| pointer.seq);
        pointers
    };
    let both = pointers(1, Seq::ZERO, at(5000)).await;
    assert_eq!(both, [pointer(3, 1), pointer(5000, 4)]);
    assert_eq!(pointers(1, at(4500), at(5000)).await, [pointer(5000, 4)]);
    assert_eq!(pointers(1, Seq::ZERO, at(10)).await, [pointer(3, 1)]);
    assert_eq!(pointers(2, Seq::ZERO, at(5000)).await, [pointer(4, 1)]);
    assert_eq!(pointers(3, Seq::ZERO, at(5000)).await, []);
}

async fn rows_of_a_room_are_overwritten(store: &dyn LogStore) {
    let room = room(105);
    let member = |sent, left: Option<i64>| MemberRow {
        role: Role::Member,
        joined: at(1),
        left: left.map(at),
        sent: at(sent),
    };
    let marks = |read, delivered| Marks {
        read: at(read),
        delivered: at(delivered),
    };
    write(
        store,
        vec![
            Row::Member(room, user(1), member(1, None)),
            Row::Member(room, user(2), member(0, None)),
            Row::Marks(room, user(1), marks(1, 2)),
        ],
    )
    .await;
    write(
        store,
        vec![
            Row::Member(room, user(2), member(0, Some(9))),
            Row::Marks(room, user(1), marks(3, 2)),
            // Of two rows of one key in one write the later one counts.
            Row::Marks(room, user(1), marks(3, 4)),
        ],
    )
    .await;
    let mut members = store.members(room).await.expect("reading works");
    members.sort_by_key(|(user, _)| *user);
    let expected = [(user(1), member(1, None)), (user(2), member(0, Some(9)))];
    assert_eq!(members, expected);
    let found = store.marks(room).await.expect("reading works");
    assert_eq!(found, [(user(1), marks(3, 4))]);
}

async fn hints_belong_to_their_partition(store: &dyn LogStore) {
    let (first, second) = (room(106), room(107));
    let hint = |head| Hint {
        head: at(head),
        time: Timestamp(5),
        room_list: at(head).prev(),
        settings: Settings {
            kind: RoomKind::Direct,
            title: String::new(),
        },
    };
    write(store, vec![Row::Hint(first, hint(1))]).await;
    write(store, vec![Row::Hint(second, hint(2))]).await;
    write(store, vec![Row::Hint(first, hint(3))]).await;
    let found = store.hint(first).await.expect("reading works");
    assert_eq!(found, Some(hint(3)));
    let partition = Partition::of_room(first);
    assert_ne!(
        partition,
        Partition::of_room(second),
        "rooms of two partitions"
    );
    let hints = store.hints(partition).await.expect("reading works");
    assert_eq!(hints, [(first, hint(3))]);
}

async fn slots_that_are_done_are_not_pending(store: &dyn LogStore) {
    let (here, elsewhere) = (Partition(4001), Partition(4002));
    let (first, second) = (room(108), room(109));
    let pending =
        |partition, epoch, slot, room| Row::Pending(partition, Epoch(epoch), Slot(slot), room);
    write(
        store,
        vec![
            pending(here, 1, 0, first),
            pending(here, 1, 1, first),
            pending(here, 1, 1, second),
            pending(here, 1, 2, second),
            pending(here, 2, 0, first),
        ],
    )
    .await;
    write(store, vec![pending(elsewhere, 1, 1, first)]).await;
    let open = async |partition| {
        let mut open = store.pending(partition).await.expect("reading works");
        open.sort();
        open
    };
    assert_eq!(open(here).await.len(), 5);

    let done = |slot| vec![Row::Done(here, Epoch(1), Slot(slot))];
    write(store, done(1)).await;
    let left = [(Epoch(1), Slot(2), second), (Epoch(2), Slot(0), first)];
    assert_eq!(
        open(here).await,
        left,
        "slots above, and other epochs, stay"
    );
    assert_eq!(open(elsewhere).await, [(Epoch(1), Slot(1), first)]);

    write(store, done(0)).await;
    assert_eq!(open(here).await, left, "done never falls");
    write(store, vec![pending(here, 1, 1, first)]).await;
    assert_eq!(open(here).await, left, "what is done stays done");
    write(
        store,
        vec![
            pending(here, 1, 3, first),
            Row::Done(here, Epoch(1), Slot(3)),
        ],
    )
    .await;
    assert_eq!(open(here).await, left[1..], "also within one write");
}

async fn what_was_never_written_is_absent(store: &dyn LogStore) {
    let room = room(110);
    assert_eq!(entries(store, room, 0, Seq::MAX).await, []);
    assert_eq!(store.boundaries(room).await.expect("reading works"), []);
    assert_eq!(store.hint(room).await.expect("reading works"), None);
    assert_eq!(store.members(room).await.expect("reading works"), []);
    assert_eq!(store.marks(room).await.expect("reading works"), []);
    let pointers = store.pointers(room, user(1), MessageId([0; 16]), Seq::ZERO, at(5000));
    assert_eq!(pointers.await.expect("reading works"), []);
    let pending = store.pending(Partition(4003)).await;
    assert_eq!(pending.expect("reading works"), []);
    write(store, Vec::new()).await;
}

async fn repeating_a_write_changes_nothing(store: &dyn LogStore) {
    let room = room(111);
    let rows = || {
        vec![
            Row::Entry(room, message(1, 1, "once")),
            Row::Pending(Partition(4004), Epoch(1), Slot(0), room),
        ]
    };
    write(store, rows()).await;
    write(store, rows()).await;
    assert_eq!(
        entries(store, room, 0, Seq::MAX).await,
        [message(1, 1, "once")]
    );
    let pending = store.pending(Partition(4004)).await;
    assert_eq!(pending.expect("reading works").len(), 1);
}
