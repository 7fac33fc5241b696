//! What the device knows of the account's own read marks.

use super::{
    membership::{ME, ROOM, again, device, taken, told},
    *,
};
use crate::v1::{Message, entry::Body};

/// A message by an account.
fn message(seq: i64, actor_user_id: i64) -> Entry {
    Entry {
        actor_user_id,
        body: Some(Body::Message(Message::default())),
        ..entry(ROOM, seq)
    }
}

#[test]
fn sending_moves_the_own_read_mark_on_every_device() {
    let now = Instant::now();
    let (mut machine, mut progress) = device(3, now);
    let number = open(&mut machine, now);
    machine.handle_frame(number, caught_up(), now);
    machine.handle_frame(number, told(message(4, ME + 1)), now);
    machine.handle_frame(number, told(message(5, ME)), now);
    machine.handle_frame(number, told(message(6, ME + 1)), now);
    assert_eq!(taken(&mut machine, &mut progress, now), [4, 5, 6]);
    let stored = progress.state().cursors;
    let (named, _) = again(&mut machine, number, now);
    for cursors in [stored, named] {
        assert_eq!((cursors[0].seq, cursors[0].read_seq), (6, 5));
    }
}
