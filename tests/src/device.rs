//! What one device holds, folded from the frames of all its sessions by the rules of the contract
//! alone, and the complaints that arise on the way.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Where the server gave no entries, since too many were missed: the room, and how many.
    pub stales: Vec<(i64, i64)>,
    generation: i64,
    account_revision: i64,
    cursors: BTreeMap<i64, i64>,
    /// The account's own read marks, by room.
    marks: BTreeMap<i64, i64>,
    /// Rooms in which the end of the account's membership was shown, and no new beginning.
    over: BTreeSet<i64>,
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
                self.over.clear();
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
            // What came before the own joining was not missed.
            let held = cursor.max(summary.joined_seq - 1);
            self.stales.push((room, sync.through_seq - held));
            self.shown.remove(&room);
            self.over.remove(&room);
            self.cursors.insert(room, sync.through_seq);
            return;
        }
        let rejoined = sync
            .entries
            .first()
            .is_some_and(|entry| self.returns(entry));
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
        if entry.seq != cursor + 1 && !self.returns(entry) {
            let (room, seq) = (entry.room_id, entry.seq);
            self.complain(format!("room {room}: gap between {cursor} and {seq}"));
        }
        match self.change_in(entry) {
            Some(MemberChangeKind::Joined) => drop(self.over.remove(&entry.room_id)),
            Some(MemberChangeKind::Left | MemberChangeKind::Removed) => {
                self.over.insert(entry.room_id);
            }
            Some(MemberChangeKind::RoleChanged | MemberChangeKind::Unspecified) | None => {}
        }
        if entry.actor_user_id == self.user_id && matches!(entry.body, Some(Body::Message(_))) {
            // Sending moves the own read mark.
            let mark = self.marks.entry(entry.room_id).or_default();
            *mark = entry.seq.max(*mark);
        }
        self.cursors.insert(entry.room_id, entry.seq);
        self.shown
            .entry(entry.room_id)
            .or_default()
            .push(entry.clone());
    }

    /// An absence is no gap: the entry that brings the member back sets the cursor. What was said
    /// before the absence is none of it.
    fn returns(&self, entry: &Entry) -> bool {
        let begun = self.cursor(entry.room_id) > 0 && !self.over.contains(&entry.room_id);
        self.change_in(entry) == Some(MemberChangeKind::Joined) && !begun
    }

    /// What an entry does to the account's own membership.
    fn change_in(&self, entry: &Entry) -> Option<MemberChangeKind> {
        let changes = match &entry.body {
            Some(Body::MembershipChanged(changed)) => &changed.changes,
            Some(Body::RoomCreated(created)) => &created.changes,
            _ => return None,
        };
        let own = changes.iter().find(|c| c.user_id == self.user_id)?;
        Some(own.kind())
    }

    fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }
}

#[cfg(test)]
mod tests {
    use magpie::v1::{
        AccountChanged, Event, MarksChanged, MemberChange, MemberMarks, MembershipChanged,
        RoomSummary,
    };

    use super::*;

    const ROOM: i64 = 7;
    const OWN: i64 = 1;

    fn entry(seq: i64) -> Entry {
        Entry {
            room_id: ROOM,
            seq,
            ..Entry::default()
        }
    }

    fn joining(seq: i64) -> Entry {
        change(seq, MemberChangeKind::Joined)
    }

    fn change(seq: i64, kind: MemberChangeKind) -> Entry {
        let change = MemberChange {
            user_id: OWN,
            kind: kind.into(),
            ..MemberChange::default()
        };
        let body = Body::MembershipChanged(MembershipChanged {
            changes: vec![change],
        });
        Entry {
            body: Some(body),
            ..entry(seq)
        }
    }

    fn event(entry: Entry) -> Frame {
        Frame::Event(Event { entry: Some(entry) })
    }

    /// A RoomSync of the entries in (after, through], with the own mark at `read_seq`.
    fn sync(after_seq: i64, through_seq: i64, read_seq: i64) -> RoomSync {
        RoomSync {
            summary: Some(RoomSummary {
                room_id: ROOM,
                joined_seq: 1,
                read_seq,
                ..RoomSummary::default()
            }),
            entries: (after_seq + 1..=through_seq).map(entry).collect(),
            after_seq,
            through_seq,
            ..RoomSync::default()
        }
    }

