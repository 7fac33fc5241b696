//! Which rooms an owner wrote to lately, noted so that after a crash their heads and effects are
//! found again without reading every log. See docs/storage.md.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use crate::{
    ids::{Epoch, Partition, RoomId, Slot},
    limits::{HINTS_AT_ONCE_MIN, HINTS_PARTS},
    rows::Row,
    time::Instant,
};

type Key = (Partition, Epoch, Slot);

/// The slots of the partitions of one owner.
#[derive(Debug)]
pub struct Slots {
    epoch: Epoch,
    length: Duration,
    open: BTreeMap<Partition, Open>,
    next: HashMap<Partition, Slot>,
    closed: BTreeMap<Key, BTreeSet<RoomId>>,
    /// How many slots name a room.
    names: HashMap<RoomId, usize>,
}

#[derive(Debug)]
struct Open {
    slot: Slot,
    since: Instant,
    rooms: BTreeSet<RoomId>,
}

impl Slots {
    /// No slot yet, under this ownership.
    pub fn new(epoch: Epoch, length: Duration) -> Self {
        Self {
            epoch,
            length,
            open: BTreeMap::new(),
            next: HashMap::new(),
            closed: BTreeMap::new(),
            names: HashMap::new(),
        }
    }

    /// Takes in a slot that a former owner did not finish.
    pub fn inherit(&mut self, partition: Partition, epoch: Epoch, slot: Slot, room: RoomId) {
        if self
            .closed
            .entry((partition, epoch, slot))
            .or_default()
            .insert(room)
        {
            *self.names.entry(room).or_default() += 1;
        }
    }

    /// Notes that a room is written to. Returns the row to write with it, where it is the first
    /// time in this slot.
    pub fn note(&mut self, room: RoomId, now: Instant) -> Option<Row> {
        let partition = Partition::of_room(room);
        let stale = |open: &Open| now.since(open.since) >= self.length;
        if self.open.get(&partition).is_some_and(stale) {
            self.close(partition);
        }
        let next = self.next.entry(partition).or_default();
        let open = self.open.entry(partition).or_insert_with(|| {
            let slot = *next;
            *next = Slot(slot.0 + 1);
            Open {
                slot,
                since: now,
                rooms: BTreeSet::new(),
            }
        });
        if !open.rooms.insert(room) {
            return None;
        }
        *self.names.entry(room).or_default() += 1;
        Some(Row::Pending(partition, self.epoch, open.slot, room))
    }

    /// Closes the slots whose time is over, and returns rooms that need a hint. Where they are many it
    /// is a part of them, oldest slots first, so that no tick holds up commands for long: the next
    /// ticks return the rest.
    pub fn due(&mut self, now: Instant) -> BTreeSet<RoomId> {
        let over: Vec<_> = self
            .open
            .iter()
            .filter(|(_, open)| now.since(open.since) >= self.length)
            .map(|(partition, _)| *partition)
            .collect();
        for partition in over {
            self.close(partition);
        }
        let waiting: usize = self.closed.values().map(BTreeSet::len).sum();
        let share = HINTS_AT_ONCE_MIN.max(waiting / HINTS_PARTS);
        let rooms = self.closed.values().flatten();
        rooms.take(share).copied().collect()
    }

    /// The first slot of this ownership that a hint of a room does not cover, if it is made now: one
    /// that is open may get another write of the room.
    pub fn covered(&self, room: RoomId) -> Slot {
        let partition = Partition::of_room(room);
        let open = self.open.get(&partition).map(|open| open.slot);
        open.or_else(|| self.next.get(&partition).copied())
            .unwrap_or(Slot(0))
    }

    /// Takes in that a room's hint is durable, and the effects done of what it covers: see
    /// [`Slots::covered`]. Returns the rows that finish slots.
    pub fn hinted(&mut self, room: RoomId, covered: Slot) -> Vec<Row> {
        let partition = Partition::of_room(room);
        let range = (partition, Epoch(0), Slot(0))..=(partition, Epoch(u64::MAX), Slot(u64::MAX));
        let mut removed = 0;
        for ((_, epoch, slot), rooms) in self.closed.range_mut(range.clone()) {
            // A slot that was closed since may name the room for a later write.
            if *epoch != self.epoch || *slot < covered {
                removed += usize::from(rooms.remove(&room));
            }
        }
        if let Some(count) = self.names.get_mut(&room) {
            *count = count.saturating_sub(removed);
            if *count == 0 {
                self.names.remove(&room);
            }
        }
        // A slot is done when it and all before it in its epoch are empty.
        let mut done: BTreeMap<Epoch, Slot> = BTreeMap::new();
        let mut blocked = BTreeSet::new();
        for ((_, epoch, slot), rooms) in self.closed.range(range) {
            if !rooms.is_empty() {
                blocked.insert(*epoch);
            } else if !blocked.contains(epoch) {
                done.insert(*epoch, *slot);
            }
        }
        for (epoch, slot) in &done {
            self.closed
                .retain(|key, _| !(key.0 == partition && key.1 == *epoch && key.2 <= *slot));
        }
        done.into_iter()
            .map(|(epoch, slot)| Row::Done(partition, epoch, slot))
            .collect()
    }

