//! Looks through the storage engine's journals before it opens them. The engine cuts a journal where
//! it stops making sense, and refuses one whose last batch was half written when the power went. This
//! tells the two apart: a torn end is cut, damage is refused and left as it is.
//!
//! A journal holds batches: a start (tag 1, count, number), items (tag 2, lengths, key, value) and an
//! end (tag 3, XXH3 of the items, a magic); integers are little-endian; zeros follow.

use std::{
    fs::{self, File},
    io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use super::{super::keys, directory::Directory, error::OpenError};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const MAGIC: [u8; 4] = *b"FJL\x03";

/// Tag, count and number of a batch.
const START_BYTES: usize = 1 + 4 + 8;
/// Tag, type, compression, keyspace; lengths of the key, the value, and the value as it lies there.
const ITEM_BYTES: usize = 1 + 1 + 1 + 8 + 2 + 4 + 4;
/// Tag, checksum, magic.
const END_BYTES: usize = 1 + 8 + 4;

/// What a journal holds.
#[derive(Debug)]
struct Found {
    /// Bytes of its whole batches.
    end: u64,
    /// Where the last of them begins.
    last_begin: u64,
    /// The number of the last batch in it.
    last: Option<u64>,
    /// What lies behind, without the zeros at its end.
    rest: Vec<u8>,
}

/// A whole batch.
struct Batch {
    bytes: u64,
    number: Option<u64>,
}

/// Cuts a torn end, and sees to it that the rest is on the disk. Refuses any other damage, and a torn end before which answered batches are
/// missing; then nothing was changed.
pub(super) fn mend(directory: &Directory, answered: u64) -> Result<(), OpenError> {
    let rows = directory.rows();
    let mut journals = list(&rows).map_err(OpenError::io("look through", &rows))?;
    let active = journals.pop();
    let mut last = None;
    for (_, sealed) in journals {
        let found = look_through(&sealed).map_err(OpenError::io("read", &sealed))?;
        if !found.rest.is_empty() {
            return Err(damaged(directory, &sealed, found.end));
        }
        last = found.last.or(last);
    }
    let Some((_, active)) = active else {
        return Ok(());
    };
    let found = look_through(&active).map_err(OpenError::io("read", &active))?;
    if !found.rest.is_empty() {
        check_torn(directory, &active, &found, found.last.or(last), answered)?;
        tracing::warn!(
            bytes = found.rest.len(),
            "cutting off a write that was not finished, and not answered, when the last run ended"
        );
        cut(&active, found.end).map_err(OpenError::io("cut the end of", &active))?;
    }
    write_again(&active, &found).map_err(OpenError::io("write to", &active))
}

/// Whether what lies behind the last whole batch can only be a write that was never answered.
fn check_torn(
    directory: &Directory,
    journal: &Path,
    found: &Found,
    last: Option<u64>,
    answered: u64,
) -> Result<(), OpenError> {
    if has_batch(&found.rest) {
        return Err(damaged(directory, journal, found.end));
    }
    match last {
        Some(last) if last < answered => Err(directory.missing(
            answered - last,
            answered,
            format!("batches {} to {answered}", last + 1),
        )),
        _ => Ok(()),
    }
}

fn damaged(directory: &Directory, journal: &Path, at: u64) -> OpenError {
    directory.damaged(format!(
        "{} makes no sense from byte {at} on",
        journal.display()
    ))
}

/// The journals by their numbers; the last one is in use.
fn list(rows: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(rows) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut journals = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path
            .file_stem()
            .and_then(|name| name.to_str()?.parse().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|end| end == "jnl")
        {
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals)
}

fn look_through(journal: &Path) -> io::Result<Found> {
    let mut file = File::open(journal)?;
    let length = file.metadata()?.len();
    let mut found = Found {
        end: 0,
        last_begin: 0,
        last: None,
        rest: Vec::new(),
    };
    let mut input = BufReader::new(&mut file);
    while let Some(batch) = read_batch(&mut input, length - found.end)? {
        found.last_begin = found.end;
        found.end += batch.bytes;
        found.last = batch.number.or(found.last);
    }
    file.seek(SeekFrom::Start(found.end))?;
    found.rest = read_without_zeros(&mut file)?;
    Ok(found)
}

/// Reads to the end, without the zeros there: an engine's new journal is 64 MiB of them.
fn read_without_zeros(input: &mut impl Read) -> io::Result<Vec<u8>> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut rest = Vec::new();
    let mut zeros = 0;
    loop {
        let mut chunk = Vec::with_capacity(ZEROS.len());
        input
            .by_ref()
            .take(ZEROS.len() as u64)
            .read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            break;
        }
        // Comparing is many times faster than looking at each byte.
        if chunk == ZEROS[..chunk.len()] {
            zeros += chunk.len();
        } else {
            rest.resize(rest.len() + zeros, 0);
            rest.append(&mut chunk);
            zeros = 0;
        }
    }
    let last = rest.iter().rposition(|&byte| byte != 0);
    rest.truncate(last.map_or(0, |last| last + 1));
    Ok(rest)
}

