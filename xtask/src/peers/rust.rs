//! The peer that cargo builds, outside the workspace: a dependency of it compiles .proto files by protoc, which no build of
//! ours needs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{debian, put};
use crate::cargo;

/// What protoc is made of in Debian: the program, and the files that others import; its libraries' names begin so.
const PROTOC: [&str; 2] = ["protobuf-compiler", "libprotobuf-dev"];
const LIBRARIES: &str = "libproto";

/// Builds the package `name` in the folder `module`.
pub fn build(module: &Path, name: &str, peers: &Path, bin: &Path) -> Result<()> {
    let target = peers.join(format!("{name}-target"));
    let mut command = cargo::command(&target, &["build", "--locked", "--manifest-path"]);
    command.arg(module.join("Cargo.toml"));
    if cargo::on_path("protoc").is_none() && std::env::var_os("PROTOC").is_none() {
        let files = debian::unpack(&PROTOC, Some(LIBRARIES), &peers.join("protoc"))
            .context("it needs protoc, which is not on the search path, and of Debian's packages could not be had")?;
        command.env("PROTOC", files.join("usr/bin/protoc"));
        command.env("LD_LIBRARY_PATH", libraries(&files)?);
    }
    eprintln!("building {name}");
    let status = command.status().context("cargo does not start")?;
    if !status.success() {
        bail!("cargo build of {} ended with {status}", module.display());
    }
    put(&target.join("debug").join(name), bin, name)
}

/// The folder of the libraries, which is named after the machine's kind.
fn libraries(files: &Path) -> Result<PathBuf> {
    let folder = files.join("usr/lib");
    let failed = || format!("cannot list {}", folder.display());
    for entry in std::fs::read_dir(&folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        let files = std::fs::read_dir(&path).into_iter().flatten().flatten();
        if files
            .into_iter()
            .any(|file| file.file_name().to_string_lossy().starts_with("libprotoc.so"))
        {
            return Ok(path);
        }
    }
    bail!("there is no libprotoc.so below {}", folder.display())
}
