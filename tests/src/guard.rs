//! The bound that every test carries: a test that waits for ever says so instead.

use std::{future::Future, time::Duration};

/// How long a test may take that names no other bound.
pub const TEST_TIME_MAX: Duration = Duration::from_secs(30);

/// How long one awaited event may take. Far above what it needs on a busy machine with two cores.
pub const EVENT_TIME_MAX: Duration = Duration::from_secs(10);

/// Runs a test within [`TEST_TIME_MAX`].
///
/// # Panics
/// When the time is over.
pub async fn guarded(test: impl Future<Output = ()>) {
    guarded_for(TEST_TIME_MAX, test).await;
}

/// Runs a test within a bound of its own.
///
/// # Panics
/// When the time is over.
pub async fn guarded_for(bound: Duration, test: impl Future<Output = ()>) {
    // Boxed, since tests are large futures.
    if tokio::time::timeout(bound, Box::pin(test)).await.is_err() {
        panic!("the test took longer than {bound:?}");
    }
}

/// Waits for one event, which `what` names in the failure.
///
/// # Panics
/// When it does not happen within [`EVENT_TIME_MAX`].
pub async fn event<T>(what: &str, future: impl Future<Output = T>) -> T {
    event_within(EVENT_TIME_MAX, what, future).await
}

/// Waits for one event that has a bound of its own.
///
/// # Panics
/// When it does not happen within the bound.
pub async fn event_within<T>(bound: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(bound, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {bound:?}: {what}"),
    }
}
