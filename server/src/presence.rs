//! Presence calls, as unary calls and frames share them: who may see whom, and what is stored beside
//! what owners know.

use std::{collections::HashMap, sync::Arc};

use magpie_core::{
    edge::Ask,
    frame::Frame,
    ids::UserId,
    refusal::Refusal,
    users::{Input as UserInput, Presence, PresenceState, Status, Stored},
};
use magpie_store::account::{AccountStore, Availability, User};

use crate::{auth::store_refusal, router::Router};

/// Answers questions about presence.
#[derive(Clone, Debug)]
pub struct Presences {
    router: Arc<Router>,
    accounts: Arc<dyn AccountStore>,
}

impl Presences {
    /// Over these parts.
    pub fn new(router: Arc<Router>, accounts: Arc<dyn AccountStore>) -> Self {
        Self { router, accounts }
    }

    pub(crate) async fn answer(&self, user: UserId, ask: Ask) -> Result<Frame, Refusal> {
        match ask {
            Ask::SetStatus { busy, text } => {
                Ok(Frame::StatusSet(self.set_status(user, busy, text).await?))
            }
            Ask::GetPresence(users) => Ok(Frame::Presences(self.get(user, users).await?)),
        }
    }

    /// Sets what is given of a user's status.
    pub async fn set_status(
        &self,
        user: UserId,
        busy: Option<bool>,
        text: Option<String>,
    ) -> Result<Presence, Refusal> {
        let availability = busy.map(|busy| {
            if busy {
                Availability::Busy
            } else {
                Availability::Available
            }
        });
        let set = self.accounts.set_status(user, availability, text);
        let status = status(&set.await.map_err(store_refusal)?.unwrap_or_default());
        self.router
            .to_user(user, UserInput::Status(user, status.clone()));
        let known = self.router.presence(vec![user]).await.pop();
        Ok(known.unwrap_or(Presence {
            user,
            state: PresenceState::Offline,
            status_text: status.text,
            last_seen: None,
        }))
    }

    /// The presence of those users whom the caller may see and of whom it is known.
    pub async fn get(&self, user: UserId, users: Vec<UserId>) -> Result<Vec<Presence>, Refusal> {
        let seen: HashMap<_, _> = self.visible(user, users).await?.into_iter().collect();
        let mut presences = self.router.presence(seen.keys().copied().collect()).await;
        for presence in &mut presences {
            let Some((status, last_seen)) = seen.get(&presence.user) else {
                continue;
            };
            if presence.state == PresenceState::Offline {
                presence.status_text.clone_from(&status.text);
                presence.last_seen = presence.last_seen.max(*last_seen);
            }
        }
        presences.sort_by_key(|presence| presence.user);
        Ok(presences)
    }

    /// Those users who share a room with the caller, and the caller, with what is stored of them.
    pub(crate) async fn visible(
        &self,
        user: UserId,
        users: Vec<UserId>,
    ) -> Result<Vec<(UserId, Stored)>, Refusal> {
        let oneself = users.contains(&user);
        let others = self.accounts.share_room(user, users);
        let mut seen = others.await.map_err(store_refusal)?;
        if oneself {
            seen.push(user);
        }
        let users = self.accounts.users(seen).await.map_err(store_refusal)?;
        Ok(users.iter().map(|user| (user.id, stored(user))).collect())
    }
}

/// What the store knows of a user's presence.
pub(crate) fn stored(user: &User) -> Stored {
    (status(&user.status), user.last_seen)
}

fn status(status: &magpie_store::account::Status) -> Status {
    Status {
        busy: status.availability == Availability::Busy,
        text: status.text.clone(),
    }
}
