//! Reading a log of which memory holds little: what is seen, and what it costs.

use bytes::Bytes;
use proptest::{collection, prelude::*, sample::select};

use super::*;
use crate::{
    entry::{Body, Entry, Message},
    limits::{FETCH_ENTRIES_MAX, UNREAD_MAX},
    rows::{Boundary, Marks, MemberRow, Span, StoredEntry},
};

fn bob() -> UserId {
    UserId::new(2).expect("an id")
}

fn seq(number: u64) -> Seq {
    Seq::ZERO.plus(number)
}

/// A log of messages of these sizes; without one, the title changes.
fn log(sizes: impl IntoIterator<Item = Option<usize>>) -> Vec<Entry> {
    let entry = |(index, size): (usize, Option<usize>)| Entry {
        seq: seq(index as u64 + 1),
        time: Timestamp(index as u64 / 3),
        actor: ann(),
        device: None,
        id: MessageId((index as u128).to_be_bytes()),
        body: match size {
            Some(size) => Body::Message(Message {
                wire: Bytes::from(vec![b'x'; size]),
                long: false,
            }),
            None => Body::Updated { title: None },
        },
    };
    sizes.into_iter().enumerate().map(entry).collect()
}

/// An owner of one room, and its store. Bob has read up to the mark.
struct Scene {
    owner: Owner<u32>,
    limits: Limits,
    entries: Vec<Entry>,
    read: Seq,
    /// Readings that the store was asked for and has not answered.
    asked: VecDeque<(ReadNo, Fetch)>,
    views: Vec<(u32, View)>,
}

impl Scene {
    fn new(entries: Vec<Entry>, read: u64, limits: Limits) -> Self {
        let mut owner = Owner::new(Epoch(2), limits.clone());
        let last = entries.last().expect("an entry");
        let hint = Hint {
            head: last.seq,
            time: last.time,
            room_list: last.seq,
            settings: Settings::default(),
        };
        owner.inherit(
            Partition::of_room(room(1)),
            vec![(room(1), hint)],
            Vec::new(),
        );
        Self {
            owner,
            limits,
            entries,
            read: seq(read),
            asked: VecDeque::new(),
            views: Vec::new(),
        }
    }

    fn loaded(&self) -> Loaded {
        let last = self.entries.last().expect("an entry");
        let member = MemberRow {
            role: Role::Member,
            joined: seq(1),
            left: None,
            sent: Seq::ZERO,
        };
        let mut rows = self.rows(Span::tail(last.seq, &self.limits));
        rows.reverse();
        Loaded {
            boundaries: vec![Boundary {
                epoch: Epoch(1),
                start: seq(1),
                prev: Epoch(0),
            }],
            hint: Some(Hint {
                head: last.seq,
                time: last.time,
                room_list: last.seq,
                settings: Settings::default(),
            }),
            members: vec![(ann(), member), (bob(), member)],
            marks: vec![(
                bob(),
                Marks {
                    read: self.read,
                    delivered: Seq::ZERO,
                },
            )],
            rows,
        }
    }

    fn rows(&self, span: Span) -> Vec<StoredEntry> {
        let inside = |entry: &&Entry| entry.seq > span.after && entry.seq <= span.through;
        let rows = self.entries.iter().filter(inside).map(|entry| {
            Ok::<_, std::convert::Infallible>(StoredEntry {
                epoch: Epoch(1),
                committed_upto: Seq::ZERO,
                entry: entry.clone(),
            })
        });
        let cut = match span.order {
            crate::rows::Order::Ascending => span.cut(rows),
            crate::rows::Order::Descending => span.cut(rows.rev()),
        };
        cut.expect("it is infallible")
    }

    fn ask(&mut self, token: u32, query: Query) {
        let query = Input::Query(token, room(1), bob(), query);
        self.owner.handle(query, at(0));
        self.perform();
    }

    fn perform(&mut self) {
        while let Some(output) = self.owner.poll() {
            match output {
                Output::Load(room) => {
                    let loaded = Input::Loaded(room, Some(Box::new(self.loaded())));
                    self.owner.handle(loaded, at(0));
                }
                Output::Fetch(no, _, fetch) => self.asked.push_back((no, fetch)),
                Output::View(token, view) => self.views.push((token, view.expect("a view"))),
                Output::Halt(why) => panic!("{why}"),
                output => panic!("reading wants {output:?}"),
            }
        }
    }

    /// The store answers what it was asked first. False: it was asked nothing.
    fn answer(&mut self) -> bool {
        let Some((no, Fetch::Entries(span))) = self.asked.pop_front() else {
            return false;
        };
        let rows = Fetched::Entries(self.rows(span));
        self.owner.handle(Input::Fetched(no, Some(rows)), at(0));
        self.perform();
        true
    }

