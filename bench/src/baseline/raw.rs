//! The raw server: one thread, epoll, frames with a length, one write per recipient. No chat costs
//! less than this without joining writes, so it is the floor that the others are seen against.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
};

use anyhow::Context as _;
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::Errno,
    net::listen,
};

use crate::wire::Plain;

const BACKLOG: i32 = 4_096;
const READ_BYTES: usize = 64 * 1024;
/// A member who is further behind is cut.
const OUT_BYTES_MAX: usize = 1024 * 1024;
const EVENTS_MAX: usize = 1_024;
const LISTENER: u64 = u64::MAX;

#[derive(Debug)]
struct Member {
    stream: TcpStream,
    frames: Plain,
    room: Option<u32>,
    /// What the socket did not take.
    out: Vec<u8>,
}

#[derive(Debug)]
struct Server {
    epoll: OwnedFd,
    members: HashMap<u64, Member>,
    rooms: HashMap<u32, Vec<u64>>,
    next: u64,
}

/// Serves until the process ends.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).context("cannot listen")?;
    listener.set_nonblocking(true).context("cannot listen")?;
    listen(&listener, BACKLOG).context("cannot raise the backlog")?;
    let mut server = Server {
        epoll: epoll::create(CreateFlags::CLOEXEC).context("no epoll")?,
        members: HashMap::new(),
        rooms: HashMap::new(),
        next: 0,
    };
    epoll::add(
        &server.epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )
    .context("cannot watch the listener")?;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let mut input = vec![0; READ_BYTES];
    loop {
        events.clear();
        match epoll::wait(&server.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait"),
        }
        for event in &events {
            match { event.data }.u64() {
                LISTENER => server.accept(&listener)?,
                id => server.serve(id, event.flags, &mut input),
            }
        }
    }
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> anyhow::Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot accept"),
            };
            stream.set_nonblocking(true).context("cannot accept")?;
            stream.set_nodelay(true).context("cannot accept")?;
            let id = self.next;
            self.next += 1;
            epoll::add(&self.epoll, &stream, EventData::new_u64(id), EventFlags::IN)
                .context("cannot watch a member")?;
            let member = Member {
                stream,
                frames: Plain::default(),
                room: None,
                out: Vec::new(),
            };
            self.members.insert(id, member);
        }
    }

    fn serve(&mut self, id: u64, flags: EventFlags, input: &mut [u8]) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if flags.contains(EventFlags::OUT) && !flush(&self.epoll, id, member) {
            self.leave(id);
            return;
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        let read = match member.stream.read(input) {
            Ok(read) if read > 0 => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            _ => {
                self.leave(id);
                return;
            }
        };
        let mut frames = Vec::new();
        let sound = member
            .frames
            .receive(&input[..read], |frame| frames.push(frame.to_vec()));
        for frame in frames {
            self.frame(id, &frame);
        }
        if sound.is_err() {
            self.leave(id);
        }
    }

    /// The first frame of a member names the room; each later one goes to all who are in it.
    fn frame(&mut self, id: u64, frame: &[u8]) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let mut bytes = Vec::with_capacity(frame.len() + 4);
        Plain::send(frame, &mut bytes);
        let Some(room) = member.room else {
            let Some(name) = frame.first_chunk::<4>() else {
                return;
            };
            let room = u32::from_be_bytes(*name);
            member.room = Some(room);
            self.rooms.entry(room).or_default().push(id);
            self.send(id, &bytes);
            return;
        };
        let Some(ids) = self.rooms.get_mut(&room).map(std::mem::take) else {
            return;
        };
        for id in &ids {
            self.send(*id, &bytes);
        }
        // Whoever was cut meanwhile is no member any more.
        let staying = ids.into_iter().filter(|id| self.members.contains_key(id));
        let staying = staying.collect();
        self.rooms.insert(room, staying);
    }

    fn send(&mut self, id: u64, bytes: &[u8]) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if member.out.is_empty() {
            match member.stream.write(bytes) {
                Ok(sent) if sent == bytes.len() => return,
                Ok(sent) => member.out.extend_from_slice(&bytes[sent..]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    member.out.extend_from_slice(bytes);
                }
                Err(_) => {
                    self.members.remove(&id);
                    return;
                }
            }
            watch(&self.epoll, id, member);
        } else {
            member.out.extend_from_slice(bytes);
        }
        if member.out.len() > OUT_BYTES_MAX {
            self.members.remove(&id);
        }
    }

    fn leave(&mut self, id: u64) {
        let room = self.members.remove(&id).and_then(|member| member.room);
        if let Some(ids) = room.and_then(|room| self.rooms.get_mut(&room)) {
            ids.retain(|other| *other != id);
        }
    }
}

/// Sends what was kept back. Returns whether the member is still there.
fn flush(epoll: &OwnedFd, id: u64, member: &mut Member) -> bool {
    match member.stream.write(&member.out) {
        Ok(sent) => {
            member.out.drain(..sent);
            watch(epoll, id, member);
            true
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn watch(epoll: &OwnedFd, id: u64, member: &Member) {
    let flags = if member.out.is_empty() {
        EventFlags::IN
    } else {
        EventFlags::IN | EventFlags::OUT
    };
    // It fails only for a socket that is closed, whose member the next read removes.
    epoll::modify(epoll, &member.stream, EventData::new_u64(id), flags).ok();
}
