//! Files that programs leave behind.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, getrlimit, setrlimit};

/// All files below a folder.
///
/// # Panics
/// When the folder cannot be read.
pub fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder can be read");
    let paths = entries.flatten().map(|entry| entry.path());
    let each = |path: PathBuf| {
        if path.is_dir() {
            below(&path)
        } else {
            vec![path]
        }
    };
    paths.flat_map(each).collect()
}

/// Makes a folder the copy of another, whatever it held.
///
/// # Panics
/// When one cannot be read or the other not be written.
pub fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("a folder can be removed");
    }
    fs::create_dir_all(to).expect("a folder can be made");
    for path in below(from) {
        let place = to.join(path.strip_prefix(from).expect("it lies below"));
        let folder = place.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).expect("a folder can be made");
        // Sockets of a node that has ended are no data.
        if path.is_file() {
            fs::copy(&path, &place).expect("a file can be copied");
        }
    }
}

/// Lets this program have as many descriptors open as it may: a test of thousands of connections
/// needs more than the usual 1,024.
///
/// # Panics
/// When the system refuses.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the hard limit it is allowed");
}
