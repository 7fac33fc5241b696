//! How frames of the core become bytes of the contract. An event is the one hot case: its bytes are
//! made once and shared by all its receivers.

use std::time::Duration;

use bytes::Bytes;
use magpie::v1::{self, server_frame::Frame as Wired};
use magpie_core::{
    frame::{Frame, Welcome, Wire},
    ids::SessionId,
    limits::Limits,
};
use prost::Message;

use super::{convert, event, status};

/// The contract's encoding of frames.
#[derive(Clone, Debug)]
pub(crate) struct Contract {
    /// The name of the node.
    node: String,
    incarnation: u64,
    limits: v1::Limits,
}

impl Contract {
    pub(crate) fn new(node: String, incarnation: u64, limits: &Limits, frame_bytes: u64) -> Self {
        let int = |limit: u64| i32::try_from(limit).unwrap_or(i32::MAX);
        let limits = v1::Limits {
            text_characters_max: super::text::TEXT_CHARACTERS_MAX,
            frame_bytes_max: int(frame_bytes),
            unanswered_commands_max: int(limits.session_unanswered_max),
            watch_users_max: int(limits.session_watch_max),
            room_members_max: int(limits.room_members_max),
            page_entries_max: int(limits.page_entries_max),
        };
        Self {
            node,
            incarnation,
            limits,
        }
    }

    fn welcome(&self, welcome: &Welcome) -> v1::Welcome {
        v1::Welcome {
            protocol: super::hello::PROTOCOL,
            session_id: session_id(self.incarnation, welcome.session),
            user_id: welcome.user.get(),
            device_id: welcome.device.get(),
            generation: welcome.generation.cast_signed(),
            heartbeat_interval: Some(convert::duration(welcome.heartbeat)),
            server_time: Some(convert::timestamp(welcome.time)),
            node: self.node.clone(),
            limits: Some(self.limits),
        }
    }

    fn frame(&self, frame: &Frame) -> Wired {
        match frame {
            Frame::Welcome(welcome) => Wired::Welcome(self.welcome(welcome)),
            Frame::Account { revision, rows } => Wired::AccountChanged(v1::AccountChanged {
                account_revision: revision.cast_signed(),
                rooms: rows.iter().map(convert::account_room).collect(),
            }),
            Frame::RoomSync(sync) => Wired::RoomSync(convert::room_sync(sync)),
            Frame::CaughtUp => Wired::CaughtUp(v1::CaughtUp {}),
            Frame::Event { room, entry, .. } => Wired::Event(v1::Event {
                entry: Some(convert::entry(*room, entry)),
            }),
            Frame::Typing { room, user } => Wired::Typing(v1::Typing {
                room_id: room.get(),
                user_id: user.get(),
            }),
            Frame::Presence(presences) => Wired::PresenceChanged(v1::PresenceChanged {
                presences: presences.iter().map(convert::presence).collect(),
            }),
            Frame::Marks { room, marks } => Wired::MarksChanged(v1::MarksChanged {
                room_id: room.get(),
                marks: convert::marks(marks),
            }),
            Frame::Heartbeat => Wired::Heartbeat(v1::Heartbeat {}),
            Frame::Draining { window } => Wired::Draining(v1::Draining {
                reconnect_window: Some(convert::duration(*window)),
                alternative_addresses: Vec::new(),
            }),
            Frame::Closing { refusal, reconnect } => {
                let advice = if *reconnect {
                    v1::ReconnectAdvice::Yes
                } else {
                    v1::ReconnectAdvice::No
                };
                let error = Some(status::to_error(refusal));
                Wired::Closing(v1::Closing {
                    error,
                    reconnect: advice.into(),
                })
            }
            Frame::Error(refusal) => Wired::Error(status::to_error(refusal)),
            Frame::Sent { seq, time } => Wired::SendMessage(v1::SendMessageResponse {
                seq: seq.get(),
                create_time: Some(convert::timestamp(*time)),
            }),
            Frame::MarkedRead(seq) => Wired::MarkRead(v1::MarkReadResponse {
                read_seq: seq.get(),
            }),
            Frame::MarkedDelivered(seq) => Wired::MarkDelivered(v1::MarkDeliveredResponse {
                delivered_seq: seq.get(),
            }),
            Frame::TypingTaken => Wired::SendTyping(v1::SendTypingResponse {}),
            Frame::StatusSet(presence) => {
                let presence = Some(convert::presence(presence));
                Wired::SetStatus(v1::SetStatusResponse { presence })
            }
            Frame::Presences(presences) => Wired::GetPresence(v1::GetPresenceResponse {
                presences: presences.iter().map(convert::presence).collect(),
            }),
            Frame::Done => Wired::Done(v1::Done {}),
        }
    }
}

impl Wire for Contract {
    type Encoded = Bytes;

    fn encode(&self, request: u64, frame: &Frame) -> (Bytes, usize) {
        if let Frame::Event {
            room,
            entry,
            shared,
        } = frame
        {
            // An event answers nobody, so that it is the same for all.
            let bytes = shared.get_or_make(|| event::encode(*room, entry));
            let length = bytes.len();
            return (bytes, length);
        }
        let frame = v1::ServerFrame {
            request_id: request,
            frame: Some(self.frame(frame)),
        };
        let bytes = Bytes::from(frame.encode_to_vec());
        let length = bytes.len();
        (bytes, length)
    }
}

/// The name of a session: which run of which node holds it, and which it is there.
pub(super) fn session_id(incarnation: u64, session: SessionId) -> String {
    format!("{incarnation:016x}-{:x}", session.0)
}

/// The session that a name names, if it is of this run.
pub(super) fn parse_session_id(incarnation: u64, name: &str) -> Option<SessionId> {
    let (run, number) = name.split_once('-')?;
    let known = u64::from_str_radix(run, 16).ok()? == incarnation;
    known
        .then(|| u64::from_str_radix(number, 16).ok().map(SessionId))
        .flatten()
}

/// How often a client of this session should show that it lives: at most the limit, and not all
/// sessions at the same moments.
pub(super) fn heartbeat_interval(limits: &Limits) -> Duration {
    let max = limits.heartbeat_millis;
    Duration::from_millis(max - rand::random_range(0..=max / 5))
}
