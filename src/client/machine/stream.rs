//! Opening, moving, losing and ending streams, and the timers of an open one.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::Machine;
use crate::{
    client::{
        backoff::After,
        error::Error,
        event::{Connected, Event},
        limits::{
            BYE_TIMEOUT, DRAIN_WINDOW_MAX, HEARTBEAT_INTERVAL_DEFAULT, HEARTBEAT_INTERVAL_MIN,
            SILENCE_MAX,
        },
        progress::Step,
        verdict::{self, Verdict},
    },
    v1::{
        Capability, Closing, Draining, Hello, Limits, Reason, ServerFrame, State, Welcome,
        server_frame::Frame,
    },
};

/// Where the session stands.
#[derive(Debug)]
pub(super) enum Link {
    /// No stream; the next attempt comes then.
    Waiting { until: Instant },
    /// No stream; one is being opened.
    Dialing,
    /// A stream is open; perhaps another is being opened in its place.
    Open(Open),
    /// Bye was said; the server ends the stream.
    Leaving { number: u64, until: Instant },
    /// For good.
    Ended,
}

/// An open stream.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) number: u64,
    pub(super) limits: Limits,
    /// When all that was missed had come.
    caught_up: Option<Instant>,
    /// When the server was last heard.
    heard: Instant,
    /// When the client last spoke.
    spoke: Instant,
    interval: Duration,
    /// When to open another stream in the place of this one.
    move_at: Option<Instant>,
    /// Frames were skipped: only answers are taken from here on, and another stream brings the
    /// rest.
    pub(super) skipping: bool,
}

/// Asks for a stream to be opened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dial {
    /// The stream's number, from here on.
    pub(crate) number: u64,
    /// Its first frame.
    pub(crate) hello: Hello,
    /// Other nodes than the usual one, where that is about to stop.
    pub(crate) alternatives: Vec<String>,
}

impl Machine {
    /// The stream to open now.
    pub(crate) fn poll_dial(&mut self, now: Instant) -> Option<Dial> {
        if self.dialing.is_some() {
            return None;
        }
        match &self.link {
            Link::Waiting { until } if *until <= now => self.link = Link::Dialing,
            // What is queued already would not be in the new stream's Hello, but is not lost: the
            // cursors count it.
            Link::Open(open) if open.move_at.is_some_and(|at| at <= now) => {}
            _ => return None,
        }
        self.dials += 1;
        self.dialing = Some(self.dials);
        self.say.watch = false;
        self.say.idle = false;
        Some(Dial {
            number: self.dials,
            hello: self.hello(),
            alternatives: std::mem::take(&mut self.alternatives),
        })
    }

    fn hello(&mut self) -> Hello {
        Hello {
            protocol_min: 1,
            protocol_max: 1,
            state: Some(State {
                generation: self.generation,
                account_revision: self.account_revision,
                cursors: self.rooms.cursors(),
            }),
            marks: self.marks.all(),
            watch_user_ids: self.watch.clone(),
            capabilities: vec![Capability::Heartbeat.into()],
            replaces_session_id: self.session_id.clone(),
            idle: self.idle,
            client: self.client.clone(),
        }
    }

    /// The stream that counts; whoever holds another closes it.
    pub(crate) fn current(&self) -> Option<u64> {
        match &self.link {
            Link::Open(open) => Some(open.number),
            Link::Leaving { number, .. } => Some(*number),
            Link::Waiting { .. } | Link::Dialing | Link::Ended => None,
        }
    }

    /// Whether the opening of this stream is still wanted.
    pub(crate) fn is_dialing(&self, number: u64) -> bool {
        self.dialing == Some(number)
    }

    /// A stream was opened, and this is its first frame.
    pub(crate) fn handle_opened(&mut self, number: u64, first: ServerFrame, now: Instant) {
        if self.dialing != Some(number) {
            return;
        }
        match first.frame {
            Some(Frame::Welcome(welcome)) => self.welcome(number, welcome, now),
            Some(Frame::Closing(closing)) => {
                let error = closing.error.clone().unwrap_or_default();
                self.dial_failed(Error::from(error), verdict::of_closing(&closing), now);
            }
            _ => self.handle_lost(
                number,
                Error::Protocol("another first frame than Welcome"),
                now,
            ),
        }
    }

