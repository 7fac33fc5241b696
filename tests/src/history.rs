//! What senders did and were answered, and the check of it against the log as it was read at the
//! end: the invariants I1 to I7 and I11 of a chat.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use magpie::v1::{Entry, MemberChangeKind, SendMessageRequest, entry::Body};

use tokio::sync::watch;

use crate::{device::Device, guard, person::text_of};

/// Entries that a device may have missed and is still given; those of these tests are small.
const MISSED_MAX: i64 = 200;

/// Every send of a test, on one logical clock.
#[derive(Debug, Default)]
pub struct History {
    clock: AtomicU64,
    sends: Mutex<BTreeMap<u64, Send>>,
    answered: watch::Sender<usize>,
}

/// One message that a sender wanted in the log, however often it was transmitted.
#[derive(Clone, Debug)]
struct Send {
    sender: String,
    room: i64,
    id: Bytes,
    text: String,
    /// The answers: the moment and the seq. More than one where the send was repeated.
    answers: Vec<(u64, i64)>,
}

impl History {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a sender transmits a message for the first time. Senders whose messages must
    /// keep their order use one name each. Returns the key for [`Self::answered`].
    pub fn started(&self, sender: &str, request: &SendMessageRequest) -> u64 {
        let key = self.tick();
        let send = Send {
            sender: sender.to_owned(),
            room: request.room_id,
            id: request.client_message_id.clone(),
            text: request.text.clone(),
            answers: Vec::new(),
        };
        self.sends().insert(key, send);
        key
    }

    /// Notes an answer.
    pub fn answered(&self, key: u64, seq: i64) {
        let now = self.tick();
        if let Some(send) = self.sends().get_mut(&key) {
            send.answers.push((now, seq));
        }
        self.answered.send_modify(|count| *count += 1);
    }

    /// How many answers came so far.
    pub fn answers(&self) -> usize {
        *self.answered.borrow()
    }

    /// Waits until this many more answers have come.
    ///
    /// # Panics
    /// When they do not come in time.
    pub async fn more_answers(&self, more: usize) {
        let goal = self.answers() + more;
        let mut answered = self.answered.subscribe();
        let reached = answered.wait_for(|&count| count >= goal);
        let reached = guard::event(&format!("{more} more answers"), reached).await;
        reached.expect("the history outlives its users");
    }

    /// Everything that is wrong with a room's log, given what was sent and answered.
    pub fn complaints(&self, room: i64, log: &[Entry]) -> Vec<String> {
        let sends = self.sends();
        let sends: Vec<(u64, &Send)> = sends
            .iter()
            .map(|(&at, send)| (at, send))
            .filter(|(_, s)| s.room == room)
            .collect();
        let mut complaints = dense(room, log);
        complaints.extend(answers_hold(&sends, log));
        complaints.extend(order_holds(&sends, log));
        complaints
    }

