//! A stream between a device and a session: frames in order, with delays; what is in flight is
//! limited as a transport limits it, and a cut loses it.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, sync::Arc};

use magpie_core::{
    entry::Entry,
    frame::{Frame, Outlet, Wire},
    ids::SessionId,
    limits::Limits,
    outbox::{Next, Outbox},
};

/// A stream, of any incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

/// A frame as it travels: the request that it answers, and what it says.
pub(crate) type Encoded = (u64, Arc<Frame>);

/// Frames travel as they are.
#[derive(Debug)]
pub(crate) struct Uncoded;

impl Wire for Uncoded {
    type Encoded = Encoded;

    fn encode(&self, request: u64, frame: &Frame) -> (Encoded, usize) {
        let bytes = match frame {
            Frame::Event { entry, .. } => entry.cost(),
            Frame::RoomSync(sync) => {
                sync.entries.iter().map(|e| Entry::cost(e)).sum::<usize>() + 64
            }
            _ => 32,
        };
        ((request, Arc::new(frame.clone())), bytes)
    }
}

/// Links whose queues changed.
pub(crate) type Changed = Rc<RefCell<BTreeSet<LinkId>>>;

/// Where an edge puts a session's frames.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    link: LinkId,
    outbox: Rc<RefCell<Outbox<Encoded>>>,
    changed: Changed,
}

impl Outlet<Encoded> for Queue {
    fn event(&self, encoded: Encoded, bytes: usize) -> bool {
        self.changed.borrow_mut().insert(self.link);
        self.outbox.borrow_mut().push_event(encoded, bytes)
    }

    fn ephemeral(&self, encoded: Encoded, bytes: usize) {
        if self.outbox.borrow().has_room() {
            self.event(encoded, bytes);
        }
    }

    fn control(&self, encoded: Encoded, _bytes: usize, reply: bool) -> bool {
        self.changed.borrow_mut().insert(self.link);
        self.outbox.borrow_mut().push_control(encoded, reply)
    }

    fn replies(&self) -> usize {
        self.outbox.borrow().replies()
    }

    fn has_room(&self) -> bool {
        let outbox = self.outbox.borrow();
        outbox.has_room() && !outbox.is_lagging()
    }

    fn close(&self) {
        self.changed.borrow_mut().insert(self.link);
        self.outbox.borrow_mut().close();
    }
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Link {
    /// Whose.
    pub(crate) device: usize,
    /// Its session, once the server has its Hello.
    pub(crate) session: Option<SessionId>,
    /// Whether bytes still pass.
    pub(crate) cut: bool,
    queue: Option<Queue>,
    /// Frames to the client that it has not taken yet, and how many these may be.
    in_flight: usize,
    window: usize,
    /// When the last thing arrives, each way: nothing overtakes it.
    up_at: u64,
    down_at: u64,
    ended: bool,
}

/// What the transport took from a session's queue.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) frame: Option<Encoded>,
    /// The stream ends.
    pub(crate) end: bool,
    /// Half of what waited was taken, after events were missed.
    pub(crate) drained: bool,
}

impl Link {
    pub(crate) fn new(device: usize, window: usize) -> Self {
        Self {
            device,
            session: None,
            cut: false,
            queue: None,
            in_flight: 0,
            window,
            up_at: 0,
            down_at: 0,
            ended: false,
        }
    }

    /// The server's end of it.
    pub(crate) fn open(
        &mut self,
        link: LinkId,
        session: SessionId,
        limits: &Limits,
        changed: &Changed,
    ) -> Queue {
        let queue = Queue {
            link,
            outbox: Rc::new(RefCell::new(Outbox::new(limits))),
            changed: changed.clone(),
        };
        self.session = Some(session);
        self.queue = Some(queue.clone());
        queue
    }

    /// When something that is sent to the server now arrives.
    pub(crate) fn up(&mut self, now: u64, delay: u64) -> u64 {
        self.up_at = self.up_at.max(now + delay);
        self.up_at
    }

    /// When something that is sent to the client now arrives.
    pub(crate) fn down(&mut self, now: u64, delay: u64) -> u64 {
        self.down_at = self.down_at.max(now + delay);
        self.down_at
    }

    /// What the transport takes next.
    pub(crate) fn take(&mut self) -> Option<Taken> {
        if self.cut || self.ended || self.in_flight >= self.window {
            return None;
        }
        let outbox = self.queue.as_ref()?.outbox.clone();
        let (next, drained) = outbox.borrow_mut().pop();
        match next {
            Next::Frame(frame) => {
                self.in_flight += 1;
                Some(Taken {
                    frame: Some(frame),
                    end: false,
                    drained,
                })
            }
            Next::End => {
                self.ended = true;
                Some(Taken {
                    frame: None,
                    end: true,
                    drained,
                })
            }
            Next::Wait if drained => Some(Taken {
                frame: None,
                end: false,
                drained,
            }),
            Next::Wait => None,
        }
    }

    /// The client has taken a frame.
    pub(crate) fn taken(&mut self) {
        self.in_flight -= 1;
    }
}
