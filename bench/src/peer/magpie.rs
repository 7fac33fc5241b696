//! Magpie's dialect: `Chat`, opened with the cursors that a device holds.

use std::{collections::HashMap, sync::Arc};

use magpie::v1::{
    ClientFrame, Error, Hello, RoomCursor, RoomSync, SendMessageRequest, ServerFrame, State,
    client_frame, entry::Body, server_frame::Frame,
};
use prost::Message as _;

use super::{Heard, Layout, Peer};
use crate::{
    clock::read_stamp,
    node::People,
    wire::{Http2, Wire, protobuf},
};

const PATH: &str = "/magpie.v1.ChatService/Chat";

// Field numbers of chat.proto and entry.proto, for what comes too often to be decoded.
const FRAME_REQUEST_ID: u64 = 1;
const FRAME_EVENT: u64 = 6;
const FRAME_SEND_MESSAGE: u64 = 16;
const EVENT_ENTRY: u64 = 1;
const ENTRY_ROOM_ID: u64 = 1;
const ENTRY_SEQ: u64 = 2;
const ENTRY_MESSAGE: u64 = 16;
const MESSAGE_TEXT: u64 = 1;

/// Speaks for all the people of a node.
#[derive(Debug)]
pub(crate) struct Magpie {
    people: Arc<People>,
    generation: i64,
    /// The heads seen so far: what a device that reconnects names as its cursors.
    heads: HashMap<i64, i64>,
    /// The read mark of each member in each room, as the last RoomSync told it.
    read_marks: HashMap<(usize, i64), i64>,
    /// The account revision that each member has seen.
    revisions: HashMap<usize, i64>,
    /// Makes the ids of messages unique, also over runs on one data directory.
    next_id: u128,
}

impl Magpie {
    pub(crate) fn new(people: Arc<People>) -> Self {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            people,
            generation: 0,
            heads: HashMap::new(),
            read_marks: HashMap::new(),
            revisions: HashMap::new(),
            next_id: since.as_nanos() << 32,
        }
    }

    fn saw(&mut self, room: i64, seq: i64) {
        let head = self.heads.entry(room).or_default();
        *head = seq.max(*head);
    }

    fn event(&mut self, event: &[u8]) -> Option<Heard> {
        let entry = protobuf::bytes(event, EVENT_ENTRY)?;
        let seq = protobuf::number(entry, ENTRY_SEQ);
        self.saw(
            protobuf::number(entry, ENTRY_ROOM_ID).cast_signed(),
            seq.cast_signed(),
        );
        let message = protobuf::bytes(entry, ENTRY_MESSAGE)?;
        let sent_us = read_stamp(protobuf::bytes(message, MESSAGE_TEXT)?)?;
        Some(Heard::Delivery {
            sent_us,
            number: seq,
        })
    }

    /// Entries that come so after the session is up to date are deliveries like any other: the
    /// server had stopped queueing events for a moment.
    fn room_sync(&mut self, member: usize, sync: &RoomSync, each: &mut dyn FnMut(Heard)) {
        if let Some(summary) = &sync.summary {
            self.saw(summary.room_id, sync.through_seq);
            let key = (member, summary.room_id);
            self.read_marks.insert(key, summary.read_seq);
        }
        for entry in &sync.entries {
            let Some(Body::Message(message)) = &entry.body else {
                continue;
            };
            if let Some(sent_us) = read_stamp(message.text.as_bytes()) {
                let number = entry.seq.cast_unsigned();
                each(Heard::Delivery { sent_us, number });
            }
        }
    }

    fn decoded(&mut self, member: usize, message: &[u8], each: &mut dyn FnMut(Heard)) {
        let Ok(frame) = ServerFrame::decode(message) else {
            each(Heard::Refused("bytes that are no frame".to_owned()));
            return;
        };
        match frame.frame {
            Some(Frame::Welcome(welcome)) => {
                self.generation = welcome.generation;
            }
            Some(Frame::AccountChanged(changed)) => {
                self.revisions.insert(member, changed.account_revision);
            }
            Some(Frame::RoomSync(sync)) => self.room_sync(member, &sync, each),
            Some(Frame::CaughtUp(_)) => each(Heard::Ready),
            Some(Frame::Error(error)) => each(refused("an error", &error)),
            Some(Frame::Closing(closing)) => {
                each(refused("Closing", &closing.error.unwrap_or_default()));
            }
            Some(Frame::Draining(_)) => each(Heard::Refused("Draining".to_owned())),
            _ => each(Heard::Other),
        }
    }
}

