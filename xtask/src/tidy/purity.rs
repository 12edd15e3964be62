//! Which names must not stand in which crate.
//!
//! The invariants of ARCHITECTURE.md are mostly statements of absence, and this is where they are held. Clippy holds some
//! of them as well, by type (crates/revoada-core/clippy.toml); by name is coarser and sees macros and `async`.

use super::Finding;
use crate::source::{self, Source};

/// Where some names must not stand.
struct Rule {
    /// The folders that it is about.
    below: &'static str,
    /// A folder or file within them that is exempt.
    but: Option<&'static str>,
    /// Whether tests and examples are exempt: they read their transcripts from files.
    but_tests: bool,
    names: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        below: "crates/revoada-core/",
        but: None,
        but_tests: true,
        names: &[
            "async",
            "await",
            "tokio",
            "futures",
            "Instant",
            "SystemTime",
            "std::fs",
            "std::net",
            "std::env",
            "std::thread",
            "std::process",
            "File",
            "HashMap",
            "HashSet",
            "RandomState",
            "rand",
            "getrandom",
            "fastrand",
            "chrono",
        ],
        why: "core has no tasks, clocks, files, sockets, environment, unordered maps or randomness",
    },
    Rule {
        below: "crates/revoada-attest/",
        but: None,
        but_tests: true,
        names: &[
            "async",
            "tokio",
            "Instant",
            "SystemTime",
            "std::fs",
            "std::net",
            "std::env",
            "getrandom",
            "rand",
        ],
        why: "a block is verified by a function of bytes",
    },
    Rule {
        below: "crates/",
        but: Some("crates/revoada-mesh/src/consensus"),
        but_tests: false,
        names: &["openraft::", "openraft_macros::"],
        why: "Raft stays behind one module",
    },
    Rule {
        below: "crates/revoada-store/",
        but: None,
        but_tests: false,
        names: &[
            "hyper",
            "axum",
            "rustls",
            "TcpListener",
            "TcpStream",
            "UnixListener",
            "UnixStream",
        ],
        why: "a store knows no protocol",
    },
    Rule {
        below: "crates/revoada-faces/",
        but: None,
        but_tests: true,
        names: &["TcpListener", "UnixListener"],
        why: "a face is a service that others host",
    },
];

/// Names in code where they must not be.
pub fn check(files: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.is_rust() && file.path.starts_with("crates/"))
    {
        let code = source::code(&file.text);
        for rule in RULES.iter().filter(|rule| rule.covers(file)) {
            for name in rule.names {
                let what = format!("`{name}` must not be named here: {}", rule.why);
                let lines = source::lines_with(&code, name);
                findings.extend(
                    lines
                        .into_iter()
                        .map(|line| Finding::at(&*file.path, line, what.clone())),
                );
            }
        }
    }
    findings
}

impl Rule {
    fn covers(&self, file: &Source) -> bool {
        let exempt = self.but.is_some_and(|but| file.path.starts_with(but)) || (self.but_tests && file.is_test());
        file.path.starts_with(self.below) && !exempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(path: &str, text: &str, expected: &[usize]) {
        let files = [Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }];
        let mut lines: Vec<usize> = check(&files).iter().filter_map(|finding| finding.line).collect();
        lines.sort_unstable();
        assert_eq!(lines, expected, "{path}");
    }

    #[test]
    fn core_names_no_clock_and_no_unordered_map() {
        let text = "//! HashMap\nuse std::collections::HashMap;\nlet s = \"tokio\";\nasync fn f() {}\n";
        check_text("crates/revoada-core/src/x.rs", text, &[2, 4]);
        check_text("crates/revoada-core/src/x/tests.rs", text, &[]);
        check_text("crates/revoada-node/src/x.rs", text, &[]);
    }

    #[test]
    fn raft_is_named_in_one_module_only() {
        let text = "use openraft::Raft;";
        check_text("crates/revoada-mesh/src/keyspace.rs", text, &[1]);
        check_text("crates/revoada-mesh/src/consensus/mod.rs", text, &[]);
        check_text("crates/revoada-node/tests/x.rs", text, &[1]);
    }
}
