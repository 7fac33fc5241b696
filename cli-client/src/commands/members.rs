//! Who is in a room: listing, adding, leaving, removing.

use magpie::v1::{
    InviteMembersRequest, InviteOutcome, InviteResult, LeaveRoomRequest, ListMembersRequest,
    Member, MemberRole, Reason, RemoveMemberRequest,
};
use serde_json::json;

use crate::{
    app::App,
    args::{Invite, Leave, Remove},
    commands::room::command_id,
    failure::{Exit, Failure, Result, reason_name},
    json,
    limits::{INVITED_MAX, PAGE_MEMBERS_MAX},
    link::Link,
    names::Names,
    output::Paint,
    render::Table,
    rooms::{self, Direct},
    text,
};

pub(crate) async fn list(app: &App, room: &str) -> Result<()> {
    let link = app.link()?;
    let room = rooms::resolve(&link, room, Direct::Find).await?;
    let members = all_members(&link, room.room_id).await?;
    let mut names = Names::default();
    names
        .learn(&link, members.iter().map(|member| member.user_id))
        .await?;
    if app.out.is_json() {
        for member in &members {
            app.out
                .line(&json::member(room.room_id, member, &names).to_string())?;
        }
        return Ok(());
    }
    let mut table = Table::new(app.out.paint(), &["HANDLE", "NAME", ""]);
    for member in &members {
        let owner = if member.role() == MemberRole::Owner {
            "owner"
        } else {
            ""
        };
        table.row([
            (names.handle(member.user_id), Paint::bold as _),
            (names.name(member.user_id), Paint::plain),
            (owner.to_owned(), Paint::dim),
        ]);
    }
    for line in table.lines() {
        app.out.line(&line)?;
    }
    Ok(())
}

pub(crate) async fn invite(app: &App, args: Invite) -> Result<()> {
    if args.handles.len() > INVITED_MAX {
        let why = format!("at most {INVITED_MAX} people are invited at once");
        return Err(Failure::usage(why).hint("nobody was invited: divide them among several calls"));
    }
    let link = app.link()?;
    let room = rooms::resolve(&link, &args.room.room, Direct::Find).await?;
    let id = command_id(&args.retry, Some(&room));
    let mut handles = Vec::new();
    for handle in args.handles {
        if !handles.contains(&handle) {
            handles.push(handle);
        }
    }
    let request = InviteMembersRequest {
        client_message_id: id.bytes(),
        room_id: room.room_id,
        handles,
        after_seq: id.after_seq,
    };
    let answer = link
        .command(id, args.retry.id.is_some(), |api| {
            let request = request.clone();
            async move { api.rooms().invite_members(request).await }
        })
        .await?;
    for result in &answer.results {
        app.out.done(
            || invited(result, &rooms::quoted(&room.title)),
            || {
                json!({
                    "type": "invitation",
                    "room_id": room.room_id.to_string(),
                    "handle": result.handle,
                    "user_id": (result.user_id > 0).then(|| result.user_id.to_string()),
                    "outcome": json::invite_outcome(result.outcome()),
                    "seq": (result.outcome() == InviteOutcome::Added).then_some(answer.seq),
                })
            },
        )?;
    }
    let is_in = |result: &&InviteResult| {
        matches!(
            result.outcome(),
            InviteOutcome::Added | InviteOutcome::AlreadyMember
        )
    };
    let (all, done) = (
        answer.results.len(),
        answer.results.iter().filter(is_in).count(),
    );
    if done == all {
        return Ok(());
    }
    let exit = if done == 0 {
        Exit::Refused
    } else {
        Exit::Partly
    };
    Err(Failure::new(
        exit,
        "NOT_ALL_INVITED",
        format!("{} of {all} could not be added", all - done),
    ))
}

pub(crate) async fn leave(app: &App, args: Leave) -> Result<()> {
    let link = app.link()?;
    let room = rooms::resolve(&link, &args.room.room, Direct::Find).await?;
    let id = command_id(&args.retry, Some(&room));
    let request = LeaveRoomRequest {
        client_message_id: id.bytes(),
        room_id: room.room_id,
        after_seq: id.after_seq,
    };
    let answer = link
        .command(id, args.retry.id.is_some(), |api| {
            let request = request.clone();
            async move { api.rooms().leave_room(request).await }
        })
        .await?;
    app.out.done(
        || format!("You left {}.", rooms::quoted(&room.title)),
        || json!({"type": "left", "room_id": room.room_id.to_string(), "seq": answer.seq}),
    )
}

pub(crate) async fn remove(app: &App, args: Remove) -> Result<()> {
    let link = app.link()?;
    let room = rooms::resolve(&link, &args.room.room, Direct::Find).await?;
    let user = rooms::find_user(&link, &args.handle).await?;
    let id = command_id(&args.retry, Some(&room));
    let request = RemoveMemberRequest {
        client_message_id: id.bytes(),
        room_id: room.room_id,
        user_id: user.user_id,
        after_seq: id.after_seq,
    };
    let answer = link
        .command(id, args.retry.id.is_some(), |api| {
            let request = request.clone();
            async move { api.rooms().remove_member(request).await }
        })
        .await
        .map_err(|failure| {
            let is_self = user.user_id == link.profile().user_id;
            if !is_self || failure.reason() != reason_name(Reason::InvalidField) {
                return failure;
            }
            let program = app.program(&link);
            failure
                .with_message("this is you; one leaves a room oneself".to_owned())
                .hint(format!(
                    "type `{program} leave {}`",
                    text::shell_word(&args.room.room)
                ))
        })?;
    app.out.done(
        || {
            format!(
                "Removed @{} from {}.",
                user.handle,
                rooms::quoted(&room.title)
            )
        },
        || {
            json!({
                "type": "removed",
                "room_id": room.room_id.to_string(),
                "user_id": user.user_id.to_string(),
                "seq": answer.seq,
            })
        },
    )
}

/// All present members of a room.
pub(crate) async fn all_members(link: &Link, room_id: i64) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListMembersRequest {
            room_id,
            page_size: PAGE_MEMBERS_MAX,
            page_token,
        };
        let page = link
            .read(|api| {
                let request = request.clone();
                async move { api.rooms().list_members(request).await }
            })
            .await?;
        members.extend(page.members);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(members);
        }
    }
}

fn invited(result: &InviteResult, title: &str) -> String {
    let handle = text::one_line(&result.handle);
    match result.outcome() {
        InviteOutcome::Added => format!("@{handle} is in {title} now."),
        InviteOutcome::AlreadyMember => format!("@{handle} was in {title} already."),
        InviteOutcome::UserNotFound => format!("@{handle}: nobody has this handle."),
        InviteOutcome::TooManyRooms => format!("@{handle} is in as many rooms as one may be."),
        InviteOutcome::NotAdded => {
            format!("@{handle} was not added under this id: invite again without --id.")
        }
        InviteOutcome::Unspecified => format!("@{handle}: no outcome that this version knows."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_of_an_invitation_has_its_words() {
        let said = |outcome: InviteOutcome| {
            let result = InviteResult {
                handle: "bob".to_owned(),
                outcome: outcome.into(),
                user_id: 2,
            };
            invited(&result, "“Tea”")
        };
        assert_eq!(said(InviteOutcome::Added), "@bob is in “Tea” now.");
        assert_eq!(
            said(InviteOutcome::UserNotFound),
            "@bob: nobody has this handle."
        );
    }
}
