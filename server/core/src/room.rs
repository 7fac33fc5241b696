//! One room as its owner holds it: the fold of its log, the latest entries, and the ids by which
//! retries are recognised. Decides what may be appended; knows nothing of stores or delivery.

mod decide;
mod ids;
mod members;
mod tail;

use std::{collections::BTreeSet, sync::Arc};

pub use self::{
    decide::{
        Decision, Duplicate, cursor_ahead, message_not_found, not_a_member, overloaded,
        room_not_found,
    },
    members::Members,
    tail::Tail,
};
use crate::{
    entry::{Body, Entry, RoomKind},
    ids::{Epoch, RoomId, Seq, UserId},
    limits::Limits,
    lineage::Lineage,
    rows::{Boundary, Hint, Marks, MemberRow, Row, Settings, StoredEntry},
    time::Timestamp,
};

/// What the store holds of a room when it is loaded.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// All boundaries.
    pub boundaries: Vec<Boundary>,
    /// The hint.
    pub hint: Option<Hint>,
    /// The member rows, as of the hint.
    pub members: Vec<(UserId, MemberRow)>,
    /// The marks.
    pub marks: Vec<(UserId, Marks)>,
    /// All rows above the hint's head, and some before it.
    pub rows: Vec<StoredEntry>,
}

/// A room in memory.
#[derive(Debug)]
pub struct Room {
    id: RoomId,
    lineage: Lineage,
    settings: Settings,
    members: Members,
    tail: Tail,
    ids: ids::Ids,
    /// The last assigned seq.
    head: Seq,
    /// The last seq that is durable and may be shown.
    certified: Seq,
    /// The time of the head.
    time: Timestamp,
    /// Members whose rows changed since the last hint.
    changed: BTreeSet<UserId>,
    /// Whether the boundary of the present ownership is written (or on its way).
    bounded: bool,
}

impl Room {
    /// Rebuilds a room from what the store holds.
    ///
    /// # Errors
    /// The seq that is missing, where the log has a hole below what the hint says.
    pub fn recover(id: RoomId, loaded: Loaded, limits: &Limits) -> Result<Self, Seq> {
        let lineage = Lineage::of(&loaded.boundaries);
        let certified = loaded.hint.as_ref().map_or(Seq::ZERO, |hint| hint.head);
        let settings = loaded.hint.as_ref().map(|hint| hint.settings.clone());
        let time = loaded.hint.as_ref().map_or(Timestamp(0), |hint| hint.time);
        let mut room = Self {
            id,
            lineage: lineage.clone(),
            settings: settings.unwrap_or_else(|| Settings {
                kind: RoomKind::Group,
                title: String::new(),
            }),
            members: Members::new(loaded.members, loaded.marks),
            tail: Tail::default(),
            ids: ids::Ids::default(),
            head: certified,
            certified,
            time,
            changed: BTreeSet::new(),
            bounded: false,
        };
        for entry in lineage.filter(loaded.rows).map(Arc::new) {
            if entry.seq <= certified {
                room.ids.insert(&entry, limits);
                room.tail.push(entry, limits);
            } else if entry.seq == room.head.next() {
                room.fold(&entry, limits);
                room.show(entry, limits);
            } else {
                break;
            }
        }
        let covered = room.tail.covers_from().max(Seq::ZERO);
        if room.head > Seq::ZERO && room.tail.last() != Some(room.head) {
            return Err(covered.max(certified));
        }
        Ok(room)
    }

    /// The room's id.
    pub fn id(&self) -> RoomId {
        self.id
    }

    /// The last assigned seq; 0 while the room does not exist.
    pub fn head(&self) -> Seq {
        self.head
    }

    /// The last seq that may be shown.
    pub fn certified(&self) -> Seq {
        self.certified
    }

