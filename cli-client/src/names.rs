//! Who the ids are: the users met so far, asked for in batches and kept.

use std::collections::{BTreeSet, HashMap};

use magpie::v1::{self, BatchGetUsersRequest, User, entry::Body};
use serde_json::{Value, json};

use crate::{
    failure::Result,
    limits::{BATCH_USERS_MAX, KEPT_USERS_MAX, NAME_COLUMNS_MAX},
    link::Link,
    text,
};

/// The users met so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    users: HashMap<i64, User>,
}

impl Names {
    /// Takes in a user that an answer brought.
    pub(crate) fn insert(&mut self, user: User) {
        self.users.insert(user.user_id, user);
    }

    /// Asks for those of `ids` that are not known yet.
    pub(crate) async fn learn(
        &mut self,
        link: &Link,
        ids: impl IntoIterator<Item = i64>,
    ) -> Result<()> {
        if self.users.len() > KEPT_USERS_MAX {
            self.users.clear();
        }
        let missing: BTreeSet<i64> = ids
            .into_iter()
            .filter(|id| *id > 0 && !self.users.contains_key(id))
            .collect();
        let missing: Vec<i64> = missing.into_iter().collect();
        for batch in missing.chunks(BATCH_USERS_MAX) {
            let request = BatchGetUsersRequest {
                user_ids: batch.to_vec(),
            };
            let answer = link
                .read(|api| {
                    let request = request.clone();
                    async move { api.users().batch_get_users(request).await }
                })
                .await?;
            for user in answer.users {
                self.insert(user);
            }
        }
        Ok(())
    }

    /// What a person is called in a line: the display name, with the handle where the name alone
    /// could be taken for somebody else's.
    pub(crate) fn label(&self, user_id: i64) -> String {
        let Some(user) = self.users.get(&user_id) else {
            return format!("user {user_id}");
        };
        let name = shown(user);
        if name == user.handle {
            return name;
        }
        let alike = |other: &User| {
            other.user_id != user_id
                && (shown(other).to_lowercase() == name.to_lowercase()
                    || other.handle == name.to_lowercase())
        };
        if self.users.values().any(alike) {
            format!("{name} (@{})", user.handle)
        } else {
            name
        }
    }

    /// The name and the handle: `Anna Lind (@anna)`, or `@anna` where they are the same.
    pub(crate) fn full(&self, user_id: i64) -> String {
        match self.users.get(&user_id) {
            Some(user) if shown(user) != user.handle => {
                format!("{} (@{})", shown(user), user.handle)
            }
            Some(user) => format!("@{}", user.handle),
            None => format!("user {user_id}"),
        }
    }

    /// `@anna`, or the id where nothing is known.
    pub(crate) fn handle(&self, user_id: i64) -> String {
        match self.users.get(&user_id) {
            Some(user) => format!("@{}", text::one_line(&user.handle)),
            None => format!("user {user_id}"),
        }
    }

    /// The name without the handle.
    pub(crate) fn name(&self, user_id: i64) -> String {
        self.users
            .get(&user_id)
            .map_or_else(|| format!("user {user_id}"), shown)
    }

    /// What JSON says of a user.
    pub(crate) fn json(&self, user_id: i64) -> Value {
        let user = self.users.get(&user_id);
        json!({
            "user_id": user_id.to_string(),
            "handle": user.map(|user| &user.handle),
            "display_name": user.map(|user| &user.display_name),
        })
    }
}

/// The ids of all users that an entry speaks of.
pub(crate) fn in_entry(entry: &v1::Entry) -> Vec<i64> {
    let mut ids = vec![entry.actor_user_id];
    match &entry.body {
        Some(Body::RoomCreated(created)) => {
            ids.extend(created.changes.iter().map(|change| change.user_id));
        }
        Some(Body::MembershipChanged(changed)) => {
            ids.extend(changed.changes.iter().map(|change| change.user_id));
        }
        Some(Body::Message(_) | Body::RoomUpdated(_)) | None => {}
    }
    ids
}

/// The ids of all users that a room's summary speaks of.
pub(crate) fn in_room(room: &v1::RoomSummary) -> Vec<i64> {
    let mut ids = vec![room.peer_user_id];
    ids.extend(room.last_message.as_ref().map(|entry| entry.actor_user_id));
    ids
}

fn shown(user: &User) -> String {
    let name = if user.display_name.trim().is_empty() {
        &user.handle
    } else {
        &user.display_name
    };
    text::snippet(name, NAME_COLUMNS_MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn names(users: &[(i64, &str, &str)]) -> Names {
        let mut names = Names::default();
        for (user_id, handle, display_name) in users {
            names.insert(User {
                user_id: *user_id,
                handle: (*handle).to_owned(),
                display_name: (*display_name).to_owned(),
                create_time: None,
            });
        }
        names
    }

    #[test]
    fn people_are_called_by_their_display_name() {
        let names = names(&[(1, "anna", "Anna Lind"), (2, "bob", "bob")]);
        assert_eq!(names.label(1), "Anna Lind");
        assert_eq!(names.full(1), "Anna Lind (@anna)");
        assert_eq!(names.full(2), "@bob");
        assert_eq!(names.label(9), "user 9");
    }

    #[test]
    fn a_name_that_could_be_somebody_elses_shows_its_handle() {
        let names = names(&[
            (1, "anna", "Anna"),
            (2, "mallory", "anna"),
            (3, "carla", "Bob"),
            (4, "bob", "B."),
        ]);
        assert_eq!(names.label(2), "anna (@mallory)");
        assert_eq!(names.label(1), "Anna (@anna)");
        assert_eq!(names.label(3), "Bob (@carla)");
        assert_eq!(names.label(4), "B.");
    }

    #[test]
    fn names_cannot_carry_escapes() {
        let names = names(&[(1, "anna", "\x1b[31mAnna\u{202e}")]);
        assert!(!names.label(1).contains('\x1b'));
        assert!(!names.full(1).contains('\u{202e}'));
    }

    #[test]
    fn json_keeps_names_as_they_are() {
        let names = names(&[(1, "anna", "A\x1bnna")]);
        assert_eq!(
            names.json(1).to_string(),
            r#"{"user_id":"1","handle":"anna","display_name":"A\u001bnna"}"#
        );
        assert_eq!(names.json(2)["handle"], Value::Null);
    }
}
