//! The rows that batches leave behind. Batch `n` writes `n` at the place `n mod BATCHES_REMEMBERED`,
//! so a start can tell how many batches there were, and whether one of the last ones is missing.

use fjall::Keyspace;

use super::super::{
    keys::{self, Fields},
    limits::BATCHES_REMEMBERED,
};

/// What the rows of the batches say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recovered {
    /// The number of the last batch; 0 if there is none.
    pub(super) last: u64,
    /// How many of the remembered batches before it are missing.
    pub(super) missing: u64,
}

/// The row that batch `number` writes.
pub(super) fn row(number: u64) -> (Vec<u8>, Vec<u8>) {
    let key = keys::batches().number(number % BATCHES_REMEMBERED);
    (key.into_bytes(), number.to_be_bytes().to_vec())
}

/// Reads all rows that batches left.
pub(super) fn recover(rows: &Keyspace) -> fjall::Result<Recovered> {
    let mut numbers = Vec::new();
    for row in rows.prefix(keys::batches().bytes()) {
        let (key, value) = row.into_inner()?;
        let place = Fields::new(&key).number();
        if let Ok(number) = <[u8; 8]>::try_from(&value[..]).map(u64::from_be_bytes)
            && place == Some(number % BATCHES_REMEMBERED)
        {
            numbers.push(number);
        }
    }
    Ok(judge(&numbers))
}

fn judge(numbers: &[u64]) -> Recovered {
    let last = numbers.iter().copied().max().unwrap_or(0);
    let oldest = last.saturating_sub(BATCHES_REMEMBERED);
    let present = numbers.iter().filter(|&&number| number > oldest).count() as u64;
    Recovered {
        last,
        missing: (last - oldest) - present,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_among_the_last_batches_is_counted() {
        assert_eq!(
            judge(&[]),
            Recovered {
                last: 0,
                missing: 0
            }
        );
        assert_eq!(
            judge(&[1, 2, 3]),
            Recovered {
                last: 3,
                missing: 0
            }
        );
        assert_eq!(
            judge(&[1, 4, 5]),
            Recovered {
                last: 5,
                missing: 2
            }
        );
    }

    #[test]
    fn batches_that_were_overwritten_are_not_missed() {
        let last = BATCHES_REMEMBERED + 10;
        let numbers: Vec<u64> = (11..=last).collect();
        assert_eq!(judge(&numbers), Recovered { last, missing: 0 });
        assert_eq!(judge(&numbers[..5]).missing, 10);
        let with_a_hole: Vec<u64> = (1..=10).chain(14..=last).collect();
        assert_eq!(judge(&with_a_hole), Recovered { last, missing: 3 });
    }
}
