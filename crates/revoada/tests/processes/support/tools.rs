//! What a test needs of the machine it runs on, and what is said when it is not there.

use std::path::Path;

/// Says that a test did not run, and why. With `CI` set that is a failure: nothing is skipped in silence.
pub fn not_run(test: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} was not run: {reason}");
    println!("not run: {test}: {reason}");
}

/// The first thing that is missing, of root's rights and the named programs.
pub fn missing(programs: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let lacks = |program: &&&str| !std::env::split_paths(&path).any(|folder| is_file(&folder.join(program)));
    programs.iter().find(lacks).map(|program| format!("it needs {program}"))
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}
