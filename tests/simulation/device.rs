//! A device as the guide for client authors describes one: what it stores, what it says, and what
//! it makes of each frame. It complains of what the contract forbids.

mod saying;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use magpie_core::{
    command::{Command as ToRoom, Held, Submit},
    edge::{FrameIn, Hello, Said},
    entry::{Body, ChangeKind, Entry},
    frame::Frame,
    ids::{DeviceId, RoomId, Seq, SessionId, UserId},
    link::{AccountRoom, RoomSync},
    rows::Marks,
    users::PresenceState,
};

use self::saying::Queue;
pub(crate) use self::saying::message;
use crate::{
    facts::Facts,
    link::{Encoded, LinkId},
    node::GENERATION,
};

/// What becomes of a stream after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    GoesOn,
    Returns,
    Ends,
}

/// One device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) index: usize,
    pub(crate) user: UserId,
    pub(crate) id: DeviceId,
    /// Whether it belongs to a person who is in no room and names all of them as if they were its own.
    pub(crate) spies: bool,
    /// Whether the person wants it to be connected.
    pub(crate) wanted: bool,
    /// The stream that counts, and whether its Welcome has come.
    pub(crate) link: Option<LinkId>,
    pub(crate) welcomed: bool,
    pub(crate) caught_up: bool,
    /// It reads nothing before this time; what arrives waits.
    pub(crate) reads_from: u64,
    pub(crate) unread: VecDeque<(LinkId, Encoded)>,
    /// When it last said anything.
    pub(crate) spoke: u64,
    /// The session of the last Welcome, with the run of the node.
    session: Option<(u64, SessionId)>,
    revision: u64,
    cursors: BTreeMap<RoomId, (Seq, Seq)>,
    /// The own read marks as events told them last.
    told_read: BTreeMap<RoomId, Seq>,
    pub(crate) rooms: BTreeMap<RoomId, AccountRoom>,
    /// Rooms of which the device has seen the end of its membership, and no new beginning.
    over: BTreeSet<RoomId>,
    queues: BTreeMap<RoomId, Queue>,
    marks_asked: BTreeMap<u64, RoomId>,
    /// Read marks of which it does not know that they are stored.
    unconfirmed: BTreeMap<RoomId, Seq>,
    next_request: u64,
    pub(crate) presence: BTreeMap<UserId, PresenceState>,
}

impl Device {
    pub(crate) fn new(index: usize, user: UserId, id: DeviceId) -> Self {
        Self {
            index,
            user,
            id,
            spies: false,
            wanted: true,
            link: None,
            welcomed: false,
            caught_up: false,
            reads_from: 0,
            unread: VecDeque::new(),
            spoke: 0,
            session: None,
            revision: 0,
            cursors: BTreeMap::new(),
            told_read: BTreeMap::new(),
            rooms: BTreeMap::new(),
            over: BTreeSet::new(),
            queues: BTreeMap::new(),
            marks_asked: BTreeMap::new(),
            unconfirmed: BTreeMap::new(),
            next_request: 1,
            presence: BTreeMap::new(),
        }
    }

    /// How far it has come in a room.
    pub(crate) fn cursor(&self, room: RoomId) -> Seq {
        self.cursors
            .get(&room)
            .map(|(seq, _)| *seq)
            .unwrap_or_default()
    }

    /// The rooms that it knows its account to be in.
    pub(crate) fn member_of(&self) -> Vec<RoomId> {
        let member = self.rooms.values().filter(|row| row.left.is_none());
        member.map(|row| row.room).collect()
    }

    /// Whether it has nothing left to say.
    pub(crate) fn is_done(&self) -> bool {
        self.queues.values().all(Queue::is_empty)
    }

    /// Whether it does not know the fate of its mark in a room, and waits for no answer either.
    pub(crate) fn is_in_doubt(&self, room: RoomId) -> bool {
        let waits = self.marks_asked.values().any(|asked| *asked == room);
        self.unconfirmed.contains_key(&room) && !waits
    }

    /// Where it stands, for who looks for the reason of a failure.
    pub(crate) fn standing(&self) -> String {
        let (link, queues) = (self.link, &self.queues);
        format!(
            "{link:?}, welcomed {}, caught up {}, {queues:?}",
            self.welcomed, self.caught_up
        )
    }

