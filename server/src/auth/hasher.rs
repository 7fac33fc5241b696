//! Password hashes: Argon2id, in a bounded number of threads, with equal work for users who do not
//! exist. Passwords come and go as secrets and are never kept.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use magpie_core::refusal::{Reason, Refusal};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::{argon2id, limits::OVERLOADED_RETRY_AFTER, password};

/// Hashes at the same time, for each core.
const HASHES_PER_CORE: usize = 2;

/// Makes and checks password hashes. Cheap to clone.
#[derive(Clone)]
pub struct Hasher {
    inner: Arc<Inner>,
}

struct Inner {
    /// Places for those being hashed.
    running: Semaphore,
    /// Places for those being hashed and those that wait.
    admitted: Semaphore,
    admitted_max: usize,
    /// What an unknown user's password is checked against.
    dummy: SecretString,
    done: AtomicU64,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("done", &self.done())
            .finish_non_exhaustive()
    }
}

impl Hasher {
    /// A hasher that lets `waiting_max` passwords wait. Computes one hash.
    pub fn new(waiting_max: u64) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let running = HASHES_PER_CORE * cores;
        let waiting = usize::try_from(waiting_max).unwrap_or(Semaphore::MAX_PERMITS);
        let admitted_max = running.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        let dummy_password: [u8; 32] = rand::random();
        Self {
            inner: Arc::new(Inner {
                running: Semaphore::new(running),
                admitted: Semaphore::new(admitted_max),
                admitted_max,
                dummy: argon2id::hash(&dummy_password),
                done: AtomicU64::new(0),
            }),
        }
    }

    /// The hash of a new password in PHC string format. Refused if it is easy to guess, with the
    /// names of its account in mind.
    pub async fn hash_new(
        &self,
        password: SecretString,
        names: Vec<String>,
    ) -> Result<SecretString, Refusal> {
        self.run(move || {
            password::check_strength(password.expose_secret(), &names)?;
            Ok(argon2id::hash(password.expose_secret().as_bytes()))
        })
        .await?
    }

    /// Whether the password has this hash. Without a hash the answer is no, after the same work.
    pub async fn verify(
        &self,
        password: SecretString,
        expected: Option<SecretString>,
    ) -> Result<bool, Refusal> {
        let inner = Arc::clone(&self.inner);
        self.run(move || {
            let known = expected.is_some();
            let expected = expected.as_ref().unwrap_or(&inner.dummy);
            let equal = argon2id::verify(password.expose_secret().as_bytes(), expected);
            equal.map(|equal| equal && known).ok_or_else(internal)
        })
        .await?
    }

    /// How many passwords were hashed since the start.
    pub fn done(&self) -> u64 {
        self.inner.done.load(Ordering::Relaxed)
    }

    /// How many passwords are hashed now, or wait for it.
    pub fn waiting(&self) -> usize {
        self.inner.admitted_max - self.inner.admitted.available_permits()
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let _admitted = self.inner.admitted.try_acquire().map_err(|_| {
            Refusal::new(
                Reason::Overloaded,
                "too many passwords are being checked: try again soon",
            )
            .with_retry_after(OVERLOADED_RETRY_AFTER)
        })?;
        // The work holds the place, so that a caller who goes away does not make room for another
        // thread beside a hash that still runs.
        let running = self.inner.running.acquire().await.map_err(|_| internal())?;
        running.forget();
        let place = Place(Arc::clone(&self.inner));
        let task = tokio::task::spawn_blocking(move || {
            let answer = work();
            place.0.done.fetch_add(1, Ordering::Relaxed);
            answer
        });
        task.await.map_err(|_| internal())
    }
}

/// A place among those being hashed, given back when dropped.
struct Place(Arc<Inner>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.add_permits(1);
    }
}

