//! Ids for what is new: time-ordered and hard to collide. They become unique by their insert, so a
//! caller whose proposal was taken proposes again.

use magpie_core::{
    ids::{DeviceId, RoomId, UserId},
    time::Timestamp,
};

/// How often an id is proposed before the caller gives up: random bits that collide this often are
/// not random.
pub const PROPOSALS_MAX: usize = 8;

/// 2020-01-01T00:00:00Z. With 41 bits of milliseconds ids last until 2089.
const EPOCH_MILLIS: u64 = 1_577_836_800_000;
const RANDOM_BITS: u32 = 22;

/// Proposes the id of a new user.
pub fn user(now: Timestamp) -> UserId {
    UserId::new(number(now, rand::random())).expect("numbers are positive")
}

/// Proposes the id of a new device.
pub fn device(now: Timestamp) -> DeviceId {
    DeviceId::new(number(now, rand::random())).expect("numbers are positive")
}

/// Proposes the id of a new room.
pub fn room(now: Timestamp) -> RoomId {
    RoomId::new(number(now, rand::random())).expect("numbers are positive")
}

/// Milliseconds since the epoch, then random bits. Positive whatever the clock says.
fn number(now: Timestamp, random: u32) -> i64 {
    let millis = now.0.saturating_sub(EPOCH_MILLIS).clamp(1, (1 << 41) - 1);
    let random = u64::from(random) & ((1 << RANDOM_BITS) - 1);
    (millis << RANDOM_BITS | random).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_id_is_greater() {
        let earlier = number(Timestamp(1_700_000_000_000), u32::MAX);
        let later = number(Timestamp(1_700_000_000_001), 0);
        assert!(earlier < later);
    }

    #[test]
    fn an_id_is_positive_whatever_the_clock_says() {
        for millis in [0, EPOCH_MILLIS, u64::MAX] {
            for random in [0, u32::MAX] {
                assert!(number(Timestamp(millis), random) > 0, "{millis} {random}");
            }
        }
    }

    #[test]
    fn ids_of_one_millisecond_differ() {
        let now = Timestamp(1_700_000_000_000);
        let ids: std::collections::HashSet<_> = (0..100).map(|_| room(now)).collect();
        assert!(ids.len() > 90);
    }
}
