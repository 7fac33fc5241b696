//! Which epoch's row is the true one for each seq, and what a room's log holds after its former
//! owner is gone. See docs/storage.md and `rows`.

use std::collections::BTreeMap;

use crate::{
    entry::Entry,
    ids::{Epoch, Seq},
    rows::{Boundary, StoredEntry},
};

/// The ownerships of a room that count, each with the seq from which it holds the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// By ascending start; no two have the same start.
    spans: Vec<(Seq, Epoch)>,
}

impl Lineage {
    /// Follows the chain of the highest boundary. Boundaries off the chain are those of owners that
    /// lost the room before they showed anything.
    pub fn of(boundaries: &[Boundary]) -> Self {
        let by_epoch: BTreeMap<_, _> = boundaries.iter().map(|b| (b.epoch, *b)).collect();
        let mut spans = Vec::new();
        let mut next = by_epoch.last_key_value().map(|(_, boundary)| *boundary);
        while let Some(boundary) = next {
            let shadowed = spans
                .last()
                .is_some_and(|(start, _)| *start <= boundary.start);
            if !shadowed {
                spans.push((boundary.start, boundary.epoch));
            }
            next = by_epoch
                .get(&boundary.prev)
                .filter(|prev| prev.epoch < boundary.epoch)
                .copied();
        }
        spans.reverse();
        Self { spans }
    }

    /// The epoch whose row counts for a seq. None before the first ownership.
    pub fn epoch_of(&self, seq: Seq) -> Option<Epoch> {
        let after = self.spans.partition_point(|(start, _)| *start <= seq);
        after.checked_sub(1).map(|at| self.spans[at].1)
    }

    /// The newest ownership.
    pub fn latest(&self) -> Option<Epoch> {
        self.spans.last().map(|(_, epoch)| *epoch)
    }

    /// Takes the log over from `start` on, and returns the boundary to write.
    pub fn take_over(&mut self, epoch: Epoch, start: Seq) -> Boundary {
        let prev = self.latest().unwrap_or_default();
        assert!(epoch > prev, "an epoch is taken once, and only grows");
        self.spans.retain(|(other, _)| *other < start);
        self.spans.push((start, epoch));
        Boundary { epoch, start, prev }
    }

    /// The true entries among rows of all epochs.
    pub fn filter(&self, rows: Vec<StoredEntry>) -> impl Iterator<Item = Entry> {
        rows.into_iter()
            .filter(|row| self.epoch_of(row.entry.seq) == Some(row.epoch))
            .map(|row| row.entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary(epoch: u64, start: i64, prev: u64) -> Boundary {
        let start = Seq::new(start).expect("a seq");
        Boundary {
            epoch: Epoch(epoch),
            start,
            prev: Epoch(prev),
        }
    }

    fn epochs(lineage: &Lineage, through: i64) -> Vec<u64> {
        (1..=through)
            .map(|seq| {
                Seq::new(seq)
                    .and_then(|seq| lineage.epoch_of(seq))
                    .map_or(0, |e| e.0)
            })
            .collect()
    }

    #[test]
    fn each_ownership_holds_from_its_start() {
        let lineage = Lineage::of(&[boundary(1, 1, 0), boundary(3, 4, 1), boundary(7, 5, 3)]);
        assert_eq!(epochs(&lineage, 6), [1, 1, 1, 3, 7, 7]);
    }

    #[test]
    fn a_boundary_off_the_chain_holds_nothing() {
        // Epoch 2 wrote its boundary and died; epoch 3 did not see it.
        let lineage = Lineage::of(&[boundary(1, 1, 0), boundary(2, 3, 1), boundary(3, 5, 1)]);
        assert_eq!(epochs(&lineage, 6), [1, 1, 1, 1, 3, 3]);
    }

    #[test]
    fn an_ownership_without_an_append_is_shadowed_by_the_next() {
        let lineage = Lineage::of(&[boundary(1, 1, 0), boundary(2, 4, 1), boundary(3, 4, 2)]);
        assert_eq!(epochs(&lineage, 5), [1, 1, 1, 3, 3]);
    }

    #[test]
    fn taking_over_names_the_predecessor() {
        let mut lineage = Lineage::of(&[boundary(1, 1, 0)]);
        assert_eq!(
            lineage.take_over(Epoch(2), Seq::new(4).expect("a seq")),
            boundary(2, 4, 1)
        );
        assert_eq!(epochs(&lineage, 5), [1, 1, 1, 2, 2]);
    }
}
