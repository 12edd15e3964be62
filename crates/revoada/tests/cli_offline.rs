//! The commands that need no cluster, driven as a script would drive them: exit codes, stdout, stderr.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use revoada_attest::{Block, BlockBody, Chain, Digest, NodeKey, Role, Transition, TransitionKind, TrustedKeys};
use revoada_core::resource::{Resource, ResourceFormat};
use revoada_core::snapshot::{Header, SnapshotWriter};
use serde_json::Value;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Ran {
        let mut child = command(self.0.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its stdin may have ended before it is written.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        Ran::of(child.wait_with_output().unwrap())
    }
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_revoada"));
    command
        .env("REVOADA_DIR", dir.join("no-cluster"))
        .env_remove("RUST_LOG");
    command
}

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }

    fn error(&self) -> Value {
        let value: Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error}: {}", self.stderr));
        value["error"].clone()
    }
}

const DECLARATION: &str = "apiVersion: revoada.dev/v1\nkind: Cluster\nname: lab\nstrategy: homelab-3node\n\
                           face: {kind: pure-raft}\ntopology: {kind: quorum-3m}\n";

#[test]
fn a_coherent_declaration_has_an_id_and_a_digest_and_exits_0() {
    let folder = Folder::new();
    let file = folder.write("cluster.yaml", DECLARATION);
    let ran = folder.run(&["check", &file, "-o", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let verdict = ran.json();
    assert!(verdict["id"].as_str().unwrap().ends_with("/homelab-3node/quorum-3m"));
    assert_eq!(verdict["digest"].as_str().unwrap().len(), 64);
    assert_eq!(verdict["findings"].as_array().unwrap().len(), 0);
}

#[test]
fn a_declaration_with_errors_exits_1_with_all_findings() {
    let folder = Folder::new();
    let text = DECLARATION.replace("quorum-3m", "phalanxx") + "colour: red\n";
    let ran = folder.run_with(&["check", "-", "-o", "json"], text.as_bytes());
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let verdict = ran.json();
    assert_eq!((&verdict["id"], &verdict["digest"]), (&Value::Null, &Value::Null));
    let findings = verdict["findings"].as_array().unwrap();
    let codes: Vec<&str> = findings
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["unknown-name", "unknown-field"]);
}

#[test]
fn what_is_no_declaration_at_all_and_what_cannot_be_read_exit_2() {
    let folder = Folder::new();
    let file = folder.write("cluster.json", "{");
    assert_eq!(folder.run(&["check", &file]).code, 2);
    let ran = folder.run(&[
        "check",
        &folder.path("nowhere.yaml").display().to_string(),
        "-o",
        "json",
    ]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.error()["kind"], "invalid");
    assert!(ran.error()["message"].as_str().unwrap().contains("nowhere.yaml"));
    assert!(!ran.error()["causes"].as_array().unwrap().is_empty());
    assert_eq!(folder.run(&["check"]).code, 2);
}

#[test]
fn the_schema_and_the_explanations_need_no_file() {
    let folder = Folder::new();
    let schema = folder.run(&["check", "--schema"]);
    assert_eq!(schema.code, 0);
    assert!(schema.json()["$schema"].is_string());
    let explained = folder.run(&["check", "--explain", "-o", "json"]).json();
    let codes = explained["codes"].as_array().unwrap();
    assert!(codes.iter().any(|code| code["code"] == "consensus-size-even"));
    assert!(
        codes
            .iter()
            .all(|code| !code["explanation"].as_str().unwrap().is_empty())
    );
}

/// A chain of one admission, and the keys that verify it.
fn chain() -> (Vec<u8>, String) {
    let key = NodeKey::from_seed([7; 32]);
    let cluster = Digest::from_bytes([1; 32]);
    let mut chain = Chain::new(cluster);
    let body = BlockBody {
        cluster,
        index: 0,
        parent: cluster,
        term: 1,
        time_ms: 1,
        proposer: key.id(),
        transition: Transition {
            node: key.id(),
            name: "node-1".to_owned(),
            kind: TransitionKind::Admit,
            from: None,
            to: Some(Role::ControlPlane),
            reason: "the first".to_owned(),
        },
    };
    chain.append(Block::seal(body, &key), 1).unwrap();
    let mut trust = TrustedKeys::of_cluster(cluster);
    trust.insert(key.id(), "node-1");
    (chain.export(), trust.to_string())
}

#[test]
fn a_chain_is_verified_offline_and_a_changed_byte_and_a_cut_tail_are_told_apart() {
    let folder = Folder::new();
    let (bytes, keys) = chain();
    let trust = folder.write("keys", keys);
    let whole = folder.write("chain", &bytes);
    let verify = |file: &str, heads: &[&str]| {
        let mut arguments = vec!["chain", "verify", file, "--trust", &trust, "-o", "json"];
        heads.iter().for_each(|head| arguments.extend(["--head", head]));
        folder.run(&arguments)
    };
    let ran = verify(&whole, &[]);
    assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
    assert_eq!((&ran.json()["valid"], &ran.json()["blocks"]), (&true.into(), &1.into()));
    let head = ran.json()["head"].as_str().unwrap().to_owned();

    assert_eq!(verify(&whole, &[&head]).code, 0);
    let unseen = verify(&whole, &[&head, &"ab".repeat(32)]);
    assert_eq!(
        (unseen.code, &unseen.json()["problems"][0]["kind"]),
        (1, &"truncated".into())
    );

    let cut = verify(&folder.write("cut", &bytes[..bytes.len() - 1]), &[]);
    assert_eq!((cut.code, &cut.json()["problems"][0]["kind"]), (1, &"truncated".into()));

    let mut changed = bytes.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let changed = verify(&folder.write("changed", changed), &[]);
    assert_eq!(
        (changed.code, &changed.json()["problems"][0]["kind"]),
        (1, &"digest".into())
    );

    let no_keys = folder.write("no-keys", "hello");
    assert_eq!(folder.run(&["chain", "verify", &whole, "--trust", &no_keys]).code, 2);
    assert_eq!(verify(&whole, &["12"]).code, 2);
    assert_eq!(folder.run(&["chain", "verify", &whole]).code, 2);
}

fn snapshot() -> Vec<u8> {
    let header = Header {
        revision: 7,
        declaration: "a declaration".to_owned(),
        created_by: "a test".to_owned(),
    };
    let document = r#"{"kind":"A","metadata":{"name":"a"}}"#;
    let resource = Resource::parse(document.into(), ResourceFormat::Json).unwrap();
    let mut writer = SnapshotWriter::new(Vec::new(), header).unwrap();
    writer
        .entry(&resource.reference, resource.format, &resource.document)
        .unwrap();
    writer.finish().unwrap().0
}

#[test]
fn a_snapshot_is_inspected_offline_and_one_with_a_flipped_bit_is_refused() {
    let folder = Folder::new();
    let bytes = snapshot();
    let whole = folder.write("whole.snap", &bytes);
    let ran = folder.run(&["snapshot", "inspect", &whole, "-o", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown = ran.json();
    assert_eq!((&shown["revision"], &shown["entries"]), (&7.into(), &1.into()));
    assert_eq!(
        (&shown["format"], &shown["declaration"]),
        (&1.into(), &"a declaration".into())
    );
    assert_eq!(shown["bytes"], bytes.len());

    let mut flipped = bytes.clone();
    flipped[30] ^= 4;
    for (name, damaged) in [("cut", &bytes[..bytes.len() - 3]), ("flipped", &flipped[..])] {
        let file = folder.write(name, damaged);
        let ran = folder.run(&["snapshot", "inspect", &file, "-o", "json"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{name}");
        assert!(!ran.error()["causes"].as_array().unwrap().is_empty(), "{name}");
        // It is not sent anywhere either.
        assert_eq!(folder.run(&["snapshot", "restore", &file, "--yes"]).code, 2, "{name}");
    }
}

#[test]
fn a_bad_second_document_is_named_before_a_cluster_is_looked_for() {
    let folder = Folder::new();
    let text = "kind: A\nmetadata: {name: a}\n---\nkind: A\nmetadata: {name: ../b}\n";
    let file = folder.write("two.yaml", text);
    let ran = folder.run(&["apply", "-f", &file]);
    assert_eq!(ran.code, 2);
    let first = ran.stderr.lines().next().unwrap();
    assert!(
        first.starts_with("error: ") && first.contains("two.yaml, document 2, line 4"),
        "{first}"
    );

    let too_large = format!("kind: A\nmetadata: {{name: a}}\npad: {}\n", "x".repeat(1_600_000));
    for (what, bytes) in [
        ("not UTF-8", &b"kind: A\nmetadata: {name: \xff}\n"[..]),
        ("no kind", b"metadata: {name: a}\n"),
        ("too large", too_large.as_bytes()),
        ("empty", b""),
    ] {
        let ran = folder.run_with(&["apply", "-f", "-", "-o", "json"], bytes);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{what}: {}", ran.stderr);
        assert_eq!(ran.error()["kind"], "invalid", "{what}");
    }
}

#[test]
fn without_a_cluster_a_command_exits_3_and_says_what_to_type() {
    let folder = Folder::new();
    for arguments in [
        &["status"][..],
        &["get", "A", "a"],
        &["down"],
        &["kill", "node-1"],
        &["drill", "kill-leader"],
        &["bench", "put"],
        &["top"],
    ] {
        let ran = folder.run(arguments);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (3, ""),
            "{arguments:?}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains("revoada up"), "{arguments:?}: {}", ran.stderr);
    }
    let nobody = folder.path("nobody.sock").display().to_string();
    let ran = folder.run(&["status", "--endpoint", &nobody, "-o", "json"]);
    assert_eq!((ran.code, &ran.error()["kind"]), (3, &"unavailable".into()));
}

#[test]
fn wrong_usage_exits_2_and_is_json_where_json_was_asked_for() {
    let folder = Folder::new();
    let token = folder.write("token", "secret");
    for arguments in [
        &["bogus", "-o", "json"][..],
        &["get", "A", "-ojson"],
        &["list", "A", "-l", "a in (", "--output=json"],
        &["up", "--topology", "phalanxx", "-o", "json"],
        &["up", "--nodes", "2", "-o", "json"],
        &[
            "status",
            "--endpoint",
            "http://x",
            "--token",
            &token,
            "--ca",
            &token,
            "-o",
            "json",
        ],
    ] {
        let ran = folder.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.error()["kind"], "invalid", "{arguments:?}");
    }
    assert!(
        !folder.path("no-cluster").exists(),
        "a refused `up` leaves nothing behind"
    );
}

#[test]
fn an_argument_that_is_not_utf_8_is_refused_and_a_path_that_is_not_is_read() {
    let folder = Folder::new();
    let strange = std::ffi::OsStr::from_bytes(b"\xff.yaml");
    std::fs::write(folder.0.path().join(strange), DECLARATION).unwrap();
    let path = folder.0.path().join(strange);
    let read = command(folder.0.path()).arg("check").arg(path).output().unwrap();
    assert_eq!(Ran::of(read).code, 0);
    let refused = command(folder.0.path())
        .args(["get", "A"])
        .arg(strange)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_reader_that_went_away_is_no_error_and_a_full_disk_is_one() {
    let folder = Folder::new();
    let mut child = command(folder.0.path())
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));

    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command(folder.0.path())
        .args(["completions", "bash"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.starts_with(b"error: cannot write to stdout\n"));
}

#[test]
fn keys_and_a_genesis_are_made_by_hand() {
    let folder = Folder::new();
    let declaration = folder.write("cluster.yaml", DECLARATION);
    let (genesis, token) = (folder.path("genesis.json"), folder.path("token"));
    let (genesis, token) = (genesis.display().to_string(), token.display().to_string());
    let create = [
        "genesis",
        "create",
        "--declaration",
        &declaration,
        "--out",
        &genesis,
        "--token",
        &token,
    ];
    let mut arguments: Vec<String> = create.map(str::to_owned).to_vec();
    for number in 1..=3 {
        let key = folder.path(&format!("key-{number}")).display().to_string();
        let made = folder.run(&["key", &key, "-o", "json"]);
        assert_eq!((made.code, &made.json()["made"]), (0, &true.into()), "{}", made.stderr);
        let again = folder.run(&["key", &key]).stdout;
        assert_eq!(again.trim(), made.json()["id"].as_str().unwrap());
        arguments.extend([
            "--founder".to_owned(),
            format!("node-{number}={},zone=z{number}", again.trim()),
        ]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let fewer = folder.run(&arguments[..arguments.len() - 2]);
    assert_eq!(fewer.code, 2, "{}", fewer.stdout);
    let made = folder.run(&arguments);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert_eq!(std::fs::read_to_string(&token).unwrap().trim().len(), 64);
    let shown = folder.run(&["genesis", "show", &genesis, "-o", "json"]).json();
    assert_eq!(shown["founders"].as_array().unwrap().len(), 3);
    assert_eq!(shown["token"], true);
}

#[test]
fn manual_pages_and_completions_are_generated() {
    let folder = Folder::new();
    let pages = folder.path("man");
    let ran = folder.run(&["man", &pages.display().to_string()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(pages.join("revoada.1").exists() && pages.join("revoada-up.1").exists());
    let first = folder.run(&["man"]);
    assert!(first.stdout.contains(".TH revoada 1"), "{}", first.stdout);
    assert!(!folder.path("no-cluster").exists(), "pages are no part of a cluster");
    assert!(folder.run(&["completions", "bash"]).stdout.contains("kill-leader"));
}

#[test]
fn an_up_that_cannot_be_meant_leaves_no_folder_behind() {
    let folder = Folder::new();
    let wrong = [
        ["--node-arg", "colour=red"],
        ["--node-arg", "listen=nowhere"],
        ["--topology", "hexagon"],
        ["--nodes", "3"],
    ];
    for arguments in wrong {
        let ran = folder.run(&[&["up", "--detach", "-o", "json"], &arguments[..]].concat());
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
        assert!(!folder.path("no-cluster").exists(), "{arguments:?}");
    }
    let ran = folder.run(&["up", "--topology", "phalanx", "--nodes", "4"]);
    assert!(ran.stderr.contains("phalanx takes at least 5 nodes"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: --topology"), "{}", ran.stderr);
}

#[test]
fn what_changes_is_shown_in_two_formats_only() {
    let folder = Folder::new();
    let ran = folder.run(&["top", "-o", "name"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert_eq!(folder.run(&["top", "-o", "json"]).code, 3);
}

#[test]
fn a_name_that_no_resource_can_have_is_refused_before_a_cluster_is_looked_for() {
    let folder = Folder::new();
    let long = "a".repeat(254);
    for name in ["", "..", "a/b", &long] {
        for arguments in [["get", "A", name], ["delete", "A", name], ["watch", "A", name]] {
            let ran = folder.run(&[&arguments[..], &["-o", "json"]].concat());
            assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
            let causes = ran.error()["causes"].to_string();
            assert!(causes.contains("metadata.name"), "{arguments:?}: {causes}");
        }
    }
    for arguments in [["get", "A", "a"], ["watch", "A", "a"]] {
        assert_eq!(folder.run(&[&arguments[..], &["-n", "a/b"]].concat()).code, 2);
    }
    assert_eq!(folder.run(&["list", "A", "-n", ".."]).code, 2);
    assert_eq!(
        folder.run(&["get", "A", "fine"]).code,
        3,
        "there is no cluster, and the name is one"
    );
}

#[test]
fn a_declaration_is_simulated_the_same_each_time_and_compared() {
    let folder = Folder::new();
    let file = folder.write("cluster.yaml", DECLARATION);
    let other = folder.write("other.yaml", DECLARATION.replace("quorum-3m", "mesh-all-peers"));
    let picture = folder.path("timeline.svg").display().to_string();
    let arguments = [
        "simulate",
        &file,
        "--years",
        "5",
        "--seed",
        "9",
        "--without-replacement",
        "--against",
        &other,
        "--faults",
        "harsh",
        "--svg",
        &picture,
        "-o",
        "json",
    ];
    let ran = folder.run(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let drawn = std::fs::read_to_string(&picture).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"), "{drawn}");
    let again = folder.run(&arguments);
    assert_eq!(again.stdout, ran.stdout);
    assert_eq!(std::fs::read_to_string(&picture).unwrap(), drawn);

    let answer = ran.json();
    assert_eq!(
        (&answer["years"], &answer["seed"], &answer["faults"]["name"]),
        (&5.0.into(), &9.into(), &"harsh".into())
    );
    assert_eq!(answer["faults"]["reboots"]["every_ms"], 7 * 86_400_000);
    let runs = answer["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3);
    for run in runs {
        assert_eq!((&run["nodes"], &run["failures"]), (&5.into(), &runs[0]["failures"]));
        let availability = run["availability"].as_f64().unwrap();
        assert!((0.5..1.0).contains(&availability), "{availability}");
        assert!(run["downtime"]["count"].is_u64() && run["downtime"]["per_year_ms"].is_f64());
        assert!(run["quorum_losses"]["longest_ms"].is_u64() && run["quorum_losses"]["first"].is_array());
        assert!(run["reduced_redundancy"]["total_ms"].is_u64() && run["elections"]["count"].is_u64());
        assert_eq!(run["transitions"]["admit"], 5);
    }
    assert_eq!(
        (&runs[0]["replacement"], &runs[1]["replacement"]),
        (&true.into(), &false.into())
    );
    let lost = |run: &Value| run["quorum_losses"]["total_ms"].as_u64().unwrap();
    assert!(lost(&runs[0]) < lost(&runs[1]));
    let table = folder.run(&["simulate", &file, "--faults", "none", "--years", "1"]);
    assert!(table.stdout.contains("100 %"), "{}", table.stdout);
}

#[test]
fn what_cannot_be_simulated_is_refused_before_anything_runs() {
    let folder = Folder::new();
    let file = folder.write("cluster.yaml", DECLARATION);
    let incoherent = folder.write("incoherent.yaml", DECLARATION.replace("quorum-3m", "phalanxx"));
    let rates = folder.write("rates.yaml", "crashes: {mtbf: 7d, mtr: 5m}\n");
    let reboots = folder.write("reboots.yaml", "reboots: {every: 1m, downtime: 30s}\n");
    let nowhere = folder.path("nowhere.yaml").display().to_string();
    let unwritable = folder.path("no/such/folder/x.svg").display().to_string();
    let refused = |arguments: &[&str], code: i32, says: &str| {
        let mut all = vec!["simulate"];
        all.extend(arguments);
        let ran = folder.run(&all);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (code, ""),
            "{arguments:?}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    };
    refused(&[], 2, "FILE");
    refused(&[&nowhere], 2, "nowhere.yaml");
    refused(&[&incoherent], 1, "phalanxx");
    refused(&[&file, "--against", &incoherent], 1, "phalanxx");
    for years in ["0", "-1", "NaN", "1e9", "many"] {
        refused(&[&file, "--years", years], 2, "a number of years");
    }
    refused(&[&file, "--faults", "homelap"], 2, "homelab, datacenter, harsh, none");
    refused(&[&file, "--faults", &nowhere], 2, "nowhere.yaml");
    refused(&[&file, "--faults", &rates], 2, "mtr");
    refused(&[&file, "--nodes", "2"], 2, "at least 3 nodes");
    refused(&[&file, "--nodes", "1001"], 2, "1000");
    refused(&[&file, "--zones", "6"], 2, "6 zones");
    refused(&[&file, "--faults", &reboots], 2, "less than 12 s");
    refused(&[&file, "--svg", &unwritable], 2, "cannot write");
    refused(&[&file, "-o", "hcl"], 2, "hcl");
    refused(&["-", "--against", "-"], 2, "only once");
}

#[test]
fn the_picture_replaces_nothing_but_a_file_that_is_not_read() {
    let folder = Folder::new();
    let file = folder.write("cluster.yaml", DECLARATION);
    let other = folder.write("other.yaml", DECLARATION);
    let rates = folder.write("rates.yaml", "crashes: {mtbf: 60d, mttr: 5m}\n");
    let link = folder.path("link.svg").display().to_string();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let fifo = folder.path("fifo").display().to_string();
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let refused = |svg: &str, says: &str| {
        let arguments = [
            "simulate",
            &file,
            "--against",
            &other,
            "--faults",
            &rates,
            "--years",
            "1",
            "--svg",
            svg,
        ];
        let ran = folder.run(&arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{svg}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{svg}: {}", ran.stderr);
    };
    refused(&fifo, "no regular file");
    for svg in [&file, &other, &rates, &link] {
        refused(svg, "which is read");
    }
    use std::os::unix::fs::FileTypeExt as _;
    assert!(std::fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
    assert!(Path::new(&link).is_symlink());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), DECLARATION);

    // A link to a file that nobody reads, and a folder with nothing left in it.
    let picture = folder.write("old.svg", "old");
    let link = folder.path("to-old.svg").display().to_string();
    std::os::unix::fs::symlink("old.svg", &link).unwrap();
    let ran = folder.run(&["simulate", &file, "--years", "1", "--zones", "1", "--svg", &link]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains(", 1 zone\n"), "{}", ran.stdout);
    assert!(Path::new(&link).is_symlink());
    assert!(std::fs::read_to_string(&picture).unwrap().starts_with("<svg"));
    assert_eq!(std::fs::read_dir(folder.path(".")).unwrap().count(), 7);
}
