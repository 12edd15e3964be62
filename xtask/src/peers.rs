//! Real peers, built once into the user's cache folder: etcd, etcdctl, etcdutl, etcd's load generator and its end-to-end
//! tests, a program on etcd's own client packages, Kubernetes' API server and controllers, and the checker of histories.
//!
//! Each peer is a Go module in `peers/`, its versions pinned by `go.sum`; a stamp file holds those and what Go text the
//! module has of its own, so that a changed one builds again. Rejected: `go install`, which writes into the user's own folders and pins nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// A module in `peers/` and what it builds: a name and a Go package each.
struct Peer {
    /// The folder.
    module: &'static str,
    /// What it is asked for by.
    name: &'static str,
    programs: &'static [(&'static str, &'static str)],
    /// What else it builds: a name and a Go package whose tests it is, with the tags of their build.
    tests: &'static [(&'static str, &'static str, &'static str)],
    /// The folder that those tests need, in the module of this path, as `fixtures` beside them.
    fixtures: Option<&'static str>,
}

/// A peer of programs alone.
const fn programs(module: &'static str, name: &'static str, programs: &'static [(&'static str, &'static str)]) -> Peer {
    Peer {
        module,
        name,
        programs,
        tests: &[],
        fixtures: None,
    }
}

/// etcd's end-to-end tests, as a program.
pub const ETCD_SUITE: &str = "etcd-e2e.test";

const PEERS: &[Peer] = &[
    programs(
        "etcd",
        "etcd",
        &[
            ("etcd", "go.etcd.io/etcd/server/v3"),
            ("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
            ("etcdutl", "go.etcd.io/etcd/etcdutl/v3"),
        ],
    ),
    // A module of its own: the root of etcd's repository pins older versions than its server does.
    programs(
        "etcd-benchmark",
        "etcd",
        &[("benchmark", "go.etcd.io/etcd/v3/tools/benchmark")],
    ),
    programs(
        "etcd-clients",
        "etcd-clients",
        &[("etcd-clients", "revoada.dev/peers/etcd-clients")],
    ),
    programs(
        "kubernetes",
        "kubernetes",
        &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            (
                "kube-controller-manager",
                "k8s.io/kubernetes/cmd/kube-controller-manager",
            ),
        ],
    ),
    programs("checker", "checker", &[("checker", "revoada.dev/peers/checker")]),
    Peer {
        module: "etcd-e2e",
        name: "etcd-e2e",
        programs: &[],
        tests: &[(ETCD_SUITE, "go.etcd.io/etcd/tests/v3/common", "e2e")],
        fixtures: Some("go.etcd.io/etcd/tests/v3"),
    },
];

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

/// The folder of the peers. Those that are named, or all where none is, are built if need be.
pub fn build(names: &[&str]) -> Result<PathBuf> {
    let bin = cargo::cache()?.join("peers").join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let wanted = |peer: &&Peer| names.is_empty() || names.contains(&peer.name);
    for peer in PEERS.iter().filter(wanted) {
        let module = cargo::root().join("peers").join(peer.module);
        let stamp = bin.join(format!("{}.stamp", peer.module));
        let versions = versions(&module)?;
        let programs = peer.programs.iter().map(|(name, _)| name);
        let there = programs
            .chain(peer.tests.iter().map(|(name, ..)| name))
            .all(|name| bin.join(name).is_file());
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
            compile(&module, &bin, name, &["build"], package)?;
        }
        for (name, package, tags) in peer.tests {
            compile(&module, &bin, name, &["test", "-c", "-tags", tags], package)?;
        }
        if let Some(path) = peer.fixtures {
            copy_fixtures(&module, path, &bin.join("fixtures"))?;
        }
        fs::write(&stamp, versions).with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok(bin)
}

fn compile(module: &Path, bin: &Path, name: &str, verb: &[&str], package: &str) -> Result<()> {
    eprintln!("building {name}");
    let part = bin.join(format!(".{name}.part"));
    let status = Command::new("go")
        .args(verb)
        .args(["-trimpath", "-o"])
        .arg(&part)
        .arg(package)
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .status()
        .context("go does not start")?;
    if !status.success() {
        bail!("go {} {package} ended with {status}", verb.join(" "));
    }
    fs::rename(&part, bin.join(name)).with_context(|| format!("cannot put {name} in its place"))
}

/// Copies the files of the folder `fixtures` in the module of this path, which Go keeps read-only.
fn copy_fixtures(module: &Path, path: &str, to: &Path) -> Result<()> {
    let output = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", path])
        .current_dir(module)
        .env("GOFLAGS", "-mod=readonly")
        .output()
        .context("go does not start")?;
    if !output.status.success() {
        bail!("go list -m {path}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let folder = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("fixtures");
    let failed = || format!("cannot copy {} to {}", folder.display(), to.display());
    fs::create_dir_all(to).with_context(failed)?;
    for entry in fs::read_dir(&folder).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let bytes = fs::read(entry.path()).with_context(failed)?;
        fs::write(to.join(entry.file_name()), bytes).with_context(failed)?;
    }
    Ok(())
}

/// The pinned versions, and the module's own text.
fn versions(module: &Path) -> Result<String> {
    let failed = || format!("cannot read {}", module.display());
    let mut files: Vec<PathBuf> = fs::read_dir(module)
        .with_context(failed)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .with_context(failed)?;
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("mod" | "sum" | "go"))
    });
    files.sort();
    let read = |file: &PathBuf| fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
    files.iter().map(read).collect()
}
