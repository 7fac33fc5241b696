//! What people and faults do in a schedule.

use magpie_core::{
    command::What,
    edge::Input,
    ids::{DeviceId, RoomId, UserId},
    limits::Limits,
};

use super::{Event, World};
use crate::{chance::Chance, device::Device};

/// How long people and faults act, in milliseconds.
pub(crate) const LIVELY: u64 = 40_000;
/// How long the world then has to settle: the server notices the last lost stream after 40 s.
pub(crate) const SETTLED: u64 = LIVELY + 60_000;
/// How long presence may take to be right: 75 s, and the time between two presence frames.
pub(crate) const NOTICED: u64 = 80_000;

/// One act.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Create(usize),
    /// So many messages over the stream.
    Write(usize, u64),
    CallMessage(usize),
    Read(usize),
    Type(usize),
    Invite(usize),
    Remove(usize),
    Leave(usize),
    Update(usize),
    /// The device's stream breaks.
    Cut(usize),
    /// The node ends the device's session, since too much waits on it for all of them.
    Shed(usize),
    /// The device opens another stream while it has one.
    Move(usize),
    /// The device reads nothing for so long.
    Stall(usize, u64),
    /// The person puts the device away, and takes it up again.
    Bye(usize),
    /// A stranger opens a stream, and claims to follow every room.
    Pry,
    Back(usize),
    /// A unary call that was lost is repeated.
    Repeat(u64),
}

/// Limits low enough for rooms to be forgotten, tails to be short and readers to be slow within
/// a minute.
pub(super) fn limits(chance: &mut Chance) -> Limits {
    let mut limits = Limits {
        room_send_burst: 1_000,
        ..Limits::default()
    };
    limits.room_tail_entries_max = chance.pick(&[3, 10, 1_000]);
    limits.room_tail_bytes_max = chance.pick(&[1_000, 10_000, 262_144]);
    limits.room_ids_max = chance.pick(&[4, 30, 8_192]);
    limits.room_in_flight_max = chance.pick(&[2, 64]);
    limits.room_waiting_max = chance.pick(&[3, 256]);
    limits.slot_millis = chance.pick(&[500, 10_000]);
    limits.room_idle_millis = chance.pick(&[500, 60_000]);
    limits.fetch_bytes_max = chance.pick(&[1, 500, 131_072]);
    limits.owner_reads_max = chance.pick(&[1, 64]);
    limits.page_entries_max = chance.pick(&[4, 200]);
    limits.session_queue_frames_max = chance.pick(&[4, 512]);
    limits.session_attaching_max = chance.pick(&[1, 16]);
    limits.session_catch_ups_max = chance.pick(&[3, 1_000]);
    if chance.one_in(4) {
        limits.room_send_burst = 5;
    }
    limits
}

/// Two to four people with one to three devices each, and a stranger, who comes last.
pub(super) fn devices(chance: &mut Chance) -> Vec<Device> {
    let mut devices = Vec::new();
    for user in 1..=chance.between(2, 4) {
        for _ in 0..chance.between(1, 3) {
            let index = devices.len();
            let user = UserId::new(user.cast_signed()).expect("positive");
            let id = DeviceId::new(100 + index as i64).expect("positive");
            devices.push(Device::new(index, user, id));
        }
    }
    let stranger = UserId::new(99).expect("positive");
    let id = DeviceId::new(999).expect("positive");
    let mut spy = Device::new(devices.len(), stranger, id);
    spy.spies = true;
    devices.push(spy);
    devices
}

impl World {
    /// Plans all that people and faults do.
    pub(crate) fn plan(&mut self) {
        for index in 0..self.devices.len() {
            self.wake_soon(index);
        }
        let rooms = self.chance.between(1, 3);
        for _ in 0..rooms {
            let device = self.any_device();
            self.within(500, Event::Act(Act::Create(device)));
        }
        for _ in 0..self.chance.between(40, 120) {
            let act = self.any_act();
            let at = self.chance.between(500, LIVELY);
            self.at(at, Event::Act(act));
        }
        for _ in 0..self.chance.between(0, 3) {
            let at = self.chance.between(1_000, LIVELY - 5_000);
            let down = self.chance.between(10, 4_000);
            self.at(at, Event::Crash);
            self.at(at + down, Event::Start);
        }
        if self.chance.one_in(3) {
            let at = self.chance.between(1_000, LIVELY - 5_000);
            let full = self.chance.between(10, 4_000);
            self.at(at, Event::Full(true));
            self.at(at + full, Event::Full(false));
        }
    }

    /// A device of somebody who takes part.
    fn any_device(&mut self) -> usize {
        self.chance.place(self.devices.len() - 1)
    }

