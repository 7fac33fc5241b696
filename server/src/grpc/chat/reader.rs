//! Reads a client's frames. Never waits for anything but the client, so that nothing is left unread.

use magpie::v1::{self, client_frame::Frame};
use magpie_core::{
    command::Held,
    edge::{FrameIn, Input, Said},
    ids::SessionId,
    refusal::{Effect, Reason, Refusal},
};
use tonic::Status;

use super::{
    super::{requests, services::Services, status},
    incoming::Incoming,
};
use crate::{auth::Caller, edge::ToWorker};

/// Reads until the client has said all. That is not the session's end: a client may half-close and
/// listen on.
pub(super) async fn run(
    services: Services,
    caller: Caller,
    session: SessionId,
    mut incoming: Incoming,
) {
    loop {
        let input = match incoming.next().await {
            Ok(Some((frame, charge))) => {
                services.metrics.frames_received.inc();
                let request = frame.request_id;
                let mut said = said(&services, caller, frame.frame);
                if let (Ok(Said::Submit(submit)), Some(charge)) = (&mut said, charge) {
                    submit.held = Held::new(charge);
                }
                Input::Frame(session, FrameIn { request, said })
            }
            Ok(None) => return,
            Err(broken) => {
                if let Some(refusal) = refusal_of(&broken) {
                    let broken = Input::Broken(session, refusal);
                    services.router.to_session(session, ToWorker::Input(broken));
                }
                return;
            }
        };
        services.router.to_session(session, ToWorker::Input(input));
    }
}

/// What the client did wrong; none if the connection ended.
fn refusal_of(broken: &Status) -> Option<Refusal> {
    let error = status::error_of(broken)?;
    let reason = match error.reason() {
        v1::Reason::TooLarge => Reason::TooLarge,
        v1::Reason::Overloaded => Reason::Overloaded,
        _ => Reason::Undecodable,
    };
    Some(Refusal::new(reason, error.message).with_effect(Effect::Unknown))
}

fn said(services: &Services, caller: Caller, frame: Option<Frame>) -> Result<Said, Refusal> {
    let submit = match frame {
        None => {
            let why = "the frame holds nothing that this server knows; it may be too old for you";
            return Err(Refusal::new(Reason::UnknownFrame, why));
        }
        Some(Frame::Hello(_)) => {
            let why = "the session is open; a second Hello needs a new stream";
            return Err(Refusal::new(Reason::FrameOutOfOrder, why));
        }
        Some(Frame::Heartbeat(_)) => return Ok(Said::Heartbeat),
        Some(Frame::Bye(_)) => return Ok(Said::Bye),
        Some(Frame::Watch(watch)) => {
            return requests::watch(&watch, services.limits.session_watch_max);
        }
        Some(Frame::Idle(idle)) => return Ok(Said::Idle(idle.idle)),
        Some(Frame::RenewToken(renew)) => return renewed(services, caller, &renew),
        Some(Frame::SetStatus(set)) => return requests::set_status(set).map(Said::Ask),
        Some(Frame::GetPresence(get)) => return requests::get_presence(&get).map(Said::Ask),
        Some(Frame::SendMessage(send)) => requests::send(caller, &send)
            .map_err(|refusal| refusal.with_effect(Effect::AttemptNone))?,
        Some(Frame::MarkRead(mark)) => requests::mark_read(caller, mark)?,
        Some(Frame::MarkDelivered(mark)) => requests::mark_delivered(caller, mark)?,
        Some(Frame::SendTyping(typing)) => requests::typing(caller, typing)?,
    };
    Ok(Said::Submit(services.counted(submit)))
}

/// A newer access token of the same device.
pub(super) fn renewed(
    services: &Services,
    caller: Caller,
    renew: &v1::RenewToken,
) -> Result<Said, Refusal> {
    let now = services.clock.now().wall;
    let newer = services
        .authenticator
        .authenticate_token(&renew.access_token, now)?;
    if newer.device != caller.device {
        let why = "is of another device than the one that opened the session";
        return Err(Refusal::field("access_token", why));
    }
    Ok(Said::Renewed(newer.expires))
}
