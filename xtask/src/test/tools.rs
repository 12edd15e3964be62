//! The machine's own programs that some process tests look through or act with: installed where that is possible.
//!
//! A test whose program is missing says so by itself and stands in the report; this only spares a person, or a fresh
//! machine of CI, the reading of it. Nothing else of the machine is touched.

use std::path::Path;
use std::process::{Command, Stdio};

/// A program, and the Debian package that brings it.
const TOOLS: [(&str, &str); 4] = [
    ("strace", "strace"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("faketime", "faketime"),
];

/// Installs what is missing, as root on a machine with apt; says what it does and what it could not do.
pub fn install() {
    let missing: Vec<_> = TOOLS.iter().filter(|(program, _)| !is_there(program)).collect();
    if missing.is_empty() {
        return;
    }
    let names: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    if !is_root() || !is_there("apt-get") {
        eprintln!("missing: {}; the tests that need them will say so", names.join(", "));
        return;
    }
    eprintln!("installing {}", packages.join(", "));
    if apt(&["install"], &packages) {
        return;
    }
    // A fresh machine has no list of packages yet.
    if !(apt(&["update"], &[]) && apt(&["install"], &packages)) {
        eprintln!(
            "could not install {}; the tests that need them will say so",
            packages.join(", ")
        );
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(Into::into));
    folders.into_iter().any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    // The owner of a process's folder is its user.
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn apt(verb: &[&str], packages: &[&str]) -> bool {
    let status = Command::new("apt-get")
        .args(["-y", "-q", "--no-install-recommends"])
        .args(verb)
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
