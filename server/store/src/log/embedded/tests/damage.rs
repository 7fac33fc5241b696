//! Files that were cut or changed while no process had them open.

use std::ops::RangeInclusive;

use super::*;

/// A closed store in which these seqs were answered, one batch each, after the batch of the epoch.
fn closed_store(seqs: RangeInclusive<i64>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for seq in seqs {
        wait(store.write(row(seq))).unwrap();
    }
    dir
}

fn journal(dir: &Path) -> PathBuf {
    dir.join("rows/0.jnl")
}

/// Cuts so many bytes from the end of the journal's data, and the zeros behind.
fn cut_journal(dir: &Path, cut: usize) {
    let bytes = fs::read(journal(dir)).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let file = File::options().write(true).open(journal(dir)).unwrap();
    file.set_len((end - cut) as u64).unwrap();
}

fn refused(dir: &Path) -> OpenError {
    Embedded::open(dir, options()).unwrap_err()
}

#[test]
fn a_torn_tail_that_was_not_answered_is_cut() {
    let dir = closed_store(1..=3);
    let watermark = dir.path().join("watermark");
    let then = fs::read(&watermark).unwrap();
    let store = open(dir.path());
    drop(store.write(row(4)));
    drop(store);
    // As if the machine had stopped within the last write, before the watermark was due.
    fs::write(&watermark, then).unwrap();
    cut_journal(dir.path(), 10);

    let store = open(dir.path());
    assert_eq!(seqs(&store), [1, 2, 3]);
    assert_eq!(store.epoch(), Epoch(3));
    wait(store.write(row(4))).unwrap();
    drop(store);
    assert_eq!(seqs(&open(dir.path())), [1, 2, 3, 4]);
}

#[test]
fn answered_writes_that_are_cut_off_are_missed() {
    let dir = closed_store(1..=20);
    cut_journal(dir.path(), 10);
    // A second start must not take the rest for the whole.
    for _ in 0..2 {
        let error = refused(dir.path());
        let OpenError::Missing {
            missing, written, ..
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((missing, written), (1, 21));
        assert!(error.to_string().contains("batches 21 to 21"), "{error}");
    }
}

#[test]
fn a_journal_that_is_gone_is_missed() {
    let dir = closed_store(1..=5);
    fs::remove_file(journal(dir.path())).unwrap();
    let error = refused(dir.path());
    assert!(
        matches!(error, OpenError::Missing { missing: 6, .. }),
        "{error}"
    );
}

#[test]
fn files_that_are_gone_are_missed() {
    for file in ["about", "watermark", "rows"] {
        let dir = closed_store(1..=2);
        let path = dir.path().join(file);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        let error = refused(dir.path());
        let told = matches!(error, OpenError::Damaged { .. } | OpenError::Missing { .. });
        assert!(told, "{file}: {error}");
    }
}

#[test]
fn a_flipped_bit_is_never_served_silently() {
    let dir = closed_store(1..=12);
    cut_journal(dir.path(), 0);
    let whole = fs::read(journal(dir.path())).unwrap();
    let expected: Vec<i64> = (1..=12).collect();
    let mut noticed = 0;
    for position in (0..whole.len()).step_by(whole.len() / 60) {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let mut bytes = whole.clone();
        bytes[position] ^= 1 << (position % 8);
        fs::write(journal(copy.path()), bytes).unwrap();
        match Embedded::open(copy.path(), options()) {
            Ok(store) => assert_eq!(seqs(&store), expected, "flipped at {position}"),
            Err(error) => {
                let told = matches!(error, OpenError::Damaged { .. } | OpenError::Missing { .. });
                assert!(told, "{error}");
                noticed += 1;
            }
        }
    }
    assert!(noticed > 30, "most flips are noticed: {noticed}");
}

#[test]
fn a_hole_before_the_last_batch_is_missed() {
    let dir = closed_store(1..=9);
    {
        let db = Database::builder(dir.path().join("rows")).open().unwrap();
        let rows = db.keyspace("rows", KeyspaceCreateOptions::default);
        rows.unwrap().remove(batches::row(4).0).unwrap();
    }
    let error = refused(dir.path());
    let OpenError::Missing {
        missing, written, ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((missing, written), (1, 10));
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
