//! The load generator: thousands of connections on one thread, the same for every peer.
//!
//! It counts what arrives on each connection and reads send times, and parses no more than that.

mod load;
mod seat;

use std::{
    net::SocketAddr,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::Errno,
    time::Timespec,
};

use crate::{
    clock::{Clock, STAMP_BYTES, stamp},
    peer::{Heard, Layout, Peer},
    stats::Samples,
    stop,
};
use seat::Seat;

/// The size of every text.
pub(crate) const TEXT_BYTES: usize = 200;
/// How long connections may take to be ready, and deliveries to arrive after the last send.
const PATIENCE: Duration = Duration::from_secs(30);
const EVENTS_MAX: usize = 1_024;
const INPUT_BYTES: usize = 64 * 1024;
/// The longest wait in one call, so that a stop is noticed.
const NAP: Duration = Duration::from_millis(50);
/// Failures that are told one by one.
const FAILURES_TOLD_MAX: usize = 3;

/// What was counted since the last `Fleet::reset`.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) posts: u64,
    pub(crate) deliveries: u64,
    pub(crate) expected: u64,
    pub(crate) answers: u64,
    /// Texts whose number was not the one after the last.
    pub(crate) disorder: u64,
    /// How far the generator itself fell behind its plan at the worst.
    pub(crate) behind_us: u64,
    /// From the planned time of sending to the arrival.
    pub(crate) latency: Samples,
    /// From the time of sending to the answer.
    pub(crate) answer_latency: Samples,
    /// From the call of `open` to a connection's readiness.
    pub(crate) readiness: Samples,
    pub(crate) refusals: Vec<String>,
}

/// The connections of one peer.
pub(crate) struct Fleet<'p> {
    peer: &'p mut dyn Peer,
    address: SocketAddr,
    layout: Layout,
    clock: Clock,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    input: Vec<u8>,
    seats: Vec<Seat>,
    ready: usize,
    failures: Vec<String>,
    answered: Vec<usize>,
    opening_since_us: u64,
    pub(crate) tally: Tally,
}

impl std::fmt::Debug for Fleet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("seats", &self.seats.len())
            .finish_non_exhaustive()
    }
}

