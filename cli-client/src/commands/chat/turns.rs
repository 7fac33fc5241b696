//! How a conversation goes on, turn by turn, until it ends.

use std::pin::pin;

use magpie::client::{Event, Events};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{Talk, end::Unread};
use crate::{
    failure::Result,
    limits::{LEAVING_TOLD, OWN_SHOWN_WAIT, UNREAD_WAIT},
    stop::{Asked, Stop},
    terminal::{Line, Lines, Screen},
};

/// Waits until then; for ever if there is no such time yet.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Talk<'_> {
    /// The first signal is as `/quit`, the next one ends it.
    pub(super) async fn until_stopped(
        &mut self,
        events: &mut Events,
        typed: &mut Lines,
        stop: &mut Stop,
    ) -> Result<()> {
        // Each reason once.
        let (tell, mut told) = mpsc::channel(2);
        {
            let mut is_told = false;
            // It is not begun anew: what it has just taken from the events would be lost.
            let mut going = pin!(self.go_on(events, typed, &mut told));
            loop {
                tokio::select! {
                    end = &mut going => return end,
                    asked = stop.requested() => {
                        if is_told && asked == Asked::Signal {
                            break;
                        }
                        is_told |= asked == Asked::Signal;
                        tell.try_send(asked).ok();
                    }
                }
            }
        }
        self.is_cut = true;
        self.left()
    }

    async fn go_on(
        &mut self,
        events: &mut Events,
        typed: &mut Lines,
        stop: &mut mpsc::Receiver<Asked>,
    ) -> Result<()> {
        let mut leave_by = None;
        let mut tell_at = None;
        let mut is_told = false;
        loop {
            if self.is_leaving {
                let now = Instant::now();
                leave_by.get_or_insert_with(|| now + self.link.timeout());
                tell_at.get_or_insert_with(|| now + LEAVING_TOLD);
            }
            if self.is_leaving && self.posted.is_empty() {
                let rest = timeout(OWN_SHOWN_WAIT, self.show_own(events));
                // What is not shown by then is sent all the same.
                let shown = rest.await.unwrap_or(Ok(()));
                self.unless_unread(shown)?;
                return self.left();
            }
            let unanswered = self.posted.len();
            let step = tokio::select! {
                // What is not answered by then is said at the end.
                () = until(leave_by) => return self.left(),
                Some(asked) = stop.recv() => {
                    if asked == Asked::Signal && self.is_leaving && !self.is_stopped {
                        self.is_cut = true;
                        return self.left();
                    }
                    self.stop();
                    Ok(())
                }
                () = until(tell_at), if !is_told => {
                    is_told = true;
                    self.tell_leaving().await
                }
                () = until(self.posted.late_at()), if self.is_watched() => self.tell_late().await,
                event = events.next() => match event {
                    Some(event) => self.event(event).await,
                    None => return Ok(()),
                },
                line = typed.recv(), if self.takes_lines() => self.typed(line).await,
            };
            self.unless_unread(step)?;
            if self.posted.len() < unanswered {
                // The node answers, if slowly: it is waited for anew.
                leave_by = None;
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<()> {
        for item in self.follower.take(event).await {
            self.take(item).await?;
        }
        Ok(())
    }

    /// Whether another line may come: not beyond what the session holds for a connection.
    fn takes_lines(&self) -> bool {
        !self.is_leaving && self.posted.has_room()
    }

    /// Whether a person sees at once what is shown.
    pub(super) fn is_watched(&self) -> bool {
        matches!(self.screen, Screen::Above(_))
    }

    fn stop(&mut self) {
        self.is_stopped = true;
        self.is_leaving = true;
    }

    /// Where nobody reads the output any more nothing is shown, and what was posted is waited for.
    pub(super) fn unless_unread(&mut self, step: Result<()>) -> Result<()> {
        match step {
            Err(failure) if failure.is_reader_gone() => {
                self.screen = Screen::Nowhere;
                self.stop();
                Ok(())
            }
            step => step,
        }
    }

    /// The lines that came and were not taken.
    pub(super) async fn unread(&self, typed: &mut Lines) -> Option<Unread> {
        if self.has_quit {
            return None;
        }
        let mut number = self.lines;
        // A pipe that has more may not have been read yet.
        while let Ok(Some(line)) = timeout(UNREAD_WAIT, typed.recv()).await {
            number += 1;
            let text = match line {
                Line::Text(text) => text,
                Line::Wrong(why) => why,
                Line::Broken(_) => continue,
            };
            if !text.trim().is_empty() {
                let number = (!self.is_watched()).then_some(number);
                return Some(Unread { number, text });
            }
        }
        None
    }

    /// What was typed while it ended by itself, and was kept from the shell.
    pub(super) fn late(
        &self,
        typed: &mut Lines,
        dropped: Option<String>,
        end: &Result<()>,
    ) -> Option<Unread> {
        if end.is_ok() {
            return None;
        }
        // The line editor may have taken one yet.
        let text = match typed.try_recv() {
            Ok(Line::Text(text) | Line::Wrong(text)) => Some(text),
            Ok(Line::Broken(_)) | Err(_) => None,
        };
        let text = text.filter(|text| !text.trim().is_empty()).or(dropped)?;
        Some(Unread { number: None, text })
    }

    /// How it ends where nothing failed.
    fn left(&mut self) -> Result<()> {
        if let Some(ending) = self.ending {
            return Err(ending.failure(&self.follower.title(self.room.room_id)));
        }
        self.broken.take().map_or(Ok(()), Err)
    }

    /// The answer to a message may come before the message itself does.
    async fn show_own(&mut self, events: &mut Events) -> Result<()> {
        while self.last_seq < self.sent_seq {
            let Some(event) = events.next().await else {
                return Ok(());
            };
            self.event(event).await?;
        }
        Ok(())
    }
}
