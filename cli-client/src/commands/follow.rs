//! Follows rooms on a session: which of what it hands out is new to the reader, filled where the
//! server left a gap. Shared by `tail` and `chat`; prints nothing.

mod gap;
mod membership;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use magpie::{
    client::{
        Error as ClientError, Event, MessageId, Profile, Refusal, SendError, Sent, SessionOptions,
    },
    v1::{Entry, MemberRole, Presence, Reason, RoomSummary, entry::Body},
};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use self::membership::Membership;
pub(crate) use self::{
    gap::Gap,
    membership::{Ending, no_member},
};
use crate::{
    limits::{FILL_WAIT, NAME_ATTEMPTS_MAX, RESTORED_ENTRIES_MAX},
    link::Link,
    names::{self, Names},
    rooms, text,
};

/// How the sessions of this program start: it names itself in the node's log, and somebody waits.
pub(crate) fn session_options() -> SessionOptions {
    SessionOptions {
        client: concat!("magpie-cli/", env!("CARGO_PKG_VERSION")).to_owned(),
        profile: Profile::ATTENDED,
        ..SessionOptions::default()
    }
}

/// Something for the reader.
#[derive(Debug)]
pub(crate) enum Item {
    /// A new entry.
    Entry(Box<Entry>),
    /// New entries that are to be asked for, by [`Follower::next_page`].
    Gap(Gap),
    /// The next entry brings the reader back to a room; these were written meanwhile.
    Absence(Gap),
    /// Presence of watched people.
    Presence(Vec<Presence>),
    /// What became of a message that was posted.
    Outcome(MessageId, Result<Sent, SendError>),
    /// A message that was posted was refused for now, and is tried again.
    Delayed(MessageId, Refusal),
    /// The stream is lost, and comes back.
    Lost(Lost),
    /// All that was missed has been handed out.
    Live(Live),
    /// The server's history was set back.
    Restored,
    /// The session has ended.
    Ended(Option<ClientError>),
}

/// What being live follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Live {
    /// The start.
    First,
    /// A lost stream, over which nothing was missed.
    Again,
    /// A history that was set back: what was there before may be missing.
    Anew,
}

/// A lost stream, or an attempt to open another that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// What was in the way.
    pub(crate) cause: String,
    /// When the next attempt is made.
    pub(crate) retry_in: Duration,
    /// Whether the stream was open until now.
    pub(crate) was_open: bool,
    /// Whether the node said that it leaves.
    pub(crate) draining: bool,
}

/// Follows some rooms, or all of them.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    link: &'a Link,
    /// Absent: all rooms.
    wanted: Option<HashSet<i64>>,
    /// Up to which seq of each room the reader has everything.
    seen: HashMap<i64, i64>,
    titles: HashMap<i64, String>,
    membership: Membership,
    pub(crate) names: Names,
    is_open: bool,
    was_live: bool,
    is_restoring: bool,
}

impl<'a> Follower<'a> {
    /// Follows only these rooms, or all where none are given.
    pub(crate) fn new(link: &'a Link, wanted: Option<HashSet<i64>>, names: Names) -> Self {
        Self {
            link,
            wanted,
            seen: HashMap::new(),
            titles: HashMap::new(),
            membership: Membership::of(link.profile().user_id),
            names,
            is_open: false,
            was_live: false,
            is_restoring: false,
        }
    }

    /// Starts in a room after a seq.
    pub(crate) fn start(&mut self, room: &RoomSummary, after_seq: i64) {
        self.seen.insert(room.room_id, after_seq);
        self.membership.summary(room);
        self.titles
            .insert(room.room_id, rooms::title(room, &self.names));
    }

    /// What a room is called. Who is no member any more is told no title.
    pub(crate) fn title(&self, room_id: i64) -> String {
        let title = self.titles.get(&room_id).filter(|title| !title.is_empty());
        title.cloned().unwrap_or_else(|| room_id.to_string())
    }

