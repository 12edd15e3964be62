//! Cargo as this crate calls it: its folders, its metadata, its commands.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The root of the workspace.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .expect("xtask is a folder of the workspace")
        .to_owned()
}

/// Whether this runs in continuous integration.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}

/// The user's cache folder of this project; not made yet.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache")
        }
    };
    Ok(base.join("revoada"))
}

/// Where this run builds to: what the user chose; in CI the cache folder, so that the next clone finds it; else cargo's
/// own choice.
pub fn target() -> Result<PathBuf> {
    if std::env::var_os("CARGO_TARGET_DIR").is_none() && in_ci() {
        return Ok(cache()?.join("target"));
    }
    let metadata = metadata(&["--no-deps"])?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(target))
}

/// A cargo command in the root of the workspace, building to `target`.
pub fn command(target: &Path, arguments: &[&str]) -> Command {
    let mut command = bare();
    command.args(arguments).env("CARGO_TARGET_DIR", target);
    command
}

/// What `cargo metadata` says, with the lock file as it is.
pub fn metadata(arguments: &[&str]) -> Result<Value> {
    let output = bare()
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(arguments)
        .output()
        .context("cargo metadata does not start")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")
}

/// Builds the release binary and says where it is.
pub fn release_binary(target: &Path) -> Result<Option<PathBuf>> {
    let status = command(target, &["build", "--release", "--package", "revoada"])
        .status()
        .context("cargo build does not start")?;
    Ok(status.success().then(|| target.join("release").join("revoada")))
}

/// The binary that `REVOADA_BIN` names, or else the release build, made if need be.
pub fn measured_binary(target: &Path) -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("REVOADA_BIN") {
        return Ok(PathBuf::from(given));
    }
    release_binary(target)?.context("the release build failed")
}

/// The program `name` as the search path finds it.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Cargo by the path that started this crate, without what `cargo run` set for this crate alone.
fn bare() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}
