//! Where data lies unless a setting says otherwise.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The user's data directory as desktops and servers agree on it; beside the program's working
/// directory where the process has no home.
pub(super) fn default() -> PathBuf {
    within(
        env::var_os("XDG_DATA_HOME").as_deref(),
        env::var_os("HOME").as_deref(),
    )
}

fn within(data: Option<&std::ffi::OsStr>, home: Option<&std::ffi::OsStr>) -> PathBuf {
    // A relative path there is to be ignored, says the specification.
    let data = data.map(Path::new).filter(|path| path.is_absolute());
    let home = home.map(Path::new).filter(|path| path.is_absolute());
    match (data, home) {
        (Some(data), _) => data.join("magpie-server"),
        (None, Some(home)) => home.join(".local/share/magpie-server"),
        (None, None) => PathBuf::from("magpie-data"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_lies_with_the_users_other_data() {
        let at = |data: Option<&str>, home: Option<&str>| {
            within(data.map(str::as_ref), home.map(str::as_ref))
                .display()
                .to_string()
        };
        assert_eq!(at(Some("/data"), Some("/home/a")), "/data/magpie-server");
        assert_eq!(
            at(Some("x"), Some("/home/a")),
            "/home/a/.local/share/magpie-server"
        );
        assert_eq!(at(None, None), "magpie-data");
    }
}
