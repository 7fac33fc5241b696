//! Frames with a four-byte big-endian length before them: the raw server's transport.

use super::{Broken, Pieces};

/// The size of the length.
pub(crate) const PREFIX_BYTES: usize = 4;
/// Longer frames are a fault.
pub(crate) const FRAME_BYTES_MAX: usize = 64 * 1024;

/// The receiving side of one connection.
#[derive(Debug, Default)]
pub(crate) struct Plain(Pieces);

impl Plain {
    pub(crate) fn send(message: &[u8], out: &mut Vec<u8>) {
        let length = u32::try_from(message.len()).expect("messages are short");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(message);
    }

    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Broken> {
        self.0.feed(input, |bytes| {
            let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
                return Ok(None);
            };
            let length = u32::from_be_bytes(*prefix) as usize;
            if length > FRAME_BYTES_MAX {
                return Err(Broken(format!("a frame of {length} bytes")));
            }
            let Some(message) = rest.get(..length) else {
                return Ok(None);
            };
            each(message);
            Ok(Some(PREFIX_BYTES + length))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_however_they_were_cut() {
        let mut bytes = Vec::new();
        Plain::send(b"first", &mut bytes);
        Plain::send(b"", &mut bytes);
        Plain::send(b"third", &mut bytes);
        for cut in 1..bytes.len() {
            let mut plain = Plain::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(cut) {
                let received = plain.receive(piece, |message| seen.push(message.to_vec()));
                assert_eq!(received, Ok(()));
            }
            assert_eq!(seen, [b"first".to_vec(), Vec::new(), b"third".to_vec()]);
        }
    }

    #[test]
    fn an_absurd_length_breaks_the_connection() {
        let mut plain = Plain::default();
        assert!(plain.receive(&[0xff; 8], |_| ()).is_err());
    }
}
