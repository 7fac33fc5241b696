//! The people of a node under load and the rooms they are in, made through the public API.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use magpie::v1::{
    CreateRoomRequest, Credentials, InviteMembersRequest, InviteOutcome, OpenDirectRequest,
    RefreshTokenRequest, RoomSummary, SignUpRequest, auth_service_client::AuthServiceClient,
    open_direct_request::Peer, room_service_client::RoomServiceClient,
};
use tonic::{Request, transport::Channel};

use crate::{peer::Layout, stop};

/// Access tokens last for 15 minutes; they are renewed before a measurement after this long.
const RENEW_AFTER: Duration = Duration::from_secs(5 * 60);
/// Handles in one invitation.
const INVITE_MAX: usize = 100;
/// No one guesses it, and nothing is behind it: the node is gone after the run.
const PASSWORD: &str = "slate gannet orbits 4 quiet mills";

/// Whom and what to make.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) users: usize,
    /// For each size, so many rooms that every user is in one.
    pub(crate) group_sizes: Vec<usize>,
    /// The first so many users are also in a direct room each with a neighbour.
    pub(crate) paired: usize,
}

/// Users with their credentials, and the rooms by layout.
#[derive(Debug)]
pub(crate) struct People {
    credentials: Mutex<(Instant, Vec<Credentials>)>,
    users: usize,
    groups: BTreeMap<usize, Vec<i64>>,
    pairs: Vec<i64>,
}

impl People {
    /// Signs everybody up and makes the rooms. Every password costs a hash, which is most of it.
    pub(crate) async fn settle(address: SocketAddr, plan: &Plan) -> anyhow::Result<Self> {
        let channel = connect(address).await?;
        let mut auth = AuthServiceClient::new(channel.clone());
        let mut credentials = Vec::with_capacity(plan.users);
        for user in 0..plan.users {
            stop::check()?;
            let request = SignUpRequest {
                handle: handle(user),
                password: PASSWORD.to_owned(),
                ..SignUpRequest::default()
            };
            let answer = auth.sign_up(request).await.context("cannot sign up")?;
            credentials.push(answer.into_inner().credentials.context("no credentials")?);
        }
        let mut maker = Maker {
            rooms: RoomServiceClient::new(channel),
            credentials: &credentials,
            next_id: 0,
        };
        let mut groups = BTreeMap::new();
        for size in &plan.group_sizes {
            let mut rooms = Vec::new();
            for first in (0..plan.users).step_by(*size) {
                rooms.push(maker.group(first, *size).await?);
            }
            groups.insert(*size, rooms);
        }
        let mut pairs = Vec::new();
        for first in (0..plan.paired).step_by(2) {
            pairs.push(maker.pair(first).await?);
        }
        Ok(Self {
            credentials: Mutex::new((Instant::now(), credentials)),
            users: plan.users,
            groups,
            pairs,
        })
    }

    /// Renews the access tokens where they are no longer young.
    pub(crate) async fn renew(&self, address: SocketAddr) -> anyhow::Result<()> {
        let (since, mut credentials) = self.lock().clone();
        if since.elapsed() < RENEW_AFTER {
            return Ok(());
        }
        let mut auth = AuthServiceClient::new(connect(address).await?);
        for one in &mut credentials {
            stop::check()?;
            let refresh_token = std::mem::take(&mut one.refresh_token);
            let answer = auth
                .refresh_token(RefreshTokenRequest { refresh_token })
                .await;
            let answer = answer.context("cannot renew a token")?.into_inner();
            *one = answer.credentials.context("no credentials")?;
        }
        *self.lock() = (Instant::now(), credentials);
        Ok(())
    }

    /// People whom no node knows, in one group of all and in pairs.
    #[cfg(test)]
    pub(crate) fn invented(users: usize) -> Self {
        let credentials = (0..users).map(|user| Credentials {
            access_token: format!("token-{user}"),
            ..Credentials::default()
        });
        Self {
            credentials: Mutex::new((Instant::now(), credentials.collect())),
            users,
            groups: BTreeMap::from([(users, vec![1])]),
            pairs: (2..).take(users / 2).collect(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Instant, Vec<Credentials>)> {
        self.credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The authorization of a member. Beyond the users, members are their further streams.
    pub(crate) fn bearer(&self, member: usize) -> String {
        format!("Bearer {}", self.lock().1[member % self.users].access_token)
    }

    /// The room in which a member talks.
    pub(crate) fn room(&self, member: usize, layout: Layout) -> i64 {
        let room = layout.room(member);
        match layout {
            Layout::Groups(size) => self.groups[&size][room],
            Layout::Pairs => self.pairs[room],
        }
    }

    /// All the rooms a member is in.
    pub(crate) fn rooms_of(&self, member: usize) -> impl Iterator<Item = i64> {
        let user = member % self.users;
        let groups = self
            .groups
            .iter()
            .map(move |(size, rooms)| rooms[user / size]);
        groups.chain(self.pairs.get(user / 2).copied())
    }
}

/// Makes rooms as their first member.
struct Maker<'a> {
    rooms: RoomServiceClient<Channel>,
    credentials: &'a [Credentials],
    next_id: u128,
}

impl Maker<'_> {
    fn as_user<T>(&self, user: usize, message: T) -> anyhow::Result<Request<T>> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.credentials[user].access_token);
        let bearer = bearer.parse().context("a token that is no header")?;
        request.metadata_mut().insert("authorization", bearer);
        Ok(request)
    }

    fn id(&mut self) -> Vec<u8> {
        self.next_id += 1;
        self.next_id.to_be_bytes().to_vec()
    }

    async fn group(&mut self, first: usize, size: usize) -> anyhow::Result<i64> {
        stop::check()?;
        let create = CreateRoomRequest {
            client_message_id: self.id().into(),
            title: format!("{size} people from {first} on"),
        };
        let create = self.as_user(first, create)?;
        let answer = self
            .rooms
            .create_room(create)
            .await
            .context("cannot create a room")?;
        let room_id = made(answer.into_inner().room)?;
        let last = self.credentials.len().min(first + size);
        let handles = (first + 1..last).map(handle).collect::<Vec<_>>();
        for handles in handles.chunks(INVITE_MAX) {
            let invite = InviteMembersRequest {
                client_message_id: self.id().into(),
                room_id,
                handles: handles.to_vec(),
                after_seq: None,
            };
            let invite = self.as_user(first, invite)?;
            let answer = self
                .rooms
                .invite_members(invite)
                .await
                .context("cannot invite")?;
            let results = answer.into_inner().results;
            ensure!(
                results
                    .iter()
                    .all(|result| result.outcome() == InviteOutcome::Added),
                "somebody could not be invited: {results:?}"
            );
        }
        Ok(room_id)
    }

    async fn pair(&mut self, first: usize) -> anyhow::Result<i64> {
        stop::check()?;
        let peer = Some(Peer::UserId(self.credentials[first + 1].user_id));
        let open = self.as_user(first, OpenDirectRequest { peer })?;
        let answer = self
            .rooms
            .open_direct(open)
            .await
            .context("cannot open a direct room")?;
        made(answer.into_inner().room)
    }
}

fn made(room: Option<RoomSummary>) -> anyhow::Result<i64> {
    Ok(room.context("an answer without a room")?.room_id)
}

fn handle(user: usize) -> String {
    format!("bench_{user}")
}

async fn connect(address: SocketAddr) -> anyhow::Result<Channel> {
    let endpoint = Channel::from_shared(format!("http://{address}")).context("an address")?;
    endpoint
        .connect()
        .await
        .context("cannot connect to the node")
}