fn refused(what: &str, error: &Error) -> Heard {
    let reason = error.reason().as_str_name();
    Heard::Refused(format!("{what}: {reason}: {}", error.message))
}

impl Peer for Magpie {
    fn wire(&self, member: usize) -> Wire {
        let token = self.people.bearer(member);
        Wire::Grpc(Box::new(Http2::new("localhost", PATH, Some(&token))))
    }

    fn greeting(&mut self, member: usize, _layout: Layout) -> Vec<u8> {
        let rooms = self.people.rooms_of(member);
        let cursors = rooms.filter_map(|room_id| {
            let seq = *self.heads.get(&room_id)?;
            let mark = self.read_marks.get(&(member, room_id));
            Some(RoomCursor {
                room_id,
                seq,
                read_seq: mark.copied().unwrap_or(0),
            })
        });
        let state = State {
            generation: self.generation,
            account_revision: self.revisions.get(&member).copied().unwrap_or(0),
            cursors: cursors.collect(),
        };
        let hello = Hello {
            protocol_min: 1,
            protocol_max: 1,
            state: Some(state),
            client: "magpie-bench".to_owned(),
            ..Hello::default()
        };
        let frame = ClientFrame {
            request_id: 0,
            frame: Some(client_frame::Frame::Hello(hello)),
        };
        frame.encode_to_vec()
    }

    fn post(&mut self, member: usize, layout: Layout, sent_us: u64, text: &str) -> Vec<u8> {
        self.next_id += 1;
        let room_id = self.people.room(member, layout);
        let send = SendMessageRequest {
            room_id,
            // As every client does that keeps its place: it spares the node a look-up of the id.
            after_seq: self.heads.get(&room_id).copied(),
            client_message_id: self.next_id.to_be_bytes().to_vec().into(),
            text: text.to_owned(),
            ..SendMessageRequest::default()
        };
        let frame = ClientFrame {
            // Unique among a member's unanswered frames, and tells the time without a table.
            request_id: sent_us.max(1),
            frame: Some(client_frame::Frame::SendMessage(send)),
        };
        frame.encode_to_vec()
    }

    fn hear(&mut self, member: usize, message: &[u8], each: &mut dyn FnMut(Heard)) {
        let mut request_id = 0;
        for (field, value) in protobuf::Fields(message) {
            match (field, value) {
                (FRAME_REQUEST_ID, protobuf::Value::Number(id)) => request_id = id,
                (FRAME_EVENT, protobuf::Value::Bytes(event)) => {
                    return each(self.event(event).unwrap_or(Heard::Other));
                }
                (FRAME_SEND_MESSAGE, _) => {
                    return each(Heard::Answer {
                        sent_us: request_id,
                    });
                }
                _ => {}
            }
        }
        self.decoded(member, message, each);
    }
}

#[cfg(test)]
mod tests {
    use magpie::v1::{
        AccountChanged, CaughtUp, Closing, Entry, Event, Message, RoomSummary, SendMessageResponse,
        Welcome,
    };

    use super::*;
    use crate::clock::stamp;

    const ALL: Layout = Layout::Groups(4);

    fn peer() -> Magpie {
        Magpie::new(Arc::new(People::invented(4)))
    }

    fn entry(room_id: i64, seq: i64, sent_us: u64) -> Entry {
        let text = stamp(sent_us).map(char::from).into_iter().collect();
        let message = Message {
            text,
            ..Message::default()
        };
        Entry {
            room_id,
            seq,
            body: Some(Body::Message(message)),
            ..Entry::default()
        }
    }

