//! What one device holds, folded from the frames of all its sessions by the rules of the contract
//! alone, and the complaints that arise on the way.

use std::collections::BTreeMap;

use magpie::v1::{
    Entry, MemberChangeKind, RoomCursor, RoomSync, ServerFrame, State, entry::Body,
    server_frame::Frame,
};

/// A device's cache, kept over its sessions.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// Whose device it is.
    pub user_id: i64,
    /// Every entry that was taken in, by room, in the order in which it was shown.
    pub shown: BTreeMap<i64, Vec<Entry>>,
    /// What the contract forbids and happened all the same.
    pub complaints: Vec<String>,
    /// How many entries came that the device held already; allowed, but dear.
    pub repeated: usize,
    generation: i64,
    account_revision: i64,
    cursors: BTreeMap<i64, i64>,
    /// The account's own read marks, by room.
    marks: BTreeMap<i64, i64>,
}

impl Device {
    /// An empty one.
    pub fn new(user_id: i64) -> Self {
        Self {
            user_id,
            ..Self::default()
        }
    }

    /// What a Hello says that resumes from here.
    pub fn state(&self) -> State {
        let cursor = |(&room_id, &seq)| RoomCursor {
            room_id,
            seq,
            read_seq: self.marks.get(&room_id).copied().unwrap_or_default(),
        };
        State {
            generation: self.generation,
            account_revision: self.account_revision,
            cursors: self.cursors.iter().map(cursor).collect(),
        }
    }

    /// How far it has come in a room.
    pub fn cursor(&self, room_id: i64) -> i64 {
        self.cursors.get(&room_id).copied().unwrap_or_default()
    }

    /// The entries of a room that it showed.
    pub fn entries(&self, room_id: i64) -> &[Entry] {
        self.shown
            .get(&room_id)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Takes all frames of a session, or of an answer to Sync, in.
    pub fn take_all<'a>(&mut self, frames: impl IntoIterator<Item = &'a ServerFrame>) {
        for frame in frames {
            self.take(frame);
        }
    }

    /// Takes one frame in.
    pub fn take(&mut self, frame: &ServerFrame) {
        match &frame.frame {
            Some(Frame::Welcome(welcome)) if welcome.generation != self.generation => {
                self.generation = welcome.generation;
                self.account_revision = 0;
                self.cursors.clear();
                self.marks.clear();
                self.shown.clear();
            }
            Some(Frame::AccountChanged(changed)) => {
                if changed.account_revision < self.account_revision {
                    self.complain(format!("account revision went back: {changed:?}"));
                }
                self.account_revision = changed.account_revision;
            }
            Some(Frame::RoomSync(sync)) => self.take_sync(sync),
            Some(Frame::Event(event)) => match &event.entry {
                Some(entry) => self.take_entry(entry),
                None => self.complain("an event without its entry".to_owned()),
            },
            Some(Frame::MarksChanged(changed)) => {
                let own = changed
                    .marks
                    .iter()
                    .find(|mark| mark.user_id == self.user_id);
                if let Some(own) = own {
                    self.take_mark(changed.room_id, own.read_seq);
                }
            }
            _ => {}
        }
    }

    /// I8: what was read stays read.
    fn take_mark(&mut self, room: i64, read_seq: i64) {
        let mark = self.marks.entry(room).or_default();
        if read_seq < *mark {
            let complaint = format!("room {room}: the read mark fell from {mark} to {read_seq}");
            self.complaints.push(complaint);
        }
        *mark = read_seq;
    }

    fn take_sync(&mut self, sync: &RoomSync) {
        let Some(summary) = &sync.summary else {
            self.complain("RoomSync without a summary".to_owned());
            return;
        };
        let room = summary.room_id;
        self.take_mark(room, summary.read_seq);
        let cursor = self.cursor(room);
        if sync.stale {
            if !sync.entries.is_empty() {
                self.complain(format!("room {room}: stale, but with entries"));
            }
            if sync.through_seq < cursor {
                self.complain(format!(
                    "room {room}: stale leads back to {}",
                    sync.through_seq
                ));
            }
            self.shown.remove(&room);
            self.cursors.insert(room, sync.through_seq);
            return;
        }
        let rejoined = sync.entries.first().is_some_and(|entry| self.joins(entry));
        if sync.after_seq > cursor && !rejoined {
            let after = sync.after_seq;
            self.complain(format!(
                "room {room}: RoomSync after {after}, cursor at {cursor}"
            ));
        }
        for entry in &sync.entries {
            self.take_entry(entry);
        }
        if sync.through_seq > self.cursor(room) {
            self.complain(format!(
                "room {room}: entries end before {}",
                sync.through_seq
            ));
            self.cursors.insert(room, sync.through_seq);
        }
    }

    fn take_entry(&mut self, entry: &Entry) {
        let cursor = self.cursor(entry.room_id);
        if entry.seq <= cursor {
            self.repeated += 1;
            return;
        }
        // An absence is no gap: the entry that brings the member back sets the cursor.
        if entry.seq != cursor + 1 && !self.joins(entry) {
            let (room, seq) = (entry.room_id, entry.seq);
            self.complain(format!("room {room}: gap between {cursor} and {seq}"));
        }
        self.cursors.insert(entry.room_id, entry.seq);
        self.shown
            .entry(entry.room_id)
            .or_default()
            .push(entry.clone());
    }

    fn joins(&self, entry: &Entry) -> bool {
        let changes = match &entry.body {
            Some(Body::MembershipChanged(changed)) => &changed.changes,
            Some(Body::RoomCreated(created)) => &created.changes,
            _ => return false,
        };
        changes.iter().any(|change| {
            change.user_id == self.user_id && change.kind() == MemberChangeKind::Joined
        })
    }

    fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }
}
