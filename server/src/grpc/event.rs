//! The bytes of an event. A message's body came in encoded and is put behind its header as it is:
//! it is neither read nor made again.

use bytes::{BufMut, Bytes, BytesMut};
use magpie::v1::{self, server_frame::Frame};
use magpie_core::{
    entry::{Body, Entry},
    ids::RoomId,
};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use super::convert;

/// `ServerFrame.event`, `Event.entry` and `Entry.message`, as the contract numbers them.
const EVENT: u32 = 6;
const ENTRY: u32 = 1;
const MESSAGE: u32 = 16;

/// The frame that tells of an entry.
pub(super) fn encode(room: RoomId, entry: &Entry) -> Bytes {
    let Body::Message(message) = &entry.body else {
        let entry = Some(convert::entry(room, entry));
        let frame = v1::ServerFrame {
            request_id: 0,
            frame: Some(Frame::Event(v1::Event { entry })),
        };
        return frame.encode_to_vec().into();
    };
    let header = convert::header(room, entry);
    let entry_len = header.encoded_len() + field_len(MESSAGE, message.wire.len());
    let event_len = field_len(ENTRY, entry_len);
    let mut frame = BytesMut::with_capacity(field_len(EVENT, event_len));
    begin(EVENT, event_len, &mut frame);
    begin(ENTRY, entry_len, &mut frame);
    header
        .encode(&mut frame)
        .expect("a BytesMut grows as needed");
    begin(MESSAGE, message.wire.len(), &mut frame);
    frame.put_slice(&message.wire);
    frame.freeze()
}

fn begin(field: u32, length: usize, frame: &mut BytesMut) {
    encode_key(field, WireType::LengthDelimited, frame);
    encode_varint(length as u64, frame);
}

fn field_len(field: u32, length: usize) -> usize {
    key_len(field) + encoded_len_varint(length as u64) + length
}

#[cfg(test)]
mod tests {
    use magpie_core::{
        entry::{ChangeKind, MemberChange, Message as Stored, Role, RoomKind},
        ids::{DeviceId, MessageId, Seq, UserId},
        time::Timestamp,
    };

    use super::*;

    /// What prost makes of the same.
    fn by_prost(room: RoomId, entry: &Entry) -> Vec<u8> {
        let entry = Some(convert::entry(room, entry));
        let frame = v1::ServerFrame {
            request_id: 0,
            frame: Some(Frame::Event(v1::Event { entry })),
        };
        frame.encode_to_vec()
    }

    #[test]
    fn the_bytes_are_those_that_prost_would_make() {
        let room = RoomId::new(7_312_345_678_901_234_567).expect("an id");
        let user = UserId::new(5).expect("an id");
        let message = |length: usize, reply: Option<i64>| {
            let message = v1::Message {
                text: "x".repeat(length),
                reply_to_seq: reply,
                full_length: 0,
            };
            let wire = Bytes::from(message.encode_to_vec());
            Body::Message(Stored { wire, long: false })
        };
        let joined = MemberChange {
            user,
            kind: ChangeKind::Joined(Role::Owner),
        };
        let created = Body::Created {
            kind: RoomKind::Group,
            title: "tea".to_owned(),
            changes: vec![joined],
        };
        let lengths = [0, 1, 100, 127, 128, 16_000].map(|length| message(length, None));
        let bodies = lengths.into_iter().chain([
            message(20, Some(3)),
            created,
            Body::Membership(vec![joined]),
            Body::Updated { title: None },
        ]);
        for body in bodies {
            for device in [None, DeviceId::new(9)] {
                let entry = Entry {
                    seq: Seq::new(300).expect("a seq"),
                    time: Timestamp(1_800_000_000_123),
                    actor: user,
                    device,
                    id: MessageId([7; 16]),
                    body: body.clone(),
                };
                assert_eq!(encode(room, &entry), by_prost(room, &entry), "{entry:?}");
            }
        }
    }
}