/// Whether a whole batch lies anywhere in these bytes: then what lies before it was synced once,
/// since a batch is synced before the next one is written.
fn has_batch(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|at| {
        let mut input = &bytes[at..];
        let left = input.len() as u64;
        bytes[at] == START
            && bytes.get(at + START_BYTES) == Some(&ITEM)
            && matches!(read_batch(&mut input, left), Ok(Some(_)))
    })
}

fn cut(journal: &Path, end: u64) -> io::Result<()> {
    let file = File::options().write(true).open(journal)?;
    file.set_len(end)?;
    file.sync_all()
}

/// Writes the last batch again, as it is, and syncs it. If the last run ended since a sync failed, this
/// batch may lie in the system's memory and not on the disk, and a mere sync would not notice: the
/// system takes pages for clean once it has told of the failure.
fn write_again(journal: &Path, found: &Found) -> io::Result<()> {
    let length = usize::try_from(found.end - found.last_begin).map_err(io::Error::other)?;
    let mut batch = vec![0; length];
    let file = File::options().read(true).write(true).open(journal)?;
    file.read_exact_at(&mut batch, found.last_begin)?;
    file.write_all_at(&batch, found.last_begin)?;
    file.sync_all()
}

/// Reads one batch. `None` if what comes is not a whole one.
fn read_batch(input: &mut impl Read, bytes_left: u64) -> io::Result<Option<Batch>> {
    let Some(start) = read_array::<START_BYTES>(input)? else {
        return Ok(None);
    };
    let [START, c0, c1, c2, c3, ..] = start else {
        return Ok(None);
    };
    let count = u32::from_le_bytes([c0, c1, c2, c3]);
    let mut bytes = (START_BYTES + END_BYTES) as u64;
    let mut number = None;
    let mut checksum = Xxh3::new();
    let mut item = Vec::new();
    for _ in 0..count {
        let Some(head) = read_array::<ITEM_BYTES>(input)? else {
            return Ok(None);
        };
        let [ITEM, .., k0, k1, _, _, _, _, v0, v1, v2, v3] = head else {
            return Ok(None);
        };
        let key_bytes = u16::from_le_bytes([k0, k1]);
        let value_bytes = u32::from_le_bytes([v0, v1, v2, v3]);
        let length = u64::from(key_bytes) + u64::from(value_bytes);
        bytes += ITEM_BYTES as u64 + length;
        if bytes > bytes_left {
            return Ok(None);
        }
        item.clear();
        input.take(length).read_to_end(&mut item)?;
        if item.len() as u64 != length {
            return Ok(None);
        }
        checksum.update(&head);
        checksum.update(&item);
        let (key, value) = item.split_at(usize::from(key_bytes));
        if key.starts_with(keys::batches().bytes()) {
            number = value.try_into().ok().map(u64::from_be_bytes).or(number);
        }
    }
    let Some(end) = read_array::<END_BYTES>(input)? else {
        return Ok(None);
    };
    let expected = [&[END][..], &checksum.digest().to_le_bytes(), &MAGIC].concat();
    Ok((end == expected[..]).then_some(Batch { bytes, number }))
}

/// The next bytes; `None` at the end.
fn read_array<const N: usize>(input: &mut impl Read) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match input.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
