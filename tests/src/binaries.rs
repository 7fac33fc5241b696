//! Where the programs under test are. Knows how they are built, not what they do.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The node.
///
/// # Panics
/// When it was not built.
pub fn server() -> PathBuf {
    workspace_binary("MAGPIE_SERVER_BIN", "magpie-server", "magpie-server")
}

/// The terminal client.
///
/// # Panics
/// When it was not built.
pub fn cli() -> PathBuf {
    workspace_binary("MAGPIE_CLI_BIN", "magpie", "magpie-cli")
}

/// An example of the client library.
///
/// # Panics
/// When it was not built.
pub fn example(name: &str) -> PathBuf {
    let path = cli().with_file_name("examples").join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `cargo build --examples -p magpie`",
        path.display()
    );
    path
}

/// A program that the project's test command installs, or that is on the search path.
///
/// # Panics
/// When there is none.
pub fn tool(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = env::var_os(variable) {
        return PathBuf::from(path);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: run `cargo xtask test`, or set {variable}"))
}

fn workspace_binary(variable: &str, name: &str, package: &str) -> PathBuf {
    if let Some(path) = env::var_os(variable) {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "{variable} names no file: {}",
            path.display()
        );
        return path;
    }
    candidates(name)
        .into_iter()
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!("{name} is not built: run `cargo build -p {package}`, or set {variable}")
        })
}

/// The test itself lies in `<target>/<profile>/deps`, and the programs one folder above it.
fn candidates(name: &str) -> Vec<PathBuf> {
    let beside_test = env::current_exe()
        .ok()
        .and_then(|path| Some(path.parent()?.parent()?.join(name)));
    let in_workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/debug")
        .join(name);
    beside_test.into_iter().chain([in_workspace]).collect()
}
