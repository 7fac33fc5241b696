//! Sending, marking read, and one message whole.

use std::io::{self, IsTerminal, Read};

use magpie::v1::{self, GetMessageRequest, MarkReadRequest, SendMessageRequest, entry::Body};
use serde_json::json;

use crate::{
    app::App,
    args::Send,
    clock,
    commands::{
        history::beyond,
        room::{command_id, names_at_hand},
    },
    failure::{Failure, Result},
    json,
    limits::{STDIN_BYTES_MAX, TEXT_CHARACTERS_MAX},
    names::{self, Names},
    output::note,
    rooms::{self, Direct},
    text,
};

pub(crate) async fn send(app: &App, args: Send) -> Result<()> {
    let text = match args.text {
        Some(text) => text,
        None => from_stdin()?,
    };
    check_text(&text)?;
    let link = app.link()?;
    let room = rooms::resolve(&link, &args.room.room, Direct::Open)
        .await
        .map_err(|failure| failure.not_sent(args.retry.id.is_some()))?;
    let id = command_id(&args.retry, Some(&room));
    let request = SendMessageRequest {
        room_id: room.room_id,
        client_message_id: id.bytes(),
        text,
        reply_to_seq: args.reply_to,
        after_seq: id.after_seq,
    };
    let answer = link
        .command(id, args.retry.id.is_some(), |api| {
            let request = request.clone();
            async move { api.messages().send_message(request).await }
        })
        .await?;
    let names = names_at_hand(&link, &room).await;
    app.out.done(
        || format!("Sent to {} as {}.", rooms::title(&room, &names), answer.seq),
        || {
            json!({
                "type": "sent",
                "room_id": room.room_id.to_string(),
                "seq": answer.seq,
                "create_time": clock::rfc3339(answer.create_time.as_ref()),
                "client_message_id": id.id.to_string(),
            })
        },
    )
}

pub(crate) async fn read(app: &App, room: &str, seq: Option<i64>) -> Result<()> {
    let link = app.link()?;
    let room = rooms::resolve(&link, room, Direct::Find).await?;
    let request = MarkReadRequest {
        room_id: room.room_id,
        seq: seq.unwrap_or(room.head_seq),
    };
    let answer = link
        .read(|api| async move { api.messages().mark_read(request).await })
        .await
        .map_err(|failure| beyond(failure, room.head_seq))?;
    let names = names_at_hand(&link, &room).await;
    app.out.done(
        || {
            format!(
                "Read {} up to {}.",
                rooms::title(&room, &names),
                answer.read_seq
            )
        },
        || {
            json!({
                "type": "read",
                "room_id": room.room_id.to_string(),
                "read_seq": answer.read_seq,
            })
        },
    )
}

pub(crate) async fn whole(app: &App, room: &str, seq: i64) -> Result<()> {
    let link = app.link()?;
    let room = rooms::resolve(&link, room, Direct::Find).await?;
    let request = GetMessageRequest {
        room_id: room.room_id,
        seq,
    };
    let answer = link
        .read(|api| async move { api.messages().get_message(request).await })
        .await?;
    let entry = answer
        .message
        .and_then(|message| message.entry)
        .ok_or_else(|| rooms::incomplete("GetMessage"))?;
    let mut names = Names::default();
    names.learn(&link, names::in_entry(&entry)).await?;
    if app.out.is_json() {
        return app.out.line(&json::entry(&entry, &names).to_string());
    }
    let paint = app.out.paint();
    let when = app.clock.full(entry.create_time.as_ref());
    app.out.line(&format!(
        "{}  {}",
        paint.bold(&names.full(entry.actor_user_id)),
        paint.dim(&format!("{when}  #{}{}", entry.seq, reply(&entry)))
    ))?;
    let Some(Body::Message(message)) = &entry.body else {
        return Err(rooms::incomplete("GetMessage"));
    };
    for line in text::lines(&message.text) {
        app.out.line(&line)?;
    }
    Ok(())
}

/// Refuses what the server would refuse, before anything is asked of it.
fn check_text(text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(Failure::usage(
            "there is nothing to send: the text is empty",
        ));
    }
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if length > TEXT_CHARACTERS_MAX as i64 {
        return Err(Failure::usage(format!(
            "the text has {} characters; a message has {} at most",
            text::count(length),
            text::count(TEXT_CHARACTERS_MAX as i64)
        )));
    }
    if text.contains('\0') {
        return Err(Failure::usage(
            "the text holds a NUL character, which no message may",
        ));
    }
    Ok(())
}

fn from_stdin() -> Result<String> {
    if io::stdin().is_terminal() {
        note("Write the message; Ctrl-D on a new line sends it, Ctrl-C does not.");
    }
    text_of(io::stdin().lock())
}

/// All of the input without one line end, which is the shell's and not the person's.
fn text_of(input: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    input.take(STDIN_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > STDIN_BYTES_MAX {
        return Err(Failure::usage(format!(
            "the text on stdin is longer than the {} characters of a message",
            text::count(TEXT_CHARACTERS_MAX as i64)
        )));
    }
    let mut text = String::from_utf8(bytes)
        .map_err(|_| Failure::usage("the text on stdin is not valid UTF-8"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn reply(entry: &v1::Entry) -> String {
    match &entry.body {
        Some(Body::Message(v1::Message {
            reply_to_seq: Some(seq),
            ..
        })) => format!("  ↳{seq}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn one_line_end_is_the_shells() {
        assert_eq!(text_of("hi\n".as_bytes()).unwrap(), "hi");
        assert_eq!(text_of("hi\r\n".as_bytes()).unwrap(), "hi");
        assert_eq!(text_of("hi\n\n".as_bytes()).unwrap(), "hi\n");
        assert_eq!(text_of(" a\n b ".as_bytes()).unwrap(), " a\n b ");
    }

    #[test]
    fn input_that_cannot_be_a_message_is_a_usage_error() {
        for bad in [&b"\xff"[..], &vec![b'x'; 400_003]] {
            assert_eq!(text_of(bad).unwrap_err().exit(), Exit::Usage);
        }
        assert!(check_text("").is_err());
        assert!(check_text("a\0b").is_err());
        assert!(check_text(&"é".repeat(100_000)).is_ok());
        let failure = check_text(&"é".repeat(100_001)).unwrap_err();
        assert!(failure.human().contains("100,001 characters"));
    }
}
