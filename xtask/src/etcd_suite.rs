//! etcd's own end-to-end tests with revoada in the place of etcd: what its project expects of flags, logs, members,
//! certificates and every call.
//!
//! The tests start the program that is called `etcd` in a folder, and drive it with the `etcdctl` beside it. One test at a
//! time, since all use the same ports. Rejected: tests of ours in their stead. They would expect what we think of.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{cargo, peers};

/// How long one test may take.
const TEST_TIMEOUT: &str = "240s";

/// What CI runs of it: of every kind some, in three minutes.
pub const USUAL: &[&str] = &[
    "TestAlarm",
    "TestAuthEnable",
    "TestAuthMemberAdd",
    "TestAuthMemberRemove",
    "TestCompact",
    "TestDefragOnline",
    "TestEndpointHashKV",
    "TestKVGet",
    "TestKVGetNoQuorum",
    "TestLeaseGrantTimeToLive",
    "TestMemberList",
    "TestRoleAdd_Simple",
    "TestStatus",
    "TestTxnSucc",
    "TestUserAdd_DuplicateUserNotAllowed",
    "TestWaitLeader_MemberStop",
    "TestWatch",
];

/// What came of it.
pub struct Outcome {
    /// How many tests ran.
    pub ran: usize,
    /// Those that failed.
    pub failed: Vec<String>,
}

impl Outcome {
    /// In a few words.
    pub fn summary(&self) -> String {
        let passed = self.ran - self.failed.len();
        if self.failed.is_empty() {
            format!("{passed} passed")
        } else {
            format!("{passed} of {} passed, failed: {}", self.ran, self.failed.join(" "))
        }
    }
}

/// The command: those tests that are named, or all.
pub fn alone(names: &[&str]) -> Result<bool> {
    let binary = cargo::measured_binary(&cargo::target()?)?;
    let outcome = run(&binary, names)?;
    println!("{}", outcome.summary());
    Ok(outcome.failed.is_empty())
}

/// Runs the tests that are named, or all where none is, against `binary`. What a failed one printed is kept in the target
/// folder.
pub fn run(binary: &Path, names: &[&str]) -> Result<Outcome> {
    let peers = peers::build(&["etcd", "etcd-e2e"])?;
    let base = cargo::target()?.join("xtask").join("etcd-suite");
    let place = Place::make(&base, binary, &peers)?;
    let listed = place.list()?;
    let chosen: Vec<&String> = listed
        .iter()
        .filter(|test| names.is_empty() || names.contains(&test.as_str()))
        .collect();
    if let Some(unknown) = names.iter().find(|name| !listed.iter().any(|test| test == *name)) {
        bail!("etcd's end-to-end tests have no {unknown}");
    }
    let mut failed = Vec::new();
    for test in &chosen {
        let log = base.join(format!("{test}.log"));
        let passed = place.test(test, &log)?;
        println!("test {test} ... {}", if passed { "ok" } else { "FAILED" });
        if passed {
            fs::remove_file(&log).with_context(|| format!("cannot remove {}", log.display()))?;
        } else {
            println!("  what it printed: {}", log.display());
            failed.push((*test).clone());
        }
    }
    let ran = chosen.len();
    Ok(Outcome { ran, failed })
}

/// The folders that the tests expect around them.
struct Place {
    suite: PathBuf,
    bin: PathBuf,
    work: PathBuf,
}

impl Place {
    fn make(base: &Path, binary: &Path, peers: &Path) -> Result<Self> {
        let failed = || format!("cannot make {}", base.display());
        if base.exists() {
            fs::remove_dir_all(base).with_context(failed)?;
        }
        let (bin, work) = (base.join("bin"), base.join("tests").join("common"));
        fs::create_dir_all(&bin).with_context(failed)?;
        fs::create_dir_all(&work).with_context(failed)?;
        let binary = fs::canonicalize(binary).with_context(|| format!("there is no {}", binary.display()))?;
        symlink(binary, bin.join("etcd")).with_context(failed)?;
        for tool in ["etcdctl", "etcdutl"] {
            symlink(peers.join(tool), bin.join(tool)).with_context(failed)?;
        }
        symlink(peers.join("fixtures"), base.join("tests").join("fixtures")).with_context(failed)?;
        Ok(Self {
            suite: peers.join(peers::ETCD_SUITE),
            bin,
            work,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.suite);
        command
            .arg("-bin-dir")
            .arg(&self.bin)
            .current_dir(&self.work)
            .stdin(Stdio::null());
        command
    }

    fn list(&self) -> Result<Vec<String>> {
        let output = self.command().args(["-test.list", "."]).output();
        let output = output.context("etcd's end-to-end tests do not start")?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text
            .lines()
            .filter(|line| line.starts_with("Test"))
            .map(str::to_owned)
            .collect())
    }

    fn test(&self, name: &str, log: &Path) -> Result<bool> {
        let file = fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file.try_clone().context("cannot share a file")?;
        let status = self
            .command()
            .args(["-test.v", "-test.timeout", TEST_TIMEOUT, "-test.run"])
            .arg(format!("^{name}$"))
            .stdout(file)
            .stderr(errors)
            .status()
            .context("etcd's end-to-end tests do not start")?;
        Ok(status.success())
    }
}