    fn heard(peer: &mut Magpie, request_id: u64, frame: Frame) -> Vec<Heard> {
        let frame = ServerFrame {
            request_id,
            frame: Some(frame),
        };
        let mut all = Vec::new();
        peer.hear(3, &frame.encode_to_vec(), &mut |heard| all.push(heard));
        all
    }

    fn state(peer: &mut Magpie) -> State {
        let greeting = peer.greeting(3, ALL);
        let frame = ClientFrame::decode(greeting.as_slice())
            .expect("a frame")
            .frame;
        let Some(client_frame::Frame::Hello(hello)) = frame else {
            panic!("no Hello: {frame:?}");
        };
        hello.state.expect("a state")
    }

    #[test]
    fn a_member_comes_back_with_what_it_was_told() {
        let mut peer = peer();
        assert_eq!(state(&mut peer), State::default());
        let welcome = Welcome {
            generation: 7,
            ..Welcome::default()
        };
        assert_eq!(heard(&mut peer, 0, Frame::Welcome(welcome)), []);
        let changed = AccountChanged {
            account_revision: 9,
            ..AccountChanged::default()
        };
        assert_eq!(heard(&mut peer, 0, Frame::AccountChanged(changed)), []);
        let summary = Some(RoomSummary {
            room_id: 3,
            read_seq: 15,
            ..RoomSummary::default()
        });
        let sync = RoomSync {
            summary,
            through_seq: 20,
            ..RoomSync::default()
        };
        assert_eq!(heard(&mut peer, 0, Frame::RoomSync(sync)), []);
        assert_eq!(
            heard(&mut peer, 0, Frame::CaughtUp(CaughtUp {})),
            [Heard::Ready]
        );
        heard(
            &mut peer,
            0,
            Frame::Event(Event {
                entry: Some(entry(3, 21, 5)),
            }),
        );
        let cursors = vec![RoomCursor {
            room_id: 3,
            seq: 21,
            read_seq: 15,
        }];
        assert_eq!(
            state(&mut peer),
            State {
                generation: 7,
                account_revision: 9,
                cursors
            }
        );
    }

    #[test]
    fn events_answers_and_refusals_are_told_apart() {
        let mut peer = peer();
        let event = Frame::Event(Event {
            entry: Some(entry(1, 20, 1_234)),
        });
        let delivery = Heard::Delivery {
            sent_us: 1_234,
            number: 20,
        };
        assert_eq!(heard(&mut peer, 0, event), [delivery]);
        let answer = Frame::SendMessage(SendMessageResponse {
            seq: 20,
            ..Default::default()
        });
        assert_eq!(
            heard(&mut peer, 1_234, answer),
            [Heard::Answer { sent_us: 1_234 }]
        );
        let joined = Frame::Event(Event {
            entry: Some(Entry {
                seq: 21,
                ..Entry::default()
            }),
        });
        assert_eq!(heard(&mut peer, 0, joined), [Heard::Other]);
        for end in [
            Frame::Error(Error::default()),
            Frame::Closing(Closing::default()),
        ] {
            assert!(matches!(
                heard(&mut peer, 0, end).as_slice(),
                [Heard::Refused(_)]
            ));
        }
    }

    #[test]
    fn a_post_names_the_members_room_and_its_head_and_never_repeats_an_id() {
        let mut peer = peer();
        peer.saw(1, 20);
        let mut ids = Vec::new();
        for (layout, room_id, head) in [(ALL, 1, Some(20)), (Layout::Pairs, 3, None)] {
            let post = peer.post(3, layout, 77, "text");
            let frame = ClientFrame::decode(post.as_slice()).expect("a frame");
            let Some(client_frame::Frame::SendMessage(send)) = frame.frame else {
                panic!("no send: {frame:?}");
            };
            assert_eq!(
                (frame.request_id, send.room_id, send.text.as_str()),
                (77, room_id, "text")
            );
            assert_eq!(send.after_seq, head);
            ids.push(send.client_message_id);
        }
        assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 16));
    }
}
