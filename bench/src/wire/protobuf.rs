//! Walks over an encoded message without decoding it: a load generator must cost less than the
//! servers it measures.

/// A field's value, as far as the wire format tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// An integer, a bool or an enum.
    Number(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
    /// Four or eight bytes of another kind.
    Fixed,
}

/// The fields of an encoded message in order. Ends early where the bytes are no message.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

/// The first field of this number that is a string, bytes or a message.
pub(crate) fn bytes(message: &[u8], field: u64) -> Option<&[u8]> {
    Fields(message).find_map(|(number, value)| match value {
        Value::Bytes(bytes) if number == field => Some(bytes),
        _ => None,
    })
}

/// The first field of this number that is an integer; 0 where there is none, as in proto3.
pub(crate) fn number(message: &[u8], field: u64) -> u64 {
    let found = Fields(message).find_map(|(number, value)| match value {
        Value::Number(value) if number == field => Some(value),
        _ => None,
    });
    found.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use magpie::v1::{Entry, Event, Message, ServerFrame, entry::Body, server_frame::Frame};
    use prost::Message as _;

    use super::*;

    #[test]
    fn fields_of_a_real_frame_are_found() {
        let frame = ServerFrame {
            request_id: 0,
            frame: Some(Frame::Event(Event {
                entry: Some(Entry {
                    room_id: 77,
                    seq: 300,
                    body: Some(Body::Message(Message {
                        text: "hello".into(),
                        ..Message::default()
                    })),
                    ..Entry::default()
                }),
            })),
        }
        .encode_to_vec();
        let entry = bytes(&frame, 6)
            .and_then(|event| bytes(event, 1))
            .expect("an entry");
        assert_eq!((number(entry, 1), number(entry, 2)), (77, 300));
        let text = bytes(entry, 16).and_then(|message| bytes(message, 1));
        assert_eq!(text, Some(&b"hello"[..]));
        assert_eq!(bytes(entry, 5), None);
    }

    #[test]
    fn garbage_ends_the_walk() {
        for garbage in [&[0xff; 12][..], &[0x0a, 0x7f, 1], &[0x0b], &[0x08]] {
            assert_eq!(Fields(garbage).count(), 0);
        }
    }
}
