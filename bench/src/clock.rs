//! The run's clock, and the eight-byte send time that every text carries. Knows no peer.

use std::time::Instant;

/// The size of a stamp in bytes.
pub(crate) const STAMP_BYTES: usize = 8;

/// Bits in one byte of a stamp: few enough that every byte is printable, since a text is UTF-8.
const BITS: u32 = 6;
/// Added to each byte's bits; 0x30 to 0x6f are printable and need no escape.
const OFFSET: u8 = b'0';

/// Microseconds since the run began. Sender and receiver share the process, so it needs no epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now_us(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).expect("a run is shorter than an age")
    }
}

/// Writes a send time as eight printable bytes, the highest bits first.
pub(crate) fn stamp(us: u64) -> [u8; STAMP_BYTES] {
    let mut bytes = [0; STAMP_BYTES];
    for (place, byte) in (0..8).rev().zip(&mut bytes) {
        *byte = OFFSET + (us >> (place * BITS) & 0x3f) as u8;
    }
    bytes
}

/// Reads the send time at the beginning of a text; `None` where the text has none.
pub(crate) fn read_stamp(text: &[u8]) -> Option<u64> {
    text.get(..STAMP_BYTES)?.iter().try_fold(0, |us, byte| {
        let bits = byte.checked_sub(OFFSET).filter(|bits| *bits < 64)?;
        Some(us << BITS | u64::from(bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_and_is_printable() {
        for us in [0, 1, 63, 64, 1_234_567_890_123, (1 << 48) - 1] {
            let text = stamp(us);
            assert!(text.iter().all(u8::is_ascii_graphic));
            assert_eq!(read_stamp(&text), Some(us));
        }
    }

    #[test]
    fn other_texts_have_no_stamp() {
        assert_eq!(read_stamp(b"short"), None);
        assert_eq!(read_stamp(b"         "), None);
        assert_eq!(read_stamp(&[0xff; 20]), None);
    }
}
