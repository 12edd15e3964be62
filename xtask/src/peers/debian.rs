//! Packages of Debian, fetched and unpacked into a folder of the user's own: nothing is installed, and no right of root is
//! needed.
//!
//! Rejected: `apt-get install`. It needs root, and puts a second `etcdctl` on everybody's search path.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo;

/// The files of these packages, below the folder that is returned, as they would lie below `/`; and of those that they
/// depend on, as far as their names begin with `needs`.
pub fn unpack(packages: &[&str], needs: Option<&str>, folder: &Path) -> Result<PathBuf> {
    for program in ["apt-get", "dpkg-deb"] {
        if cargo::on_path(program).is_none() {
            bail!(
                "{} needs Debian's package, and there is no `{program}` on the search path",
                packages.join(", ")
            );
        }
    }
    let (archives, files) = (folder.join("archives"), folder.join("files"));
    for folder in [&archives, &files] {
        if folder.is_dir() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let lists = folder.join("lists");
    let mut wanted: BTreeSet<String> = packages.iter().map(ToString::to_string).collect();
    let mut fetched = BTreeSet::new();
    while !wanted.is_empty() {
        fetch(&wanted, &archives, &lists)?;
        fetched.append(&mut wanted);
        for archive in listed(&archives)? {
            let named = needs.map(|needs| dependencies(&archive, needs)).transpose()?;
            wanted.extend(named.into_iter().flatten().filter(|name| !fetched.contains(name)));
        }
    }
    for archive in listed(&archives)? {
        let status = Command::new("dpkg-deb").arg("-x").args([&archive, &files]).status();
        if !status.context("dpkg-deb does not start")?.success() {
            bail!("{} cannot be unpacked", archive.display());
        }
    }
    Ok(files)
}

fn fetch(packages: &BTreeSet<String>, into: &Path, lists: &Path) -> Result<()> {
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    eprintln!("fetching {}", names.join(", "));
    if download(&names, into, None) {
        return Ok(());
    }
    // A fresh machine has no list of packages yet, and only root may make the common one.
    if update(lists)? && download(&names, into, Some(lists)) {
        return Ok(());
    }
    bail!("apt-get download {} failed", names.join(" "))
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = || format!("cannot list {}", folder.display());
    let entries = fs::read_dir(folder).with_context(failed)?;
    entries.map(|entry| Ok(entry.with_context(failed)?.path())).collect()
}

/// The packages that this one depends on, as far as their names begin so.
fn dependencies(archive: &Path, beginning: &str) -> Result<Vec<String>> {
    let output = Command::new("dpkg-deb").arg("-f").arg(archive).arg("Depends").output();
    let output = output.context("dpkg-deb does not start")?;
    if !output.status.success() {
        bail!("{} cannot be read", archive.display());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let names = said.split(',').filter_map(|one| one.split_whitespace().next());
    Ok(names
        .filter(|name| name.starts_with(beginning))
        .map(str::to_owned)
        .collect())
}

/// Fetches packages into a folder, by the lists of one's own where they are named.
fn download(packages: &[&str], into: &Path, lists: Option<&Path>) -> bool {
    let mut command = apt(lists);
    command.arg("download").args(packages).current_dir(into);
    command.status().is_ok_and(|status| status.success())
}

/// Makes lists of one's own.
fn update(lists: &Path) -> Result<bool> {
    for part in ["state/lists/partial", "cache/archives/partial"] {
        let part = lists.join(part);
        fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
    }
    Ok(apt(Some(lists))
        .arg("update")
        .status()
        .is_ok_and(|status| status.success()))
}

fn apt(lists: Option<&Path>) -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-qq").stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(lists) = lists {
        for (name, folder) in [("State", "state"), ("Cache", "cache")] {
            let folder = lists.join(folder);
            command.arg("-o").arg(format!("Dir::{name}={}", folder.display()));
        }
    }
    command
}