    fn see(&mut self, query: Query) -> View {
        self.ask(0, query);
        while self.answer() {}
        let (_, view) = self.views.pop().expect("a view");
        view
    }
}

fn messages(position: Position, count: u64) -> Query {
    Query::Messages { position, count }
}

#[test]
fn counting_unread_texts_holds_one_fetch_of_them() {
    let limits = Limits {
        room_tail_bytes_max: 1,
        ..Limits::default()
    };
    let bytes_max = limits.fetch_bytes_max + limits.page_bytes_max;
    let entries = log((0..1_500).map(|_| Some(16 << 10)));
    let mut scene = Scene::new(entries, 0, limits);
    scene.ask(0, Query::Summary);
    let mut fetches = 0;
    while scene.answer() {
        fetches += 1;
        for reading in scene.owner.reading.values() {
            let held = reading.fetched.bytes();
            assert!(held <= bytes_max, "{held} bytes are held");
        }
    }
    let Some((_, View::Summary(summary))) = scene.views.pop() else {
        panic!("a summary was asked for");
    };
    assert_eq!(summary.unread, UNREAD_MAX);
    assert!(fetches > 100, "{fetches} fetches were enough");
}

#[test]
fn readings_wait_for_their_turn_and_all_are_answered() {
    let limits = Limits {
        room_tail_entries_max: 1,
        owner_reads_max: 4,
        ..Limits::default()
    };
    let entries = log((0..FETCH_ENTRIES_MAX * 3).map(|_| Some(10)));
    let mut scene = Scene::new(entries, 0, limits);
    for token in 0..20 {
        scene.ask(token, Query::Summary);
        assert!(
            scene.asked.len() <= 4,
            "{} are under way",
            scene.asked.len()
        );
    }
    while scene.answer() {
        assert!(
            scene.asked.len() <= 4,
            "{} are under way",
            scene.asked.len()
        );
    }
    let tokens: BTreeSet<_> = scene.views.iter().map(|(token, _)| *token).collect();
    assert_eq!(tokens, (0..20).collect());
}

#[test]
fn rooms_are_loaded_a_few_at_a_time() {
    let limits = Limits {
        owner_reads_max: 3,
        ..Limits::default()
    };
    let mut owner = Owner::<u32>::new(Epoch(1), limits);
    let mut under_way = VecDeque::new();
    let mut loaded = 0;
    for number in 1..=10 {
        let submit = Submit {
            command: Command::Typing,
            ..submit(room(number), 1)
        };
        owner.load(room(number)).push(Waiting::Submit(0, submit));
    }
    loop {
        while let Some(output) = owner.poll() {
            if let Output::Load(room) = output {
                under_way.push_back(room);
            }
        }
        assert!(
            under_way.len() <= 3,
            "{} are loaded at once",
            under_way.len()
        );
        let Some(room) = under_way.pop_front() else {
            break;
        };
        loaded += 1;
        owner.handle(Input::Loaded(room, None), at(0));
        owner.flush();
    }
    assert_eq!(loaded, 10);
}

/// Where a page of this position begins to be read downwards and upwards.
fn middle(entries: &[Entry], position: Position) -> u64 {
    let head = entries.len() as u64;
    let before = |time| {
        let earlier = entries.iter().filter(|entry| entry.time < time);
        earlier.count() as u64
    };
    match position {
        Position::Newest => head,
        Position::Before(seq) => seq.prev().since(Seq::ZERO).min(head),
        Position::After(seq) => seq.since(Seq::ZERO),
        Position::Around(seq) => seq.since(Seq::ZERO).min(head),
        Position::BeforeTime(time) | Position::AfterTime(time) | Position::AroundTime(time) => {
            before(time)
        }
    }
}

fn any_position(head: u64) -> impl Strategy<Value = Position> {
    prop_oneof![
        Just(Position::Newest),
        (1..head + 2).prop_map(|at| Position::Before(seq(at))),
        (0..=head).prop_map(|at| Position::After(seq(at))),
        (1..=head).prop_map(|at| Position::Around(seq(at))),
        (0..head).prop_map(|at| Position::BeforeTime(Timestamp(at))),
        (0..head).prop_map(|at| Position::AfterTime(Timestamp(at))),
        (0..head).prop_map(|at| Position::AroundTime(Timestamp(at))),
    ]
}

