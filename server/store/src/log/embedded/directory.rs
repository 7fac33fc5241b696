//! The directory of a log store: its lock, its format, its generation. Knows no rows.

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use magpie_core::time::Timestamp;

use super::{error::OpenError, watermark::Watermark};

/// The format that this program writes, and the newest that it knows.
const FORMAT: u32 = 1;

const LOCK: &str = "lock";
const ABOUT: &str = "about";
const ABOUT_NEW: &str = "about.new";
const WATERMARK: &str = "watermark";
const ROWS: &str = "rows";

/// The directory, locked for this process.
#[derive(Debug)]
pub(super) struct Directory {
    dir: PathBuf,
    generation: u64,
    /// Held for as long as the store is open: the system drops the lock with the file.
    _lock: File,
}

impl Directory {
    /// Locks the directory and checks its format, creating what is missing of a new one.
    pub(super) fn open(dir: &Path) -> Result<(Self, Watermark), OpenError> {
        fs::create_dir_all(dir).map_err(OpenError::io("create the directory", dir))?;
        let lock = lock(dir)?;
        if !dir.join(ABOUT).exists() {
            if dir.join(ROWS).exists() {
                return Err(damaged(dir, format!("its file {ABOUT} is missing")));
            }
            // The watermark comes first, so that a directory with an `about` is complete.
            Watermark::create(&dir.join(WATERMARK))?;
            write_about(dir, 1)?;
        }
        let generation = read_about(dir)?;
        let watermark = Watermark::open(&dir.join(WATERMARK))?
            .ok_or_else(|| damaged(dir, format!("its file {WATERMARK} is missing or damaged")))?;
        let rows = dir.join(ROWS);
        if watermark.count() == 0 && rows.exists() {
            // No start has ever come to its end here, so nothing was ever answered from it.
            fs::remove_dir_all(&rows).map_err(OpenError::io("remove the directory", &rows))?;
        }
        let directory = Self {
            dir: dir.to_owned(),
            generation,
            _lock: lock,
        };
        Ok((directory, watermark))
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// Where the storage engine keeps its files.
    pub(super) fn rows(&self) -> PathBuf {
        self.dir.join(ROWS)
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn damaged(&self, what: impl Into<String>) -> OpenError {
        damaged(&self.dir, what)
    }

    pub(super) fn missing(&self, missing: u64, written: u64, what: String) -> OpenError {
        OpenError::Missing {
            dir: self.dir.clone(),
            missing,
            written,
            what,
        }
    }
}

/// Raises the generation of the log store in `dir` and returns it: done once after a copy of a data
/// directory was put back, so that clients drop what they know. Durable when it returns.
///
/// It becomes the time, in milliseconds since 1970, or the next number if that is higher: a copy knows
/// nothing of the generations that other restores of it have had, and none may come twice.
///
/// # Errors
/// As for opening the store, which must not be open in any process. After an error of the file system
/// the generation is the old or the new one; running it again is safe, since a generation may be
/// skipped.
pub fn new_generation(dir: &Path, now: Timestamp) -> Result<u64, OpenError> {
    if !dir.join(ABOUT).exists() {
        return Err(OpenError::Absent {
            dir: dir.to_owned(),
        });
    }
    let _lock = lock(dir)?;
    let generation = (read_about(dir)? + 1).max(now.0);
    write_about(dir, generation)?;
    Ok(generation)
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(OpenError::io("open the lock file", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(OpenError::io("lock the file", path)(error)),
    }
}

/// Reads the file that says what the directory holds. Its first two lines are the same in every
/// format, so that a newer one is recognised.
fn read_about(dir: &Path) -> Result<u64, OpenError> {
    let path = dir.join(ABOUT);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::InvalidData => String::new(),
        Err(error) => return Err(OpenError::io("read the file", path)(error)),
    };
    let unclear = || damaged(dir, format!("its file {ABOUT} makes no sense"));
    let mut lines = text.lines();
    if lines.next() != Some("magpie log store") {
        return Err(unclear());
    }
    let format = field(lines.next(), "format ").ok_or_else(unclear)?;
    let found = u32::try_from(format).map_err(|_| unclear())?;
    if found > FORMAT {
        return Err(OpenError::Newer {
            dir: dir.to_owned(),
            found,
            known: FORMAT,
        });
    }
    let generation = field(lines.next(), "generation ").ok_or_else(unclear)?;
    Ok(generation)
}

fn field(line: Option<&str>, name: &str) -> Option<u64> {
    line?.strip_prefix(name)?.parse().ok()
}

/// Puts a new file in the place of the old one, so that there is always a whole one.
fn write_about(dir: &Path, generation: u64) -> Result<(), OpenError> {
    let (new, path) = (dir.join(ABOUT_NEW), dir.join(ABOUT));
    let write = || {
        let mut file = File::create(&new)?;
        write!(
            file,
            "magpie log store\nformat {FORMAT}\ngeneration {generation}\n"
        )?;
        file.sync_all()?;
        fs::rename(&new, &path)
    };
    write().map_err(OpenError::io("write the file", &path))?;
    sync_directory(dir)
}

/// Makes the names in a directory durable.
fn sync_directory(dir: &Path) -> Result<(), OpenError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(OpenError::io("sync the directory", dir))
}

fn damaged(dir: &Path, what: impl Into<String>) -> OpenError {
    OpenError::Damaged {
        dir: dir.to_owned(),
        what: what.into(),
    }
}