    /// Whether there is a stream, on which what was missed may still be coming.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// What an event means to the reader. May ask the server for names.
    pub(crate) async fn take(&mut self, event: Event) -> Vec<Item> {
        match event {
            Event::Entry(entry) => self.entry(entry).await,
            Event::Stale {
                room_id,
                after_seq,
                through_seq,
            } => vec![Item::Gap(Gap {
                room_id,
                after_seq,
                through_seq,
            })],
            Event::RoomUpdated(update) => {
                self.room(&update.summary).await;
                Vec::new()
            }
            Event::CaughtUp => {
                let is_anew = std::mem::replace(&mut self.is_restoring, false);
                vec![Item::Live(
                    match std::mem::replace(&mut self.was_live, true) {
                        false => Live::First,
                        true if is_anew => Live::Anew,
                        true => Live::Again,
                    },
                )]
            }
            Event::Connected(_) => {
                self.is_open = true;
                Vec::new()
            }
            Event::Disconnected { cause, retry_in } => vec![Item::Lost(Lost {
                draining: cause.reason() == Some(Reason::Draining),
                cause: text::one_line(&cause.to_string()),
                retry_in,
                was_open: std::mem::replace(&mut self.is_open, false),
            })],
            Event::Presence(presences) => {
                let ids = presences.iter().map(|presence| presence.user_id);
                self.learn(ids.collect()).await;
                vec![Item::Presence(presences)]
            }
            Event::SendOutcome {
                client_message_id,
                result,
                ..
            } => vec![Item::Outcome(client_message_id, result)],
            Event::SendDelayed {
                client_message_id,
                refusal,
                ..
            } => vec![Item::Delayed(client_message_id, refusal)],
            Event::CacheDropped { .. } if self.was_live => {
                self.seen.clear();
                self.is_restoring = true;
                vec![Item::Restored]
            }
            Event::Ended { error } => vec![Item::Ended(error)],
            // What else happens is not shown line by line.
            _ => Vec::new(),
        }
    }

    /// Where to begin in a room that was not there at the start, and what it is called.
    async fn room(&mut self, summary: &RoomSummary) {
        self.learn(names::in_room(summary)).await;
        let is_former = summary.role() == MemberRole::Unspecified;
        let begin = if is_former {
            summary.head_seq
        } else if self.is_restoring {
            // What was shown may not be what has these seqs now; what is read is nobody's news.
            let latest = summary.head_seq - RESTORED_ENTRIES_MAX;
            summary.read_seq.max(latest)
        } else {
            // From the entry that made this account a member.
            summary.joined_seq - 1
        };
        self.seen.entry(summary.room_id).or_insert(begin);
        self.membership.summary(summary);
        self.titles
            .insert(summary.room_id, rooms::title(summary, &self.names));
    }

    async fn entry(&mut self, entry: Box<Entry>) -> Vec<Item> {
        let absence = self.absence(&entry).map(Item::Absence);
        match self.note(&entry).await {
            true => absence.into_iter().chain([Item::Entry(entry)]).collect(),
            false => Vec::new(),
        }
    }

    /// What an entry that makes the reader a member again leaves out.
    fn absence(&self, entry: &Entry) -> Option<Gap> {
        let seen = *self.seen.get(&entry.room_id)?;
        let left_out = entry.seq > seen + 1 && self.membership.is_joined_by(entry);
        left_out.then_some(Gap {
            room_id: entry.room_id,
            after_seq: seen,
            through_seq: entry.seq - 1,
        })
    }

    /// Whether the reader lacks the entry; then it counts as shown from here on.
    async fn note(&mut self, entry: &Entry) -> bool {
        let is_new = self.is_new(entry);
        if is_new {
            if let Some(Body::RoomUpdated(updated)) = &entry.body
                && let Some(title) = &updated.title
            {
                let title = rooms::group_title(title);
                self.titles.insert(entry.room_id, title);
            }
            self.seen.insert(entry.room_id, entry.seq);
            self.learn(names::in_entry(entry)).await;
        }
        is_new
    }

    fn is_new(&self, entry: &Entry) -> bool {
        self.is_wanted(entry.room_id)
            && self
                .seen
                .get(&entry.room_id)
                .is_none_or(|seen| entry.seq > *seen)
    }

