//! What a test needs of the machine it runs on, and what is said when it is not there.

use std::process::{Command, Stdio};

/// Says that a test did not run, and why. With `CI` set that is a failure: nothing is skipped in silence.
pub fn not_run(test: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} was not run: {reason}");
    println!("not run: {test}: {reason}");
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
