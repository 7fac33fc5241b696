//! A disk that is full, slow or broken.

use super::*;

/// A disk that does as it is told.
#[derive(Debug, Default)]
struct Fake {
    full: AtomicBool,
    broken: AtomicBool,
    /// While true, syncs wait.
    stuck: Mutex<bool>,
    moved: Condvar,
    syncs: AtomicU64,
}

#[derive(Debug)]
struct Handle(Arc<Fake>);

impl Device for Handle {
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(if self.0.full.load(SeqCst) {
            99
        } else {
            u64::MAX
        })
    }

    fn before_sync(&self) -> io::Result<()> {
        let mut stuck = self.0.stuck.lock().unwrap();
        self.0.syncs.fetch_add(1, SeqCst);
        self.0.moved.notify_all();
        while *stuck {
            stuck = self.0.moved.wait(stuck).unwrap();
        }
        if self.0.broken.load(SeqCst) {
            return Err(io::Error::other("input/output error"));
        }
        Ok(())
    }
}

impl Fake {
    fn stick(&self, stuck: bool) {
        *self.stuck.lock().unwrap() = stuck;
        self.moved.notify_all();
    }

    /// Waits until that many syncs were begun.
    fn wait_for_sync(&self, count: u64) {
        let mut stuck = self.stuck.lock().unwrap();
        while self.syncs.load(SeqCst) < count {
            stuck = self.moved.wait(stuck).unwrap();
        }
    }
}

fn open_on_fake() -> (TempDir, Embedded, Arc<Fake>) {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let device = Box::new(Handle(Arc::clone(&fake)));
    let store = Embedded::open_on(dir.path(), &options(), device).unwrap();
    (dir, store, fake)
}

/// A store whose writer is within the sync of row 1.
fn open_stuck() -> (TempDir, Embedded, Arc<Fake>, StoreFuture<()>) {
    let (dir, store, fake) = open_on_fake();
    let syncs = fake.syncs.load(SeqCst);
    fake.stick(true);
    let first = store.write(row(1));
    fake.wait_for_sync(syncs + 1);
    (dir, store, fake, first)
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let (_dir, store, fake) = open_on_fake();
    wait(store.write(row(1))).unwrap();
    fake.full.store(true, SeqCst);
    for _ in 0..3 {
        let error = wait(store.write(row(2))).unwrap_err();
        let StoreError::Full {
            free_bytes,
            needed_bytes,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(free_bytes, 99);
        assert_eq!(needed_bytes, 3 * options().memtable_bytes);
    }
    assert_eq!(
        seqs(&store),
        [1],
        "reading goes on, and nothing was written"
    );
    fake.full.store(false, SeqCst);
    wait(store.write(row(3))).unwrap();
    assert_eq!(seqs(&store), [1, 3]);
    assert_eq!(store.counters().writes_refused_full, 3);
}

#[test]
fn after_an_error_of_the_sync_nothing_is_tried_again() {
    let (dir, store, fake, first) = open_stuck();
    let mut present = vec![first];
    present.extend((2..5).map(|seq| store.write(row(seq))));
    fake.broken.store(true, SeqCst);
    let syncs = fake.syncs.load(SeqCst);
    fake.stick(false);
    for write in present {
        let error = wait(write).unwrap_err();
        assert!(matches!(error, StoreError::Failed(_)), "{error}");
    }
    let why = wait(store.failed());
    assert!(why.contains("input/output error"), "{why}");

    fake.broken.store(false, SeqCst);
    let later = wait(store.write(row(9))).unwrap_err();
    assert!(matches!(later, StoreError::Failed(_)), "{later}");
    assert_eq!(
        fake.syncs.load(SeqCst),
        syncs,
        "the one that failed was the last"
    );

    drop(store);
    let store = open(dir.path());
    assert_eq!(store.epoch(), Epoch(2), "a new start goes on");
    wait(store.write(row(10))).unwrap();
}

#[test]
fn writes_that_wait_share_a_sync() {
    let (_dir, store, fake, first) = open_stuck();
    let before = store.counters().fsyncs;
    let others: Vec<_> = (2..=256).map(|seq| store.write(row(seq))).collect();
    fake.stick(false);
    wait(first).unwrap();
    for write in others {
        wait(write).unwrap();
    }
    assert_eq!(store.counters().fsyncs - before, 2);
    assert_eq!(store.counters().writes, 256);
    assert_eq!(seqs(&store).len(), 256);
}

#[test]
fn a_row_is_not_shown_before_it_is_durable() {
    let (_dir, store, fake, first) = open_stuck();
    assert_eq!(seqs(&store), []);
    fake.stick(false);
    wait(first).unwrap();
    assert_eq!(seqs(&store), [1]);
}

#[test]
fn a_full_queue_holds_writes_back() {
    let (_dir, store, fake, first) = open_stuck();
    let large = |seq| {
        let bytes = limits::WRITES_QUEUED_BYTES_MAX as usize / 2;
        let place = Seq::new(seq).unwrap();
        let body = Row::Body(room(), place, Epoch(1), Bytes::from(vec![1; bytes]));
        let mut rows = row(seq);
        rows.push(body);
        rows
    };
    let queued = store.write(large(2));
    let held_back = store.write(large(3));
    let never_begun = store.write(large(4));
    assert_eq!(store.counters().writes_queued, 2);
    drop(never_begun);
    fake.stick(false);
    for write in [first, queued, held_back] {
        wait(write).unwrap();
    }
    assert_eq!(seqs(&store), [1, 2, 3]);
}

#[test]
fn closing_writes_what_waits() {
    let (dir, store, fake, first) = open_stuck();
    let second = store.write(row(2));
    fake.stick(false);
    drop(store);
    wait(first).unwrap();
    wait(second).unwrap();
    assert_eq!(seqs(&open(dir.path())), [1, 2]);
}
