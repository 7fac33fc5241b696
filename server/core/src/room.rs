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
    /// As of the last assigned seq: what is decided by.
    assigned: Fold,
    /// As of the certified head: what may be shown.
    certain: Fold,
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
}

/// A room as its owner finds it.
#[derive(Debug)]
pub struct Recovered {
    /// The room.
    pub room: Room,
    /// Membership entries whose effect on the members' room lists may not be done.
    pub unlisted: Vec<Arc<Entry>>,
}

impl Room {
    /// Rebuilds a room from what the store holds.
    ///
    /// # Errors
    /// The seq that is missing, where the log has a hole below what the hint says.
    pub fn recover(id: RoomId, loaded: Loaded, limits: &Limits) -> Result<Recovered, Seq> {
        let lineage = Lineage::of(&loaded.boundaries);
        let hint = loaded.hint.as_ref();
        let certified = hint.map_or(Seq::ZERO, |hint| hint.head);
        let listed = hint.map_or(Seq::ZERO, |hint| hint.room_list);
        let fold = Fold {
            settings: hint.map(|hint| hint.settings.clone()).unwrap_or_default(),
            members: Members::new(loaded.members, loaded.marks),
        };
        let mut room = Self {
            id,
            lineage: lineage.clone(),
            certain: fold.clone(),
            assigned: fold,
            tail: Tail::default(),
            ids: ids::Ids::default(),
            head: certified,
            certified,
            time: hint.map_or(Timestamp(0), |hint| hint.time),
            changed: BTreeSet::new(),
        };
        let mut unlisted = Vec::new();
        for entry in lineage.filter(loaded.rows).map(Arc::new) {
            // The tail does not keep all of these.
            if entry.seq > listed && !entry.body.changes().is_empty() {
                unlisted.push(entry.clone());
            }
            if entry.seq <= certified {
                room.ids.insert(&entry, limits);
                room.tail.push(entry, limits);
            } else if entry.seq == room.head.next() {
                room.assign(&entry, limits);
                room.show(entry, limits);
            } else {
                break;
            }
        }
        if room.head > Seq::ZERO && room.tail.last() != Some(room.head) {
            return Err(room.tail.covers_from().max(certified));
        }
        unlisted.retain(|entry| entry.seq <= room.head);
        Ok(Recovered { room, unlisted })
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

    /// Kind and title, as of the certified head.
    pub fn settings(&self) -> &Settings {
        &self.certain.settings
    }

    /// Present and former members, as of the certified head.
    pub fn members(&self) -> &Members {
        &self.certain.members
    }

    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.tail.bytes() + self.ids.bytes() + self.assigned.bytes() + self.certain.bytes()
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
        // A room that was forgotten and loaded again within one ownership has its boundary.
        if self.lineage.latest() != Some(epoch) {
            let boundary = self.lineage.take_over(epoch, entry.seq);
            rows.push(Row::Boundary(self.id, boundary));
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
        self.assign(&entry, limits);
        (entry, rows)
    }

    /// Moves a member's marks forward. Returns them, and the row to write if they moved; once that
    /// is durable, they are to be passed to [`Room::show_marks`].
    pub fn mark(&mut self, user: UserId, marks: Marks) -> (Marks, Option<Row>) {
        let members = &mut self.assigned.members;
        let row = members.mark(user, marks);
        let row = row.map(|stored| Row::Marks(self.id, user, stored));
        (members.marks(user), row)
    }

    /// Takes in that everything through this entry is durable.
    pub fn show(&mut self, entry: Arc<Entry>, limits: &Limits) {
        self.certified = entry.seq;
        self.certain.take(&entry);
        self.tail.push(entry, limits);
    }

    /// The latest row of a member's marks: an earlier one must not be written after it.
    pub fn marks_row(&self, user: UserId) -> Row {
        Row::Marks(self.id, user, self.assigned.members.stored_marks(user))
    }

    /// Takes in that a member's marks are durable. Returns them as they may be shown.
    pub fn show_marks(&mut self, user: UserId, marks: Marks) -> Marks {
        let members = &mut self.certain.members;
        members.mark(user, marks);
        members.marks(user)
    }

    /// Up to where a user may see the log: the certified head, for a former member the entry that
    /// ended the membership. `None` for those who never were members.
    pub fn visible_to(&self, user: UserId) -> Option<Seq> {
        let row = self.members().get(user)?;
        Some(row.left.unwrap_or(self.certified))
    }

    /// Whether a user is a member as of the certified head.
    pub fn is_member(&self, user: UserId) -> bool {
        self.members().present(user).is_some()
    }

    /// The other person of a direct room.
    pub fn peer_of(&self, user: UserId) -> Option<UserId> {
        match self.settings().kind {
            RoomKind::Direct => {
                let mut members = self.members().iter().map(|(id, _)| id);
                members.find(|id| *id != user)
            }
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
            settings: self.settings().clone(),
        };
        let members = &self.certain.members;
        let mut rows: Vec<_> = std::mem::take(&mut self.changed)
            .into_iter()
            .filter_map(|user| Some(Row::Member(self.id, user, *members.get(user)?)))
            .collect();
        rows.push(Row::Hint(self.id, hint));
        rows
    }

    fn assign(&mut self, entry: &Entry, limits: &Limits) {
        self.head = entry.seq;
        self.time = entry.time;
        self.ids.insert(entry, limits);
        self.assigned.take(entry);
        if matches!(entry.body, Body::Message(_)) {
            self.changed.insert(entry.actor);
        }
        let changes = entry.body.changes().iter();
        self.changed.extend(changes.map(|change| change.user));
    }
}

/// What follows from a log up to some entry.
#[derive(Clone, Debug)]
struct Fold {
    settings: Settings,
    members: Members,
}

impl Fold {
    fn bytes(&self) -> usize {
        self.settings.title.len() + self.members.bytes()
    }

    /// Takes in the next entry.
    fn take(&mut self, entry: &Entry) {
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
        for change in entry.body.changes() {
            self.members.change(entry.seq, change);
        }
    }
}
