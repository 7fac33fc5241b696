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
