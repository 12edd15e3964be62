//! etcd's own command line as a program that a test drives.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{TestCluster, peer};

/// `check perf` takes a minute by itself.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// etcdctl against a cluster.
pub struct Etcdctl {
    program: PathBuf,
    pub endpoints: String,
    pub user: Option<String>,
}

/// A command that goes on.
pub struct Going {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Etcdctl {
    /// The one of etcd 3.6.
    pub fn of(cluster: &TestCluster) -> Result<Self, String> {
        Self::by(peer("etcdctl", "etcd")?, cluster)
    }

    /// The one of etcd 3.4, as Debian has it.
    pub fn of_debian(cluster: &TestCluster) -> Result<Self, String> {
        Self::by(peer("etcdctl-3.4", "etcdctl-3.4")?, cluster)
    }

    fn by(program: PathBuf, cluster: &TestCluster) -> Result<Self, String> {
        Ok(Self {
            program,
            endpoints: cluster.etcd_endpoints(),
            user: None,
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--endpoints", &self.endpoints, "--command-timeout=30s"]);
        command.args(self.user.as_ref().map(|user| format!("--user={user}")));
        command.args(words).kill_on_drop(true);
        // What whoever runs the tests has set for their own cluster is not meant.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCDCTL_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs a command with this on its standard input: whether it succeeded, and what it printed.
    pub async fn try_with(&self, words: &[&str], input: &str) -> (bool, String) {
        use tokio::io::AsyncWriteExt as _;
        let mut command = self.command(words);
        let pipes = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = pipes.spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        // One that does not read may have ended already.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        let output = tokio::time::timeout(PATIENCE, process.wait_with_output()).await;
        let output = output
            .unwrap_or_else(|_| panic!("etcdctl {words:?} does not end"))
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    pub async fn with(&self, words: &[&str], input: &str) -> String {
        let (succeeded, said) = self.try_with(words, input).await;
        assert!(succeeded, "etcdctl {words:?}: {said}");
        said
    }

    pub async fn run(&self, words: &[&str]) -> String {
        self.with(words, "").await
    }

    pub async fn json(&self, words: &[&str]) -> Value {
        let said = self.run(&[words, &["--write-out=json"]].concat()).await;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("etcdctl {words:?}: {error}: {said}"))
    }

    /// Runs a command that has to fail, and say this.
    pub async fn refused(&self, words: &[&str], why: &str) {
        let (succeeded, said) = self.try_with(words, "").await;
        assert!(!succeeded && said.contains(why), "etcdctl {words:?}: {said}");
    }

    pub fn start(&self, words: &[&str]) -> Going {
        let mut process = self
            .command(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Going { process, lines }
    }
}

impl Going {
    pub async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.expect("it is silent").unwrap().expect("it ended")
    }

    /// Ends it as a service manager does. Ctrl-C would be ignored by what a shell without job control began in the background.
    pub async fn interrupt(&mut self) {
        let pid = self.process.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        tokio::time::timeout(PATIENCE, self.process.wait())
            .await
            .unwrap()
            .unwrap();
    }
}