    /// The time of the last entry.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Kind and title.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Present and former members.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The latest entries that may be shown.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Which epochs' rows count.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Gives an entry the next seq and takes it into the fold. Returns the rows to write, and the
    /// entry, to be passed to [`Room::show`] once they are durable.
    pub fn append(
        &mut self,
        epoch: Epoch,
        mut entry: Entry,
        whole: Option<bytes::Bytes>,
        limits: &Limits,
    ) -> (Arc<Entry>, Vec<Row>) {
        entry.seq = self.head.next();
        entry.time = entry.time.max(self.time);
        let mut rows = Vec::with_capacity(4);
        if !self.bounded {
            rows.push(Row::Boundary(
                self.id,
                self.lineage.take_over(epoch, entry.seq),
            ));
            self.bounded = true;
        }
        if let Some(whole) = whole {
            rows.push(Row::Body(self.id, entry.seq, epoch, whole));
        }
        let pointer = crate::rows::Pointer {
            seq: entry.seq,
            epoch,
        };
        rows.push(Row::Pointer(self.id, entry.actor, entry.id, pointer));
        let stored = StoredEntry {
            epoch,
            committed_upto: self.certified,
            entry,
        };
        let entry = Arc::new(stored.entry.clone());
        rows.push(Row::Entry(self.id, stored));
        self.fold(&entry, limits);
        (entry, rows)
    }

    /// Moves a member's marks forward. Returns them, and the row to write if they moved.
    pub fn mark(&mut self, user: UserId, marks: Marks) -> (Marks, Option<Row>) {
        match self.members.mark(user, marks) {
            Some(stored) => (
                self.members.marks(user),
                Some(Row::Marks(self.id, user, stored)),
            ),
            None => (self.members.marks(user), None),
        }
    }

    /// Takes in that everything through this entry is durable.
    pub fn show(&mut self, entry: Arc<Entry>, limits: &Limits) {
        self.certified = entry.seq;
        self.tail.push(entry, limits);
    }

    /// Up to where a user may see the log: the certified head, for a former member the entry that
    /// ended the membership. `None` for those who never were members.
    pub fn visible_to(&self, user: UserId) -> Option<Seq> {
        let row = self.members.get(user)?;
        (row.joined <= self.certified).then(|| {
            row.left
                .map_or(self.certified, |left| left.min(self.certified))
        })
    }

    /// Whether a user is a member as of the certified head.
    pub fn is_member(&self, user: UserId) -> bool {
        self.members.get(user).is_some_and(|row| {
            row.joined <= self.certified && row.left.is_none_or(|left| left > self.certified)
        })
    }

    /// The other person of a direct room.
    pub fn peer_of(&self, user: UserId) -> Option<UserId> {
        match self.settings.kind {
            RoomKind::Direct => self.members.iter().map(|(id, _)| id).find(|id| *id != user),
            RoomKind::Group => None,
        }
    }

    /// The rows of a hint as of now, with the member rows that changed since the last one. Only
    /// while nothing is in flight.
    pub fn hint(&mut self, room_list: Seq) -> Vec<Row> {
        assert_eq!(
            self.head, self.certified,
            "a hint is written only of what is durable"
        );
        let hint = Hint {
            head: self.certified,
            time: self.time,
            room_list,
            settings: self.settings.clone(),
        };
        let mut rows: Vec<_> = std::mem::take(&mut self.changed)
            .into_iter()
            .filter_map(|user| Some(Row::Member(self.id, user, *self.members.get(user)?)))
            .collect();
        rows.push(Row::Hint(self.id, hint));
        rows
    }

    fn fold(&mut self, entry: &Entry, limits: &Limits) {
        self.head = entry.seq;
        self.time = entry.time;
        self.ids.insert(entry, limits);
        match &entry.body {
            Body::Message(_) => self.members.sent(entry.actor, entry.seq),
            Body::Created { kind, title, .. } => {
                self.settings = Settings {
                    kind: *kind,
                    title: title.clone(),
                };
            }
            Body::Updated { title } => {
                if let Some(title) = title {
                    self.settings.title.clone_from(title);
                }
            }
            Body::Membership(_) => {}
        }
        if matches!(entry.body, Body::Message(_)) {
            self.changed.insert(entry.actor);
        }
        for change in entry.body.changes() {
            self.members.change(entry.seq, change);
            self.changed.insert(change.user);
        }
    }
}
