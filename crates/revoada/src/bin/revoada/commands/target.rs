//! Which resources a command is about.

use clap::Args;
use revoada::client::message::Target;
use revoada_core::error::ErrorKind;
use revoada_core::resource::{KindSelector, ResourceRef};
use serde_json::Value;

use crate::failure::CliError;

/// The group that a command line states, if it states one: `Deployment` is of any group, `Deployment.apps` of `apps`.
pub fn group(kind: &KindSelector) -> Option<String> {
    (!kind.group.is_empty()).then(|| kind.group.clone())
}

/// The namespace of one resource.
#[derive(Debug, Clone, Args)]
pub struct Namespace {
    /// The namespace; without it, resources that have none
    #[arg(short = 'n', long, value_name = "NS")]
    pub namespace: Option<String>,
}

/// The namespaces of several resources.
#[derive(Debug, Clone, Args)]
pub struct Namespaces {
    /// The namespace; without it, resources that have none
    #[arg(short = 'n', long, value_name = "NS", conflicts_with = "all_namespaces")]
    pub namespace: Option<String>,
    /// In whatever namespace, or none
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

impl Namespaces {
    /// As the native API has it: none for all, empty for resources that have none.
    pub fn filter(&self) -> Option<String> {
        (!self.all_namespaces).then(|| self.namespace.clone().unwrap_or_default())
    }
}

/// One resource.
pub fn one(kind: &KindSelector, namespace: Option<&str>, name: &str) -> Result<Target, CliError> {
    check(kind, namespace, Some(name))?;
    Ok(Target {
        group: group(kind),
        kind: kind.kind.clone(),
        namespace: namespace.unwrap_or_default().to_owned(),
        name: name.to_owned(),
    })
}

/// Refuses names that no resource can have: whoever waits for one, or counts those of it, would wait for ever.
pub fn check(kind: &KindSelector, namespace: Option<&str>, name: Option<&str>) -> Result<(), CliError> {
    let reference = ResourceRef {
        group: kind.group.clone(),
        kind: kind.kind.clone(),
        namespace: namespace.unwrap_or_default().to_owned(),
        name: name.unwrap_or("any").to_owned(),
    };
    let checked = reference.check();
    checked.map_err(|error| CliError::because(ErrorKind::Invalid, "no resource can be called so", &error))
}

/// `KIND[.GROUP]/NAME`.
pub fn short_name(group: &str, kind: &str, name: &str) -> String {
    if group.is_empty() {
        format!("{kind}/{name}")
    } else {
        format!("{kind}.{group}/{name}")
    }
}

/// The address of a document that a node sent, as far as it states one.
pub fn address(content: &Value) -> ResourceRef {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let metadata = |field: &str| text(content.get("metadata").and_then(|metadata| metadata.get(field)));
    let version = text(content.get("apiVersion"));
    ResourceRef {
        group: version
            .split_once('/')
            .map_or_else(String::new, |(group, _)| group.to_owned()),
        kind: text(content.get("kind")),
        namespace: metadata("namespace"),
        name: metadata("name"),
    }
}

/// `k=v,k=v`.
pub fn labels(content: &Value) -> String {
    let labels = content.get("metadata").and_then(|metadata| metadata.get("labels"));
    let Some(labels) = labels.and_then(Value::as_object) else {
        return String::new();
    };
    let pairs = labels.iter().map(|(key, value)| match value {
        Value::String(value) => format!("{key}={value}"),
        other => format!("{key}={other}"),
    });
    pairs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_is_read_from_a_document_as_far_as_it_states_one() {
        let content = json!({"apiVersion": "apps/v1", "kind": "Deployment",
                             "metadata": {"name": "web", "namespace": "prod", "labels": {"a": "b", "n": 1}}});
        let ResourceRef {
            group,
            kind,
            namespace,
            name,
        } = address(&content);
        assert_eq!((group.as_str(), namespace.as_str()), ("apps", "prod"));
        assert_eq!(short_name(&group, &kind, &name), "Deployment.apps/web");
        assert_eq!(labels(&content), "a=b,n=1");
        assert_eq!(address(&json!(3)).name, "");
        assert_eq!(short_name("", "ConfigMap", "x"), "ConfigMap/x");
    }

    #[test]
    fn without_a_namespace_those_that_have_none_are_meant() {
        let namespaces = |namespace: Option<&str>, all_namespaces| Namespaces {
            namespace: namespace.map(str::to_owned),
            all_namespaces,
        };
        assert_eq!(namespaces(None, false).filter().as_deref(), Some(""));
        assert_eq!(namespaces(Some("a"), false).filter().as_deref(), Some("a"));
        assert_eq!(namespaces(None, true).filter(), None);
    }
}
