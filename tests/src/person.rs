//! One device of one account: the unary calls that tests make as somebody.

use magpie::v1::{
    CreateRoomRequest, Credentials, Entry, GetRoomRequest, InviteMembersRequest,
    InviteMembersResponse, LeaveRoomRequest, ListEntriesRequest, ListEntriesResponse,
    MarkReadRequest, OpenDirectRequest, RefreshTokenRequest, RemoveMemberRequest, RoomSummary,
    SendMessageRequest, SendMessageResponse, open_direct_request::Peer,
};
use tonic::{Request, Status};

use crate::api::{Api, new_id};

/// A device that is logged in.
#[derive(Clone, Debug)]
pub struct Person {
    /// Its connection.
    pub api: Api,
    /// The account's handle.
    pub handle: String,
    /// The account.
    pub user_id: i64,
    /// What the device was given.
    pub credentials: Credentials,
}

impl Person {
    /// A device with the credentials it was given.
    pub fn new(api: Api, handle: &str, credentials: Credentials) -> Self {
        let user_id = credentials.user_id;
        Self {
            api,
            handle: handle.to_owned(),
            user_id,
            credentials,
        }
    }

    /// The same device over another connection.
    #[must_use]
    pub fn over(&self, api: Api) -> Self {
        Self {
            api,
            ..self.clone()
        }
    }

    /// The same device with the next credentials.
    ///
    /// # Errors
    /// The node's refusal.
    ///
    /// # Panics
    /// When the answer holds none.
    pub async fn renewed(&self) -> Result<Self, Status> {
        let request = RefreshTokenRequest {
            refresh_token: self.credentials.refresh_token.clone(),
        };
        let answer = self.api.auth().refresh_token(request).await?.into_inner();
        let credentials = answer.credentials.expect("RefreshToken answers with them");
        Ok(Self::new(self.api.clone(), &self.handle, credentials))
    }

    /// A request that carries this device's access token.
    ///
    /// # Panics
    /// When the token is no metadata value, which would be the node's fault.
    pub fn asks<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let value = format!("Bearer {}", self.credentials.access_token);
        let value = value.parse().expect("an access token is a metadata value");
        request.metadata_mut().insert("authorization", value);
        request
    }

    /// Creates a group and returns its id.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn create_room(&self, title: &str) -> i64 {
        let request = CreateRoomRequest {
            client_message_id: new_id(),
            title: title.to_owned(),
        };
        let answer = self.api.rooms().create_room(self.asks(request)).await;
        let room = answer.expect("a room is created").into_inner().room;
        room.expect("CreateRoom answers with the room").room_id
    }

    /// Creates a group with these people in it.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn room_with(&self, title: &str, people: &[&Self]) -> i64 {
        let room = self.create_room(title).await;
        self.invite(room, people).await;
        room
    }

    /// Adds people to a group.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn invite(&self, room_id: i64, people: &[&Self]) -> InviteMembersResponse {
        let handles = people.iter().map(|person| person.handle.clone()).collect();
        let request = InviteMembersRequest {
            client_message_id: new_id(),
            room_id,
            handles,
            after_seq: None,
        };
        let answer = self.api.rooms().invite_members(self.asks(request)).await;
        answer.expect("an invitation is granted").into_inner()
    }

    /// Opens the direct room with somebody and returns its id.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn open_direct(&self, peer: &Self) -> i64 {
        let request = OpenDirectRequest {
            peer: Some(Peer::Handle(peer.handle.clone())),
        };
        let answer = self.api.rooms().open_direct(self.asks(request)).await;
        let room = answer.expect("a direct room opens").into_inner().room;
        room.expect("OpenDirect answers with the room").room_id
    }

    /// Leaves a group.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn leave(&self, room_id: i64) -> Result<i64, Status> {
        let request = LeaveRoomRequest {
            client_message_id: new_id(),
            room_id,
            after_seq: None,
        };
        let answer = self.api.rooms().leave_room(self.asks(request)).await?;
        Ok(answer.into_inner().seq)
    }

    /// Removes somebody from a group.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn remove(&self, room_id: i64, user_id: i64) -> Result<i64, Status> {
        let request = RemoveMemberRequest {
            client_message_id: new_id(),
            room_id,
            user_id,
            after_seq: None,
        };
        let answer = self.api.rooms().remove_member(self.asks(request)).await?;
        Ok(answer.into_inner().seq)
    }

    /// Sends a message under a new id.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn send(&self, room_id: i64, text: &str) -> Result<SendMessageResponse, Status> {
        self.send_request(message(room_id, text)).await
    }

    /// Sends a message as it stands.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn send_request(
        &self,
        request: SendMessageRequest,
    ) -> Result<SendMessageResponse, Status> {
        let answer = self.api.messages().send_message(self.asks(request)).await?;
        Ok(answer.into_inner())
    }

    /// Moves the read mark, and returns where it is.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn mark_read(&self, room_id: i64, seq: i64) -> Result<i64, Status> {
        let request = MarkReadRequest { room_id, seq };
        let answer = self.api.messages().mark_read(self.asks(request)).await?;
        Ok(answer.into_inner().read_seq)
    }

    /// The room as this account sees it.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn summary(&self, room_id: i64) -> Result<RoomSummary, Status> {
        let request = GetRoomRequest { room_id };
        let answer = self
            .api
            .rooms()
            .get_room(self.asks(request))
            .await?
            .into_inner();
        Ok(answer.room.expect("GetRoom answers with the room"))
    }

    /// One page of entries.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn entries_page(
        &self,
        room_id: i64,
        after_seq: i64,
    ) -> Result<ListEntriesResponse, Status> {
        let request = ListEntriesRequest {
            room_id,
            after_seq,
            page_size: 0,
        };
        let answer = self.api.messages().list_entries(self.asks(request)).await?;
        Ok(answer.into_inner())
    }

    /// The whole log of a room, as far as this account may see it.
    ///
    /// # Panics
    /// When a page is refused, or does not go on.
    pub async fn log(&self, room_id: i64) -> Vec<Entry> {
        let mut log = Vec::new();
        let mut after = 0;
        loop {
            let page = self
                .entries_page(room_id, after)
                .await
                .expect("a page is granted");
            log.extend(page.entries);
            if page.through_seq >= page.as_of_seq {
                return log;
            }
            assert!(page.through_seq > after, "a page that does not go on");
            after = page.through_seq;
        }
    }
}

/// A message under a new id.
pub fn message(room_id: i64, text: &str) -> SendMessageRequest {
    SendMessageRequest {
        room_id,
        client_message_id: new_id(),
        text: text.to_owned(),
        reply_to_seq: None,
        after_seq: None,
    }
}

/// The text of an entry that is a message.
pub fn text_of(entry: &Entry) -> Option<&str> {
    match &entry.body {
        Some(magpie::v1::entry::Body::Message(message)) => Some(&message.text),
        _ => None,
    }
}

/// The texts of the messages among entries.
pub fn texts_of(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .filter_map(text_of)
        .map(str::to_owned)
        .collect()
}
