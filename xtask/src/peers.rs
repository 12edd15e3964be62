//! Real peers, built once into the user's cache folder: etcd, etcdctl and etcd's load generator.
//!
//! Each peer is a Go module in `peers/`, its versions pinned by `go.sum`; a stamp file holds those, so that a changed one
//! builds again. Rejected: `go install`, which writes into the user's own folders and pins nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// A module in `peers/` and what it builds: a name and a Go package each.
struct Peer {
    module: &'static str,
    programs: &'static [(&'static str, &'static str)],
}

const PEERS: &[Peer] = &[
    Peer {
        module: "etcd",
        programs: &[
            ("etcd", "go.etcd.io/etcd/server/v3"),
            ("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
        ],
    },
    // A module of its own: the root of etcd's repository pins older versions than its server does.
    Peer {
        module: "etcd-benchmark",
        programs: &[("benchmark", "go.etcd.io/etcd/v3/tools/benchmark")],
    },
];

/// Builds what is not there yet and prints where all of it is.
pub fn run() -> Result<bool> {
    println!("{}", build()?.display());
    Ok(true)
}

/// The folder of the peers, built if need be.
pub fn build() -> Result<PathBuf> {
    let bin = cargo::cache()?.join("peers").join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    for peer in PEERS {
        let module = cargo::root().join("peers").join(peer.module);
        let stamp = bin.join(format!("{}.stamp", peer.module));
        let versions = versions(&module)?;
        let there = peer.programs.iter().all(|(name, _)| bin.join(name).is_file());
        if there && fs::read_to_string(&stamp).is_ok_and(|found| found == versions) {
            continue;
        }
        if cargo::on_path("go").is_none() {
            bail!(
                "{} needs a Go toolchain, and there is no `go` on the search path",
                peer.module
            );
        }
        for (name, package) in peer.programs {
            compile(&module, &bin, name, package)?;
        }
        fs::write(&stamp, versions).with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok(bin)
}

fn compile(module: &Path, bin: &Path, name: &str, package: &str) -> Result<()> {
    eprintln!("building {name}");
    let part = bin.join(format!(".{name}.part"));
    let status = Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .arg(&part)
        .arg(package)
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .status()
        .context("go does not start")?;
    if !status.success() {
        bail!("go build {package} ended with {status}");
    }
    fs::rename(&part, bin.join(name)).with_context(|| format!("cannot put {name} in its place"))
}

fn versions(module: &Path) -> Result<String> {
    let read = |name: &str| {
        let file = module.join(name);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    Ok(read("go.mod")? + &read("go.sum")?)
}
