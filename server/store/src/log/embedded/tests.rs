//! The store over its life: opened, written, damaged, full, failed, and opened again.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
};

use fjall::{Database, KeyspaceCreateOptions};
use magpie_core::time::Timestamp;
use tempfile::TempDir;

use super::{super::conformance, watermark::Watermark, *};
use crate::log::conformance::message;

mod damage;
mod faults;

/// Waits for a future without any runtime, as a store's user may.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result;
        }
        thread::park();
    }
}

fn room() -> RoomId {
    RoomId::new(1).unwrap()
}

/// Small buffers, so that tests are quick; the disk of the machine may be nearly full.
fn options() -> Options {
    Options {
        free_bytes_min: 0,
        cache_bytes: 1024 * 1024,
        memtable_bytes: 1024 * 1024,
    }
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, options()).unwrap()
}

fn row(seq: i64) -> Vec<Row> {
    vec![Row::Entry(
        room(),
        message(seq, 1, &format!("message {seq}")),
    )]
}

/// The seqs of the entries that are there.
fn seqs(store: &Embedded) -> Vec<i64> {
    let entries = wait(store.entries(room(), Span::above(Seq::ZERO))).unwrap();
    entries
        .iter()
        .map(|stored| stored.entry.seq.get())
        .collect()
}

#[test]
fn it_does_what_every_log_store_does() {
    let dir = tempfile::tempdir().unwrap();
    wait(conformance::check(&open(dir.path())));
}

#[tokio::test]
async fn it_works_in_a_runtime_too() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn LogStore> = Arc::new(open(dir.path()));
    conformance::check(&*store).await;
}

#[test]
fn a_new_start_finds_everything_under_a_higher_epoch() {
    let dir = tempfile::tempdir().unwrap();
    for start in 1..=4 {
        let store = open(dir.path());
        assert_eq!(store.epoch(), Epoch(start));
        assert_eq!(store.generation(), 1);
        let before: Vec<i64> = (1..i64::try_from(start).unwrap()).collect();
        assert_eq!(seqs(&store), before);
        wait(store.write(row(i64::try_from(start).unwrap()))).unwrap();
    }
}

#[test]
fn rows_survive_the_move_from_the_journal_into_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let text = "x".repeat(10_000);
    let writes: Vec<_> = (1..=600)
        .map(|seq| store.write(vec![Row::Entry(room(), message(seq, 1, &text))]))
        .collect();
    for write in writes {
        wait(write).unwrap();
    }
    drop(store);
    let store = open(dir.path());
    assert_eq!(seqs(&store), (1..=600).collect::<Vec<_>>());
}

#[test]
fn only_one_may_have_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = Embedded::open(dir.path(), options()).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    assert!(matches!(
        new_generation(dir.path(), Timestamp(0)),
        Err(OpenError::InUse { .. })
    ));
    drop(first);
    assert_eq!(
        open(dir.path()).epoch(),
        Epoch(2),
        "the refused one took no epoch"
    );
}

#[test]
fn a_new_generation_is_seen_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let at = |time| new_generation(dir.path(), Timestamp(time));
    let absent = at(1_000);
    assert!(matches!(absent, Err(OpenError::Absent { .. })));
    drop(open(dir.path()));
    assert_eq!(at(1_000).unwrap(), 1_000);
    // A clock that was set back makes none come twice either.
    assert_eq!(at(500).unwrap(), 1_001);
    assert_eq!(open(dir.path()).generation(), 1_001);
}

#[test]
fn a_start_that_was_cut_off_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("watermark"), []).unwrap();
    drop(open(dir.path()));

    let other = tempfile::tempdir().unwrap();
    for file in ["about", "watermark"] {
        fs::copy(dir.path().join(file), other.path().join(file)).unwrap();
    }
    Watermark::create(&other.path().join("watermark")).unwrap();
    fs::create_dir(other.path().join("rows")).unwrap();
    fs::write(other.path().join("rows/0.jnl"), []).unwrap();
    assert_eq!(open(other.path()).epoch(), Epoch(1));
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Embedded::open(&file.join("log"), options()).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }));
    assert_eq!(
        error.to_string(),
        format!("cannot create the directory {}", file.join("log").display())
    );
}

#[test]
fn what_a_newer_version_wrote_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let about = dir.path().join("about");
    fs::write(&about, "magpie log store\nformat 2\nsomething else\n").unwrap();
    for error in [
        Embedded::open(dir.path(), options()).unwrap_err(),
        new_generation(dir.path(), Timestamp(1_000)).unwrap_err(),
    ] {
        let newer = matches!(
            error,
            OpenError::Newer {
                found: 2,
                known: 1,
                ..
            }
        );
        assert!(newer, "{error}");
    }
}

#[test]
fn a_write_goes_on_when_its_future_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    drop(store.write(row(1)));
    wait(store.write(row(2))).unwrap();
    assert_eq!(seqs(&store), [1, 2]);
    let counters = store.counters();
    assert_eq!(
        (counters.writes, counters.rows, counters.writes_queued),
        (2, 2, 0)
    );
}