    fn welcome(&mut self, number: u64, welcome: Welcome, now: Instant) {
        self.dialing = None;
        let moved = std::mem::replace(&mut self.shown_connected, true);
        self.outgoing.handle_lost();
        self.marks.handle_lost();
        self.say.token = None;
        self.user_id = welcome.user_id;
        let holds = self.generation != 0 || !self.rooms.is_empty();
        if holds && welcome.generation != self.generation {
            self.drop_cache(welcome.generation);
        }
        self.rooms.begin_stream();
        self.generation = welcome.generation;
        self.session_id.clone_from(&welcome.session_id);
        self.opened = true;
        let interval = welcome
            .heartbeat_interval
            .and_then(|interval| Duration::try_from(interval).ok())
            .unwrap_or(HEARTBEAT_INTERVAL_DEFAULT)
            .clamp(HEARTBEAT_INTERVAL_MIN, HEARTBEAT_INTERVAL_DEFAULT);
        let limits = welcome.limits.unwrap_or_default();
        self.link = Link::Open(Open {
            number,
            limits,
            caught_up: None,
            heard: now,
            spoke: now,
            interval,
            move_at: None,
            skipping: false,
        });
        let connected = Connected {
            session_id: welcome.session_id,
            user_id: welcome.user_id,
            device_id: welcome.device_id,
            node: welcome.node,
            limits,
            moved,
        };
        let step = Step::Generation(welcome.generation);
        self.emit(Event::Connected(connected), step);
    }

    /// A stream ended, or could not be opened.
    pub(crate) fn handle_lost(&mut self, number: u64, error: Error, now: Instant) {
        let verdict = verdict::of_error(&error, self.opened);
        if self.dialing == Some(number) {
            self.dial_failed(error, verdict, now);
        } else if self.current() == Some(number) {
            if matches!(self.link, Link::Leaving { .. }) {
                self.end(None);
            } else {
                self.judge(error, verdict, now);
            }
        }
    }

    fn dial_failed(&mut self, error: Error, verdict: Verdict, now: Instant) {
        self.dialing = None;
        let Link::Open(open) = &mut self.link else {
            self.judge(error, verdict, now);
            return;
        };
        // The old stream still serves: try again while it does.
        let at_least = error.retry_after().unwrap_or_default();
        let after = after(&error, None);
        let wait = self.backoff.next(after, at_least, &mut self.rng);
        open.move_at = Some(now + wait);
    }

    fn judge(&mut self, error: Error, verdict: Verdict, now: Instant) {
        let replaced = error.reason() == Some(Reason::SessionReplaced);
        if self.dialing.is_some() && (verdict == Verdict::Retry || replaced) {
            // Its successor is being opened, and may be what ended it.
            self.link = Link::Dialing;
            self.outgoing.handle_lost();
            self.marks.handle_lost();
            return;
        }
        match verdict {
            Verdict::End => self.end(Some(error)),
            Verdict::DropCache => {
                self.drop_cache(0);
                self.lose(error, now, Duration::ZERO);
            }
            Verdict::Retry => {
                let at_least = error.retry_after().unwrap_or_default();
                self.lose(error, now, at_least);
            }
        }
    }

    /// The stream is gone; another comes after a wait.
    pub(super) fn lose(&mut self, cause: Error, now: Instant, at_least: Duration) {
        let caught_up = self.open().and_then(|open| open.caught_up);
        let good = caught_up.map(|at| now.duration_since(at));
        let after = after(&cause, good);
        let retry_in = self.backoff.next(after, at_least, &mut self.rng);
        self.link = Link::Waiting {
            until: now + retry_in,
        };
        self.shown_connected = false;
        self.dialing = None;
        self.outgoing.handle_lost();
        self.marks.handle_lost();
        self.rooms.begin_stream();
        self.say.typing.clear();
        // Nobody takes events perhaps: many failed attempts are one event then.
        if let Some(last) = self.out.back()
            && matches!(last.event, Event::Disconnected { .. })
        {
            self.out.pop_back();
        }
        self.emit(Event::Disconnected { cause, retry_in }, Step::None);
    }

