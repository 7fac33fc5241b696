//! A device as the guide for client authors describes one: what it stores, what it says, and what
//! it makes of each frame. It complains of what the contract forbids.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use magpie_core::{
    command::{Append, Command as ToRoom, Held, Submit, What},
    edge::{FrameIn, Hello, Said},
    entry::{Body, ChangeKind, Entry},
    frame::Frame,
    ids::{DeviceId, MessageId, RoomId, Seq, SessionId, UserId},
    link::{AccountRoom, RoomSync},
    refusal::{Effect, Refusal},
    rows::Marks,
    users::PresenceState,
};

use crate::{
    facts::Facts,
    link::{Encoded, LinkId},
    node::GENERATION,
};

/// Messages of a room that are unanswered at a time.
const PIPELINE: usize = 4;

/// A message that waits for its answer.
#[derive(Clone, Debug)]
struct Draft {
    id: MessageId,
    after: Option<Seq>,
    text: Bytes,
    long: bool,
    /// The request under which it was said on the present stream.
    asked: Option<u64>,
}

/// What is to be said in a room, oldest first.
#[derive(Debug, Default)]
struct Queue {
    drafts: VecDeque<Draft>,
    /// After a refusal: nothing before this time, nor before all that was said is answered.
    not_before: u64,
    refused: bool,
}

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
    pub(crate) rooms: BTreeMap<RoomId, AccountRoom>,
    /// Rooms of which the device has seen the end of its membership, and no new beginning.
    over: BTreeSet<RoomId>,
    queues: BTreeMap<RoomId, Queue>,
    marks_asked: BTreeMap<u64, RoomId>,
    next_request: u64,
    pub(crate) presence: BTreeMap<UserId, PresenceState>,
}

impl Device {
    pub(crate) fn new(index: usize, user: UserId, id: DeviceId) -> Self {
        Self {
            index,
            user,
            id,
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
            rooms: BTreeMap::new(),
            over: BTreeSet::new(),
            queues: BTreeMap::new(),
            marks_asked: BTreeMap::new(),
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
        self.queues.values().all(|queue| queue.drafts.is_empty())
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
            watch,
            heartbeat: Some(std::time::Duration::from_secs(15)),
            replaces: self
                .session
                .filter(|(of, _)| *of == run)
                .map(|(_, session)| session),
            ..Hello::default()
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

    fn unsay(&mut self) {
        for queue in self.queues.values_mut() {
            queue.refused = false;
            for draft in &mut queue.drafts {
                draft.asked = None;
            }
        }
    }

    /// Queues a message.
    pub(crate) fn queue(
        &mut self,
        room: RoomId,
        id: MessageId,
        text: Bytes,
        long: bool,
        says_after: bool,
    ) {
        let after = says_after.then(|| self.cursor(room));
        self.queues
            .entry(room)
            .or_default()
            .drafts
            .push_back(Draft {
                id,
                after,
                text,
                long,
                asked: None,
            });
    }

    /// What it says now of what is queued.
    pub(crate) fn say(&mut self, now: u64, facts: &mut Facts) -> Vec<FrameIn> {
        let mut frames = Vec::new();
        if !self.welcomed {
            return frames;
        }
        let (user, device) = (self.user, self.id);
        for (room, queue) in &mut self.queues {
            let asked = queue
                .drafts
                .iter()
                .filter(|draft| draft.asked.is_some())
                .count();
            if queue.refused && asked == 0 {
                queue.refused = false;
            }
            if queue.refused || now < queue.not_before {
                continue;
            }
            for draft in queue
                .drafts
                .iter_mut()
                .take(PIPELINE)
                .filter(|d| d.asked.is_none())
            {
                draft.asked = Some(self.next_request);
                facts.transmitted(draft.id);
                let append = Append {
                    id: draft.id,
                    after: draft.after,
                    what: message(&draft.text, draft.long),
                };
                let command = ToRoom::Append(append);
                frames.push(frame(
                    self.next_request,
                    submit(*room, user, device, command),
                ));
                self.next_request += 1;
            }
        }
        frames
    }

    /// When it has something to say again after a refusal.
    pub(crate) fn says_at(&self) -> Option<u64> {
        let waiting = self
            .queues
            .values()
            .filter(|queue| !queue.drafts.is_empty());
        waiting.map(|queue| queue.not_before).min()
    }

    /// Says that it has read a room to its end.
    pub(crate) fn mark_read(&mut self, room: RoomId) -> FrameIn {
        let request = self.next_request;
        self.next_request += 1;
        self.marks_asked.insert(request, room);
        let read = self.cursor(room);
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
        }
        for change in entry
            .body
            .changes()
            .iter()
            .filter(|change| change.user == self.user)
        {
            match change.kind {
                ChangeKind::Joined(_) => drop(self.over.remove(&room)),
                ChangeKind::Left | ChangeKind::Removed => drop(self.over.insert(room)),
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
        let before = self
            .cursors
            .get(&room)
            .map(|(_, read)| *read)
            .unwrap_or_default();
        if read < before {
            facts.complain(format!(
                "{self}: the read mark of {room} fell from {before} to {read}"
            ));
        }
        self.cursors.entry(room).or_default().1 = read;
    }

    fn marked(&mut self, request: u64, read: Seq, facts: &mut Facts) {
        if let Some(room) = self.marks_asked.remove(&request) {
            let mark = facts.marked.entry((room, self.user)).or_default();
            *mark = read.max(*mark);
            let place = self.cursors.entry(room).or_default();
            place.1 = place.1.max(read);
        }
    }

    fn sent(&mut self, request: u64, seq: Seq, facts: &mut Facts) {
        let found = self.queues.iter().find_map(|(room, queue)| {
            let draft = queue
                .drafts
                .iter()
                .find(|draft| draft.asked == Some(request));
            draft.map(|draft| (*room, draft.id))
        });
        if let Some((room, id)) = found {
            self.settle(room, id, seq, facts);
        }
    }

    fn settle(&mut self, room: RoomId, id: MessageId, seq: Seq, facts: &mut Facts) {
        if let Some(queue) = self.queues.get_mut(&room)
            && let Some(place) = queue.drafts.iter().position(|draft| draft.id == id)
        {
            queue.drafts.remove(place);
            facts.appended(id, seq);
        }
    }

    fn refused(&mut self, request: u64, refusal: &Refusal, now: u64, facts: &mut Facts) {
        self.marks_asked.remove(&request);
        for queue in self.queues.values_mut() {
            let Some(place) = queue.drafts.iter().position(|d| d.asked == Some(request)) else {
                continue;
            };
            let draft = &mut queue.drafts[place];
            draft.asked = None;
            facts.refused(draft.id, refusal.effect == Effect::None);
            if refusal.reason.may_retry() {
                let wait = refusal.retry_after.unwrap_or_default().as_millis() as u64;
                queue.not_before = now + wait.max(20);
                queue.refused = true;
            } else {
                queue.drafts.remove(place);
            }
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

/// A message; a long one has its whole text beside a preview.
pub(crate) fn message(text: &Bytes, long: bool) -> What {
    let (wire, whole) = if long {
        (text.slice(..text.len() / 2), Some(text.clone()))
    } else {
        (text.clone(), None)
    };
    What::Message {
        wire,
        whole,
        reply_to: None,
    }
}
