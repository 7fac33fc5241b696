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

/// After a power cut any part of the last write may have reached the disk.
#[test]
fn a_last_write_with_a_hole_in_it_is_cut() {
    let dir = closed_store(1..=3);
    let watermark = dir.path().join("watermark");
    let then = fs::read(&watermark).unwrap();
    let store = open(dir.path());
    let body = Bytes::from(vec![b'x'; 3000]);
    drop(store.write(vec![Row::Body(
        room(),
        Seq::new(4).unwrap(),
        Epoch(2),
        body,
    )]));
    drop(store);
    cut_journal(dir.path(), 0);
    let whole = fs::read(journal(dir.path())).unwrap();

    for hole in [100..200, 600..700, 2900..2950] {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        fs::write(copy.path().join("watermark"), &then).unwrap();
        let mut bytes = whole.clone();
        let begin = bytes.len() - 3000;
        bytes[begin + hole.start..begin + hole.end].fill(0);
        fs::write(journal(copy.path()), &bytes).unwrap();
        let store = open(copy.path());
        assert_eq!(seqs(&store), [1, 2, 3]);
        let body = wait(store.body(room(), Seq::new(4).unwrap(), Epoch(2)));
        assert_eq!(body.unwrap(), None);
    }

    // With a later write behind it, or once it was noted as durable, it is damage.
    let mut bytes = whole.clone();
    let place = bytes.len() - 2000;
    bytes[place..place + 50].fill(0);
    fs::write(journal(dir.path()), &bytes).unwrap();
    let error = refused(dir.path());
    assert!(
        matches!(error, OpenError::Missing { missing: 1, .. }),
        "{error}"
    );
    assert_eq!(
        fs::read(journal(dir.path())).unwrap(),
        bytes,
        "left as it is"
    );
}

#[test]
fn damage_before_whole_batches_is_left_as_it_is() {
    let dir = closed_store(1..=9);
    cut_journal(dir.path(), 0);
    // Even when all of it happened within the last second.
    Watermark::create(&dir.path().join("watermark")).unwrap();
    let mut watermark = Watermark::open(&dir.path().join("watermark"))
        .unwrap()
        .unwrap();
    watermark.advance(1).unwrap();
    let mut bytes = fs::read(journal(dir.path())).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40].fill(0);
    fs::write(journal(dir.path()), &bytes).unwrap();
    let error = refused(dir.path());
    assert!(
        error.to_string().contains("makes no sense from byte"),
        "{error}"
    );
    assert_eq!(fs::read(journal(dir.path())).unwrap(), bytes);
}

#[test]
fn damage_in_an_older_journal_is_refused() {
    let dir = closed_store(1..=9);
    let rows = dir.path().join("rows");
    let mut bytes = fs::read(journal(dir.path())).unwrap();
    fs::write(rows.join("1.jnl"), &bytes).unwrap();
    bytes[400] ^= 1;
    fs::write(journal(dir.path()), &bytes).unwrap();
    let error = refused(dir.path());
    assert!(
        error.to_string().contains("0.jnl makes no sense"),
        "{error}"
    );
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
    assert!(noticed > 50, "flips are noticed: {noticed}");
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
