//! A small file that says how many batches were durable a moment ago. The storage engine can drop
//! the rest of a damaged journal without a word; the watermark lets the next start notice it.
//!
//! The file holds two records, written in turn, so that one is whole whenever the machine stops.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use super::error::OpenError;

/// A record is a number and its complement, both big-endian.
const RECORD_BYTES: usize = 16;

/// Records lie in sectors of their own, since a sector is what a disk writes whole.
const RECORD_DISTANCE_BYTES: u64 = 4096;

/// How many batches are certainly durable. Never ahead of it.
#[derive(Debug)]
pub(super) struct Watermark {
    file: File,
    count: u64,
    next_record: u64,
}

impl Watermark {
    /// Creates the file, saying 0. Over an unfinished one, too.
    pub(super) fn create(path: &Path) -> Result<(), OpenError> {
        let create = || {
            let file = File::create(path)?;
            file.write_all_at(&record(0), 0)?;
            file.write_all_at(&record(0), RECORD_DISTANCE_BYTES)?;
            file.sync_all()
        };
        create().map_err(OpenError::io("create the file", path))
    }

    /// Opens the file. `None` if it is missing or holds no whole record.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, OpenError> {
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io("open the file", path)(error)),
        };
        let counts = [0, 1].map(|place| read(&file, place));
        let newest = match counts {
            [Some(first), Some(second)] => Some((first.max(second), u64::from(first >= second))),
            [Some(first), None] => Some((first, 1)),
            [None, Some(second)] => Some((second, 0)),
            [None, None] => None,
        };
        Ok(newest.map(|(count, next_record)| Self {
            file,
            count,
            next_record,
        }))
    }

    /// How many batches were durable.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Notes durably that so many batches are durable. After an error it must not be used again.
    pub(super) fn advance(&mut self, count: u64) -> io::Result<()> {
        let offset = self.next_record * RECORD_DISTANCE_BYTES;
        self.file.write_all_at(&record(count), offset)?;
        self.file.sync_data()?;
        self.count = count;
        self.next_record = 1 - self.next_record;
        Ok(())
    }
}

fn record(count: u64) -> [u8; RECORD_BYTES] {
    (u128::from(count) << 64 | u128::from(!count)).to_be_bytes()
}

fn read(file: &File, place: u64) -> Option<u64> {
    let mut bytes = [0; RECORD_BYTES];
    file.read_exact_at(&mut bytes, place * RECORD_DISTANCE_BYTES)
        .ok()?;
    let count = u64::try_from(u128::from_be_bytes(bytes) >> 64).ok()?;
    (record(count) == bytes).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_record_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watermark");
        Watermark::create(&path).unwrap();
        let mut watermark = Watermark::open(&path).unwrap().unwrap();
        for count in 1..=5 {
            watermark.advance(count).unwrap();
            assert_eq!(Watermark::open(&path).unwrap().unwrap().count(), count);
        }

        // 5 was written to the first record, since 1 was written to the second.
        let torn = watermark.next_record ^ 1;
        watermark
            .file
            .write_all_at(&[7; 3], torn * RECORD_DISTANCE_BYTES)
            .unwrap();
        let mut reopened = Watermark::open(&path).unwrap().unwrap();
        assert_eq!(reopened.count(), 4);
        reopened.advance(9).unwrap();
        assert_eq!(Watermark::open(&path).unwrap().unwrap().count(), 9);
    }

    #[test]
    fn a_file_without_a_whole_record_is_no_watermark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watermark");
        assert!(Watermark::open(&path).unwrap().is_none());
        std::fs::write(&path, [0; 8192]).unwrap();
        assert!(Watermark::open(&path).unwrap().is_none());
    }
}
