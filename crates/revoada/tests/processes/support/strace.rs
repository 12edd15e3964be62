//! strace(1) on one node from outside: which syncs it asked of the kernel, and when.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use super::NodeProcess;
use super::tools::missing;

/// What makes bytes durable.
const CALLS: &str = "trace=pwritev2,fdatasync,fsync,sync_file_range";

/// One tracer, which writes into a file.
pub struct Strace {
    tracer: Child,
    /// It says so of each thread that is new, and would end at once if nobody could hear it.
    _says: BufReader<ChildStderr>,
    file: PathBuf,
}

/// A sync that succeeded: from before the kernel was asked until before the node went on, since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sync {
    pub began: Duration,
    pub ended: Duration,
}

impl Strace {
    /// What is missing here for it.
    pub fn missing() -> Option<String> {
        missing(&["strace"], &["strace", "-o", "/dev/null", "true"])
    }

    pub fn attach(node: &NodeProcess, folder: &Path) -> Self {
        let file = folder.join(format!("{}.strace", node.name()));
        let mut tracer = Command::new("strace")
            .args(["-f", "-ttt", "-T", "-e", CALLS, "-p", &node.pid().to_string(), "-o"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut says = BufReader::new(tracer.stderr.take().unwrap());
        let mut said = String::new();
        says.read_line(&mut said).unwrap();
        assert!(said.contains("attached"), "{said}");
        Self {
            tracer,
            _says: says,
            file,
        }
    }

    /// The syncs so far. strace may write its file a little later than they happen, and never writes too much.
    pub fn syncs(&self) -> Vec<Sync> {
        read(&fs::read_to_string(&self.file).unwrap_or_default())
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        drop(self.tracer.kill());
        drop(self.tracer.wait());
    }
}

/// Reads lines of `THREAD SECONDS CALL = RESULT <SECONDS>`. A call during which another thread was seen stands on two
/// lines, of which the second does not repeat what was asked.
fn read(text: &str) -> Vec<Sync> {
    let mut open: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut syncs = Vec::new();
    for line in text.lines() {
        let mut words = line.splitn(3, char::is_whitespace);
        let (Some(thread), Some(at), Some(call)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Some(at) = seconds(at) else { continue };
        if call.starts_with("<... ") {
            if let Some(began) = open.remove(thread).filter(|_| succeeded(call)) {
                syncs.push(Sync { began, ended: at });
            }
        } else if syncs_something(call) {
            if call.ends_with("<unfinished ...>") {
                open.insert(thread, at);
            } else if let Some(took) = took(call).filter(|_| succeeded(call)) {
                syncs.push(Sync {
                    began: at,
                    ended: at + took,
                });
            }
        }
    }
    syncs
}

fn syncs_something(call: &str) -> bool {
    let data = call.starts_with("pwritev2(") && call.contains("DSYNC");
    data || call.starts_with("fdatasync(") || call.starts_with("fsync(")
}

fn succeeded(call: &str) -> bool {
    call.contains(") = ") && !call.contains(") = -1") && !call.contains(") = ?")
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

fn took(call: &str) -> Option<Duration> {
    let (_, took) = call.rsplit_once('<')?;
    seconds(took.strip_suffix('>')?)
}

#[test]
fn whole_split_and_failed_calls_are_told_apart() {
    let text = "\
7 100.000001 pwritev2(9, [{iov_base=\"x\", iov_len=1}], 1, 0, RWF_DSYNC) = 1 <0.000010>
7 100.100000 pwritev2(9, [{iov_base=\"x\", iov_len=1}], 1, 0, 0) = 1 <0.000010>
8 100.200000 fdatasync(9 <unfinished ...>
7 100.300000 fsync(9) = -1 EIO (Input/output error) <0.000010>
8 100.400000 <... fdatasync resumed>) = 0 <0.200000>
8 100.500000 fdatasync(9 <unfinished ...>
";
    let at = |began: f64, ended: f64| Sync {
        began: Duration::from_secs_f64(began),
        ended: Duration::from_secs_f64(ended),
    };
    assert_eq!(read(text), [at(100.000001, 100.000011), at(100.2, 100.4)]);
}