    /// The program wants another stream: the old one may be dead without anyone knowing.
    pub(crate) fn handle_reconnect(&mut self, now: Instant) {
        match &mut self.link {
            Link::Open(_) => {
                let cause = Error::Transport("reconnect was asked for".to_owned());
                self.lose(cause, now, Duration::ZERO);
                self.link = Link::Waiting { until: now };
            }
            Link::Waiting { until } => *until = now,
            Link::Dialing | Link::Leaving { .. } | Link::Ended => {}
        }
    }

    /// Before the program takes its events nothing is read, but somebody waits for an answer: all
    /// frames but answers are skipped from here on.
    pub(crate) fn handle_stuck(&mut self) {
        if let Link::Open(open) = &mut self.link {
            open.skipping = true;
        }
    }

    /// The program has taken all events.
    pub(super) fn handle_reading(&mut self, now: Instant) {
        if let Link::Open(open) = &mut self.link {
            open.heard = now;
            if open.skipping {
                open.move_at = Some(open.move_at.map_or(now, |at| at.min(now)));
            }
        }
    }

    pub(super) fn handle_draining(&mut self, draining: Draining, now: Instant) {
        let window = draining
            .reconnect_window
            .and_then(|w| Duration::try_from(w).ok());
        let window = window.unwrap_or_default().min(DRAIN_WINDOW_MAX);
        let wait = window.mul_f64(self.rng.random::<f64>());
        self.alternatives = draining.alternative_addresses;
        if let Link::Open(open) = &mut self.link {
            open.move_at = Some(now + wait);
        }
    }

    pub(super) fn handle_closing(&mut self, closing: &Closing, now: Instant) {
        if matches!(self.link, Link::Leaving { .. }) {
            self.end(None);
            return;
        }
        let error = Error::from(closing.error.clone().unwrap_or_default());
        self.judge(error, verdict::of_closing(closing), now);
    }

    /// All that was missed has come: the stream is as good as it gets.
    pub(super) fn handle_caught_up(&mut self, now: Instant) {
        if let Link::Open(open) = &mut self.link {
            open.caught_up = Some(now);
        }
    }

    pub(super) fn handle_heard(&mut self, now: Instant) {
        if let Link::Open(open) = &mut self.link {
            open.heard = now;
        }
    }

    pub(super) fn handle_spoke(&mut self, now: Instant) {
        if let Link::Open(open) = &mut self.link {
            open.spoke = now;
        }
    }

    pub(super) fn leave(&mut self, now: Instant) {
        if let Link::Open(open) = &self.link {
            self.dialing = None;
            self.link = Link::Leaving {
                number: open.number,
                until: now + BYE_TIMEOUT,
            };
        }
    }

    /// Whether the client has been silent for long enough.
    pub(super) fn is_heartbeat_due(&self, now: Instant) -> bool {
        self.open().is_some_and(|open| open.speak_by() <= now)
    }

    /// Does what time alone asks for.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.outgoing.handle_timeout(now);
        match &self.link {
            Link::Open(open) if self.wants_frames() && open.heard + SILENCE_MAX <= now => {
                let cause = Error::Transport("the server fell silent".to_owned());
                self.lose(cause, now, Duration::ZERO);
            }
            Link::Leaving { until, .. } if *until <= now => self.end(None),
            _ => {}
        }
    }

    /// When time alone will next ask for something.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let mut due = vec![self.outgoing.poll_timeout(self.open().is_some())];
        match &self.link {
            Link::Waiting { until } | Link::Leaving { until, .. } => due.push(Some(*until)),
            Link::Open(open) => {
                due.push(Some(open.speak_by()));
                due.push(self.marks.poll_timeout());
                if self.wants_frames() {
                    due.push(Some(open.heard + SILENCE_MAX));
                }
                if self.is_drained() && !open.skipping {
                    due.push(self.rooms.poll_timeout());
                }
                if self.dialing.is_none() {
                    due.push(open.move_at);
                }
            }
            Link::Dialing | Link::Ended => {}
        }
        due.into_iter().flatten().min()
    }
}

/// What the next wait comes after. `good` is how long the lost stream had been caught up.
fn after(cause: &Error, good: Option<Duration>) -> After {
    match cause.reason() {
        Some(Reason::Draining) => After::Draining,
        _ => After::Loss { good },
    }
}

impl Open {
    /// Some of the interval is left for the way.
    fn speak_by(&self) -> Instant {
        self.spoke + self.interval - self.interval / 8
    }
}
