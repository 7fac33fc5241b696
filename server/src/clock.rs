//! The node's clocks, read in one place and handed on.

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

use magpie_core::time::{Instant as CoreInstant, Now, Timestamp};

/// Tells the time. Cheap to clone; tests hand in one of their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Now + Send + Sync>);

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        let start = Instant::now();
        Self::from_fn(move || Now {
            instant: CoreInstant(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)),
            wall: wall(),
        })
    }

    /// A clock that the caller drives.
    pub fn from_fn(now: impl Fn() -> Now + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    pub fn now(&self) -> Now {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

fn wall() -> Timestamp {
    // A clock before 1970 is wrong, and as good as one that says 1970.
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
