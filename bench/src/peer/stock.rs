//! The stock chat's dialect.

use prost::encoding::{WireType, encode_key, encode_varint};

use super::{Heard, Layout, Peer};
use crate::{
    clock::read_stamp,
    wire::{Http2, Wire, protobuf},
};

const PATH: &str = "/stock_chat.StockChat/Talk";
const SAY_JOIN: u32 = 1;
const SAY_POST: u32 = 2;
const HEARD_JOINED: u64 = 1;
const HEARD_POST: u64 = 2;
const POST_NUMBER: u64 = 2;
const POST_TEXT: u64 = 5;

#[derive(Debug)]
pub(crate) struct Stock;

impl Peer for Stock {
    fn wire(&self, _member: usize) -> Wire {
        Wire::Grpc(Box::new(Http2::new("localhost", PATH, None)))
    }

    fn greeting(&mut self, member: usize, layout: Layout) -> Vec<u8> {
        let mut message = Vec::new();
        encode_key(SAY_JOIN, WireType::Varint, &mut message);
        encode_varint(layout.room(member) as u64, &mut message);
        message
    }

    fn post(&mut self, _member: usize, _layout: Layout, _sent_us: u64, text: &str) -> Vec<u8> {
        let mut message = Vec::with_capacity(text.len() + 4);
        encode_key(SAY_POST, WireType::LengthDelimited, &mut message);
        encode_varint(text.len() as u64, &mut message);
        message.extend_from_slice(text.as_bytes());
        message
    }

    fn hear(&mut self, _member: usize, message: &[u8], each: &mut dyn FnMut(Heard)) {
        let heard = match protobuf::Fields(message).next() {
            Some((HEARD_JOINED, _)) => Heard::Ready,
            Some((HEARD_POST, protobuf::Value::Bytes(post))) => {
                let stamp = protobuf::bytes(post, POST_TEXT).and_then(read_stamp);
                stamp.map_or(Heard::Other, |sent_us| Heard::Delivery {
                    sent_us,
                    number: protobuf::number(post, POST_NUMBER),
                })
            }
            _ => Heard::Other,
        };
        each(heard);
    }
}
