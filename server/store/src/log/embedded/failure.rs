//! Whether the store has failed: once it has, it stays so.

use fjall::Error;
use tokio::sync::watch;

use super::super::StoreError;

/// Why the store failed, if it did.
#[derive(Clone, Debug)]
pub(super) struct Failure(watch::Sender<Option<String>>);

impl Failure {
    pub(super) fn none() -> Self {
        Self(watch::Sender::new(None))
    }

    /// The error that every write now gets.
    pub(super) fn get(&self) -> Option<StoreError> {
        self.0.borrow().clone().map(StoreError::Failed)
    }

    /// Marks the store as failed, if it is not yet, and says why it is.
    pub(super) fn set(&self, why: String) -> StoreError {
        let first = self.0.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| why.clone());
            first
        });
        if first {
            tracing::error!("the log store failed: {why}");
        }
        self.get().unwrap_or(StoreError::Failed(why))
    }

    /// Waits until the store has failed.
    pub(super) async fn wait(&self) -> String {
        let mut failure = self.0.subscribe();
        let failed = failure.wait_for(Option::is_some).await;
        failed
            .ok()
            .and_then(|failure| failure.clone())
            .expect("the sender lives in self, and a value was waited for")
    }

    /// What an error of the storage engine means to a reader: damage is told to who asked for it;
    /// everything else ends the store.
    pub(super) fn of_read(&self, error: &Error) -> StoreError {
        match error {
            Error::Storage(fjall_error) if !is_io(fjall_error) => {
                StoreError::Damaged(format!("a row cannot be read: {error}"))
            }
            _ => self.set(format!("reading failed: {error}")),
        }
    }
}

/// The storage engine's errors hold errors of the system as their source.
fn is_io(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .source()
        .is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}