prop_compose! {
    /// A log and, as it does not matter for what is seen, how it comes into memory.
    fn any_scene()(
        sizes in collection::vec(prop_oneof![3 => (1..4_000_usize).prop_map(Some), 1 => Just(None)], 1..120),
        // The own joining, at 1, counts as read.
        read in 1..120_u64,
        fetch_bytes_max in select(vec![1, 3_000, 1 << 20]),
        room_tail_bytes_max in select(vec![1, 3_000, 1 << 20]),
    ) -> (Vec<Entry>, u64, Limits) {
        let entries = log(sizes);
        let read = read.min(entries.len() as u64);
        let limits = Limits { fetch_bytes_max, room_tail_bytes_max, page_bytes_max: 16 << 10, ..Limits::default() };
        (entries, read, limits)
    }
}

proptest! {
    #[test]
    fn a_page_is_the_messages_of_its_interval(
        (entries, read, limits) in any_scene(),
        position in any_position(120),
        count in 1..30_u64,
    ) {
        let head = entries.len() as u64;
        prop_assume!(!matches!(position, Position::After(at) if at > seq(head)));
        let middle = seq(middle(&entries, position));
        let mut scene = Scene::new(entries.clone(), read, limits.clone());
        let View::Messages(page) = scene.see(messages(position, count)) else {
            return Err(TestCaseError::fail("messages were asked for"));
        };
        let within = |entry: &&Entry| entry.seq > page.after && entry.seq <= page.through;
        let is_message = |entry: &&Entry| matches!(entry.body, Body::Message(_));
        let expected: Vec<_> = entries.iter().filter(within).filter(is_message).cloned().collect();
        let shown: Vec<_> = page.messages.iter().map(|entry| (**entry).clone()).collect();
        prop_assert_eq!(&shown, &expected, "({}, {}]", page.after, page.through);
        prop_assert!(page.after <= middle && middle <= page.through);
        prop_assert!(shown.len() as u64 <= count);
        let bytes: u64 = shown.iter().map(|entry| entry.cost() as u64).sum();
        prop_assert!(bytes <= limits.page_bytes_max || shown.len() <= 2);
        // It is not shorter than it must be: half a page, or half the bytes, or all there is.
        let ends = page.after == Seq::ZERO || page.through == seq(head);
        let room = limits.page_bytes_max / 2 - 4_096;
        prop_assert!(ends || shown.len() as u64 >= count / 2 || bytes >= room);
    }

    #[test]
    fn unread_messages_are_counted_wherever_they_lie((entries, read, limits) in any_scene()) {
        let mut scene = Scene::new(entries.clone(), read, limits);
        let View::Summary(summary) = scene.see(Query::Summary) else {
            return Err(TestCaseError::fail("a summary was asked for"));
        };
        let new = entries.iter().filter(|entry| entry.seq > seq(read));
        let unread = new.filter(|entry| matches!(entry.body, Body::Message(_))).count();
        prop_assert_eq!(summary.unread as usize, unread);
    }

    #[test]
    fn entries_are_paged_without_a_gap((entries, read, limits) in any_scene(), count in 1..50_u64) {
        let mut scene = Scene::new(entries.clone(), read, limits);
        let (mut after, mut seen) = (Seq::ZERO, Vec::new());
        while after < seq(entries.len() as u64) {
            let View::Entries(page) = scene.see(Query::Entries { after, count }) else {
                return Err(TestCaseError::fail("entries were asked for"));
            };
            prop_assert!(page.through > after, "a page gets on");
            after = page.through;
            seen.extend(page.entries.iter().map(|entry| (**entry).clone()));
        }
        prop_assert_eq!(seen, entries);
    }
}

#[test]
fn a_reading_that_begins_comes_after_those_that_wait() {
    let limits = Limits {
        room_tail_entries_max: 1,
        owner_reads_max: 1,
        ..Limits::default()
    };
    let mut scene = Scene::new(log((0..600).map(|_| Some(10))), 0, limits);
    scene.ask(1, Query::Message(seq(5)));
    scene.ask(2, Query::Message(seq(6)));
    assert_eq!(scene.asked.len(), 1);
    // What the answer sets off, while the one before it is being dealt with.
    let (no, Fetch::Entries(span)) = scene.asked.pop_front().expect("a fetch") else {
        panic!("entries are asked for");
    };
    let rows = Fetched::Entries(scene.rows(span));
    scene.owner.go_on(no, Some(rows), at(0));
    scene
        .owner
        .query(3, room(1), bob(), Query::Message(seq(7)), at(0));
    scene.owner.serve_readings();
    scene.perform();
    while scene.answer() {}
    let tokens: Vec<_> = scene.views.iter().map(|(token, _)| *token).collect();
    assert_eq!(tokens, [1, 2, 3]);
}
