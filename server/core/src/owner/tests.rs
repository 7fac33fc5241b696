//! An owner against a store that does all at once.

mod reading;

use super::*;
use crate::{
    command::{Append, Command, Held, What},
    entry::Role,
    ids::{DeviceId, MessageId},
    refusal::Effect,
    rows::Settings,
    time::Instant,
};

/// How long after the last write of a slot everything of it is certainly done.
const LATER: u64 = 10_000;

fn at(millis: u64) -> Now {
    Now {
        instant: Instant(millis),
        wall: Timestamp(millis),
    }
}

fn room(number: i64) -> RoomId {
    RoomId::new(number).expect("an id")
}

fn ann() -> UserId {
    UserId::new(1).expect("an id")
}

/// A message to a room, or its creation under the id 0.
fn submit(room: RoomId, id: u32) -> Submit {
    let settings = Settings {
        kind: RoomKind::Group,
        title: String::new(),
    };
    let what = match id {
        0 => What::Create {
            settings,
            members: vec![(ann(), Role::Owner)],
        },
        _ => What::Message {
            wire: Default::default(),
            whole: None,
            reply_to: None,
        },
    };
    Submit {
        room,
        actor: ann(),
        device: DeviceId::new(1),
        command: Command::Append(Append {
            id: MessageId(u128::from(id).to_be_bytes()),
            after: None,
            what,
        }),
        unless_retry: None,
        held: Held::default(),
    }
}

/// Does what the owner wants done until it wants nothing, and returns the answers.
fn settle(owner: &mut Owner<()>, now: Now) -> Vec<Result<Answer, Refusal>> {
    let mut answers = Vec::new();
    loop {
        owner.flush();
        let Some(output) = owner.poll() else {
            return answers;
        };
        let input = match output {
            Output::Load(room) => Input::Loaded(room, Some(Box::default())),
            Output::Write(room, no, _) => Input::Written(room, no, WriteOutcome::Done),
            Output::ReadFence => Input::FenceRead { fenced: false },
            Output::Fetch(..) => unreachable!("all is in memory"),
            Output::Effect(change) => Input::EffectDone(change.room, change.seq),
            Output::Reply((), answer) => {
                answers.push(answer);
                continue;
            }
            Output::Finish(_) | Output::View(..) | Output::Edge(..) => continue,
            Output::Halt(why) => panic!("{why}"),
        };
        owner.handle(input, now);
    }
}

#[test]
fn rooms_that_nobody_uses_are_forgotten_where_memory_is_short() {
    let limits = Limits {
        rooms_bytes_max: 1 << 20,
        room_tail_entries_max: 1,
        room_send_burst: 1_000_000,
        ..Limits::default()
    };
    let idle = limits.room_idle_millis;
    let mut owner = Owner::new(Epoch(1), limits);
    for number in 1..=20 {
        for id in 0..=1_000 {
            owner.handle(Input::Submit((), submit(room(number), id)), at(0));
            let answers = settle(&mut owner, at(0));
            assert!(matches!(answers.as_slice(), [Ok(_)]), "{answers:?}");
        }
    }
    assert_eq!(owner.rooms_loaded(), 20);
    assert!(LATER < idle, "or they would go for being old");
    for millis in [LATER, LATER + 1_000] {
        owner.handle(Input::Tick, at(millis));
        settle(&mut owner, at(millis));
    }
    // A thousand ids of each are held, whatever became of the entries.
    let left = owner.rooms_loaded();
    assert!((1..=16).contains(&left), "{left} rooms are left");
}

/// A first attempt may lie before what is searched, unless the command says after what it came.
#[test]
fn only_a_whole_search_shows_that_nothing_exists_under_an_id() {
    let limits = Limits {
        room_ids_max: 4,
        ..Limits::default()
    };
    let mut owner = Owner::new(Epoch(1), limits);
    let mut refused = |messages, after: Option<Seq>| {
        let known = owner.head(room(1)).map_or(0, |head| head.seq.get());
        for id in known..=messages {
            let id = u32::try_from(id).expect("a small id");
            owner.handle(Input::Submit((), submit(room(1), id)), at(0));
            settle(&mut owner, at(0));
        }
        let mut stranger = submit(room(1), 77);
        stranger.actor = UserId::new(2).expect("an id");
        if let Command::Append(append) = &mut stranger.command {
            append.after = after;
        }
        owner.handle(Input::Submit((), stranger), at(0));
        let answers = settle(&mut owner, at(0));
        answers[0].as_ref().expect_err("no member").effect
    };
    assert_eq!(refused(3, None), Effect::None);
    assert_eq!(refused(8, None), Effect::AttemptNone);
    assert_eq!(refused(8, Some(Seq::ZERO.plus(9))), Effect::None);
    assert_eq!(refused(8, Some(Seq::ZERO.plus(10))), Effect::AttemptNone);
}
