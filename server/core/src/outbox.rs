//! The queues of one session between an edge and the transport. Bounded: a reader that is too slow
//! misses events and is brought up to date once it has drained.

use std::collections::VecDeque;

use crate::limits::{CONTROL_FRAMES_MAX, Limits};

/// Frames that wait for the transport.
#[derive(Debug)]
pub struct Outbox<E> {
    control: VecDeque<(E, bool)>,
    events: VecDeque<(E, usize)>,
    event_bytes: usize,
    bytes_max: usize,
    frames_max: usize,
    replies: usize,
    lagging: bool,
    closed: bool,
}

/// What the transport gets next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<E> {
    /// A frame.
    Frame(E),
    /// Nothing yet.
    Wait,
    /// Nothing ever.
    End,
}

impl<E> Outbox<E> {
    /// Empty.
    pub fn new(limits: &Limits) -> Self {
        Self {
            control: VecDeque::new(),
            events: VecDeque::new(),
            event_bytes: 0,
            bytes_max: limits.session_queue_bytes_max as usize,
            frames_max: limits.session_queue_frames_max as usize,
            replies: 0,
            lagging: false,
            closed: false,
        }
    }

    /// See [`crate::frame::Outlet::event`]. An empty queue takes any event.
    pub fn push_event(&mut self, frame: E, bytes: usize) -> bool {
        if self.closed {
            return true;
        }
        let over =
            self.event_bytes + bytes > self.bytes_max || self.events.len() >= self.frames_max;
        if self.lagging || (over && !self.events.is_empty()) {
            self.lagging = true;
            return false;
        }
        self.event_bytes += bytes;
        self.events.push_back((frame, bytes));
        true
    }

    /// Takes no event until half is drained, for want of memory elsewhere. True if there is nothing
    /// to drain, so that an event must be taken all the same.
    pub fn hold_back(&mut self) -> bool {
        self.lagging = !self.events.is_empty();
        !self.lagging
    }

    /// See [`crate::frame::Outlet::control`].
    pub fn push_control(&mut self, frame: E, reply: bool) -> bool {
        if self.closed {
            return true;
        }
        // Where answers have filled it there is room for the last word.
        let max = if reply {
            CONTROL_FRAMES_MAX
        } else {
            2 * CONTROL_FRAMES_MAX
        };
        if self.control.len() >= max {
            return false;
        }
        self.replies += usize::from(reply);
        self.control.push_back((frame, reply));
        true
    }

    /// The next frame. The second value is true once, when a reader that had missed events has
    /// drained half: it is to be brought up to date.
    pub fn pop(&mut self) -> (Next<E>, bool) {
        if let Some((frame, reply)) = self.control.pop_front() {
            self.replies -= usize::from(reply);
            return (Next::Frame(frame), false);
        }
        if self.closed {
            return (Next::End, false);
        }
        let Some((frame, bytes)) = self.events.pop_front() else {
            return (Next::Wait, std::mem::take(&mut self.lagging));
        };
        self.event_bytes -= bytes;
        let drained = self.lagging && self.has_room();
        if drained {
            self.lagging = false;
        }
        (Next::Frame(frame), drained)
    }

    /// See [`crate::frame::Outlet::has_room`].
    pub fn has_room(&self) -> bool {
        self.event_bytes <= self.bytes_max / 2 && self.events.len() <= self.frames_max / 2
    }

    /// Whether the reader has missed events and is not brought up to date yet.
    pub fn is_lagging(&self) -> bool {
        self.lagging
    }

    /// See [`crate::frame::Outlet::replies`].
    pub fn replies(&self) -> usize {
        self.replies
    }

    /// Ends after the control frames that wait; events are dropped.
    pub fn close(&mut self) {
        self.closed = true;
        self.events.clear();
        self.event_bytes = 0;
    }

    /// Bytes of events that wait.
    pub fn bytes(&self) -> usize {
        self.event_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(bytes: u64, frames: u64) -> Outbox<u32> {
        Outbox::new(&Limits {
            session_queue_bytes_max: bytes,
            session_queue_frames_max: frames,
            ..Limits::default()
        })
    }

    #[test]
    fn a_slow_reader_misses_events_until_half_is_drained() {
        let mut outbox = outbox(100, 10);
        assert!((0..4).all(|n| outbox.push_event(n, 25)));
        assert!(!outbox.push_event(4, 25));
        assert_eq!(outbox.pop(), (Next::Frame(0), false));
        assert!(!outbox.push_event(5, 1), "nothing is queued out of order");
        assert_eq!(outbox.pop(), (Next::Frame(1), true));
        assert!(outbox.push_event(6, 25));
    }

    #[test]
    fn an_empty_queue_takes_any_event() {
        let mut outbox = outbox(100, 10);
        assert!(outbox.push_event(1, 1_000));
        assert!(!outbox.push_event(2, 1));
        assert_eq!(outbox.pop(), (Next::Frame(1), true));
    }

    #[test]
    fn control_goes_first_and_counts_replies_until_taken() {
        let mut outbox = outbox(100, 10);
        outbox.push_event(1, 1);
        outbox.push_control(2, true);
        assert_eq!(outbox.replies(), 1);
        assert_eq!(outbox.pop(), (Next::Frame(2), false));
        assert_eq!(outbox.replies(), 0);
    }

    #[test]
    fn there_is_room_for_the_last_word_behind_answers_that_nobody_reads() {
        let mut outbox = outbox(100, 10);
        while outbox.push_control(1, true) {}
        assert_eq!(outbox.replies(), CONTROL_FRAMES_MAX);
        assert!(outbox.push_control(2, false));
        while outbox.push_control(3, false) {}
        assert_eq!(outbox.control.len(), 2 * CONTROL_FRAMES_MAX);
    }

    #[test]
    fn a_closed_outbox_ends_after_its_control_frames() {
        let mut outbox = outbox(100, 10);
        outbox.push_event(1, 1);
        outbox.push_control(2, false);
        outbox.close();
        assert!(outbox.push_event(3, 1));
        assert_eq!(outbox.pop(), (Next::Frame(2), false));
        assert_eq!(outbox.pop(), (Next::End, false));
    }
}