    fn stale(after: i64, through: i64) -> RoomSync {
        RoomSync {
            stale: true,
            entries: Vec::new(),
            ..sync(after, through, 0)
        }
    }

    /// A device that joined at 1 and then took these frames.
    fn after(frames: impl IntoIterator<Item = Frame>) -> Device {
        let mut device = Device::new(OWN);
        for frame in [event(joining(1))].into_iter().chain(frames) {
            device.take(&ServerFrame {
                request_id: 0,
                frame: Some(frame),
            });
        }
        device
    }

    #[track_caller]
    fn complains_of(what: &str, frames: impl IntoIterator<Item = Frame>) {
        let complaints = after(frames).complaints;
        let has = complaints.iter().any(|complaint| complaint.contains(what));
        assert!(has, "{what}: {complaints:?}");
    }

    #[test]
    fn what_comes_in_order_passes_and_what_is_held_already_is_counted() {
        let frames = [
            Frame::RoomSync(sync(1, 3, 1)),
            event(entry(3)),
            event(entry(4)),
        ];
        let device = after(frames);
        assert_eq!(device.complaints, Vec::<String>::new());
        assert_eq!((device.repeated, device.cursor(ROOM)), (1, 4));
        let shown = device.entries(ROOM).iter().map(|entry| entry.seq);
        assert!(shown.eq(1..=4), "{:?}", device.entries(ROOM));
        assert_eq!(device.state().cursors[0].read_seq, 1);
    }

    #[test]
    fn a_gap_is_noticed() {
        complains_of("gap between 1 and 3", [event(entry(3))]);
        complains_of("RoomSync after 2", [Frame::RoomSync(sync(2, 2, 0))]);
        let mut short = sync(1, 3, 0);
        short.entries.pop();
        complains_of("end before 3", [Frame::RoomSync(short)]);
    }

    #[test]
    fn an_absence_is_no_gap() {
        let left = || event(change(2, MemberChangeKind::Left));
        let device = after([left(), event(joining(9))]);
        assert_eq!(device.complaints, Vec::<String>::new());
        assert_eq!(device.cursor(ROOM), 9);
        complains_of("gap between 1 and 9", [event(joining(9))]);
    }

    #[test]
    fn steps_back_are_noticed() {
        let revision = |account_revision| {
            Frame::AccountChanged(AccountChanged {
                account_revision,
                rooms: Vec::new(),
            })
        };
        complains_of("revision went back", [revision(5), revision(4)]);
        let mark = |read_seq| {
            let own = MemberMarks {
                user_id: OWN,
                read_seq,
                delivered_seq: 0,
            };
            Frame::MarksChanged(MarksChanged {
                room_id: ROOM,
                marks: vec![own],
            })
        };
        complains_of("fell from 5 to 4", [mark(5), mark(4)]);
        let back = [event(entry(2)), Frame::RoomSync(stale(0, 1))];
        complains_of("leads back to 1", back);
    }

    #[test]
    fn stale_is_counted_with_what_was_missed() {
        let device = after([Frame::RoomSync(stale(1, 300))]);
        assert_eq!(device.complaints, Vec::<String>::new());
        assert_eq!(device.stales, [(ROOM, 299)]);
        assert_eq!((device.cursor(ROOM), device.entries(ROOM)), (300, &[][..]));
        let with_entries = RoomSync {
            entries: vec![entry(2)],
            ..stale(1, 300)
        };
        complains_of("but with entries", [Frame::RoomSync(with_entries)]);
    }

    #[test]
    fn another_generation_begins_anew() {
        let welcome = Frame::Welcome(magpie::v1::Welcome {
            generation: 3,
            ..magpie::v1::Welcome::default()
        });
        let device = after([welcome]);
        assert_eq!((device.cursor(ROOM), device.entries(ROOM)), (0, &[][..]));
        assert_eq!(device.state().generation, 3);
    }
}
