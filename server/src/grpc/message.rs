//! `MessageService`: sending, marking and reading.

use magpie::v1;
use magpie_core::{
    command::{Answer, Submit},
    entry::Body,
    owner::{Query, View},
    refusal::Refusal,
    rows::Marks,
};
use prost::Message;
use tonic::{Request, Response, Status};

use super::{
    api, convert, requests,
    services::{Services, caller, refused, unfitting},
};

#[tonic::async_trait]
impl api::MessageService for Services {
    async fn send_message(
        &self,
        request: Request<v1::SendMessageRequest>,
    ) -> Result<Response<v1::SendMessageResponse>, Status> {
        let caller = caller(&request)?;
        let submit = requests::send(caller, request.get_ref()).map_err(refused)?;
        match self.command(submit).await? {
            Answer::Appended { seq, time, .. } => Ok(Response::new(v1::SendMessageResponse {
                seq: seq.get(),
                create_time: Some(convert::timestamp(time)),
            })),
            _ => Err(unfitting()),
        }
    }

    async fn mark_read(
        &self,
        request: Request<v1::MarkReadRequest>,
    ) -> Result<Response<v1::MarkReadResponse>, Status> {
        let caller = caller(&request)?;
        let marks = mark(self, requests::mark_read(caller, request.into_inner())).await?;
        Ok(Response::new(v1::MarkReadResponse {
            read_seq: marks.read.get(),
        }))
    }

    async fn mark_delivered(
        &self,
        request: Request<v1::MarkDeliveredRequest>,
    ) -> Result<Response<v1::MarkDeliveredResponse>, Status> {
        let caller = caller(&request)?;
        let marks = mark(self, requests::mark_delivered(caller, request.into_inner())).await?;
        Ok(Response::new(v1::MarkDeliveredResponse {
            delivered_seq: marks.delivered.get(),
        }))
    }

    async fn send_typing(
        &self,
        request: Request<v1::SendTypingRequest>,
    ) -> Result<Response<v1::SendTypingResponse>, Status> {
        let caller = caller(&request)?;
        let submit = requests::typing(caller, request.into_inner()).map_err(refused)?;
        self.command(submit).await?;
        Ok(Response::new(v1::SendTypingResponse {}))
    }

    async fn list_messages(
        &self,
        request: Request<v1::ListMessagesRequest>,
    ) -> Result<Response<v1::ListMessagesResponse>, Status> {
        let caller = caller(&request)?;
        let (room, query) = requests::list_messages(request.get_ref()).map_err(refused)?;
        let View::Messages(page) = self.view(caller, room, query).await? else {
            return Err(unfitting());
        };
        Ok(Response::new(v1::ListMessagesResponse {
            messages: page
                .messages
                .iter()
                .map(|m| convert::message_state(room, m))
                .collect(),
            after_seq: page.after.get(),
            through_seq: page.through.get(),
            as_of_seq: page.as_of.get(),
        }))
    }

    async fn list_entries(
        &self,
        request: Request<v1::ListEntriesRequest>,
    ) -> Result<Response<v1::ListEntriesResponse>, Status> {
        let caller = caller(&request)?;
        let (room, query) = requests::list_entries(request.into_inner()).map_err(refused)?;
        let View::Entries(page) = self.view(caller, room, query).await? else {
            return Err(unfitting());
        };
        Ok(Response::new(v1::ListEntriesResponse {
            entries: page
                .entries
                .iter()
                .map(|entry| convert::entry(room, entry))
                .collect(),
            after_seq: page.after.get(),
            through_seq: page.through.get(),
            as_of_seq: page.as_of.get(),
        }))
    }

    async fn get_message(
        &self,
        request: Request<v1::GetMessageRequest>,
    ) -> Result<Response<v1::GetMessageResponse>, Status> {
        let caller = caller(&request)?;
        let get = request.into_inner();
        let room = requests::room(get.room_id).map_err(refused)?;
        let seq = requests::seq_of("seq", get.seq).map_err(refused)?;
        let View::Message {
            entry,
            whole,
            as_of,
        } = self.view(caller, room, Query::Message(seq)).await?
        else {
            return Err(unfitting());
        };
        let mut state = convert::message_state(room, &entry);
        if let (Some(whole), Body::Message(_), Some(entry)) =
            (whole, &entry.body, state.entry.as_mut())
        {
            let message = v1::Message::decode(whole).map_err(|_| unfitting())?;
            entry.body = Some(v1::entry::Body::Message(message));
        }
        let as_of_seq = as_of.get();
        Ok(Response::new(v1::GetMessageResponse {
            message: Some(state),
            as_of_seq,
        }))
    }
}

async fn mark(services: &Services, submit: Result<Submit, Refusal>) -> Result<Marks, Status> {
    match services.command(submit.map_err(refused)?).await? {
        Answer::Marks(marks) => Ok(marks),
        _ => Err(unfitting()),
    }
}
