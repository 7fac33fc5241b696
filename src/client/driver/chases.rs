//! The calls that fill gaps. Each is known by what it asks for, so that one that comes to nothing
//! gives its place back too. Knows neither rooms nor the stream.

use std::{collections::HashMap, future::Future};

use tokio::task::{Id, JoinSet};

use crate::{
    client::{error::Error, rooms::Ask},
    v1::ListEntriesResponse,
};

/// The answer to an ask.
pub(super) type Page = (Ask, Result<ListEntriesResponse, Error>);

/// The calls that are out: at most [`CHASES_MAX`](crate::client::limits::CHASES_MAX), since no more
/// are asked for.
#[derive(Debug, Default)]
pub(super) struct Chases {
    calls: JoinSet<Result<ListEntriesResponse, Error>>,
    asks: HashMap<Id, Ask>,
}

impl Chases {
    pub(super) fn start(
        &mut self,
        ask: Ask,
        call: impl Future<Output = Result<ListEntriesResponse, Error>> + Send + 'static,
    ) {
        let id = self.calls.spawn(call).id();
        self.asks.insert(id, ask);
    }

    /// The next answer; `None` where no call is out. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Page> {
        loop {
            let (id, page) = match self.calls.join_next_with_id().await? {
                Ok((id, page)) => (id, page),
                Err(error) => {
                    tracing::error!(%error, "a call that fills a gap came to nothing");
                    let lost = Error::Transport("the call came to nothing".to_owned());
                    (error.id(), Err(lost))
                }
            };
            if let Some(ask) = self.asks.remove(&id) {
                return Some((ask, page));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn call_that_panics_is_answered_as_one_that_failed() {
        let mut chases = Chases::default();
        let ask = Ask {
            room_id: 5,
            after_seq: 7,
            stream: 1,
        };
        chases.start(ask, async { panic!("as the test wishes") });
        let (asked, page) = chases.next().await.expect("an answer");
        assert_eq!(asked, ask);
        assert!(page.is_err_and(|error| error.is_transport()));
        assert!(chases.is_empty());
        assert!(chases.next().await.is_none());
    }
}
