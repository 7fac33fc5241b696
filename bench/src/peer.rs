//! What the generator must know of a server: a thin adapter a peer.

mod magpie;
mod raw;
mod stock;

pub(crate) use self::{magpie::Magpie, raw::Raw, stock::Stock};
use crate::wire::Wire;

/// Who is in a room with whom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Layout {
    /// Groups of this many members: the first so many are in the first room, and so on.
    Groups(usize),
    /// Direct rooms: two and two.
    Pairs,
}

impl Layout {
    pub(crate) fn room_size(self) -> usize {
        match self {
            Self::Groups(size) => size,
            Self::Pairs => 2,
        }
    }

    /// The number of the room in which a member talks.
    pub(crate) fn room(self, member: usize) -> usize {
        member / self.room_size()
    }
}

/// What a message from a server means to the generator.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// The connection is in its room, and up to date.
    Ready,
    /// A text arrived that was sent at this time.
    Delivery {
        sent_us: u64,
        /// The text's number in its room; 0 where the peer does not count.
        number: u64,
    },
    /// The server has answered for the text that was sent at this time.
    Answer { sent_us: u64 },
    /// The server refused something, or says that it will end the connection.
    Refused(String),
    /// Anything else.
    Other,
}

/// One server's dialect.
pub(crate) trait Peer {
    /// A new connection's transport, for this member.
    fn wire(&self, member: usize) -> Wire;

    /// The first message of a member's connection.
    fn greeting(&mut self, member: usize, layout: Layout) -> Vec<u8>;

    /// A message that posts a text to the member's room. `sent_us` is also in the text; it is
    /// given for the answer.
    fn post(&mut self, member: usize, layout: Layout, sent_us: u64, text: &str) -> Vec<u8>;

    /// Says what a message to a member means. It may say several things.
    fn hear(&mut self, member: usize, message: &[u8], each: &mut dyn FnMut(Heard));
}
