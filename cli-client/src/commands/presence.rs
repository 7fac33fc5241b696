//! Who is there, and what one shows oneself.

use magpie::v1::{self, GetPresenceRequest, SetStatusRequest};

use crate::{
    app::App,
    args::Availability,
    clock::Clock,
    failure::Result,
    json,
    limits::{BATCH_USERS_MAX, STATUS_COLUMNS_MAX},
    names::Names,
    output::Paint,
    render::Table,
    rooms, text,
};

pub(crate) async fn get(app: &App, handles: &[String]) -> Result<()> {
    let link = app.link()?;
    let mut names = Names::default();
    let mut user_ids = Vec::new();
    for handle in handles {
        let user = rooms::find_user(&link, handle).await?;
        user_ids.push(user.user_id);
        names.insert(user);
    }
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
                .line(&json::presence(user_id, find(user_id), &names).to_string())?;
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
    names.learn(&link, [presence.user_id]).await?;
    app.out.say(
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
