//! A bot that answers each message with the same text (the preview of a long one) wherever it is
//! invited. What is an answer itself it leaves alone, so that two such bots do not talk for ever.
//!
//! `MAGPIE_PASSWORD=... cargo run -p magpie --example echo_bot -- http://127.0.0.1:7400 echo`

use std::{env, error::Error, sync::Arc};

use magpie::{
    client::{Api, Draft, Event, MemoryStore, SendError, Session, SessionOptions, Target},
    v1::{Entry, LogInRequest, Message, entry::Body},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(handle)) = (arguments.next(), arguments.next()) else {
        return Err("usage: echo_bot ADDRESS HANDLE, with the password in MAGPIE_PASSWORD".into());
    };
    let request = LogInRequest {
        handle,
        password: env::var("MAGPIE_PASSWORD")?,
        device_name: "echo bot".to_owned(),
    };
    // One that runs for long keeps things in files: see CredentialStore, Session::state and Outbox.
    let store = Arc::new(MemoryStore::default());
    let (api, _) = Api::log_in(Target::new(address), request, store).await?;
    let (session, mut events) = Session::open(&api, SessionOptions::default());
    let mut live = false;
    while let Some(event) = events.next().await {
        match event {
            // What was said before, or comes again after a restore, is none of its business.
            Event::CaughtUp => live = true,
            Event::CacheDropped { .. } => live = false,
            Event::Entry(entry) if live && entry.actor_user_id != api.user_id() => {
                answer(&session, *entry).await?;
            }
            Event::Ended { error: Some(error) } => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

async fn answer(session: &Session, entry: Entry) -> Result<(), Box<dyn Error>> {
    session.mark_read(entry.room_id, entry.seq).await.ok();
    if let Some(Body::Message(Message {
        text, reply_to_seq, ..
    })) = entry.body
        && reply_to_seq.is_none()
    {
        let draft = Draft::new(entry.room_id, text).replying_to(entry.seq);
        match session.post(draft).await {
            // Who asks faster than a room takes answers goes without.
            Ok(_) | Err(SendError::QueueFull | SendError::SessionEnded) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
