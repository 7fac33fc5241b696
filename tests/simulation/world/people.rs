//! Devices in the world: their streams, which delay, stall and break, and their unary calls, of
//! which every answer may be lost.

use std::fmt::Write as _;

use bytes::Bytes;
use magpie_core::{
    command::{Answer, Append, Command as ToRoom, Held, Submit, What},
    edge::{Caller, FrameIn, Hello, Input as EdgeInput, Said},
    entry::{Role, RoomKind},
    ids::{MessageId, RoomId, Seq, UserId},
    refusal::{Effect, Refusal},
    rows::Settings,
    time::Timestamp,
};

use super::{Event, World};
use crate::{
    device::{After, Device, message},
    facts::Command,
    link::{Encoded, Link, LinkId},
    node::{Arriving, GENERATION},
};

/// The usual delay of the network, and how late an end may notice that the other is gone: a
/// server asks after 30 s and waits for 10 s.
const DELAY: u64 = 40;
const MISSED: u64 = 8_000;
const GONE: u64 = 40_000;
/// How often a device shows that it lives.
const HEARTBEAT: u64 = 10_000;

/// A unary call that a device repeats until it is settled.
#[derive(Debug)]
pub(super) struct Call {
    device: usize,
    room: RoomId,
    append: Append,
    /// Whether its answer is still awaited.
    awaited: bool,
}

/// How a unary call ends.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answered(Result<Answer, Refusal>),
    /// No answer came.
    Lost,
}

impl World {
    /// A device opens a stream, in the place of the one it has.
    pub(super) fn dial(&mut self, index: usize) {
        self.next_link += 1;
        let id = LinkId(self.next_link);
        let window = self.chance.pick(&[2, 8, 32]) as usize;
        let mut link = Link::new(index, window);
        let delay = self.chance.between(1, DELAY);
        let at = link.up(self.now, delay);
        self.links.insert(id, link);
        let everybody = self.devices.iter().map(|device| device.user).collect();
        let run = self.run.0;
        let claims = if self.devices[index].spies {
            self.claims()
        } else {
            Vec::new()
        };
        let device = &mut self.devices[index];
        let mut hello = device.hello(run, everybody);
        if device.spies {
            (hello.generation, hello.cursors) = (GENERATION, claims);
        }
        device.moved(id);
        self.at(at, Event::Hello(id, Box::new(hello)));
    }

    /// Every room at its head, as who had read all of it would name it.
    fn claims(&self) -> Vec<(RoomId, Seq, Seq)> {
        let rooms = (1..=self.next_room).filter_map(RoomId::new);
        let head = |room| Some((room, self.node.as_ref()?.head(room)?.seq));
        let heads = rooms.filter_map(head);
        heads.map(|(room, head)| (room, head, head)).collect()
    }

