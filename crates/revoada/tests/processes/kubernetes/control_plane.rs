//! The processes of Kubernetes, in a folder of their own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::PATIENCE;
use super::api::Api;
use crate::support::{TestCluster, peer, until};

const TOKEN: &str = "secret-token";
/// How many lines of a process's log are shown when a test fails.
const TAIL_LINES: usize = 15;

/// A kube-apiserver and a kube-controller-manager. Dropping it kills them.
pub struct ControlPlane {
    processes: Mutex<Vec<(&'static str, Child)>>,
    port: u16,
    certificate: PathBuf,
    folder: TempDir,
}

impl ControlPlane {
    /// Starts both, with the cluster as the only store; what is missing where they are not there.
    pub async fn start(cluster: &TestCluster) -> Result<Self, String> {
        let server = peer("kube-apiserver", "kubernetes")?;
        let controllers = peer("kube-controller-manager", "kubernetes")?;
        let folder = tempfile::Builder::new().prefix("rvk").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let started = Self {
            processes: Mutex::default(),
            port,
            certificate: folder.path().join("server.crt"),
            folder,
        };
        started.write_keys();
        started.spawn(
            "kube-apiserver",
            &server,
            &started.server_words(&cluster.etcd_endpoints()),
        );
        // Controllers give up where nobody answers.
        let api = started.api();
        until("kube-apiserver is ready", PATIENCE, async || {
            started.assert_alive();
            api.get_text("/readyz").await
        })
        .await;
        started.spawn("kube-controller-manager", &controllers, &started.controller_words());
        Ok(started)
    }

    /// A client of it.
    pub fn api(&self) -> Api {
        Api::new(self.port, TOKEN, &self.certificate)
    }

    /// Neither process has ended: controllers that lose their lease do.
    pub fn assert_alive(&self) {
        for (name, process) in self.processes.lock().iter_mut() {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "{name} ended: {ended:?}\n{}", tail(&self.log(name)));
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// A certificate for the server, the key that signs the tokens of accounts, one user, and what controllers need of them.
    fn write_keys(&self) {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        fs::write(&self.certificate, made.cert.pem()).unwrap();
        fs::write(self.path("server.key"), made.signing_key.serialize_pem()).unwrap();
        let accounts = rcgen::KeyPair::generate().unwrap();
        fs::write(self.path("accounts.key"), accounts.serialize_pem()).unwrap();
        fs::write(self.path("accounts.pub"), accounts.public_key_pem()).unwrap();
        fs::write(self.path("tokens.csv"), format!("{TOKEN},admin,1,\"system:masters\"\n")).unwrap();
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{}', certificate-authority: {}}}}}]\n\
             users: [{{name: admin, user: {{token: {TOKEN}}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]\n",
            self.port,
            self.certificate.display()
        );
        fs::write(self.path("kubeconfig"), kubeconfig).unwrap();
    }

    fn server_words(&self, stores: &str) -> Vec<String> {
        [
            format!("--etcd-servers={stores}"),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", self.path("certs")),
            format!("--tls-cert-file={}", self.certificate.display()),
            format!("--tls-private-key-file={}", self.path("server.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", self.path("accounts.pub")),
            format!("--service-account-signing-key-file={}", self.path("accounts.key")),
            "--authorization-mode=RBAC".to_owned(),
            format!("--token-auth-file={}", self.path("tokens.csv")),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        ]
        .into()
    }

    fn controller_words(&self) -> Vec<String> {
        let kubeconfig = self.path("kubeconfig");
        [
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            format!("--service-account-private-key-file={}", self.path("accounts.key")),
            format!("--root-ca-file={}", self.certificate.display()),
            format!("--cert-dir={}", self.path("certs")),
            "--secure-port=0".to_owned(),
            "--leader-elect=true".to_owned(),
        ]
        .into()
    }

    fn spawn(&self, name: &'static str, program: &Path, words: &[String]) {
        let log = File::create(self.log(name)).unwrap();
        let process = Command::new(program)
            .args(words)
            .env_clear()
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.processes.lock().push((name, process));
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for (name, process) in self.processes.get_mut() {
            // The test is over: whatever can still go wrong here has no bearing on it.
            drop(process.kill());
            drop(process.wait());
            if std::thread::panicking() {
                let log = self.folder.path().join(format!("{name}.log"));
                eprintln!("--- {name}\n{}", tail(&log));
            }
        }
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
