//! The order of a session's sends to a room where one of them was refused and may be tried again:
//! those after it are refused too, and have their turns in the order in which they came first.

use std::collections::{HashMap, VecDeque};

use crate::{
    ids::{MessageId, RoomId},
    limits::{FORGOTTEN_MILLIS, KEPT_BACK_MAX, REFUSED_MILLIS, REFUSED_ROOMS, millis},
    time::Instant,
};

/// What was refused, by room.
#[derive(Debug, Default)]
pub(super) struct Refused(HashMap<RoomId, Turns>);

/// The sends of a room that were refused, oldest first.
#[derive(Debug, Default)]
struct Turns {
    queue: VecDeque<Turn>,
    /// Whether the first has come again, and is with the owner: behind it there is room.
    came: bool,
    /// When one of them came again, or was refused for another reason than its place here.
    moved: Instant,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Turn {
    id: MessageId,
    /// How long it is waited for: a client may have forgotten it.
    until: Instant,
}

impl Turn {
    fn of(id: MessageId, now: Instant) -> Self {
        let until = now + millis(REFUSED_MILLIS);
        Self { id, until }
    }
}

impl Turns {
    /// Forgets those that are not waited for any more, up to one that is; and all of them where the
    /// client only ever says new ones.
    fn prune(&mut self, now: Instant) {
        if !self.came && now.since(self.moved) >= millis(FORGOTTEN_MILLIS) {
            self.queue.clear();
        }
        while !self.came && self.queue.front().is_some_and(|turn| now >= turn.until) {
            self.queue.pop_front();
        }
    }

    fn is_turn_of(&self, id: MessageId) -> bool {
        let is = |at: usize| self.queue.get(at).is_none_or(|turn| turn.id == id);
        is(0) || (self.came && is(1))
    }

    /// Takes one in at the end, or waits for it anew.
    fn add(&mut self, id: MessageId, now: Instant) {
        if let Some(turn) = self.queue.iter_mut().find(|turn| turn.id == id) {
            *turn = Turn::of(id, now);
            self.moved = now;
        } else if self.queue.len() < KEPT_BACK_MAX {
            self.queue.push_back(Turn::of(id, now));
        }
    }
}

impl Refused {
    /// Whether a send must wait for an earlier one, which was refused, to come again.
    pub(super) fn keeps_back(&mut self, room: RoomId, id: MessageId, now: Instant) -> bool {
        let Some(turns) = self.0.get_mut(&room) else {
            return false;
        };
        turns.prune(now);
        if turns.is_turn_of(id) {
            return false;
        }
        turns.add(id, now);
        true
    }

    /// A send goes on its way to the owner.
    pub(super) fn came(&mut self, room: RoomId, id: MessageId, now: Instant) {
        let Some(turns) = self.0.get_mut(&room) else {
            return;
        };
        let at = turns.queue.iter().position(|turn| turn.id == id);
        if at.is_some() {
            turns.moved = now;
        }
        match at {
            Some(0) => turns.came = true,
            Some(at) => drop(turns.queue.remove(at)),
            None if turns.queue.is_empty() => drop(self.0.remove(&room)),
            None => {}
        }
    }

    /// A send was refused before it was on its way.
    pub(super) fn turned_away(&mut self, room: RoomId, id: MessageId, now: Instant) {
        let turns = self.turns(room, now);
        turns.moved = now;
        turns.add(id, now);
    }

    /// The owner refused a send for now. What `waited` for its answer comes next.
    pub(super) fn came_back(
        &mut self,
        room: RoomId,
        id: MessageId,
        waited: impl IntoIterator<Item = MessageId>,
        now: Instant,
    ) {
        let turns = self.turns(room, now);
        let later = std::mem::take(&mut turns.queue);
        (turns.came, turns.moved) = (false, now);
        turns.add(id, now);
        waited.into_iter().for_each(|id| turns.add(id, now));
        for turn in later {
            if turns.queue.iter().all(|before| before.id != turn.id) {
                turns.queue.push_back(turn);
            }
        }
        turns.queue.truncate(KEPT_BACK_MAX);
    }

    /// A send was answered for good.
    pub(super) fn done(&mut self, room: RoomId, id: MessageId, now: Instant) {
        let Some(turns) = self.0.get_mut(&room) else {
            return;
        };
        if turns.queue.front().is_some_and(|turn| turn.id == id) {
            turns.queue.pop_front();
            (turns.came, turns.moved) = (false, now);
        }
        if turns.queue.is_empty() {
            self.0.remove(&room);
        }
    }

