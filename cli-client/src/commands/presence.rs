//! Who is there, and what one shows oneself.

use magpie::v1::{self, GetPresenceRequest, SetStatusRequest};

use crate::{
    app::App,
    args::Availability,
    clock::Clock,
    failure::{Exit, Failure, Result, reason_name},
    json,
    limits::{BATCH_USERS_MAX, STATUS_COLUMNS_MAX},
    link::Link,
    names::Names,
    output::Paint,
    render::Table,
    rooms, text,
};

pub(crate) async fn get(app: &App, handles: &[String]) -> Result<()> {
    let link = app.link()?;
    let mut names = Names::default();
    let mut user_ids = Vec::new();
    let mut unknown = Vec::new();
    for handle in handles {
        match rooms::find_user(&link, handle).await {
            Ok(user) => {
                user_ids.push(user.user_id);
                names.insert(user);
            }
            Err(failure) if failure.reason() == reason_name(v1::Reason::UserNotFound) => {
                unknown.push(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    if !user_ids.is_empty() {
        print(app, &link, user_ids, &names).await?;
    }
    not_found(unknown, handles.len())
}

/// Says at the end whom there is not, so that one misspelt handle hides nobody else.
fn not_found(mut unknown: Vec<Failure>, asked: usize) -> Result<()> {
    if unknown.len() < 2 && asked < 2 {
        return unknown.pop().map_or(Ok(()), Err);
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let exit = if unknown.len() == asked {
        Exit::Refused
    } else {
        Exit::Partly
    };
    let said: Vec<String> = unknown.iter().map(Failure::to_string).collect();
    Err(Failure::new(exit, "NOT_ALL_FOUND", said.join("; ")))
}

async fn print(app: &App, link: &Link, user_ids: Vec<i64>, names: &Names) -> Result<()> {
    let mut presences = Vec::new();
    for batch in user_ids.chunks(BATCH_USERS_MAX) {
        let request = GetPresenceRequest {
            user_ids: batch.to_vec(),
        };
        let answer = link
            .read(|api| {
                let request = request.clone();
                async move { api.presence().get_presence(request).await }
            })
            .await?;
        presences.extend(answer.presences);
    }
    let find = |user_id: i64| {
        presences
            .iter()
            .find(|presence| presence.user_id == user_id)
    };
    if app.out.is_json() {
        for user_id in user_ids {
            app.out
                .line(&json::presence(user_id, find(user_id), names).to_string())?;
        }
        return Ok(());
    }
    let mut table = Table::new(app.out.paint(), &["WHO", "STATE", "STATUS"]);
    for user_id in user_ids {
        let (state, status) = said(find(user_id), &app.clock);
        table.row([
            (names.full(user_id), Paint::bold as _),
            (state, Paint::plain),
            (status, Paint::plain),
        ]);
    }
    for line in table.lines() {
        app.out.line(&line)?;
    }
    Ok(())
}

pub(crate) async fn set(
    app: &App,
    availability: Availability,
    status: Option<String>,
) -> Result<()> {
    let link = app.link()?;
    let availability = match availability {
        Availability::Available => v1::Availability::Available,
        Availability::Busy => v1::Availability::Busy,
    };
    let request = SetStatusRequest {
        availability: availability.into(),
        status_text: status,
    };
    let answer = link
        .read(|api| {
            let request = request.clone();
            async move { api.presence().set_status(request).await }
        })
        .await?;
    let presence = answer
        .presence
        .ok_or_else(|| rooms::incomplete("SetStatus"))?;
    let mut names = Names::default();
    // It is set, whether or not the name can be had.
    names.learn(&link, [presence.user_id]).await.ok();
    app.out.done(
        || {
            let shown = match availability {
                v1::Availability::Busy => "busy",
                v1::Availability::Available | v1::Availability::Unspecified => "available",
            };
            match presence.status_text.as_str() {
                "" => format!("You are {shown}."),
                status => format!("You are {shown}: {}", text::one_line(status)),
            }
        },
        || json::presence(presence.user_id, Some(&presence), &names),
    )
}

/// The state and the status text in words.
pub(crate) fn said(presence: Option<&v1::Presence>, clock: &Clock) -> (String, String) {
    let Some(presence) = presence else {
        let why = "you share no room, or the node was started a moment ago";
        return ("not visible".to_owned(), why.to_owned());
    };
    let mut state = json::presence_state(presence.state()).to_owned();
    let seen = clock.short(presence.last_seen_time.as_ref());
    if presence.state() == v1::PresenceState::Offline && !seen.is_empty() {
        state.push_str(&format!(" since {seen}"));
    }
    (
        state,
        text::snippet(&presence.status_text, STATUS_COLUMNS_MAX),
    )
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::clock;

    #[test]
    fn who_is_not_there_is_said_after_the_others() {
        let unknown = |count: usize| {
            let failure = || Failure::new(Exit::Refused, "USER_NOT_FOUND", "nobody has it");
            (0..count).map(|_| failure()).collect::<Vec<_>>()
        };
        assert!(not_found(unknown(0), 2).is_ok());
        assert_eq!(not_found(unknown(1), 2).unwrap_err().exit(), Exit::Partly);
        assert_eq!(not_found(unknown(2), 2).unwrap_err().exit(), Exit::Refused);
        let alone = not_found(unknown(1), 1).unwrap_err();
        assert_eq!(alone.reason(), "USER_NOT_FOUND");
    }

    #[test]
    fn offline_says_since_when() {
        let clock = Clock::fixed(TimeZone::UTC, "2026-11-24T12:00:00Z".parse().unwrap());
        let presence = v1::Presence {
            user_id: 2,
            state: v1::PresenceState::Offline.into(),
            status_text: "gone\x1b[2J".to_owned(),
            last_seen_time: Some(clock::to_wire("2026-11-24T10:02:00Z".parse().unwrap())),
        };
        let (state, status) = said(Some(&presence), &clock);
        assert_eq!(state, "offline since 10:02");
        assert_eq!(status, "gone␛[2J");
        assert_eq!(said(None, &clock).0, "not visible");
    }
}