    fn any_act(&mut self) -> Act {
        let device = self.any_device();
        match self.chance.between(1, 33) {
            1..=9 => Act::Write(device, 1),
            10..=11 => Act::Write(device, self.chance.pick(&[3, 12])),
            12 => Act::CallMessage(device),
            13..=15 => Act::Read(device),
            16 => Act::Type(device),
            17..=19 => Act::Invite(device),
            20 => Act::Remove(device),
            21 => Act::Leave(device),
            22 => Act::Update(device),
            23 => Act::Create(device),
            24..=25 => Act::Cut(device),
            26 => Act::Move(device),
            27..=28 => Act::Stall(device, self.chance.between(100, 6_000)),
            29..=30 => Act::Bye(device),
            31 => Act::Shed(device),
            _ => Act::Pry,
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Pry => self.dial(self.devices.len() - 1),
            Act::Create(device) => self.create(device),
            Act::Write(device, times) => {
                if let Some(room) = self.some_room(device) {
                    (0..times).for_each(|_| self.write(device, room));
                }
            }
            Act::CallMessage(device) => {
                if let Some(room) = self.some_room(device) {
                    self.call_message(device, room);
                }
            }
            Act::Read(device) => {
                if let Some(room) = self.some_room(device) {
                    let frame = self.devices[device].mark_read(room);
                    self.say_if_welcome(device, frame);
                }
            }
            Act::Type(device) => {
                if let Some(room) = self.some_room(device) {
                    let frame = self.devices[device].typing(room);
                    self.say_if_welcome(device, frame);
                }
            }
            Act::Invite(device) => {
                let users = vec![self.some_user(), self.some_user()];
                let barred = if self.chance.one_in(5) {
                    users[..1].to_vec()
                } else {
                    Vec::new()
                };
                self.act_in_room(device, What::Invite { users, barred });
            }
            Act::Remove(device) => {
                let user = self.some_user();
                self.act_in_room(device, What::Remove(user));
            }
            Act::Leave(device) => self.act_in_room(device, What::Leave),
            Act::Update(device) => {
                let title = Some(format!("title {}", self.now % 5));
                self.act_in_room(device, What::Update { title });
            }
            Act::Cut(device) => {
                if let Some(link) = self.devices[device].link {
                    self.cut(link);
                }
            }
            Act::Shed(device) => self.shed(device),
            Act::Move(device) => {
                if self.devices[device].welcomed {
                    self.dial(device);
                }
            }
            Act::Stall(device, time) => self.devices[device].reads_from = self.now + time,
            Act::Bye(device) => {
                self.leave(device);
                let away = self.chance.between(50, 5_000);
                self.later(away, Event::Act(Act::Back(device)));
            }
            Act::Back(device) => {
                self.devices[device].wanted = true;
                self.wake_soon(device);
            }
            Act::Repeat(call) => self.repeat(call),
        }
    }

    fn shed(&mut self, device: usize) {
        let link = self.devices[device].link;
        let link = link.and_then(|link| self.links.get(&link));
        if let Some(session) = link.and_then(|link| link.session) {
            self.tell_session(session, Input::Cut(session));
        }
    }

    fn act_in_room(&mut self, device: usize, what: What) {
        if let Some(room) = self.some_room(device) {
            self.call(device, room, what);
        }
    }

    /// A room that the device knows to be its account's; sometimes one that is not.
    fn some_room(&mut self, device: usize) -> Option<RoomId> {
        if self.next_room > 0 && self.chance.one_in(20) {
            return RoomId::new(
                self.chance
                    .between(1, self.next_room.unsigned_abs())
                    .cast_signed(),
            );
        }
        let rooms = self.devices[device].member_of();
        (!rooms.is_empty()).then(|| rooms[self.chance.place(rooms.len())])
    }

    fn some_user(&mut self) -> UserId {
        let device = self.any_device();
        self.devices[device].user
    }

    fn say_if_welcome(&mut self, device: usize, frame: magpie_core::edge::FrameIn) {
        if self.devices[device].welcomed {
            self.say(device, vec![frame]);
        }
    }

    /// People and faults are done; what broke heals.
    pub(crate) fn calm(&mut self) {
        self.lively = false;
        self.log.full = false;
        for index in 0..self.devices.len() {
            self.devices[index].wanted = true;
            self.wake_soon(index);
        }
        self.start();
    }

    /// Every device says anew whom it watches.
    pub(crate) fn watch_all(&mut self) {
        let everybody: Vec<_> = self.devices.iter().map(|device| device.user).collect();
        for index in 0..self.devices.len() {
            let watch = magpie_core::edge::Said::Watch(everybody.clone());
            self.say(index, vec![crate::device::frame(0, watch)]);
        }
    }

    /// Some devices go, cleanly or not, and stay away.
    pub(crate) fn farewell(&mut self) {
        for index in 0..self.devices.len() {
            if !self.chance.one_in(2) {
                continue;
            }
            self.devices[index].wanted = false;
            if self.chance.one_in(2) {
                self.leave(index);
            } else if let Some(link) = self.devices[index].link {
                self.cut(link);
            }
        }
    }
}