    fn turns(&mut self, room: RoomId, now: Instant) -> &mut Turns {
        if self.0.len() >= REFUSED_ROOMS {
            self.0.retain(|_, turns| {
                turns.prune(now);
                !turns.queue.is_empty()
            });
        }
        self.0.entry(room).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: MessageId = MessageId([1; 16]);
    const TWO: MessageId = MessageId([2; 16]);
    const THREE: MessageId = MessageId([3; 16]);
    const FOUR: MessageId = MessageId([4; 16]);

    /// The refused sends of one room, at a time that passes by a millisecond a question.
    struct Scene {
        refused: Refused,
        now: u64,
    }

    impl Scene {
        fn new() -> Self {
            let refused = Refused::default();
            Self { refused, now: 0 }
        }

        fn now(&mut self) -> Instant {
            self.now += 1;
            Instant(self.now)
        }

        fn keeps_back(&mut self, id: MessageId) -> bool {
            let now = self.now();
            self.refused.keeps_back(room(), id, now)
        }

        /// A send comes and is not kept back.
        fn comes(&mut self, id: MessageId) {
            assert!(!self.keeps_back(id), "{id:?} is kept back");
            let now = self.now();
            self.refused.came(room(), id, now);
        }

        fn comes_back(&mut self, id: MessageId, waited: impl IntoIterator<Item = MessageId>) {
            let now = self.now();
            self.refused.came_back(room(), id, waited, now);
        }

        fn done(&mut self, id: MessageId) {
            let now = self.now();
            self.refused.done(room(), id, now);
        }
    }

    fn room() -> RoomId {
        RoomId::new(1).expect("an id")
    }

    #[test]
    fn those_after_a_refused_send_wait_for_it_and_keep_their_order() {
        let mut scene = Scene::new();
        scene.comes(ONE);
        scene.comes_back(ONE, None);
        assert!(scene.keeps_back(TWO));
        assert!(scene.keeps_back(THREE));
        scene.comes(ONE);
        assert!(scene.keeps_back(THREE), "two comes first");
        scene.done(ONE);
        assert!(scene.keeps_back(THREE), "two comes first");
        scene.comes(TWO);
        scene.comes(THREE);
    }

    #[test]
    fn what_waited_behind_a_refused_send_comes_next() {
        let mut scene = Scene::new();
        scene.comes(ONE);
        scene.comes(TWO);
        scene.comes_back(ONE, Some(TWO));
        assert!(scene.keeps_back(THREE));
        scene.comes(ONE);
        scene.comes_back(ONE, None);
        scene.comes(ONE);
        assert!(scene.keeps_back(THREE), "two comes first");
        scene.comes(TWO);
        scene.comes(THREE);
    }

    #[test]
    fn one_that_was_turned_away_waits_for_an_earlier_one_that_comes_back() {
        let mut scene = Scene::new();
        scene.comes(ONE);
        let now = scene.now();
        scene.refused.turned_away(room(), TWO, now);
        scene.comes_back(ONE, None);
        assert!(scene.keeps_back(TWO));
        scene.comes(ONE);
        scene.comes(TWO);
    }

    #[test]
    fn all_that_were_kept_back_keep_their_order_after_one_that_never_comes_again() {
        let mut scene = Scene::new();
        scene.comes(ONE);
        scene.comes_back(ONE, None);
        scene.now += REFUSED_MILLIS / 2;
        for id in [TWO, THREE, FOUR] {
            assert!(scene.keeps_back(id));
        }
        scene.now += REFUSED_MILLIS / 2;
        for id in [FOUR, THREE] {
            assert!(scene.keeps_back(id), "{id:?} is later");
        }
        scene.comes(TWO);
        assert!(scene.keeps_back(FOUR), "it is later");
        scene.done(TWO);
        assert!(scene.keeps_back(FOUR), "it is later");
        scene.comes(THREE);
        scene.comes(FOUR);
    }

    /// A send without another that comes again: what it says each second is always new.
    #[test]
    fn who_forgets_each_send_that_is_refused_is_let_through_in_the_end() {
        let mut scene = Scene::new();
        scene.comes(ONE);
        scene.comes_back(ONE, None);
        let start = scene.now;
        let new = |at: u8| MessageId([100 + at; 16]);
        let seconds = (1..=20).map_while(|at| {
            scene.now = start + u64::from(at) * 1_000;
            scene.keeps_back(new(at)).then_some(at)
        });
        assert_eq!(seconds.last(), Some(19));
        scene.comes(new(20));
        scene.done(new(20));
        scene.comes(new(21));
    }

    /// One that comes again shows that the client keeps what was refused, and its order counts.
    #[test]
    fn who_says_one_again_keeps_the_order_however_long_it_takes() {
        let mut scene = Scene::new();
        scene.comes(ONE);
        scene.comes_back(ONE, None);
        for _ in 0..5 {
            scene.now += REFUSED_MILLIS - 100;
            assert!(scene.keeps_back(THREE));
            scene.comes(ONE);
            scene.comes_back(ONE, None);
        }
        assert!(scene.keeps_back(THREE));
    }

    #[test]
    fn who_forgets_all_that_was_refused_waits_for_one_while_only() {
        let mut scene = Scene::new();
        scene.comes(ONE);
        scene.comes_back(ONE, [TWO, THREE]);
        scene.now += REFUSED_MILLIS;
        scene.comes(FOUR);
    }
}
