//! What a device lacks of a membership that ended, and was followed by another, while it was away.

use std::sync::Arc;

use super::{
    query::gather,
    scan::Found,
    window::{Fetch, Window},
};
use crate::{
    entry::{ChangeKind, Entry},
    ids::{Seq, UserId},
    link::Attach,
};

/// How the membership in which a cursor lies went on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Former {
    /// It does not lie in a former one: what comes before the last joining was not missed.
    Over,
    /// These are the rest of it, with the entry that ended it.
    Missed(Vec<Arc<Entry>>),
    /// More than a page lies between the cursor and the last joining, or the end.
    Untold,
}

/// Looks for the end of the membership in which the cursor lies, below the last joining.
pub(super) fn former(
    window: &Window<'_>,
    found: &mut Found,
    attach: &Attach,
    joined: Seq,
) -> Result<Former, Fetch> {
    if attach.after == Seq::ZERO {
        // A device that holds nothing begins with the last joining.
        return Ok(Former::Over);
    }
    // The user may have joined once more since this was found.
    if let Some((of, former)) = &found.former
        && *of == joined
    {
        return Ok(former.clone());
    }
    let (after, through) = (attach.after, joined.prev());
    let page = gather(
        window,
        found,
        after,
        through,
        window.limits.page_entries_max,
    )?;
    let former = rest(page, attach.user, after, through);
    found.former = Some((joined, former.clone()));
    Ok(former)
}

fn rest(mut page: Vec<Arc<Entry>>, user: UserId, after: Seq, through: Seq) -> Former {
    let change = page
        .iter()
        .enumerate()
        .find_map(|(at, entry)| Some((at, membership_of(user, entry)?)));
    match change {
        Some((at, ChangeKind::Left | ChangeKind::Removed)) => {
            page.truncate(at + 1);
            Former::Missed(page)
        }
        Some(_) => Former::Over,
        None if page.last().map_or(after, |entry| entry.seq) < through => Former::Untold,
        None => Former::Over,
    }
}

/// How an entry begins or ends a user's membership.
fn membership_of(user: UserId, entry: &Entry) -> Option<ChangeKind> {
    let own = entry.body.changes().iter().filter(|c| c.user == user);
    own.map(|change| change.kind)
        .find(|kind| !matches!(kind, ChangeKind::RoleChanged(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{Body, MemberChange, Role},
        ids::MessageId,
        time::Timestamp,
    };

    fn user(id: i64) -> UserId {
        UserId::new(id).expect("an id")
    }

    /// The entry of a seq, by which memberships of these users change.
    fn entry(seq: u64, changes: &[(i64, ChangeKind)]) -> Arc<Entry> {
        let change = |(id, kind): &(i64, ChangeKind)| MemberChange {
            user: user(*id),
            kind: *kind,
        };
        Arc::new(Entry {
            seq: Seq::ZERO.plus(seq),
            time: Timestamp(seq),
            actor: user(1),
            device: None,
            id: MessageId([0; 16]),
            body: Body::Membership(changes.iter().map(change).collect()),
        })
    }

    /// Of the rest of user 2's membership after 2, with the last joining at 9: its seqs, or none.
    fn seqs(entries: Vec<Arc<Entry>>) -> Result<Vec<i64>, Former> {
        let (after, through) = (Seq::ZERO.plus(2), Seq::ZERO.plus(8));
        match rest(entries, user(2), after, through) {
            Former::Missed(entries) => Ok(entries.iter().map(|entry| entry.seq.get()).collect()),
            other => Err(other),
        }
    }

    #[test]
    fn the_rest_of_a_membership_goes_to_the_entry_that_ended_it() {
        let joined = ChangeKind::Joined(Role::Member);
        let whole = |at_4, at_6| {
            let entries = [
                (3, &[][..]),
                (4, at_4),
                (5, &[]),
                (6, at_6),
                (7, &[]),
                (8, &[]),
            ];
            entries.map(|(seq, changes)| entry(seq, changes)).to_vec()
        };
        let left = [
            (3, ChangeKind::Left),
            (2, ChangeKind::RoleChanged(Role::Owner)),
        ];
        let removed = [(2, ChangeKind::Removed)];
        assert_eq!(seqs(whole(&left, &removed)), Ok(vec![3, 4, 5, 6]));
        let (again, back) = ([(2, joined)], [(3, joined)]);
        assert_eq!(
            seqs(whole(&again, &removed)),
            Err(Former::Over),
            "it was over"
        );
        assert_eq!(
            seqs(whole(&back, &left)),
            Err(Former::Over),
            "so it was here"
        );
        let mut short = whole(&back, &removed);
        short.truncate(3);
        assert_eq!(seqs(short), Err(Former::Untold));
    }
}