    /// The first frame of a stream.
    pub(crate) fn hello(&self, run: u64, watch: Vec<UserId>) -> Hello {
        let cursors = self.cursors.iter();
        Hello {
            generation: if self.revision == 0 { 0 } else { GENERATION },
            revision: self.revision,
            cursors: cursors
                .map(|(room, (seq, read))| (*room, *seq, *read))
                .collect(),
            marks: self.marks_again(),
            watch,
            heartbeat: Some(std::time::Duration::from_secs(15)),
            replaces: self
                .session
                .filter(|(of, _)| *of == run)
                .map(|(_, session)| session),
            ..Hello::default()
        }
    }

    fn marks_again(&self) -> Vec<(RoomId, Marks)> {
        let again = |(room, read): (&RoomId, &Seq)| {
            let marks = Marks {
                read: *read,
                delivered: *read,
            };
            (*room, marks)
        };
        self.unconfirmed.iter().map(again).collect()
    }

    /// The own read mark of a room is known to be stored this far.
    fn confirmed(&mut self, room: RoomId, read: Seq) {
        if self
            .unconfirmed
            .get(&room)
            .is_some_and(|said| *said <= read)
        {
            self.unconfirmed.remove(&room);
        }
    }

    /// Its stream is gone: what was said and not answered is to be said again.
    pub(crate) fn lost(&mut self) {
        self.link = None;
        self.welcomed = false;
        self.caught_up = false;
        self.unread.clear();
        self.marks_asked.clear();
        self.unsay();
    }

    /// Another stream takes the place of its present one.
    pub(crate) fn moved(&mut self, link: LinkId) {
        self.link = Some(link);
        self.welcomed = false;
        self.caught_up = false;
        self.unread.clear();
    }

    /// Says that it has read a room to its end.
    pub(crate) fn mark_read(&mut self, room: RoomId) -> FrameIn {
        let request = self.next_request;
        self.next_request += 1;
        self.marks_asked.insert(request, room);
        let read = self.cursor(room);
        if read > self.read(room) {
            self.unconfirmed.insert(room, read);
        }
        let marks = Marks {
            read,
            delivered: read,
        };
        frame(
            request,
            submit(room, self.user, self.id, ToRoom::Mark(marks)),
        )
    }

    /// Says that its person is typing.
    pub(crate) fn typing(&mut self, room: RoomId) -> FrameIn {
        frame(0, submit(room, self.user, self.id, ToRoom::Typing))
    }

    /// The account's own read mark in a room, as it knows it.
    pub(crate) fn read(&self, room: RoomId) -> Seq {
        self.cursors
            .get(&room)
            .map(|(_, read)| *read)
            .unwrap_or_default()
    }

    /// Takes a frame of its present stream. The answer says whether the stream goes on, or is over
    /// and the device may come back.
    pub(crate) fn take(
        &mut self,
        run: u64,
        now: u64,
        (request, frame): Encoded,
        facts: &mut Facts,
    ) -> After {
        let of_room = matches!(
            &*frame,
            Frame::RoomSync(_) | Frame::Event { .. } | Frame::Typing { .. } | Frame::Marks { .. }
        );
        if self.spies && of_room {
            facts.complain(format!("{self}: a stranger was told of a room: {frame:?}"));
            return After::GoesOn;
        }
        match &*frame {
            Frame::Welcome(welcome) => {
                self.unsay();
                self.welcomed = true;
                self.session = Some((run, welcome.session));
            }
            Frame::Account { revision, rows } => self.account(*revision, rows, facts),
            Frame::RoomSync(sync) => self.sync(sync, facts),
            Frame::CaughtUp => self.caught_up = true,
            Frame::Event { room, entry, .. } => {
                let cursor = self.cursor(*room);
                if entry.seq > cursor.next() {
                    let seq = entry.seq;
                    facts.complain(format!("{self}: gap in {room} from {cursor} to {seq}"));
                }
                self.entry(*room, entry, facts);
            }
            Frame::Typing { room, .. } if self.over.contains(room) => {
                facts.complain(format!(
                    "{self}: typing in {room} after the membership's end"
                ));
            }
            Frame::Presence(presences) => {
                self.presence
                    .extend(presences.iter().map(|p| (p.user, p.state)));
            }
            Frame::Marks { room, marks } => self.marks(*room, marks, facts),
            Frame::Sent { seq, .. } => self.sent(request, *seq, facts),
            Frame::MarkedRead(read) => self.marked(request, *read, facts),
            Frame::Error(refusal) => self.refused(request, refusal, now, facts),
            Frame::Closing {
                reconnect: true, ..
            } => return After::Returns,
            Frame::Closing {
                reconnect: false, ..
            } => return After::Ends,
            Frame::Typing { .. }
            | Frame::Heartbeat
            | Frame::Draining { .. }
            | Frame::Done
            | Frame::MarkedDelivered(_)
            | Frame::TypingTaken
            | Frame::StatusSet(_)
            | Frame::Presences(_) => {}
        }
        After::GoesOn
    }

