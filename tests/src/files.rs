//! Files that programs leave behind.

use std::{
    fs,
    path::{Path, PathBuf},
};

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
