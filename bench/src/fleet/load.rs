//! The shapes of load: open loop, closed loop, one at a time, nothing. Knows no socket.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Fleet, NAP, PATIENCE};

/// A text that has not come when nothing at all came for so long is lost.
const SILENCE: Duration = Duration::from_secs(3);

impl Fleet<'_> {
    /// Open loop: so many deliveries a second for so long, whatever the peer does, the sends spread
    /// evenly over rooms and members. Then waits for what is on its way.
    pub(crate) fn offer(&mut self, deliveries: u64, length: Duration) -> anyhow::Result<()> {
        let size = self.layout.room_size();
        let rooms = self.seats.len() / size;
        let gap_us = 1e6 * size as f64 / deliveries as f64;
        let posts = (length.as_secs_f64() * 1e6 / gap_us) as u64;
        let began = self.clock.now_us();
        for post in 0..posts {
            let due = began + (post as f64 * gap_us) as u64;
            loop {
                let now = self.clock.now_us();
                if now >= due {
                    self.tally.behind_us = self.tally.behind_us.max(now - due);
                    break;
                }
                self.pump(Duration::from_micros(due - now).min(NAP))?;
                self.check()?;
            }
            let turn = usize::try_from(post).context("a long run")?;
            let member = turn % rooms * size + turn / rooms % size;
            self.post(member, due)?;
            // What arrived meanwhile is taken in even where the plan leaves no time to wait.
            self.pump(Duration::ZERO)?;
        }
        self.settle()
    }

    /// Closed loop: each of the first so many members sends again when it was answered.
    pub(crate) fn converse(&mut self, senders: usize, length: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        for member in 0..senders {
            self.post(member, self.clock.now_us())?;
        }
        while began.elapsed() < length {
            self.pump(NAP)?;
            self.check()?;
            let mut answered = std::mem::take(&mut self.answered);
            for member in answered.drain(..) {
                self.post(member, self.clock.now_us())?;
            }
            self.answered = answered;
        }
        Ok(())
    }

    /// Sends one text and waits until it comes back: nothing else is under way.
    pub(crate) fn ping(&mut self, member: usize) -> anyhow::Result<()> {
        self.post(member, self.clock.now_us())?;
        self.settle()
    }

    /// Does nothing for so long but answer what the transport asks.
    pub(crate) fn rest(&mut self, length: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        while let Some(left) = length.checked_sub(began.elapsed()) {
            self.pump(left.min(NAP))?;
            self.check()?;
        }
        Ok(())
    }

    /// Waits until all that was sent has arrived, or it is plain that some is lost.
    fn settle(&mut self) -> anyhow::Result<()> {
        let (began, mut heard, mut deliveries) = (Instant::now(), Instant::now(), 0);
        while self.tally.deliveries < self.tally.expected {
            self.pump(NAP)?;
            self.check()?;
            if self.tally.deliveries > deliveries {
                (heard, deliveries) = (Instant::now(), self.tally.deliveries);
            }
            if heard.elapsed() > SILENCE || began.elapsed() > PATIENCE {
                break;
            }
        }
        Ok(())
    }
}
