//! Where things are: the checkout, the build directory, the cache of tools, cargo's view of it all.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run;

/// The checkout the chore works on.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    metadata: Value,
}

impl Workspace {
    /// Asks cargo for the workspace of this program.
    pub(crate) fn find() -> Result<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = own
            .parent()
            .context("xtask lies outside a workspace")?
            .to_path_buf();
        let mut cargo = run::cargo(&root);
        cargo.args(["metadata", "--format-version", "1"]);
        let text = run::output(&mut cargo)?;
        let metadata = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
        Ok(Self { root, metadata })
    }

    /// The folder of the checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What `cargo metadata` says.
    pub(crate) fn metadata(&self) -> &Value {
        &self.metadata
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> PathBuf {
        self.metadata["target_directory"]
            .as_str()
            .map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    /// Where installed tools are kept, outside the checkout so that they outlive it.
    pub(crate) fn cache(&self) -> Result<PathBuf> {
        let cache = env::var_os("MAGPIE_CACHE")
            .map(PathBuf::from)
            .or_else(|| env::var_os("XDG_CACHE_HOME").map(|dir| PathBuf::from(dir).join("magpie")))
            .or_else(|| env::var_os("HOME").map(|dir| PathBuf::from(dir).join(".cache/magpie")))
            .unwrap_or_else(|| self.target().join("tools"));
        fs::create_dir_all(&cache)
            .with_context(|| format!("cannot create the cache {}", cache.display()))?;
        Ok(cache)
    }

    /// Files that git knows or would add, below the root, whose names end in one of `endings`.
    pub(crate) fn files(&self, endings: &[&str]) -> Result<Vec<PathBuf>> {
        let mut git = run::command("git", &self.root);
        git.args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let listed = run::output(&mut git)?;
        let mut files: Vec<PathBuf> = listed
            .split('\0')
            .filter(|path| endings.iter().any(|ending| path.ends_with(ending)))
            .map(PathBuf::from)
            // A file that was removed but not yet committed is still listed.
            .filter(|path| self.root.join(path).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }
}
