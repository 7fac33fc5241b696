//! The raw server's dialect: the first frame names the room and comes back, all others are texts.

use super::{Heard, Layout, Peer};
use crate::{
    clock::{STAMP_BYTES, read_stamp},
    wire::{Plain, Wire},
};

#[derive(Debug)]
pub(crate) struct Raw;

impl Peer for Raw {
    fn wire(&self, _member: usize) -> Wire {
        Wire::Plain(Plain::default())
    }

    fn greeting(&mut self, member: usize, layout: Layout) -> Vec<u8> {
        let room = u32::try_from(layout.room(member)).expect("few rooms");
        room.to_be_bytes().to_vec()
    }

    fn post(&mut self, _member: usize, _layout: Layout, _sent_us: u64, text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    fn hear(&mut self, _member: usize, message: &[u8], each: &mut dyn FnMut(Heard)) {
        each(match read_stamp(message) {
            Some(sent_us) => Heard::Delivery { sent_us, number: 0 },
            None if message.len() < STAMP_BYTES => Heard::Ready,
            None => Heard::Other,
        });
    }
}