    /// Fails with all that is wrong with a room's log.
    ///
    /// # Panics
    /// When an invariant is broken.
    #[track_caller]
    pub fn check(&self, room: i64, log: &[Entry]) {
        let complaints = self.complaints(room, log);
        assert!(complaints.is_empty(), "room {room}: {complaints:#?}");
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn sends(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Send>> {
        self.sends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// I3: seqs are dense from 1, and times never go back.
fn dense(room: i64, log: &[Entry]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (entry, seq) in log.iter().zip(1..) {
        if entry.seq != seq || entry.room_id != room {
            complaints.push(format!(
                "entry ({}, {}) where {seq} is due",
                entry.room_id, entry.seq
            ));
            break;
        }
    }
    let millis = |entry: &Entry| {
        let time = entry.create_time.unwrap_or_default();
        (time.seconds, time.nanos)
    };
    if let Some(pair) = log
        .windows(2)
        .find(|pair| millis(&pair[0]) > millis(&pair[1]))
    {
        complaints.push(format!("time goes back at {}", pair[1].seq));
    }
    complaints
}

/// I1, I2 and I4: what was answered is there, once, under its seq, as it was sent.
fn answers_hold(sends: &[(u64, &Send)], log: &[Entry]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut places: HashMap<&Bytes, Vec<&Entry>> = HashMap::new();
    for entry in log.iter().filter(|entry| text_of(entry).is_some()) {
        places
            .entry(&entry.client_message_id)
            .or_default()
            .push(entry);
    }
    for (_, send) in sends {
        let found = places.remove(&send.id).unwrap_or_default();
        if found.len() > 1 {
            complaints.push(format!("{:?} is there {} times", send.text, found.len()));
        }
        for (_, seq) in &send.answers {
            match found.iter().find(|entry| entry.seq == *seq) {
                None => complaints.push(format!("{:?} was answered {seq}: lost", send.text)),
                Some(entry) if text_of(entry) != Some(&send.text) => {
                    complaints.push(format!("{:?} reads otherwise at {seq}", send.text));
                }
                Some(_) => {}
            }
        }
    }
    for entries in places.values() {
        complaints.push(format!("nobody sent {:?}", entries[0]));
    }
    complaints
}

/// I5 and I6: a sender's messages keep their order, and an answer before a send means a smaller
/// seq.
fn order_holds(sends: &[(u64, &Send)], log: &[Entry]) -> Vec<String> {
    let mut complaints = Vec::new();
    let seqs: HashMap<&Bytes, i64> = log
        .iter()
        .map(|entry| (&entry.client_message_id, entry.seq))
        .collect();
    let mut last: HashMap<&str, i64> = HashMap::new();
    // The events in the order of the clock: a start looks back at all answers before it.
    let answers = sends
        .iter()
        .flat_map(|(_, s)| s.answers.iter().map(|&(at, seq)| (at, seq)));
    let mut answers: Vec<(u64, i64)> = answers.collect();
    answers.sort_unstable();
    let mut answers = answers.into_iter().peekable();
    let mut highest_answered = 0;
    for (started, send) in sends {
        while let Some((_, seq)) = answers.next_if(|(at, _)| at < started) {
            highest_answered = highest_answered.max(seq);
        }
        let Some(&seq) = seqs.get(&send.id) else {
            continue;
        };
        if seq <= highest_answered {
            complaints.push(format!(
                "{:?} at {seq}, after an answer {highest_answered}",
                send.text
            ));
        }
        if let Some(before) = last.insert(&send.sender, seq)
            && before > seq
        {
            complaints.push(format!("{:?} at {seq} overtook {before}", send.text));
        }
    }
    complaints
}

/// I4, I7 and I11 for one device: what it showed is the log, without a gap, and nothing of a time
/// in which its account was no member.
pub fn device_complaints(device: &Device, room: i64, log: &[Entry]) -> Vec<String> {
    let mut complaints = device.complaints.clone();
    let stales = device.stales.iter().filter(|stale| stale.0 == room);
    for (_, missed) in stales.filter(|stale| stale.1 <= MISSED_MAX) {
        complaints.push(format!("stale, where {missed} entries were missed"));
    }
    let member = membership(device.user_id, log);
    for entry in device.entries(room) {
        let Some(index) = usize::try_from(entry.seq - 1)
            .ok()
            .filter(|&i| i < log.len())
        else {
            complaints.push(format!("entry {} is not in the log", entry.seq));
            continue;
        };
        if &log[index] != entry {
            complaints.push(format!(
                "entry {} differs: {entry:?} / {:?}",
                entry.seq, log[index]
            ));
        }
        if !member[index] && was_ended(&member, index) && !returned(device, room, entry.seq) {
            complaints.push(format!(
                "entry {} came after the membership ended",
                entry.seq
            ));
        }
    }
    complaints
}

/// Whether the user sees each entry as a member: the one that adds and the one that ends too.
fn membership(user_id: i64, log: &[Entry]) -> Vec<bool> {
    let mut member = false;
    let seen = |entry: &Entry| {
        let before = member;
        for change in changes_of(entry)
            .iter()
            .filter(|change| change.user_id == user_id)
        {
            member = match change.kind() {
                MemberChangeKind::Joined | MemberChangeKind::RoleChanged => true,
                MemberChangeKind::Left | MemberChangeKind::Removed => false,
                MemberChangeKind::Unspecified => member,
            };
        }
        before || member
    };
    log.iter().map(seen).collect()
}

/// Whether the device showed its account's return after this seq: with it comes what was missed.
fn returned(device: &Device, room: i64, seq: i64) -> bool {
    let later = device.entries(room).iter().filter(|entry| entry.seq > seq);
    later
        .flat_map(changes_of)
        .any(|change| change.user_id == device.user_id && change.kind() == MemberChangeKind::Joined)
}

/// Whether the user had been a member before this entry: history of before the first membership
/// is open to members, what came after an end is not.
fn was_ended(member: &[bool], index: usize) -> bool {
    member[..index].iter().any(|&seen| seen)
}

fn changes_of(entry: &Entry) -> &[magpie::v1::MemberChange] {
    match &entry.body {
        Some(Body::MembershipChanged(changed)) => &changed.changes,
        Some(Body::RoomCreated(created)) => &created.changes,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use magpie::v1::Message;

    use super::*;
    use crate::person::message;

    fn entry(request: &SendMessageRequest, seq: i64) -> Entry {
        let text = request.text.clone();
        Entry {
            room_id: request.room_id,
            seq,
            client_message_id: request.client_message_id.clone(),
            body: Some(Body::Message(Message {
                text,
                ..Message::default()
            })),
            ..Entry::default()
        }
    }

    /// Two messages of one sender, answered 1 and 2, and the log that holds them.
    fn answered_pair() -> (History, Vec<Entry>) {
        let history = History::new();
        let requests = [message(7, "one"), message(7, "two")];
        for (request, seq) in requests.iter().zip(1..) {
            let key = history.started("ann", request);
            history.answered(key, seq);
        }
        let log = requests
            .iter()
            .zip(1..)
            .map(|(request, seq)| entry(request, seq))
            .collect();
        (history, log)
    }

    #[test]
    fn a_log_as_answered_passes() {
        let (history, log) = answered_pair();
        assert_eq!(history.complaints(7, &log), Vec::<String>::new());
    }

    #[test]
    fn a_lost_message_is_noticed() {
        let (history, mut log) = answered_pair();
        log.pop();
        assert!(history.complaints(7, &log)[0].contains("lost"));
    }

    #[test]
    fn a_doubled_message_is_noticed() {
        let (history, mut log) = answered_pair();
        log.push(Entry {
            seq: 3,
            ..log[1].clone()
        });
        assert!(history.complaints(7, &log)[0].contains("2 times"));
    }

    #[test]
    fn a_hole_is_noticed() {
        let (history, mut log) = answered_pair();
        log.remove(0);
        assert!(history.complaints(7, &log)[0].contains("is due"));
    }

    #[test]
    fn a_changed_text_is_noticed() {
        let (history, mut log) = answered_pair();
        log[0].body = Some(Body::Message(Message {
            text: "uno".into(),
            ..Message::default()
        }));
        assert!(history.complaints(7, &log)[0].contains("otherwise"));
    }

    #[test]
    fn an_overtaken_message_is_noticed() {
        let history = History::new();
        let requests = [message(7, "one"), message(7, "two")];
        for request in &requests {
            history.started("ann", request);
        }
        let log = [entry(&requests[1], 1), entry(&requests[0], 2)];
        assert!(history.complaints(7, &log)[0].contains("overtook"));
    }

    #[test]
    fn a_device_that_is_given_no_entries_is_noticed() {
        let mut device = Device::new(1);
        device.stales = vec![(7, MISSED_MAX + 1), (8, 1)];
        let complaints = |device: &Device| device_complaints(device, 7, &[]);
        assert_eq!(complaints(&device), Vec::<String>::new());
        device.stales.push((7, MISSED_MAX));
        assert!(complaints(&device)[0].contains("stale"));
    }

    #[test]
    fn a_step_behind_an_answer_is_noticed() {
        let history = History::new();
        let requests = [message(7, "one"), message(7, "two")];
        let key = history.started("ann", &requests[0]);
        history.answered(key, 2);
        history.started("bob", &requests[1]);
        let log = [entry(&requests[1], 1), entry(&requests[0], 2)];
        assert!(history.complaints(7, &log)[0].contains("after an answer"));
    }
}
