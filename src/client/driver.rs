//! The task of a session: it moves bytes, time and randomness between the machine and the world.

use tokio::sync::{mpsc, oneshot};

use crate::client::{
    api::Api,
    event::{SendError, Sent},
    pending::{Draft, PendingSend},
    progress::Delivery,
    session::{SessionOptions, Shared},
};

/// What a handle asks of the task.
#[derive(Debug)]
pub(crate) enum Command {
    Send {
        draft: Draft,
        queued: oneshot::Sender<Result<(), SendError>>,
        outcome: Option<oneshot::Sender<Result<Sent, SendError>>>,
    },
    MarkRead {
        room_id: i64,
        seq: i64,
    },
    MarkDelivered {
        room_id: i64,
        seq: i64,
    },
    Typing {
        room_id: i64,
    },
    Watch {
        user_ids: Vec<i64>,
    },
    Idle {
        idle: bool,
    },
    Reconnect,
    Bye,
    Pending(oneshot::Sender<Vec<PendingSend>>),
}

/// What the task starts with.
pub(crate) struct Start {
    pub(crate) api: Api,
    pub(crate) options: SessionOptions,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: mpsc::Sender<Delivery>,
    pub(crate) shared: std::sync::Arc<Shared>,
}

pub(crate) fn spawn(_start: Start) {
    tokio::spawn(async move {});
}
