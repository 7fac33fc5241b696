//! What happened, as the people of a schedule know it: the check compares it with the log.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use magpie_core::{
    entry::Entry,
    ids::{MessageId, RoomId, Seq, UserId},
    link::{RoomSync, Summary},
};

/// All that is known of a run.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    stamp: u64,
    /// Every command that appends an entry, by its id.
    pub(crate) commands: BTreeMap<MessageId, Command>,
    /// Every entry that a device was shown.
    pub(crate) shown: Vec<Shown>,
    /// Every room that was brought up to date.
    pub(crate) synced: Vec<Synced>,
    /// Read marks whose storing was answered.
    pub(crate) marked: BTreeMap<(RoomId, UserId), Seq>,
    /// What must not happen, and did.
    pub(crate) complaints: Vec<String>,
}

/// A command that appends an entry.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) actor: UserId,
    pub(crate) room: RoomId,
    /// The device's queue that it is in, for messages that a stream carries.
    pub(crate) queue: Option<usize>,
    /// The text of a message, whole.
    pub(crate) text: Option<Bytes>,
    /// When it was first transmitted; its place in the order of all that happened.
    pub(crate) first: Option<u64>,
    /// How it was answered, and when.
    pub(crate) answered: Option<(Seq, u64)>,
    /// The last word was that nothing exists under its id, and no attempt was open.
    pub(crate) denied: bool,
    /// Attempts of which the outcome is not known.
    pub(crate) open: u32,
}

/// An entry as a device was shown it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) device: usize,
    pub(crate) user: UserId,
    pub(crate) room: RoomId,
    pub(crate) entry: Arc<Entry>,
}

/// A room as a device was brought up to date with it.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) device: usize,
    pub(crate) user: UserId,
    /// The device's cursor before.
    pub(crate) cursor: Seq,
    pub(crate) after: Seq,
    pub(crate) through: Seq,
    pub(crate) stale: bool,
    pub(crate) summary: Summary,
}

impl Facts {
    /// A moment later than all before.
    pub(crate) fn stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    pub(crate) fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }

    /// A command is transmitted.
    pub(crate) fn transmitted(&mut self, id: MessageId) {
        let stamp = self.stamp();
        if let Some(command) = self.commands.get_mut(&id) {
            command.first.get_or_insert(stamp);
            command.open += 1;
            command.denied = false;
        }
    }

    /// A command was answered. The answer settles all attempts before it.
    pub(crate) fn appended(&mut self, id: MessageId, seq: Seq) {
        let stamp = self.stamp();
        let Some(command) = self.commands.get_mut(&id) else {
            return;
        };
        command.open = 0;
        match command.answered {
            None => command.answered = Some((seq, stamp)),
            Some((before, _)) if before == seq => {}
            Some((before, _)) => {
                self.complain(format!("{id:?} was answered by {before}, then by {seq}"));
            }
        }
    }

    /// An attempt was refused; `none` if nothing exists under the id.
    pub(crate) fn refused(&mut self, id: MessageId, none: bool) {
        let Some(command) = self.commands.get_mut(&id) else {
            return;
        };
        command.open = command.open.saturating_sub(1);
        command.denied = none && command.open == 0;
        if let (Some((seq, _)), true) = (command.answered, none) {
            self.complain(format!("{id:?} is denied, but was answered by {seq}"));
        }
    }

    pub(crate) fn synced(&mut self, device: usize, user: UserId, cursor: Seq, sync: &RoomSync) {
        self.synced.push(Synced {
            device,
            user,
            cursor,
            after: sync.after,
            through: sync.through,
            stale: sync.stale,
            summary: sync.summary.clone(),
        });
    }
}