    /// Whether some slot names the room, so that it must stay in memory.
    pub fn names(&self, room: RoomId) -> bool {
        self.names.contains_key(&room)
    }

    /// Whether everything that former owners left is finished.
    pub fn inherited_nothing(&self) -> bool {
        self.closed.keys().all(|(_, epoch, _)| *epoch == self.epoch)
    }

    fn close(&mut self, partition: Partition) {
        if let Some(open) = self.open.remove(&partition) {
            self.closed
                .insert((partition, self.epoch, open.slot), open.rooms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(id: i64) -> RoomId {
        RoomId::new(id).expect("an id")
    }

    #[test]
    fn a_room_is_noted_once_a_slot_and_done_after_its_hint() {
        let mut slots = Slots::new(Epoch(3), Duration::from_secs(10));
        let (partition, now) = (Partition::of_room(room(1)), Instant(0));
        let first = slots.note(room(1), now);
        assert_eq!(
            first,
            Some(Row::Pending(partition, Epoch(3), Slot(0), room(1)))
        );
        assert_eq!(slots.note(room(1), now), None);
        assert!(slots.due(Instant(9_999)).is_empty());
        assert_eq!(
            slots.due(Instant(10_000)).into_iter().collect::<Vec<_>>(),
            [room(1)]
        );
        assert!(slots.names(room(1)));
        assert_eq!(
            slots.hinted(room(1), slots.covered(room(1))),
            [Row::Done(partition, Epoch(3), Slot(0))]
        );
        assert!(!slots.names(room(1)));
        let next = slots.note(room(1), Instant(10_000));
        assert_eq!(
            next,
            Some(Row::Pending(partition, Epoch(3), Slot(1), room(1)))
        );
    }

    #[test]
    fn a_slot_is_not_done_before_an_earlier_one() {
        let mut slots = Slots::new(Epoch(3), Duration::from_secs(10));
        let partition = Partition::of_room(room(1));
        let other = (2..)
            .map(room)
            .find(|r| Partition::of_room(*r) == partition)
            .expect("one");
        slots.inherit(partition, Epoch(2), Slot(4), room(1));
        slots.inherit(partition, Epoch(2), Slot(5), other);
        assert!(slots.hinted(other, slots.covered(other)).is_empty());
        assert!(!slots.inherited_nothing());
        assert_eq!(
            slots.hinted(room(1), slots.covered(room(1))),
            [Row::Done(partition, Epoch(2), Slot(5))]
        );
        assert!(slots.inherited_nothing());
    }

    #[test]
    fn many_rooms_get_their_hints_in_parts() {
        let mut slots = Slots::new(Epoch(3), Duration::from_secs(10));
        let rooms = 40 * HINTS_AT_ONCE_MIN;
        for number in 1..=rooms {
            slots.note(room(i64::try_from(number).expect("it fits")), Instant(0));
        }
        let (mut ticks, mut hinted) = (0, BTreeSet::new());
        while hinted.len() < rooms {
            let due = slots.due(Instant(10_000));
            assert!(due.len() <= rooms / HINTS_PARTS && !due.is_empty());
            for room in due {
                slots.hinted(room, slots.covered(room));
                assert!(hinted.insert(room), "once each");
            }
            ticks += 1;
        }
        assert!(
            ticks < 40,
            "{ticks} ticks are less than the next slot takes"
        );
        assert!(slots.closed.is_empty());
    }

    #[test]
    fn a_hint_does_not_cover_what_is_written_after_it() {
        let mut slots = Slots::new(Epoch(3), Duration::from_secs(10));
        let partition = Partition::of_room(room(1));
        slots.note(room(1), Instant(0));
        slots.due(Instant(10_000));
        let covered = slots.covered(room(1));
        // While the hint is on its way the room is written to again, and that slot closes too.
        slots.note(room(1), Instant(10_000));
        slots.due(Instant(20_000));
        assert_eq!(
            slots.hinted(room(1), covered),
            [Row::Done(partition, Epoch(3), Slot(0))]
        );
        assert!(slots.names(room(1)));
        assert_eq!(slots.due(Instant(20_000)).len(), 1);
    }
}