fn internal() -> Refusal {
    Refusal::new(
        Reason::Internal,
        "the password could not be checked: try again",
    )
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Condvar, Mutex, MutexGuard},
        time::Duration,
    };

    use super::*;

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    #[tokio::test]
    async fn a_password_has_its_own_hash_only() {
        let hasher = Hasher::new(50);
        let password = "lumpy walnut cadence";
        let hash = hasher
            .hash_new(secret(password), vec![])
            .await
            .expect("it is good");
        assert!(
            hash.expose_secret()
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        );
        assert_eq!(
            hasher.verify(secret(password), Some(hash.clone())).await,
            Ok(true)
        );
        assert_eq!(
            hasher
                .verify(secret("lumpy walnut"), Some(hash.clone()))
                .await,
            Ok(false)
        );
        let again = hasher
            .hash_new(secret(password), vec![])
            .await
            .expect("it is good");
        assert_ne!(again.expose_secret(), hash.expose_secret(), "salts differ");
    }

    #[tokio::test]
    async fn an_unknown_user_costs_a_hash_too() {
        let hasher = Hasher::new(50);
        assert_eq!(hasher.verify(secret("anything"), None).await, Ok(false));
        assert_eq!(hasher.done(), 1);
    }

    #[tokio::test]
    async fn more_passwords_than_may_wait_are_refused() {
        let hasher = Hasher::new(0);
        let running = hasher.inner.running.available_permits();
        let tries: Vec<_> = (0..running + 3)
            .map(|_| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.verify(secret("anything"), None).await })
            })
            .collect();
        let mut refused = 0;
        for attempt in tries {
            match attempt.await.expect("it ends") {
                Ok(equal) => assert!(!equal),
                Err(refusal) => {
                    assert_eq!(refusal.reason, Reason::Overloaded);
                    assert!(refusal.retry_after.is_some());
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 3);
        assert_eq!(
            hasher.inner.running.available_permits(),
            running,
            "all places are free again"
        );
        assert_eq!(hasher.verify(secret("anything"), None).await, Ok(false));
    }

    /// How long somebody who is too many may take to come.
    const LINGER: Duration = Duration::from_millis(20);

    /// How many pieces of work run at the same time, and how many did at the most.
    #[derive(Default)]
    struct Crowd {
        present: Mutex<(usize, usize)>,
        changed: Condvar,
    }

    impl Crowd {
        /// Stays until this many have been there together, and then while one more may yet come.
        fn meet(&self, many: usize) {
            let mut present = self.lock();
            present.0 += 1;
            present.1 = present.1.max(present.0);
            self.changed.notify_all();
            let present = self.while_most(present, Duration::from_secs(5), |most| most < many);
            let mut present = self.while_most(present, LINGER, |most| most <= many);
            present.0 -= 1;
        }

        fn while_most<'a>(
            &self,
            present: MutexGuard<'a, (usize, usize)>,
            patience: Duration,
            waits: impl Fn(usize) -> bool,
        ) -> MutexGuard<'a, (usize, usize)> {
            let waited = self
                .changed
                .wait_timeout_while(present, patience, |present| waits(present.1));
            waited.expect("nobody panics with it").0
        }

        fn lock(&self) -> MutexGuard<'_, (usize, usize)> {
            self.present.lock().expect("nobody panics with it")
        }
    }

    #[tokio::test]
    async fn no_more_passwords_are_hashed_at_once_than_there_are_places() {
        let hasher = Hasher::new(1_000);
        let places = hasher.inner.running.available_permits();
        let crowd = Arc::new(Crowd::default());
        let tries: Vec<_> = (0..8 * places)
            .map(|number| {
                let (hasher, crowd) = (hasher.clone(), Arc::clone(&crowd));
                let run = tokio::spawn(async move {
                    hasher.run(move || crowd.meet(places)).await.expect("run");
                });
                (number, run)
            })
            .collect();
        tokio::task::yield_now().await;
        let mut kept = Vec::new();
        for (number, run) in tries {
            // Callers who go away leave work behind that still counts.
            if number % 4 == 0 {
                run.abort();
            } else {
                kept.push(run);
            }
        }
        for run in kept {
            run.await.expect("it ends");
        }
        assert_eq!(crowd.lock().1, places, "at the same time");
    }
}