impl<'p> Fleet<'p> {
    pub(crate) fn new(
        peer: &'p mut dyn Peer,
        address: SocketAddr,
        layout: Layout,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            peer,
            address,
            layout,
            clock: Clock::start(),
            epoll: epoll::create(CreateFlags::CLOEXEC).context("no epoll")?,
            events: Vec::with_capacity(EVENTS_MAX),
            input: vec![0; INPUT_BYTES],
            seats: Vec::new(),
            ready: 0,
            failures: Vec::new(),
            answered: Vec::new(),
            opening_since_us: 0,
            tally: Tally::default(),
        })
    }

    /// Opens connections for members `0..count`, at most `at_once` unready ones at a time, and
    /// waits until each is ready or has failed. Returns how many failed.
    pub(crate) fn open(&mut self, count: usize, at_once: usize) -> anyhow::Result<usize> {
        let started = Instant::now();
        self.opening_since_us = self.clock.now_us();
        while self.ready + self.failures.len() < count {
            let settled = self.ready + self.failures.len();
            while self.seats.len() < count && self.seats.len() - settled < at_once {
                self.start()?;
            }
            self.pump(NAP)?;
            if started.elapsed() > PATIENCE {
                return Ok(count - self.ready);
            }
        }
        Ok(self.failures.len())
    }

    /// As `open`, where every connection must become ready.
    pub(crate) fn open_all(&mut self, count: usize, at_once: usize) -> anyhow::Result<()> {
        if self.open(count, at_once)? == 0 {
            return Ok(());
        }
        self.check()?;
        bail!(
            "only {} of {count} connections became ready in {PATIENCE:?}",
            self.ready
        )
    }

    /// Cuts all connections, as a crashed machine's clients would be.
    pub(crate) fn close(&mut self) {
        self.seats.clear();
        self.failures.clear();
        self.ready = 0;
    }

    /// Forgets what was counted; the texts' numbers stay known.
    pub(crate) fn reset(&mut self) {
        self.tally = Tally::default();
        self.answered.clear();
    }

    /// Posts a text that says it was sent at `at_us`.
    fn post(&mut self, member: usize, at_us: u64) -> anyhow::Result<()> {
        let mut text = String::with_capacity(TEXT_BYTES);
        text.extend(stamp(at_us).map(char::from));
        text.extend(std::iter::repeat_n('.', TEXT_BYTES - STAMP_BYTES));
        let message = self.peer.post(member, self.layout, at_us, &text);
        self.tally.posts += 1;
        let size = self.layout.room_size();
        let first = self.layout.room(member) * size;
        let present = self.seats.len().min(first + size) - first;
        self.tally.expected += present as u64;
        let seat = &mut self.seats[member];
        seat.wire.send(&message, &mut seat.out);
        seat.flush(&self.epoll, member as u64)
            .context("a connection broke while sending")
    }

    /// Begins the next member's connection.
    fn start(&mut self) -> anyhow::Result<()> {
        let member = self.seats.len();
        let wire = self.peer.wire(member);
        let mut seat = Seat::connect(self.address, wire)?;
        let greeting = self.peer.greeting(member, self.layout);
        seat.wire.open(&mut seat.out);
        seat.wire.send(&greeting, &mut seat.out);
        let flags = EventFlags::IN | EventFlags::OUT;
        epoll::add(
            &self.epoll,
            seat.socket(),
            EventData::new_u64(member as u64),
            flags,
        )
        .context("cannot watch a connection")?;
        self.seats.push(seat);
        Ok(())
    }

    /// Waits for something to happen, at most so long, and handles what did.
    fn pump(&mut self, wait: Duration) -> anyhow::Result<()> {
        stop::check()?;
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let timeout = Timespec::try_from(wait).context("a short wait")?;
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait"),
        }
        for event in &events {
            let member = usize::try_from({ event.data }.u64()).context("a member")?;
            if let Err(failure) = self.handle(member, event.flags) {
                self.seats[member].cut();
                if self.seats[member].ready {
                    self.ready -= 1;
                }
                self.failures.push(format!("member {member}: {failure:#}"));
            }
        }
        self.events = events;
        Ok(())
    }

    fn handle(&mut self, member: usize, flags: EventFlags) -> anyhow::Result<()> {
        let Self {
            peer,
            seats,
            tally,
            answered,
            ready,
            input,
            epoll,
            clock,
            ..
        } = self;
        let opening_since_us = self.opening_since_us;
        let seat = &mut seats[member];
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
            && let Some(read) = seat.read(input)?
        {
            let now = clock.now_us();
            let Seat {
                wire,
                out,
                ready: seat_ready,
                last_number,
                ..
            } = seat;
            let mut each = |heard| match heard {
                Heard::Ready if *seat_ready => {}
                Heard::Ready => {
                    *seat_ready = true;
                    *ready += 1;
                    tally.readiness.add(now - opening_since_us);
                }
                // What a device missed before is no delivery of this run.
                Heard::Delivery { .. } if !*seat_ready => {}
                Heard::Delivery { sent_us, number } => {
                    tally.deliveries += 1;
                    tally.latency.add(now.saturating_sub(sent_us));
                    tally.disorder +=
                        u64::from(*last_number != 0 && number != 0 && number != *last_number + 1);
                    *last_number = number;
                }
                Heard::Answer { sent_us } => {
                    tally.answers += 1;
                    tally.answer_latency.add(now.saturating_sub(sent_us));
                    answered.push(member);
                }
                Heard::Refused(why) => tally.refusals.push(why),
                Heard::Other => {}
            };
            let received = wire.receive(&input[..read], out, |message| {
                peer.hear(member, message, &mut each);
            });
            received.map_err(|broken| anyhow::anyhow!(broken.0))?;
        }
        seat.flush(epoll, member as u64)
    }

    /// Fails where a connection broke or a request was refused.
    fn check(&self) -> anyhow::Result<()> {
        let refusals = self.tally.refusals.iter();
        let faults = self.failures.iter().chain(refusals).collect::<Vec<_>>();
        if faults.is_empty() {
            return Ok(());
        }
        let told = faults.iter().take(FAILURES_TOLD_MAX);
        let told = told.map(|fault| fault.as_str()).collect::<Vec<_>>();
        bail!("{} faults: {}", faults.len(), told.join("; "))
    }

    /// The first failures, for a report that goes on in spite of them.
    pub(crate) fn failures(&self) -> &[String] {
        &self.failures[..self.failures.len().min(FAILURES_TOLD_MAX)]
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{
        baseline,
        child::free_address,
        peer::{Raw, Stock},
        wire::Wire,
    };

    const MEMBERS: usize = 20;
    const LAYOUT: Layout = Layout::Groups(10);

    /// Starts a baseline on a thread, which ends with the tests.
    fn serve(server: fn(SocketAddr) -> anyhow::Result<()>) -> SocketAddr {
        let address = free_address().expect("a port");
        thread::spawn(move || server(address));
        let began = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < PATIENCE, "the baseline does not listen");
            thread::yield_now();
        }
        address
    }

    fn offered<'p>(peer: &'p mut dyn Peer, address: SocketAddr) -> Fleet<'p> {
        let mut fleet = Fleet::new(peer, address, LAYOUT).expect("a fleet");
        fleet.open_all(MEMBERS, 4).expect("connections");
        let length = Duration::from_millis(200);
        fleet.offer(5_000, length).expect("an offer");
        fleet
    }

    #[test]
    fn every_delivery_of_the_baselines_is_counted_and_timed() {
        let peers: [(&mut dyn Peer, SocketAddr); 2] = [
            (&mut Raw, serve(baseline::raw::serve)),
            (&mut Stock, serve(baseline::stock::serve)),
        ];
        for (peer, address) in peers {
            let fleet = offered(peer, address);
            let tally = &fleet.tally;
            assert_eq!(
                (tally.posts, tally.expected, tally.disorder),
                (100, 1_000, 0)
            );
            assert_eq!((tally.deliveries, tally.latency.len()), (1_000, 1_000));
        }
    }

    /// Hears only nine of ten.
    struct HardOfHearing(Stock, u32);

    impl Peer for HardOfHearing {
        fn wire(&self, member: usize) -> Wire {
            self.0.wire(member)
        }

        fn greeting(&mut self, member: usize, layout: Layout) -> Vec<u8> {
            self.0.greeting(member, layout)
        }

        fn post(&mut self, member: usize, layout: Layout, sent_us: u64, text: &str) -> Vec<u8> {
            self.0.post(member, layout, sent_us, text)
        }

        fn hear(&mut self, member: usize, message: &[u8], each: &mut dyn FnMut(Heard)) {
            let Self(stock, heard) = self;
            stock.hear(member, message, &mut |what| {
                *heard += u32::from(matches!(what, Heard::Delivery { .. }));
                if *heard % 10 != 0 || what == Heard::Ready {
                    each(what);
                }
            });
        }
    }

    #[test]
    fn a_lost_delivery_shows_in_the_count_and_in_the_numbers() {
        let mut peer = HardOfHearing(Stock, 1);
        let fleet = offered(&mut peer, serve(baseline::stock::serve));
        let tally = &fleet.tally;
        assert!(tally.deliveries < tally.expected);
        assert!(tally.disorder > 0);
    }

    #[test]
    fn a_refused_connection_is_a_failure() {
        let address = free_address().expect("a port");
        let mut peer = Raw;
        let mut fleet = Fleet::new(&mut peer, address, LAYOUT).expect("a fleet");
        assert_eq!(fleet.open(3, 3).expect("an attempt"), 3);
        assert!(fleet.open_all(3, 3).is_err());
    }
}
