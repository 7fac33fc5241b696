//! Entries through duplicates, gaps, reorderings, stale rooms and cuts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    client::{error::Error, limits::HELD_ENTRIES_PER_ROOM_MAX, rooms::Ask},
    v1::{ListEntriesResponse, RoomSummary, RoomSync},
};

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// A room gets an entry; its event is delivered, or lost.
    Say { room: i64, lost: bool },
    /// An event of an earlier or a coming entry arrives out of its place.
    Stray { room: i64, seq: i64 },
    /// A room is brought up to date from some earlier cursor.
    Sync { room: i64, back: i64 },
    /// A room is said to be stale.
    Stale { room: i64 },
    /// Time goes by, and gaps are asked for; the answers come, or fail.
    Wait { ms: u64, fails: bool },
    /// The stream breaks.
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    let room = 1..=3i64;
    prop_oneof![
        6 => (room.clone(), prop::bool::weighted(0.2)).prop_map(|(room, lost)| Step::Say { room, lost }),
        2 => (room.clone(), 1..=40i64).prop_map(|(room, seq)| Step::Stray { room, seq }),
        1 => (room.clone(), 0..=5i64).prop_map(|(room, back)| Step::Sync { room, back }),
        1 => room.prop_map(|room| Step::Stale { room }),
        2 => (0..=1_500u64, prop::bool::weighted(0.2)).prop_map(|(ms, fails)| Step::Wait { ms, fails }),
        1 => Just(Step::Cut),
    ]
}

struct World {
    machine: Machine,
    now: Instant,
    stream: u64,
    heads: BTreeMap<i64, i64>,
    /// The last seq that the program knows, by room.
    seen: BTreeMap<i64, i64>,
    /// Seqs that were given up as stale.
    skipped: i64,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut world = Self {
            machine: machine(now),
            now,
            stream: 0,
            heads: BTreeMap::new(),
            seen: BTreeMap::new(),
            skipped: 0,
        };
        world.open();
        world
    }

    fn head(&self, room: i64) -> i64 {
        self.heads.get(&room).copied().unwrap_or(0)
    }

    fn open(&mut self) {
        let dial = self.machine.poll_dial(self.now).expect("a wish to dial");
        self.stream = dial.number;
        self.machine.handle_opened(dial.number, welcome(), self.now);
        let held: BTreeMap<_, _> = dial
            .hello
            .state
            .expect("a state")
            .cursors
            .iter()
            .map(|cursor| (cursor.room_id, cursor.seq))
            .collect();
        for room in 1..=3 {
            let after = held.get(&room).copied().unwrap_or(0);
            if after != self.head(room) {
                self.sync(room, after);
            }
        }
        self.tell(caught_up());
    }

    fn sync(&mut self, room: i64, after_seq: i64) {
        let head = self.head(room);
        let sync = RoomSync {
            summary: Some(RoomSummary {
                room_id: room,
                head_seq: head,
                ..RoomSummary::default()
            }),
            live: true,
            entries: (after_seq + 1..=head).map(|seq| entry(room, seq)).collect(),
            after_seq,
            through_seq: head,
            ..RoomSync::default()
        };
        self.tell(frame(Frame::RoomSync(sync)));
    }

    fn tell(&mut self, frame: ServerFrame) {
        self.machine.handle_frame(self.stream, frame, self.now);
        self.check();
    }

    /// Takes all events: nothing twice, nothing left out, nothing out of order.
    fn check(&mut self) {
        for event in events(&mut self.machine, self.now) {
            match event {
                Event::Entry(entry) => {
                    let seen = self.seen.entry(entry.room_id).or_default();
                    assert_eq!(entry.seq, *seen + 1, "room {}", entry.room_id);
                    *seen = entry.seq;
                }
                Event::Stale {
                    room_id,
                    after_seq,
                    through_seq,
                } => {
                    let seen = self.seen.entry(room_id).or_default();
                    assert_eq!(after_seq, *seen);
                    self.skipped += through_seq - after_seq;
                    *seen = through_seq;
                }
                _ => {}
            }
        }
    }

    fn page(&self, room: i64, after_seq: i64) -> ListEntriesResponse {
        let head = self.head(room);
        let through_seq = head.min(after_seq + 3);
        ListEntriesResponse {
            entries: (after_seq + 1..=through_seq)
                .map(|seq| entry(room, seq))
                .collect(),
            after_seq,
            through_seq,
            as_of_seq: head,
        }
    }

    fn wait(&mut self, time: Duration, fails: bool) {
        self.now += time;
        // Answers may be late: all asks go out before the first comes back.
        let asks: Vec<Ask> = std::iter::from_fn(|| self.machine.poll_ask(self.now)).collect();
        for ask in asks {
            let page = match fails {
                true => Err(Error::Transport("cut".to_owned())),
                false => Ok(self.page(ask.room_id, ask.after_seq)),
            };
            self.machine.handle_page(ask, page, self.now);
            self.check();
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Say { room, lost } => {
                let seq = self.head(room) + 1;
                self.heads.insert(room, seq);
                if !lost {
                    self.tell(event(room, seq));
                }
            }
            Step::Stray { room, seq } => {
                if seq <= self.head(room) {
                    self.tell(event(room, seq));
                }
            }
            Step::Sync { room, back } => {
                let after = (self.head(room) - back).max(0);
                self.sync(room, after);
            }
            Step::Stale { room } => {
                let sync = RoomSync {
                    summary: Some(RoomSummary {
                        room_id: room,
                        head_seq: self.head(room),
                        ..RoomSummary::default()
                    }),
                    live: true,
                    stale: true,
                    through_seq: self.head(room),
                    ..RoomSync::default()
                };
                self.tell(frame(Frame::RoomSync(sync)));
            }
            Step::Wait { ms, fails } => self.wait(Duration::from_millis(ms), fails),
            Step::Cut => {
                let lost = Error::Transport("cut".to_owned());
                self.machine.handle_lost(self.stream, lost, self.now);
                self.check();
                self.now += Duration::from_secs(61);
                self.open();
            }
        }
    }

    /// One more entry in each room, and time: then everything is there.
    fn settle(&mut self) {
        for room in 1..=3 {
            self.step(&Step::Say { room, lost: false });
        }
        for _ in 0..200 {
            self.wait(Duration::from_millis(1_000), false);
        }
        assert_eq!(self.seen, self.heads);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_entry_comes_once_and_in_order_whatever_happens(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let stale = steps.iter().any(|step| matches!(step, Step::Stale { .. } | Step::Wait { fails: true, .. }));
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.settle();
        prop_assert!(stale || world.skipped == 0);
    }
}

