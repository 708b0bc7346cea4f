//! Where things are: the workspace, the build output, the cache of downloads.
use anyhow::{Context, Result};
use std::env;
use std::path::{Path, PathBuf};

/// The directories that every command works with.
pub struct Ctx {
    /// The workspace's root.
    pub root: PathBuf,
    /// Build output: `$CARGO_TARGET_DIR`, else `target` below the root. Holds `Image`.
    pub target: PathBuf,
    /// Downloads that survive `cargo clean`: `$VIGIL_CACHE`, else `$XDG_CACHE_HOME/vigil`, else `~/.cache/vigil`.
    pub cache: PathBuf,
}

impl Ctx {
    /// Finds the directories and creates those that are ours.
    pub fn new() -> Result<Ctx> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir()?.join(dir),
            None => root.join("target"),
        };
        let cache = match (env::var_os("VIGIL_CACHE"), env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
            (Some(dir), _, _) => PathBuf::from(dir),
            (None, Some(dir), _) => PathBuf::from(dir).join("vigil"),
            (None, None, Some(home)) => PathBuf::from(home).join(".cache/vigil"),
            (None, None, None) => target.join("cache"),
        };
        for dir in [&target, &cache] {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(Ctx { root, target, cache })
    }
}
