//! Which crate of ours may depend on which: as decided, as built, and as printed in ARCHITECTURE.md.
//!
//! Two comparisons: no edge that was not decided, and no edge that the page does not print or the crates do not have.
//! Rejected: to read the decision from the page. Whoever adds an edge would then only have to edit the page, and a page
//! is edited more lightly than this table.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Finding;

const PAGE: &str = "ARCHITECTURE.md";
const TABLE: &str = "xtask/src/tidy/graph.rs";
const BLOCK: &str = "<!-- crate-graph -->";

/// The crates of the workspace and what each may depend on, in all kinds of dependencies. A new edge is a decision about
/// the design, and is taken there first.
const ALLOWED: &[(&str, &[&str])] = &[
    // Stands in for a crate of others, by [patch.crates-io]; nothing of ours names it.
    ("base2histogram", &[]),
    ("revoada-attest", &[]),
    ("revoada-core", &["revoada-attest"]),
    ("revoada-store", &["revoada-core"]),
    ("revoada-mesh", &["revoada-store", "revoada-core", "revoada-attest"]),
    ("revoada-etcd-api", &[]),
    (
        "revoada-bridges",
        &["revoada-etcd-api", "revoada-store", "revoada-core"],
    ),
    ("revoada-faces", &["revoada-etcd-api", "revoada-store", "revoada-core"]),
    (
        "revoada-node",
        &["revoada-mesh", "revoada-store", "revoada-core", "revoada-attest"],
    ),
    (
        "revoada-sim",
        &[
            "revoada-node",
            "revoada-mesh",
            "revoada-faces",
            "revoada-store",
            "revoada-core",
            "revoada-attest",
        ],
    ),
    (
        "revoada",
        &[
            "revoada-node",
            "revoada-sim",
            "revoada-faces",
            "revoada-bridges",
            "revoada-mesh",
            "revoada-store",
            "revoada-core",
            "revoada-attest",
            // Of the tests alone: they are clients of the etcd face.
            "revoada-etcd-api",
        ],
    ),
    ("xtask", &[]),
];

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Compares `metadata` with the decision, and `page` with `metadata`.
pub fn check(metadata: &Value, page: &str) -> Vec<Finding> {
    let built = built(metadata);
    let mut findings = undecided(&built);
    match printed(page) {
        Ok(printed) => findings.extend(differences(&built, &printed)),
        Err(what) => findings.push(Finding::of(PAGE, what)),
    }
    findings
}

fn undecided(built: &Graph) -> Vec<Finding> {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut findings = Vec::new();
    for (name, edges) in built {
        let Some(may) = allowed.get(name.as_str()) else {
            findings.push(Finding::of(
                TABLE,
                format!("the crate {name} is not in the table of allowed edges"),
            ));
            continue;
        };
        for edge in edges.iter().filter(|edge| !may.contains(&edge.as_str())) {
            findings.push(Finding::of(
                format!("{name}/Cargo.toml"),
                format!("{name} must not depend on {edge}"),
            ));
        }
    }
    for name in allowed.keys().filter(|name| !built.contains_key(**name)) {
        findings.push(Finding::of(
            TABLE,
            format!("the table of allowed edges has {name}, which is no crate"),
        ));
    }
    findings
}

fn differences(built: &Graph, printed: &Graph) -> Vec<Finding> {
    let names: BTreeSet<&String> = built.keys().chain(printed.keys()).collect();
    let none = BTreeSet::new();
    let mut findings = Vec::new();
    for name in names {
        if built.contains_key(name) != printed.contains_key(name) {
            let what = if built.contains_key(name) {
                "does not print the crate"
            } else {
                "prints what is no crate:"
            };
            findings.push(Finding::of(PAGE, format!("{what} {name}")));
            continue;
        }
        let (built, printed) = (built.get(name).unwrap_or(&none), printed.get(name).unwrap_or(&none));
        for edge in built.difference(printed) {
            findings.push(Finding::of(PAGE, format!("does not print {name} → {edge}")));
        }
        for edge in printed.difference(built) {
            findings.push(Finding::of(
                PAGE,
                format!("prints {name} → {edge}, which does not exist"),
            ));
        }
    }
    findings
}

fn built(metadata: &Value) -> Graph {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let edges = |package: &Value| -> BTreeSet<String> {
        let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
        dependencies
            .iter()
            .map(name)
            .filter(|dependency| ours.contains(dependency))
            .collect()
    };
    packages.iter().map(|package| (name(package), edges(package))).collect()
}

/// The block after [`BLOCK`]: lines of `crate → crate, crate`, `nothing of ours` for none.
fn printed(page: &str) -> Result<Graph, String> {
    let after = page
        .split_once(BLOCK)
        .ok_or_else(|| format!("has no block marked {BLOCK}"))?
        .1;
    let block = after
        .split("```")
        .nth(1)
        .ok_or_else(|| format!("has no fenced block after {BLOCK}"))?;
    let mut graph = Graph::new();
    for line in block.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let (name, edges) = line
            .split_once('→')
            .ok_or_else(|| format!("has a line without → in its graph: {line}"))?;
        let edges = edges
            .split(',')
            .map(str::trim)
            .filter(|edge| !edge.is_empty() && *edge != "nothing of ours");
        graph.insert(name.trim().to_owned(), edges.map(str::to_owned).collect());
    }
    Ok(graph)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(edges: &[&str]) -> Value {
        let mut packages: Vec<Value> = ALLOWED
            .iter()
            .map(|(name, edges)| {
                let edges: Vec<Value> = edges.iter().map(|edge| json!({"name": edge})).collect();
                json!({"name": name, "dependencies": edges})
            })
            .collect();
        let attest: Vec<Value> = edges.iter().map(|edge| json!({"name": edge})).collect();
        let position = ALLOWED.iter().position(|(name, _)| *name == "revoada-attest").unwrap();
        packages[position]["dependencies"] = json!(attest);
        json!({"packages": packages})
    }

    fn page(attest: &str) -> String {
        let mut page = format!("text\n{BLOCK}\n```text\n");
        for (name, edges) in ALLOWED {
            let edges = if *name == "revoada-attest" {
                attest.to_owned()
            } else {
                edges.join(", ")
            };
            page.push_str(&format!("{name} → {edges}\n"));
        }
        page + "```\n"
    }

    fn check_text(metadata: &Value, page: &str, expected: &[&str]) {
        let found: Vec<String> = check(metadata, page).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_decided_graph_passes() {
        check_text(&metadata(&["blake3"]), &page("nothing of ours"), &[]);
    }

    #[test]
    fn an_undecided_edge_is_found_also_when_the_page_prints_it() {
        check_text(
            &metadata(&["revoada-core"]),
            &page("revoada-core"),
            &["revoada-attest/Cargo.toml: revoada-attest must not depend on revoada-core"],
        );
    }

    #[test]
    fn a_page_that_prints_another_graph_is_found() {
        check_text(
            &metadata(&[]),
            &page("revoada-core"),
            &["ARCHITECTURE.md: prints revoada-attest → revoada-core, which does not exist"],
        );
        check_text(
            &metadata(&[]),
            "",
            &["ARCHITECTURE.md: has no block marked <!-- crate-graph -->"],
        );
    }
}