    fn account(&mut self, revision: u64, rows: &[AccountRoom], facts: &mut Facts) {
        if revision < self.revision {
            let before = self.revision;
            facts.complain(format!(
                "{self}: the account went back from {before} to {revision}"
            ));
        }
        self.revision = revision;
        self.rooms.extend(rows.iter().map(|row| (row.room, *row)));
    }

    fn sync(&mut self, sync: &RoomSync, facts: &mut Facts) {
        let room = sync.summary.room;
        let cursor = self.cursor(room);
        facts.synced(self.index, self.user, cursor, sync);
        self.own_mark(room, sync.summary.read, facts);
        if sync.live {
            self.over.remove(&room);
        }
        let place = self.cursors.entry(room).or_default();
        place.0 = place.0.max(sync.after);
        if sync.stale {
            place.0 = place.0.max(sync.through);
            return;
        }
        for entry in &sync.entries {
            let cursor = self.cursor(room);
            if entry.seq > cursor.next() {
                let seq = entry.seq;
                facts.complain(format!(
                    "{self}: RoomSync of {room} jumps from {cursor} to {seq}"
                ));
            }
            self.entry(room, entry, facts);
        }
        if self.cursor(room) < sync.through {
            let (cursor, through) = (self.cursor(room), sync.through);
            facts.complain(format!(
                "{self}: RoomSync of {room} ends at {cursor}, not {through}"
            ));
        }
    }

    fn entry(&mut self, room: RoomId, entry: &Arc<Entry>, facts: &mut Facts) {
        if entry.seq <= self.cursor(room) {
            return;
        }
        let own = entry.actor == self.user && matches!(entry.body, Body::Message(_));
        let place = self.cursors.entry(room).or_default();
        place.0 = entry.seq;
        if own {
            // Sending moves the own read mark.
            place.1 = place.1.max(entry.seq);
            self.confirmed(room, entry.seq);
        }
        for change in entry
            .body
            .changes()
            .iter()
            .filter(|change| change.user == self.user)
        {
            match change.kind {
                ChangeKind::Joined(_) => drop(self.over.remove(&room)),
                ChangeKind::Left | ChangeKind::Removed => {
                    self.over.insert(room);
                    self.unconfirmed.remove(&room);
                }
                ChangeKind::RoleChanged(_) => {}
            }
        }
        facts.shown.push(crate::facts::Shown {
            device: self.index,
            user: self.user,
            room,
            entry: entry.clone(),
        });
        // An own message that comes back is as good as its answer.
        self.settle(room, entry.id, entry.seq, facts);
    }

    fn marks(&mut self, room: RoomId, marks: &[(UserId, Marks)], facts: &mut Facts) {
        if self.over.contains(&room) {
            facts.complain(format!(
                "{self}: marks of {room} after the membership's end"
            ));
        }
        let own = marks.iter().find(|(user, _)| *user == self.user);
        if let Some((_, own)) = own {
            self.own_mark(room, own.read, facts);
        }
    }

    fn own_mark(&mut self, room: RoomId, read: Seq, facts: &mut Facts) {
        // Answers overtake events, so only these are compared with each other.
        let before = self.told_read.insert(room, read).unwrap_or_default();
        if read < before {
            facts.complain(format!(
                "{self}: the read mark of {room} fell from {before} to {read}"
            ));
        }
        let place = self.cursors.entry(room).or_default();
        place.1 = place.1.max(read);
        self.confirmed(room, read);
    }

    fn marked(&mut self, request: u64, read: Seq, facts: &mut Facts) {
        if let Some(room) = self.marks_asked.remove(&request) {
            let mark = facts.marked.entry((room, self.user)).or_default();
            *mark = read.max(*mark);
            let place = self.cursors.entry(room).or_default();
            place.1 = place.1.max(read);
            self.confirmed(room, read);
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "device {} of user {}", self.index, self.user)
    }
}

/// A frame that wants an answer.
pub(crate) fn frame(request: u64, said: Said) -> FrameIn {
    FrameIn {
        request,
        said: Ok(said),
    }
}

fn submit(room: RoomId, actor: UserId, device: DeviceId, command: ToRoom) -> Said {
    Said::Submit(Submit {
        room,
        actor,
        device: Some(device),
        command,
        unless_retry: None,
        held: Held::default(),
    })
}