    fn is_wanted(&self, room_id: i64) -> bool {
        self.wanted
            .as_ref()
            .is_none_or(|wanted| wanted.contains(&room_id))
    }

    async fn learn(&mut self, ids: Vec<i64>) {
        for _ in 0..NAME_ATTEMPTS_MAX {
            match self.names.learn(self.link, ids.iter().copied()).await {
                Err(failure) if failure.is_passing() => sleep(FILL_WAIT).await,
                // Without a name the id is shown; the entry itself is what must not be missed.
                Ok(()) | Err(_) => return,
            }
        }
    }
}

impl Lost {
    /// What people are told.
    pub(crate) fn words(&self) -> String {
        let seconds = self.retry_in.as_millis().div_ceil(1000);
        if self.draining {
            format!("the node is going down for maintenance; trying again in {seconds} s")
        } else if self.was_open {
            format!("connection lost; reconnecting in {seconds} s")
        } else {
            format!("no connection yet; trying again in {seconds} s")
        }
    }

    /// What programs are told besides.
    pub(crate) fn facts(&self) -> Map<String, Value> {
        let millis = u64::try_from(self.retry_in.as_millis()).unwrap_or(u64::MAX);
        let mut facts = Map::new();
        facts.insert("retry_in_ms".to_owned(), json!(millis));
        facts.insert("cause".to_owned(), json!(self.cause));
        facts.insert("draining".to_owned(), json!(self.draining));
        facts
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use magpie::{
        client::RoomUpdate,
        v1::{MemberRole, RoomKind},
    };

    use super::*;
    use crate::{
        args::Cli,
        credentials::{Store, tests::profile},
        names::tests::names,
    };

    pub(super) const TEA: i64 = 7;

    /// A link to where nobody listens: what is known needs no call.
    fn link() -> (tempfile::TempDir, Link) {
        link_to("http://127.0.0.1:1", 10)
    }

    /// A link to a server, whose answers it awaits for so many seconds.
    pub(super) fn link_to(server: &str, seconds: u64) -> (tempfile::TempDir, Link) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("magpie"));
        store
            .update(|profiles| {
                // A token that is good for a long while needs no renewal.
                let mut anna = profile("anna");
                "2126-11-24T10:15:00Z".clone_into(&mut anna.access_expire_time);
                profiles.insert("anna", anna)
            })
            .unwrap();
        let timeout = seconds.to_string();
        let line = ["magpie", "rooms", "--server", server, "--timeout", &timeout];
        let cli = Cli::try_parse_from(line).unwrap();
        let link = Link::open(&cli.global, &store).unwrap();
        (dir, link)
    }

    fn room(room_id: i64, head_seq: i64, joined_seq: i64) -> RoomSummary {
        RoomSummary {
            room_id,
            kind: RoomKind::Group.into(),
            title: "Tea".to_owned(),
            role: MemberRole::Member.into(),
            head_seq,
            joined_seq,
            ..RoomSummary::default()
        }
    }

    pub(super) fn follower<'a>(link: &'a Link, wanted: Option<&[i64]>) -> Follower<'a> {
        let wanted = wanted.map(|ids| ids.iter().copied().collect());
        let mut follower = Follower::new(link, wanted, names(&[(1, "anna", "Anna")]));
        follower.start(&room(TEA, 10, 1), 10);
        follower
    }

    fn entry(room_id: i64, seq: i64) -> Event {
        Event::Entry(Box::new(Entry {
            room_id,
            seq,
            actor_user_id: 1,
            ..Entry::default()
        }))
    }

    fn updated(summary: RoomSummary) -> Event {
        let live = true;
        Event::RoomUpdated(Box::new(RoomUpdate { summary, live }))
    }

    async fn seqs(
        follower: &mut Follower<'_>,
        events: impl IntoIterator<Item = Event>,
    ) -> Vec<i64> {
        let mut seqs = Vec::new();
        for event in events {
            for item in follower.take(event).await {
                if let Item::Entry(entry) = item {
                    seqs.push(entry.seq);
                }
            }
        }
        seqs
    }

    #[tokio::test]
    async fn what_the_reader_has_is_not_shown_again() {
        let (_dir, link) = link();
        let mut follower = follower(&link, None);
        let events = [
            entry(TEA, 9),
            entry(TEA, 10),
            entry(TEA, 11),
            entry(TEA, 11),
            entry(TEA, 12),
        ];
        assert_eq!(seqs(&mut follower, events).await, [11, 12]);
    }

    #[tokio::test]
    async fn only_the_wanted_rooms_are_shown() {
        let (_dir, link) = link();
        let mut follower = follower(&link, Some(&[TEA]));
        let events = [updated(room(8, 3, 1)), entry(8, 3), entry(TEA, 11)];
        assert_eq!(seqs(&mut follower, events).await, [11]);
    }

    #[tokio::test]
    async fn a_room_joined_meanwhile_begins_where_the_membership_does() {
        let (_dir, link) = link();
        let mut follower = follower(&link, None);
        let events = [
            updated(room(8, 5, 4)),
            entry(8, 3),
            entry(8, 4),
            entry(8, 5),
        ];
        assert_eq!(seqs(&mut follower, events).await, [4, 5]);
        assert_eq!(follower.title(8), "Tea");
    }

    #[tokio::test]
    async fn a_gap_before_what_the_reader_has_needs_no_filling() {
        let (_dir, link) = link();
        let mut follower = follower(&link, None);
        let stale = Event::Stale {
            room_id: TEA,
            after_seq: 0,
            through_seq: 10,
        };
        let items = follower.take(stale).await;
        let [Item::Gap(mut gap)] = items[..] else {
            panic!("{items:?}");
        };
        // It would ask for ever: nobody listens.
        assert_eq!(follower.next_page(&mut gap).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_restored_server_begins_anew_behind_what_is_read() {
        let (_dir, link) = link();
        let mut follower = follower(&link, None);
        let dropped = || Event::CacheDropped { generation: 2 };
        // Before the first catch-up there is nothing to drop.
        assert!(follower.take(dropped()).await.is_empty());
        follower.take(Event::CaughtUp).await;
        let said = follower.take(dropped()).await;
        assert!(matches!(said[..], [Item::Restored]));
        let mut tea = room(TEA, 6, 1);
        tea.read_seq = 4;
        let events = [updated(tea), entry(TEA, 4), entry(TEA, 5), entry(TEA, 6)];
        assert_eq!(seqs(&mut follower, events).await, [5, 6]);
        let mut crowd = room(TEA + 1, 1_000, 1);
        crowd.read_seq = 4;
        let events = [updated(crowd), entry(TEA + 1, 800), entry(TEA + 1, 801)];
        assert_eq!(seqs(&mut follower, events).await, [801]);
        let live = follower.take(Event::CaughtUp).await;
        assert!(matches!(live[..], [Item::Live(Live::Anew)]), "{live:?}");
        assert_eq!(seqs(&mut follower, [entry(TEA, 7)]).await, [7]);
        let live = follower.take(Event::CaughtUp).await;
        assert!(matches!(live[..], [Item::Live(Live::Again)]), "{live:?}");
    }

    #[tokio::test]
    async fn only_later_catching_up_is_coming_back() {
        let (_dir, link) = link();
        let mut follower = follower(&link, None);
        let first = follower.take(Event::CaughtUp).await;
        assert!(matches!(first[..], [Item::Live(Live::First)]));
        let second = follower.take(Event::CaughtUp).await;
        assert!(matches!(second[..], [Item::Live(Live::Again)]));
    }

    #[test]
    fn waits_are_said_in_whole_seconds() {
        let mut lost = Lost {
            cause: "reset".to_owned(),
            retry_in: Duration::from_millis(2_100),
            was_open: true,
            draining: false,
        };
        assert_eq!(lost.words(), "connection lost; reconnecting in 3 s");
        lost.was_open = false;
        assert_eq!(lost.words(), "no connection yet; trying again in 3 s");
        assert_eq!(lost.facts()["retry_in_ms"], 2_100);
        assert_eq!(lost.facts()["draining"], false);
        lost.draining = true;
        assert!(lost.words().contains("maintenance"), "{}", lost.words());
        assert_eq!(lost.facts()["draining"], true);
    }
}
