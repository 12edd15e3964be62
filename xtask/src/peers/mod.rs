//! Real peers, put once into the user's cache folder: etcd, etcdctl, etcdutl, etcd's load generator and its end-to-end
//! tests, programs on etcd's own client packages and on the Rust crate `etcd-client`, Debian's etcdctl, Kubernetes' API
//! server and controllers, and the checker of histories.
//!
//! Most are Go modules in `peers/`, their versions pinned by `go.sum`; one is a Rust package there, pinned by its
//! `Cargo.lock`; one is a package of Debian. A stamp file holds what is pinned and what text a peer has of its own, so that
//! a changed one is made again. Rejected: `go install`, which writes into the user's own folders and pins nothing.

mod debian;
mod go;
mod rust;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cargo;

/// A peer, and how it is made.
struct Peer {
    /// The name of its stamp, and of its folder in `peers/` where it has one.
    module: &'static str,
    /// What it is asked for by.
    name: &'static str,
    /// The programs that it puts into the folder of the peers.
    puts: &'static [&'static str],
    made: Made,
}

/// How a peer is made.
enum Made {
    /// By Go.
    Go(go::Module),
    /// By cargo, with protoc: the package of this name.
    Rust,
    /// From a package of Debian of this name: a program in `/usr/bin`.
    Debian(&'static str, &'static str),
}

/// A peer of Go programs alone: a name and a Go package each.
const fn programs(
    module: &'static str,
    name: &'static str,
    puts: &'static [&'static str],
    packages: &'static [&'static str],
) -> Peer {
    let made = Made::Go(go::Module::of(packages));
    Peer {
        module,
        name,
        puts,
        made,
    }
}

/// etcd's end-to-end tests, as a program.
pub const ETCD_SUITE: &str = "etcd-e2e.test";

const PEERS: &[Peer] = &[
    programs(
        "etcd",
        "etcd",
        &["etcd", "etcdctl", "etcdutl"],
        &[
            "go.etcd.io/etcd/server/v3",
            "go.etcd.io/etcd/etcdctl/v3",
            "go.etcd.io/etcd/etcdutl/v3",
        ],
    ),
    // A module of its own: the root of etcd's repository pins older versions than its server does.
    programs(
        "etcd-benchmark",
        "etcd",
        &["benchmark"],
        &["go.etcd.io/etcd/v3/tools/benchmark"],
    ),
    programs(
        "etcd-clients",
        "etcd-clients",
        &["etcd-clients"],
        &["revoada.dev/peers/etcd-clients"],
    ),
    programs(
        "kubernetes",
        "kubernetes",
        &["kube-apiserver", "kube-controller-manager"],
        &[
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
        ],
    ),
    programs("checker", "checker", &["checker"], &["revoada.dev/peers/checker"]),
    Peer {
        module: "etcd-e2e",
        name: "etcd-e2e",
        puts: &[ETCD_SUITE],
        made: Made::Go(go::Module {
            packages: &["go.etcd.io/etcd/tests/v3/common"],
            tests: Some("e2e"),
            fixtures: Some("go.etcd.io/etcd/tests/v3"),
        }),
    },
    Peer {
        module: "etcd-client-rs",
        name: "etcd-client-rs",
        puts: &["etcd-client-rs"],
        made: Made::Rust,
    },
    Peer {
        module: "etcdctl-3.4",
        name: "etcdctl-3.4",
        puts: &["etcdctl-3.4"],
        made: Made::Debian("etcd-client", "etcdctl"),
    },
];

/// What it takes.
pub const USAGE: &str = "\
usage: cargo xtask peers [etcd] [etcd-clients] [etcd-e2e] [checker] [kubernetes] [etcd-client-rs] [etcdctl-3.4]

Builds the real peers that tests and benchmarks use into the cache folder, those that are named or all, and prints where
they are. What is there already is not built again.
";

/// What peers are asked for by.
pub fn names() -> BTreeSet<&'static str> {
    PEERS.iter().map(|peer| peer.name).collect()
}

/// Builds what is not there yet, of these or of all where none is named, and prints where it is. None where a name is
/// that of no peer.
pub fn run(names: &[&str]) -> Option<Result<bool>> {
    if !names.iter().all(|name| PEERS.iter().any(|peer| peer.name == *name)) {
        return None;
    }
    Some(build(names).map(|bin| {
        println!("{}", bin.display());
        true
    }))
}

/// The folder of the peers. Those that are named, or all where none is, are made if need be.
pub fn build(names: &[&str]) -> Result<PathBuf> {
    let peers = cargo::cache()?.join("peers");
    let bin = peers.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let wanted = |peer: &&Peer| names.is_empty() || names.contains(&peer.name);
    for peer in PEERS.iter().filter(wanted) {
        let module = cargo::root().join("peers").join(peer.module);
        let stamp = bin.join(format!("{}.stamp", peer.module));
        let pinned = match &peer.made {
            Made::Go(_) | Made::Rust => versions(&module)?,
            Made::Debian(package, program) => format!("{package} {program}\n"),
        };
        let there = peer.puts.iter().all(|name| bin.join(name).is_file());
        if there && fs::read_to_string(&stamp).is_ok_and(|found| found == pinned) {
            continue;
        }
        match &peer.made {
            Made::Go(made) => made.build(&module, peer.puts, &bin)?,
            Made::Rust => rust::build(&module, peer.module, &peers, &bin)?,
            Made::Debian(package, program) => {
                let files = debian::unpack(&[package], None, &peers.join(package))?;
                put(&files.join("usr/bin").join(program), &bin, peer.puts[0])?;
            }
        }
        fs::write(&stamp, pinned).with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok(bin)
}

/// Copies a program into the folder of the peers, whole or not at all.
fn put(program: &Path, bin: &Path, name: &str) -> Result<()> {
    let part = bin.join(format!(".{name}.part"));
    fs::copy(program, &part)
        .and_then(|_| fs::rename(&part, bin.join(name)))
        .with_context(|| format!("cannot put {} into {}", program.display(), bin.display()))
}

/// The pinned versions, and the peer's own text.
fn versions(module: &Path) -> Result<String> {
    let own = module.join("src");
    let folders = [module, &own];
    let mut files = Vec::new();
    for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
        let failed = || format!("cannot read {}", folder.display());
        for entry in fs::read_dir(folder).with_context(failed)? {
            files.push(entry.with_context(failed)?.path());
        }
    }
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("mod" | "sum" | "go" | "rs" | "toml" | "lock"))
    });
    files.sort();
    let read = |file: &PathBuf| fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
    files.iter().map(read).collect()
}