#[test]
fn gap_is_given_a_moment_before_it_is_asked_for() {
    let now = Instant::now();
    let mut machine = machine(now);
    let number = open(&mut machine, now);
    machine.handle_frame(number, caught_up(), now);
    machine.handle_frame(number, event(5, 1), now);
    machine.handle_frame(number, event(5, 3), now);
    assert_eq!(entries(&mut machine, now), [1]);
    assert!(machine.poll_ask(now + ms(499)).is_none());
    let ask = machine.poll_ask(now + ms(500)).expect("an ask");
    assert_eq!((ask.room_id, ask.after_seq), (5, 1));
    machine.handle_frame(number, event(5, 2), now);
    assert_eq!(entries(&mut machine, now), [2, 3]);
}

#[test]
fn flood_behind_a_gap_is_held_up_to_a_limit_and_fetched_beyond() {
    let mut world = World::new();
    world.step(&Step::Say {
        room: 1,
        lost: true,
    });
    let flood = HELD_ENTRIES_PER_ROOM_MAX * 2;
    for _ in 0..flood {
        world.step(&Step::Say {
            room: 1,
            lost: false,
        });
    }
    world.settle();
    assert_eq!(world.skipped, 0);
}

#[test]
fn gap_that_cannot_be_filled_is_handed_on_as_stale() {
    let mut world = World::new();
    world.step(&Step::Say {
        room: 1,
        lost: true,
    });
    world.step(&Step::Say {
        room: 1,
        lost: false,
    });
    for _ in 0..20 {
        world.wait(Duration::from_secs(2), true);
    }
    assert_eq!((world.seen[&1], world.skipped), (2, 1));
}
