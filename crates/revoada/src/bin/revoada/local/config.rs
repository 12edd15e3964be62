//! A node's config file, as `up` writes it.
//!
//! Paths are relative to the file wherever they can be, so that the folder of a cluster that does not run can be moved.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use revoada::node::config::NodeConfig;
use revoada_core::error::ErrorKind;
use revoada_core::{Digest, NodeId};
use serde::{Deserialize, Serialize};

use super::folder::{Folder, write_atomically};
use super::record::{NodeEntry, Record};
use crate::failure::CliError;

/// A value of a config file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// Any other number.
    Fraction(f64),
    /// A text.
    Text(String),
    /// Several values.
    List(Vec<Setting>),
    /// Fields.
    Fields(BTreeMap<String, Setting>),
}

fn text(text: impl Into<String>) -> Setting {
    Setting::Text(text.into())
}

/// A `K=V` of `--node-arg`: dots in K lead into fields of fields, V is read as YAML.
pub fn parse_argument(argument: &str) -> Result<(Vec<String>, Setting), CliError> {
    let wrong = |why: &str| CliError::invalid(format!("--node-arg {argument:?} {why}")).hint("--node-arg zone=a");
    let (key, value) = argument.split_once('=').ok_or_else(|| wrong("is not K=V"))?;
    let path: Vec<String> = key.split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        return Err(wrong("has no name before the ="));
    }
    let value = match value {
        "" => text(""),
        value => serde_saphyr::from_str(value).unwrap_or_else(|_| text(value)),
    };
    Ok((path, value))
}

fn set(fields: &mut BTreeMap<String, Setting>, path: &[String], value: Setting) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        fields.insert(first.clone(), value);
        return;
    }
    let inner = fields
        .entry(first.clone())
        .or_insert_with(|| Setting::Fields(BTreeMap::new()));
    if !matches!(inner, Setting::Fields(_)) {
        *inner = Setting::Fields(BTreeMap::new());
    }
    if let Setting::Fields(inner) = inner {
        set(inner, rest, value);
    }
}

/// The config of one node.
pub fn config(folder: &Folder, record: &Record, node: &NodeEntry) -> Result<BTreeMap<String, Setting>, CliError> {
    let others = record.nodes.iter().filter(|other| other.name != node.name);
    let mut fields = BTreeMap::from([
        ("name".to_owned(), text(&node.name)),
        ("folder".to_owned(), text(".")),
        ("genesis".to_owned(), text("../../genesis.json")),
        ("listen".to_owned(), text(node.mesh.to_string())),
        (
            "seeds".to_owned(),
            Setting::List(others.map(|other| text(other.mesh.to_string())).collect()),
        ),
        (
            "http".to_owned(),
            Setting::Fields(BTreeMap::from([("listen".to_owned(), text(node.http.to_string()))])),
        ),
        // Whoever starts nodes by `up` or `start` is an operator: the loss that this ends does not count as flapping.
        ("operator".to_owned(), Setting::Flag(true)),
    ]);
    if let Some(etcd) = node.etcd {
        let listen = BTreeMap::from([("listen".to_owned(), text(etcd.to_string()))]);
        fields.insert("etcd".to_owned(), Setting::Fields(listen));
    }
    if !folder.control_is_at_home(&node.name) {
        let control = folder.control(&node.name);
        fields.insert("control".to_owned(), text(control.to_string_lossy()));
    }
    for argument in &record.node_args {
        let (path, value) = parse_argument(argument)?;
        set(&mut fields, &path, value);
    }
    Ok(fields)
}

fn yaml(folder: &Folder, record: &Record, node: &NodeEntry) -> Result<String, CliError> {
    serde_saphyr::to_string(&config(folder, record, node)?)
        .map_err(|error| CliError::because(ErrorKind::Invalid, "the config of a node", &error))
}

/// The same of the configs that nodes will have, before anything of them is there.
pub fn check_arguments(folder: &Folder, node_args: &[String]) -> Result<(), CliError> {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let record = Record {
        version: Record::version(),
        name: String::new(),
        topology: String::new(),
        declaration: Digest::default(),
        genesis: Digest::default(),
        node_args: node_args.to_vec(),
        nodes: vec![NodeEntry {
            name: "node-1".to_owned(),
            id: NodeId::from_bytes([0; 32]),
            mesh: nowhere,
            http: nowhere,
            etcd: None,
        }],
    };
    check(folder, &record)
}

/// Makes sure that nodes will take their configs, whatever `--node-arg` set in them.
pub fn check(folder: &Folder, record: &Record) -> Result<(), CliError> {
    for node in &record.nodes {
        serde_saphyr::from_str::<NodeConfig>(&yaml(folder, record, node)?).map_err(|error| {
            CliError::because(
                ErrorKind::Invalid,
                "no node would take a config with these --node-arg",
                &error,
            )
        })?;
    }
    Ok(())
}

/// Writes the config of one node, if it is not what is there already.
pub fn write(folder: &Folder, record: &Record, node: &NodeEntry) -> Result<(), CliError> {
    let path = folder.config(&node.name);
    let yaml = yaml(folder, record, node)?;
    let content = format!("# Written by `revoada up` and `revoada start`; `--node-arg K=V` sets fields.\n{yaml}");
    if fs::read(&path).is_ok_and(|there| there == content.as_bytes()) {
        return Ok(());
    }
    write_atomically(&path, content.as_bytes())
        .map_err(|error| CliError::file(format!("cannot write {}", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn record(node_args: &[&str]) -> Record {
        let node = |number: u8| NodeEntry {
            name: format!("node-{number}"),
            id: revoada_core::NodeId::from_bytes([number; 32]),
            mesh: format!("127.0.0.1:710{number}").parse().unwrap(),
            http: format!("127.0.0.1:720{number}").parse().unwrap(),
            etcd: Some(format!("127.0.0.1:730{number}").parse().unwrap()),
        };
        Record {
            version: Record::version(),
            name: "homelab".to_owned(),
            topology: "solo".to_owned(),
            declaration: revoada_core::Digest::default(),
            genesis: revoada_core::Digest::default(),
            node_args: node_args.iter().map(ToString::to_string).collect(),
            nodes: vec![node(1), node(2)],
        }
    }

    #[test]
    fn a_config_names_the_other_nodes_and_reads_back_as_it_was_written() {
        let folder = Folder::new(Path::new("/nowhere")).unwrap();
        let record = record(&["zone=a", "http.listen=127.0.0.1:0", "limits.depth=3", "note=12:30"]);
        let config = config(&folder, &record, &record.nodes[0]).unwrap();
        let yaml = serde_saphyr::to_string(&config).unwrap();
        let back: BTreeMap<String, Setting> = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(back, config);
        assert_eq!(back["seeds"], Setting::List(vec![text("127.0.0.1:7102")]));
        assert_eq!(back["zone"], text("a"));
        assert_eq!(back["note"], text("12:30"));
        assert_eq!(back["operator"], Setting::Flag(true));
        assert!(matches!(&back["limits"], Setting::Fields(fields) if fields["depth"] == Setting::Number(3)));
        assert!(matches!(&back["http"], Setting::Fields(fields) if fields["listen"] == text("127.0.0.1:0")));
    }

    #[test]
    fn an_argument_without_a_name_or_a_value_is_refused() {
        for argument in ["zone", "=a", "a..b=c"] {
            assert_eq!(parse_argument(argument).unwrap_err().code(), 2, "{argument}");
        }
        assert_eq!(parse_argument("a=").unwrap().1, text(""));
    }
}
