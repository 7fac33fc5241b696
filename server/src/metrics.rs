//! What the node counts, for `/metrics`. Cheap atomics, incremented where things happen; nothing is
//! decided by them.

pub mod endpoint;

use std::{fmt, sync::atomic::Ordering};

use magpie::v1;
use magpie_core::refusal::Reason;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// The contract's reasons have lower numbers.
const REASON_NUMBER_MAX: i32 = 255;

/// How a device listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "named as the calls of ChatService are")]
pub enum StreamKind {
    Chat,
    Subscribe,
    Sync,
}

/// Why a connection was closed before its first call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Refused {
    /// The node has as many as it may.
    Full,
    /// The address has as many as it may.
    AddressFull,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// No call came in time.
    Silent,
}

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Queue {
    /// Frames for sessions.
    Outbox,
    /// Messages for the owners of rooms and users.
    Room,
    /// Rows for the disk.
    Log,
    /// Passwords that are hashed or wait for it.
    Password,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: StreamKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabel {
    why: Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: Queue,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    code: String,
}

/// All that is counted. Shared by an `Arc`; every field is shared by itself too.
pub struct Metrics {
    /// Open connections.
    pub connections: Gauge,
    /// Failures of accept, such as the descriptor limit.
    pub accept_errors: Counter,
    /// Rooms in memory.
    pub rooms: Gauge,
    /// Users with at least one session.
    pub users_online: Gauge,
    /// Commands that appended an entry.
    pub sends: Counter,
    /// Events handed to sessions.
    pub deliveries: Counter,
    /// Frames read from clients.
    pub frames_received: Counter,
    /// Times in which a slow reader was caught up.
    pub catch_ups: Counter,
    /// From reading a command to queueing its answer.
    pub answer_seconds: Histogram,
    /// Duration of unary calls.
    pub call_seconds: Histogram,
    /// fdatasyncs of the log. Set from the store's own count.
    pub fsyncs: Counter,
    /// Writes that they made durable: over `fsyncs`, how many share one.
    pub log_writes: Counter,
    /// Writes refused for want of free space.
    pub log_writes_refused: Counter,
    streams: Family<KindLabel, Gauge>,
    refused: Family<RefusedLabel, Counter>,
    queues: Family<QueueLabel, Gauge>,
    errors: Family<ReasonLabel, Counter>,
    calls: Family<CallLabel, Counter>,
    registry: Registry,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            connections: Gauge::default(),
            accept_errors: Counter::default(),
            rooms: Gauge::default(),
            users_online: Gauge::default(),
            sends: Counter::default(),
            deliveries: Counter::default(),
            frames_received: Counter::default(),
            catch_ups: Counter::default(),
            answer_seconds: latency(),
            call_seconds: latency(),
            fsyncs: Counter::default(),
            log_writes: Counter::default(),
            log_writes_refused: Counter::default(),
            streams: Family::default(),
            refused: Family::default(),
            queues: Family::default(),
            errors: Family::default(),
            calls: Family::default(),
            registry: Registry::with_prefix("magpie"),
        };
        metrics.register();
        metrics.begin_at_zero();
        metrics
    }

    /// What has not happened yet is 0, not missing.
    fn begin_at_zero(&self) {
        for kind in [StreamKind::Chat, StreamKind::Subscribe, StreamKind::Sync] {
            self.streams(kind);
        }
        let refused = [
            Refused::Full,
            Refused::AddressFull,
            Refused::Handshake,
            Refused::Silent,
        ];
        for why in refused {
            drop(self.refused.get_or_create(&RefusedLabel { why }));
        }
        for reason in (1..=REASON_NUMBER_MAX).filter_map(|number| v1::Reason::try_from(number).ok())
        {
            let name = reason.as_str_name().trim_start_matches("REASON_");
            let reason = name.to_owned();
            drop(self.errors.get_or_create(&ReasonLabel { reason }));
        }
    }

    /// The open streams of a kind.
    pub fn streams(&self, kind: StreamKind) -> Gauge {
        self.streams.get_or_create_owned(&KindLabel { kind })
    }

    /// The depth of a queue. Keep the gauge where it is used often.
    pub fn queue(&self, queue: Queue) -> Gauge {
        self.queues.get_or_create_owned(&QueueLabel { queue })
    }

    /// Counts a connection that was closed before its first call.
    pub fn connection_refused(&self, why: Refused) {
        self.refused.get_or_create(&RefusedLabel { why }).inc();
    }

    /// Counts a refusal that goes out as a frame. Those that end a call are counted by the calls'
    /// own layer.
    pub fn refusal(&self, reason: Reason) {
        let reason = upper_snake(&format!("{reason:?}"));
        self.errors.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a refusal by the name that its reason has in the contract, without the prefix.
    pub fn refusal_named(&self, reason: &str) {
        let reason = reason.to_owned();
        self.errors.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a unary call by the name of its code.
    pub(crate) fn call(&self, code: &str) {
        let code = code.to_owned();
        self.calls.get_or_create(&CallLabel { code }).inc();
    }

    /// Takes over what the log store has counted since its start.
    pub fn note_log(&self, fsyncs: u64, writes: u64, refused: u64, queued: u64) {
        raise(&self.fsyncs, fsyncs);
        raise(&self.log_writes, writes);
        raise(&self.log_writes_refused, refused);
        self.queue(Queue::Log)
            .set(i64::try_from(queued).unwrap_or(i64::MAX));
    }

    /// Takes over how much waits for sessions, for owners, and for a password's hash.
    pub fn note_queues(&self, outbox: usize, room: usize, password: usize) {
        for (queue, depth) in [
            (Queue::Outbox, outbox),
            (Queue::Room, room),
            (Queue::Password, password),
        ] {
            let depth = i64::try_from(depth).unwrap_or(i64::MAX);
            self.queue(queue).set(depth);
        }
    }

    /// All of it in Prometheus' text form.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).expect("a String takes all that is written");
        page
    }

    fn register(&mut self) {
        self.register_clients();
        self.register_rooms();
        self.register_log();
    }

    fn register_clients(&mut self) {
        let r = &mut self.registry;
        r.register(
            "connections",
            "Open connections of clients",
            self.connections.clone(),
        );
        r.register(
            "accept_errors",
            "Connections that the system could not hand over, such as for want of descriptors",
            self.accept_errors.clone(),
        );
        r.register(
            "connections_refused",
            "Connections closed before their first call, by what was in the way",
            self.refused.clone(),
        );
        r.register("streams", "Open streams, by kind", self.streams.clone());
        r.register(
            "users_online",
            "Users who have a session on this node",
            self.users_online.clone(),
        );
        r.register(
            "frames_received",
            "Frames that clients sent on streams",
            self.frames_received.clone(),
        );
        r.register(
            "calls",
            "Calls, by the gRPC code with which they began; how a stream ends later is not in it",
            self.calls.clone(),
        );
        r.register(
            "call_seconds",
            "Seconds that unary calls took",
            self.call_seconds.clone(),
        );
        r.register(
            "errors",
            "Refused calls and frames and closed sessions, by reason (docs/errors.md)",
            self.errors.clone(),
        );
    }

    fn register_rooms(&mut self) {
        let r = &mut self.registry;
        r.register(
            "rooms",
            "Rooms that this node keeps in memory",
            self.rooms.clone(),
        );
        r.register(
            "sends",
            "Commands that appended an entry to a log, each counted once however often it was sent",
            self.sends.clone(),
        );
        r.register(
            "deliveries",
            "Events handed to sessions, one for each session that was shown an entry",
            self.deliveries.clone(),
        );
        r.register(
            "catch_ups",
            "Times that a session too slow for its events was brought up to date from the log",
            self.catch_ups.clone(),
        );
        r.register(
            "answer_seconds",
            "Seconds from the arrival of a command on a stream to its answer",
            self.answer_seconds.clone(),
        );
        r.register(
            "queue_depth",
            "Messages and jobs that wait, by queue, when this page was made",
            self.queues.clone(),
        );
    }

    fn register_log(&mut self) {
        let r = &mut self.registry;
        r.register(
            "fsyncs",
            "Times that the log was synced to disk by fdatasync",
            self.fsyncs.clone(),
        );
        r.register(
            "log_writes",
            "Writes to the log that were synced; many share one sync",
            self.log_writes.clone(),
        );
        r.register(
            "log_writes_refused",
            "Writes to the log that were refused since the disk has less free space than free-space-min",
            self.log_writes_refused.clone(),
        );
    }
}

/// `NotAMember` as `NOT_A_MEMBER`, which is its name in the contract.
fn upper_snake(name: &str) -> String {
    let mut upper = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !upper.is_empty() {
            upper.push('_');
        }
        upper.push(letter.to_ascii_uppercase());
    }
    upper
}

/// Brings a counter to what was counted elsewhere.
fn raise(counter: &Counter, to: u64) {
    counter.inner().fetch_max(to, Ordering::Relaxed);
}

/// 100 us to 26 s.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 19))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_holds_what_was_counted() {
        let metrics = Metrics::new();
        metrics.sends.inc();
        metrics.streams(StreamKind::Chat).inc();
        metrics.refusal(Reason::NotAMember);
        metrics.answer_seconds.observe(0.003);
        metrics.note_log(5, 40, 0, 2);
        metrics.note_log(6, 41, 0, 2);
        let page = metrics.encode();
        for line in [
            "magpie_sends_total 1",
            "magpie_streams{kind=\"Chat\"} 1",
            "magpie_errors_total{reason=\"NOT_A_MEMBER\"} 1",
            "magpie_answer_seconds_count 1",
            "magpie_fsyncs_total 6",
            "magpie_queue_depth{queue=\"Log\"} 2",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }
}
