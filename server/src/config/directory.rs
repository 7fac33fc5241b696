//! Where data lies unless a setting says otherwise.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The user's data directory as desktops and servers agree on it; none where the process has no home,
/// since what is beside the working directory depends on who started it.
pub(super) fn default() -> Option<PathBuf> {
    within(
        env::var_os("XDG_DATA_HOME").as_deref(),
        env::var_os("HOME").as_deref(),
    )
}

fn within(data: Option<&std::ffi::OsStr>, home: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    // A relative path there is to be ignored, says the specification.
    let data = data.map(Path::new).filter(|path| path.is_absolute());
    let home = home.map(Path::new).filter(|path| path.is_absolute());
    match (data, home) {
        (Some(data), _) => Some(data.join("magpie-server")),
        (None, Some(home)) => Some(home.join(".local/share/magpie-server")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_lies_with_the_users_other_data() {
        let at = |data: Option<&str>, home: Option<&str>| {
            within(data.map(str::as_ref), home.map(str::as_ref))
        };
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!(
            at(Some("/data"), Some("/home/a")),
            path("/data/magpie-server")
        );
        assert_eq!(
            at(Some("x"), Some("/home/a")),
            path("/home/a/.local/share/magpie-server")
        );
        assert_eq!(at(None, Some("a")), None);
        assert_eq!(at(None, None), None);
    }
}
