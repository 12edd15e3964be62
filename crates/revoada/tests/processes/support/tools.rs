//! What a test needs of the machine it runs on, and what is said when it is not there.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use revoada_sim::client_history::{self, Operation};

/// Says that a test did not run, and why. With `CI` set that is a failure: nothing is skipped in silence.
pub fn not_run(test: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} was not run: {reason}");
    println!("not run: {test}: {reason}");
    // Whoever runs all tests asks for a list of these.
    if let Some(list) = std::env::var_os("REVOADA_NOT_RUN") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).unwrap();
        writeln!(list, "{test}\t{reason}").unwrap();
    }
}

/// A real peer: from the folder that `REVOADA_PEERS` names, or where `cargo xtask peers` puts them; what is missing where it
/// is not there. `built_by` is what that command calls it.
pub fn peer(name: &str, built_by: &str) -> Result<PathBuf, String> {
    let cached = || {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty());
        Some(cache.map(PathBuf::from).or_else(home)?.join("revoada/peers/bin"))
    };
    let folder = std::env::var_os("REVOADA_PEERS").map(PathBuf::from).or_else(cached);
    let program = folder
        .map(|folder| folder.join(name))
        .filter(|program| program.is_file());
    program.ok_or_else(|| format!("it needs {name}: cargo xtask peers {built_by}"))
}

/// Whether porcupine finds a history linearizable; what is missing where it is not there.
pub fn judged_by_porcupine(operations: &[Operation]) -> Result<bool, String> {
    let checker = peer("checker", "checker")?;
    let file = tempfile::Builder::new()
        .prefix("rv")
        .suffix(".jsonl")
        .tempfile()
        .unwrap();
    fs::write(file.path(), client_history::render(operations).unwrap()).unwrap();
    let output = Command::new(&checker).arg(file.path()).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{} said no verdict: {error}: {output:?}", checker.display()));
    match said["verdict"].as_str() {
        Some("linearizable") => Ok(true),
        Some("violated") => Ok(false),
        _ => panic!("{} came to no verdict: {said}", checker.display()),
    }
}

/// libfaketime, which gives one process a clock of its own; what is missing where it is not there.
pub fn library_for_clocks() -> Result<PathBuf, String> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let found = libraries.chain([PathBuf::from("/usr/lib64/faketime/libfaketimeMT.so.1")]);
    let mut found = found.filter(|library| library.is_file());
    found.next().ok_or_else(|| "it needs libfaketime".to_owned())
}

/// What is missing, of root's rights, the named programs, and the right to do what `probe` does and nothing comes of.
pub fn missing(programs: &[&str], probe: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if let Some(program) = programs.iter().find(|program| !there(program)) {
        return Some(format!("it needs {program}"));
    }
    let tried = Command::new(probe[0])
        .args(&probe[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let allowed = tried.is_ok_and(|status| status.success());
    (!allowed).then(|| format!("`{}` is refused here", probe.join(" ")))
}
