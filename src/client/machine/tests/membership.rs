//! Rooms that the account leaves, is removed from, and joins again.

use super::*;
use crate::{
    client::{limits::ROOMS_MAX, progress::Progress},
    v1::{
        AccountChanged, AccountRoom, MemberChange, MemberChangeKind, MembershipChanged, RoomCursor,
        RoomSummary, RoomSync, entry::Body,
    },
};

/// The account of [`welcome`].
pub(super) const ME: i64 = 1;
pub(super) const ROOM: i64 = 5;

/// An entry with which the account's membership begins or ends.
fn change(room_id: i64, seq: i64, kind: MemberChangeKind) -> Entry {
    let change = MemberChange {
        user_id: ME,
        kind: kind.into(),
        ..MemberChange::default()
    };
    Entry {
        body: Some(Body::MembershipChanged(MembershipChanged {
            changes: vec![change],
        })),
        ..entry(room_id, seq)
    }
}

pub(super) fn told(entry: Entry) -> ServerFrame {
    let entry = Some(entry);
    frame(Frame::Event(v1::Event { entry }))
}

fn sync(live: bool, after_seq: i64, entries: Vec<Entry>) -> ServerFrame {
    let last = entries.last().expect("an entry");
    let (room_id, head_seq) = (last.room_id, last.seq);
    frame(Frame::RoomSync(RoomSync {
        summary: Some(RoomSummary {
            room_id,
            head_seq,
            ..RoomSummary::default()
        }),
        live,
        entries,
        after_seq,
        through_seq: head_seq,
        ..RoomSync::default()
    }))
}

/// A device that holds the room up to `seq`, with what its program would store.
pub(super) fn device(seq: i64, now: Instant) -> (Machine, Progress) {
    let state = State {
        generation: 1,
        account_revision: 1,
        cursors: vec![RoomCursor {
            room_id: ROOM,
            seq,
            read_seq: 0,
        }],
    };
    let progress = Progress::new(&state);
    let setup = Setup {
        state,
        watch_user_ids: Vec::new(),
        idle: false,
        client: "test".to_owned(),
        profile: Profile::NORMAL,
        seed: 7,
    };
    (Machine::new(setup, now), progress)
}

/// The seqs that the program is handed, which it stores.
pub(super) fn taken(machine: &mut Machine, progress: &mut Progress, now: Instant) -> Vec<i64> {
    let mut seqs = Vec::new();
    while let Some(delivery) = machine.poll_event(now) {
        progress.apply(&delivery);
        if let Event::Entry(entry) = delivery.event {
            seqs.push(entry.seq);
        }
    }
    seqs
}

/// Loses the stream and opens another; returns what its Hello names, and its number.
pub(super) fn again(machine: &mut Machine, number: u64, now: Instant) -> (Vec<RoomCursor>, u64) {
    let lost = crate::client::Error::Transport("cut".to_owned());
    machine.handle_lost(number, lost, now);
    let later = now + Duration::from_secs(61);
    let dial = machine.poll_dial(later).expect("a wish to dial");
    machine.handle_opened(dial.number, welcome(), later);
    (dial.hello.state.expect("a state").cursors, dial.number)
}

#[test]
fn room_that_was_left_is_named_no_more() {
    for kind in [MemberChangeKind::Left, MemberChangeKind::Removed] {
        let now = Instant::now();
        let (mut machine, mut progress) = device(3, now);
        let number = open(&mut machine, now);
        machine.handle_frame(number, caught_up(), now);
        machine.handle_frame(number, told(change(ROOM, 4, kind)), now);
        assert_eq!(taken(&mut machine, &mut progress, now), [4]);
        assert_eq!(progress.state().cursors, []);
        assert_eq!(again(&mut machine, number, now).0, []);
    }
}

#[test]
fn room_that_was_left_while_away_is_brought_to_its_end_and_named_no_more() {
    let now = Instant::now();
    let (mut machine, mut progress) = device(3, now);
    let number = open(&mut machine, now);
    let rest = vec![entry(ROOM, 4), change(ROOM, 5, MemberChangeKind::Removed)];
    machine.handle_frame(number, sync(false, 3, rest), now);
    assert_eq!(taken(&mut machine, &mut progress, now), [4, 5]);
    assert_eq!(progress.state().cursors, []);
    assert_eq!(again(&mut machine, number, now).0, []);
}

#[test]
fn room_whose_end_is_known_is_named_no_more_once_the_account_says_so() {
    for (left_seq, named) in [(3, 0), (4, 1)] {
        let now = Instant::now();
        let (mut machine, mut progress) = device(3, now);
        let number = open(&mut machine, now);
        let row = AccountRoom {
            room_id: ROOM,
            left_seq,
            ..AccountRoom::default()
        };
        let changed = AccountChanged {
            account_revision: 2,
            rooms: vec![row],
        };
        machine.handle_frame(number, frame(Frame::AccountChanged(changed)), now);
        taken(&mut machine, &mut progress, now);
        assert_eq!(progress.state().cursors.len(), named, "left at {left_seq}");
        assert_eq!(again(&mut machine, number, now).0.len(), named);
    }
}