    /// A Hello arrives. Where no node takes it, the client hears of it.
    pub(super) fn opened(&mut self, id: LinkId, hello: Hello) {
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.cut) else {
            return;
        };
        let device = &self.devices[link.device];
        let Some(node) = self.node.as_mut().filter(|node| node.serving) else {
            return self.cut(id);
        };
        let session = node.new_session(device.user, id);
        let outlet = link.open(id, session, &self.limits, &self.changed);
        let caller = Caller {
            user: device.user,
            device: device.id,
            expires: Timestamp(u64::MAX),
        };
        let hello = Box::new(hello);
        self.tell_session(
            session,
            EdgeInput::Open {
                session,
                caller,
                hello,
                outlet,
            },
        );
    }

    /// A frame of the client arrives.
    pub(super) fn said(&mut self, id: LinkId, frame: FrameIn) {
        let session = self
            .links
            .get(&id)
            .filter(|link| !link.cut)
            .and_then(|link| link.session);
        if let Some(session) = session {
            self.tell_session(session, EdgeInput::Frame(session, frame));
        }
    }

    /// A device says frames on its present stream.
    pub(super) fn say(&mut self, index: usize, frames: Vec<FrameIn>) {
        let Some(id) = self.devices[index].link else {
            return;
        };
        for frame in frames {
            let delay = self.chance.between(1, DELAY);
            if let Some(link) = self.links.get_mut(&id).filter(|link| !link.cut) {
                let at = link.up(self.now, delay);
                self.at(at, Event::Up(id, frame));
            }
        }
    }

    /// Nothing passes through a stream any more; each end notices in its time.
    pub(super) fn cut(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.cut) else {
            return;
        };
        link.cut = true;
        self.within(MISSED, Event::Missed(id));
        let run = self.run;
        self.within(GONE, Event::Gone(run, id));
    }

    pub(super) fn missed(&mut self, id: LinkId) {
        let theirs = self
            .devices
            .iter()
            .position(|device| device.link == Some(id));
        if let Some(index) = theirs {
            self.devices[index].lost();
            self.wake_soon(index);
        }
    }

    pub(super) fn gone(&mut self, id: LinkId) {
        if let Some(session) = self.links.get(&id).and_then(|link| link.session) {
            self.tell_session(session, EdgeInput::Gone(session));
        }
        self.links.remove(&id);
    }

    /// What is queued for streams goes out, as far as their windows are open.
    pub(super) fn pump_links(&mut self) {
        loop {
            let next = self.changed.borrow_mut().pop_first();
            let Some(id) = next else { return };
            self.pump(id);
        }
    }

    fn pump(&mut self, id: LinkId) {
        while let Some(link) = self.links.get_mut(&id)
            && let Some(taken) = link.take()
        {
            let session = link.session;
            let arriving = match taken.frame {
                Some(frame) => Some(Arriving::Frame(frame)),
                None => taken.end.then_some(Arriving::End),
            };
            if let Some(arriving) = arriving {
                let delay = self.chance.between(1, DELAY);
                let at = link.down(self.now, delay);
                self.at(at, Event::Down(id, arriving));
            }
            if let Some(session) = session.filter(|_| taken.drained) {
                self.tell_session(session, EdgeInput::Drained(session));
            }
        }
    }

    /// A frame of the server arrives. A device that reads nothing lets it wait.
    pub(super) fn arrived(&mut self, id: LinkId, arriving: Arriving) {
        let Some(link) = self.links.get(&id).filter(|link| !link.cut) else {
            return;
        };
        let index = link.device;
        let frame = match arriving {
            Arriving::Frame(frame) => frame,
            Arriving::End => {
                // What it has not read before is read first.
                if self.devices[index].unread.iter().any(|(of, _)| *of == id) {
                    let later = self.devices[index].reads_from.max(self.now) + 1;
                    return self.at(later, Event::Down(id, Arriving::End));
                }
                self.gone(id);
                if self.devices[index].link == Some(id) {
                    self.devices[index].lost();
                    self.wake_soon(index);
                }
                return;
            }
        };
        let device = &mut self.devices[index];
        if self.now < device.reads_from || !device.unread.is_empty() {
            device.unread.push_back((id, frame));
            let wake = device.reads_from;
            return self.wake_at(index, wake);
        }
        self.take(id, index, frame);
    }

    fn take(&mut self, id: LinkId, index: usize, frame: Encoded) {
        if let Some(link) = self.links.get_mut(&id) {
            link.taken();
        }
        self.changed.borrow_mut().insert(id);
        if self.devices[index].link != Some(id) {
            return;
        }
        writeln!(self.trace, "{:>8} {} {:?}", self.now, index, frame.1)
            .expect("a string takes all");
        let run = self.run.0;
        let after = self.devices[index].take(run, self.now, frame, &mut self.facts);
        if self.devices[index].spoke == 0 {
            self.devices[index].spoke = self.now;
        }
        if after != After::GoesOn {
            self.gone(id);
            self.devices[index].lost();
        }
        if after == After::Ends {
            // The person takes it up again sometime.
            self.devices[index].wanted = false;
            let away = self.chance.between(1_000, 5_000);
            self.later(away, Event::Act(super::plan::Act::Back(index)));
        }
        self.wake_soon(index);
    }

    /// A device does what is due: reads what waits, says what is queued, comes back.
    pub(super) fn wake(&mut self, index: usize) {
        self.wakes.remove(&(self.now, index));
        let now = self.now;
        if now < self.devices[index].reads_from {
            let wake = self.devices[index].reads_from;
            return self.wake_at(index, wake);
        }
        while let Some((id, frame)) = self.devices[index].unread.pop_front() {
            self.take(id, index, frame);
        }
        if self.devices[index].wanted && self.devices[index].link.is_none() {
            self.dial(index);
        }
        let mut frames = self.devices[index].say(now, &mut self.facts);
        let device = &self.devices[index];
        if device.welcomed && frames.is_empty() && now >= device.spoke + HEARTBEAT {
            frames.push(crate::device::frame(0, Said::Heartbeat));
        }
        if device.welcomed && !frames.is_empty() {
            self.devices[index].spoke = now;
            self.wake_at(index, now + HEARTBEAT);
        }
        self.say(index, frames);
        if let Some(at) = self.devices[index].says_at().filter(|at| *at > now) {
            self.wake_at(index, at);
        }
    }

    pub(super) fn wake_soon(&mut self, index: usize) {
        let at = self.now + self.chance.between(1, 300);
        self.wake_at(index, at);
    }

    fn wake_at(&mut self, index: usize, at: u64) {
        let at = at.max(self.now);
        if self.wakes.insert((at, index)) {
            self.at(at, Event::Wake(index));
        }
    }

    /// A person writes a message, to go over the stream.
    pub(super) fn write(&mut self, index: usize, room: RoomId) {
        let (text, long) = self.text();
        let id = self.note_command(index, room, Some(text.clone()), true);
        let says_after = self.says_after();
        self.devices[index].queue(room, id, text, long, says_after);
        self.wake_soon(index);
    }

    /// Whether a device says how far the room had come. Those that do not are promised one message
    /// only within the ids that an owner keeps.
    fn says_after(&mut self) -> bool {
        self.limits.room_ids_max < 8_192 || !self.chance.one_in(4)
    }

    fn text(&mut self) -> (Bytes, bool) {
        let length = self.chance.pick(&[5, 20, 200]) as usize;
        let text = format!("{:01$}", self.next_call + self.now, length);
        (Bytes::from(text), length == 200 && self.chance.one_in(2))
    }

    /// A person has something done by a unary call.
    pub(super) fn call(&mut self, index: usize, room: RoomId, what: What) {
        let text = match &what {
            What::Message { wire, whole, .. } => Some(whole.as_ref().unwrap_or(wire).clone()),
            _ => None,
        };
        let id = self.note_command(index, room, text, false);
        let room = match &what {
            What::Create { .. } => self.accounts.room_for(self.devices[index].user, id, room),
            _ => room,
        };
        let cursor = self.devices[index].cursor(room);
        let after = self.says_after().then_some(cursor);
        let append = Append { id, after, what };
        self.next_call += 1;
        self.calls.insert(
            self.next_call,
            Call {
                device: index,
                room,
                append,
                awaited: false,
            },
        );
        self.transmit(self.next_call);
    }

    /// A message by a unary call.
    pub(super) fn call_message(&mut self, index: usize, room: RoomId) {
        let (text, long) = self.text();
        self.call(index, room, message(&text, long));
    }

    pub(super) fn create(&mut self, index: usize) {
        let room = self.new_room();
        let settings = Settings {
            kind: RoomKind::Group,
            title: format!("room {room}"),
        };
        let members = vec![(self.devices[index].user, Role::Owner)];
        self.call(index, room, What::Create { settings, members });
    }

    fn note_command(
        &mut self,
        index: usize,
        room: RoomId,
        text: Option<Bytes>,
        queued: bool,
    ) -> MessageId {
        let id = self.new_id();
        let command = Command {
            actor: self.devices[index].user,
            room,
            queue: queued.then_some(index),
            text,
            first: None,
            answered: None,
            denied: false,
            open: 0,
        };
        self.facts.commands.insert(id, command);
        id
    }

    fn transmit(&mut self, no: u64) {
        let Some(call) = self.calls.get_mut(&no) else {
            return;
        };
        call.awaited = true;
        self.facts.transmitted(call.append.id);
        self.within(DELAY, Event::Called(no));
    }

    /// A unary call arrives, if the network lets it.
    pub(super) fn called(&mut self, no: u64) {
        let Some(call) = self.calls.get(&no) else {
            return;
        };
        let submit = Submit {
            room: call.room,
            actor: self.devices[call.device].user,
            device: Some(self.devices[call.device].id),
            command: ToRoom::Append(call.append.clone()),
            unless_retry: None,
            held: Held::default(),
        };
        let serving = self.node.as_ref().is_some_and(|node| node.serving);
        if !serving || (self.lively && self.chance.one_in(20)) {
            return self.within(2_000, Event::Answered(no, Outcome::Lost));
        }
        if self.lively && self.chance.one_in(20) {
            // It goes on, but its answer will be lost; the device tries again meanwhile.
            self.within(200, Event::Answered(no, Outcome::Lost));
        }
        self.submit_call(no, submit);
    }

    /// A unary call is over, or is repeated under the same id.
    pub(super) fn answered(&mut self, no: u64, outcome: Outcome) {
        let Some(call) = self.calls.get_mut(&no).filter(|call| call.awaited) else {
            return;
        };
        let id = call.append.id;
        match outcome {
            Outcome::Answered(Ok(Answer::Appended { seq, .. })) => self.facts.appended(id, seq),
            Outcome::Answered(Ok(_)) => self.facts.refused(id, true),
            Outcome::Answered(Err(refusal)) => {
                self.facts.refused(id, refusal.effect == Effect::None);
                if refusal.reason.may_retry() {
                    return self.again(no);
                }
            }
            Outcome::Lost => return self.again(no),
        }
        self.calls.remove(&no);
    }

    fn again(&mut self, no: u64) {
        if let Some(call) = self.calls.get_mut(&no) {
            call.awaited = false;
        }
        let wait = self.chance.between(50, 2_000);
        self.later(wait, Event::Act(super::plan::Act::Repeat(no)));
    }

    pub(super) fn repeat(&mut self, no: u64) {
        self.transmit(no);
    }

    /// Whether every device is connected, has caught up, and has said all.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let restless = |device: &&Device| {
            device.wanted && !(device.welcomed && device.caught_up && device.is_done())
        };
        let devices = self.devices.iter().filter(restless);
        let devices = devices.map(|device| format!("{device} is not done: {}", device.standing()));
        let calls = self
            .calls
            .values()
            .map(|call| format!("a call is not done: {call:?}"));
        devices.chain(calls).collect()
    }

    /// Whether a user has a device that is meant to be connected.
    pub(crate) fn is_there(&self, user: UserId) -> bool {
        self.devices
            .iter()
            .any(|device| device.user == user && device.wanted)
    }

    /// A device says Bye.
    pub(super) fn leave(&mut self, index: usize) {
        self.devices[index].wanted = false;
        let bye = crate::device::frame(0, Said::Bye);
        self.say(index, vec![bye]);
    }
}