#[test]
fn room_that_is_joined_again_begins_with_the_joining() {
    let now = Instant::now();
    let (mut machine, mut progress) = device(3, now);
    let number = open(&mut machine, now);
    machine.handle_frame(number, caught_up(), now);
    let end = change(ROOM, 4, MemberChangeKind::Left);
    machine.handle_frame(number, told(end), now);
    let rejoined = || {
        let join = change(ROOM, 9, MemberChangeKind::Joined);
        sync(true, 8, vec![join, entry(ROOM, 10)])
    };
    let mut same = progress_after(&mut machine, &mut progress, number, rejoined(), now);
    assert_eq!(same, [4, 9, 10]);
    assert_eq!(progress.state().cursors[0].seq, 10);
    let (named, number) = again(&mut machine, number, now);
    assert_eq!(named[0].seq, 10);
    // The same over a reconnect between the two.
    let end = change(ROOM, 11, MemberChangeKind::Left);
    machine.handle_frame(number, told(end), now);
    let (named, number) = again(&mut machine, number, now);
    assert_eq!(named, []);
    let join = change(ROOM, 15, MemberChangeKind::Joined);
    let back = sync(true, 14, vec![join]);
    same = progress_after(&mut machine, &mut progress, number, back, now);
    assert_eq!(same, [11, 15]);
    machine.handle_frame(number, event(ROOM, 16), now);
    assert_eq!(taken(&mut machine, &mut progress, now), [16]);
    assert_eq!(progress.state().cursors[0].seq, 16);
}

#[test]
fn rest_of_a_former_membership_comes_before_the_one_that_followed_it() {
    let now = Instant::now();
    let (mut machine, mut progress) = device(3, now);
    let number = open(&mut machine, now);
    let rest = vec![entry(ROOM, 4), change(ROOM, 5, MemberChangeKind::Removed)];
    machine.handle_frame(number, sync(false, 3, rest), now);
    let join = change(ROOM, 9, MemberChangeKind::Joined);
    let back = sync(true, 8, vec![join, entry(ROOM, 10)]);
    machine.handle_frame(number, back, now);
    machine.handle_frame(number, caught_up(), now);
    machine.handle_frame(number, event(ROOM, 11), now);
    assert_eq!(taken(&mut machine, &mut progress, now), [4, 5, 9, 10, 11]);
    assert_eq!(progress.state().cursors[0].seq, 11);
    assert_eq!(again(&mut machine, number, now).0[0].seq, 11);
}

fn progress_after(
    machine: &mut Machine,
    progress: &mut Progress,
    number: u64,
    frame: ServerFrame,
    now: Instant,
) -> Vec<i64> {
    machine.handle_frame(number, frame, now);
    taken(machine, progress, now)
}

/// The Hello of the stream to which a session moves may be older than the end of a membership.
#[test]
fn end_of_a_membership_that_two_streams_bring_is_handed_out_once() {
    let now = Instant::now();
    let (mut machine, mut progress) = device(3, now);
    let number = open(&mut machine, now);
    machine.handle_frame(number, caught_up(), now);
    let draining = v1::Draining::default();
    machine.handle_frame(number, frame(Frame::Draining(draining)), now);
    let dial = machine.poll_dial(now).expect("a move");
    let end = || change(ROOM, 4, MemberChangeKind::Removed);
    machine.handle_frame(number, told(end()), now);
    machine.handle_opened(dial.number, welcome(), now);
    machine.handle_frame(dial.number, sync(false, 3, vec![end()]), now);
    assert_eq!(taken(&mut machine, &mut progress, now), [4]);
    assert_eq!(again(&mut machine, dial.number, now).0, []);
}

#[test]
fn rooms_that_were_left_take_no_place() {
    let now = Instant::now();
    let (mut machine, mut progress) = device(3, now);
    let number = open(&mut machine, now);
    machine.handle_frame(number, caught_up(), now);
    for room_id in 1..=i64::try_from(ROOMS_MAX * 2).expect("small") {
        let join = change(room_id, 1, MemberChangeKind::Joined);
        let end = change(room_id, 2, MemberChangeKind::Left);
        machine.handle_frame(number, told(join), now);
        machine.handle_frame(number, told(end), now);
        taken(&mut machine, &mut progress, now);
    }
    assert!(!machine.is_ended());
    assert_eq!(machine.current(), Some(number));
}
