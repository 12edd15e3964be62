//! What the command line and the faces select resources by: a kind, and labels.
//!
//! Label selectors have the syntax of Kubernetes (`apimachinery/pkg/labels`), comma meaning "and". A selector is parsed
//! once into requirements that borrow nothing, because a watch evaluates it on every event. Rejected: passing the text
//! on to the backend, since only some backends know it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::{Resource, ResourceRef};
use crate::error::ErrorKind;

/// A selector that cannot be read. `column` counts characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the selector {text:?} is not valid at column {column}: {detail}")]
pub struct ParseSelectorError {
    /// The selector as given.
    pub text: String,
    /// Where it goes wrong.
    pub column: usize,
    /// What is expected.
    pub detail: &'static str,
}

impl ParseSelectorError {
    /// Always `Invalid`.
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn at(text: &str, offset: usize, detail: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            column: text[..offset].chars().count() + 1,
            detail,
        }
    }
}

/// A kind as it is named on the command line: `ConfigMap`, or `Deployment.apps`.
///
/// The kind is matched as written. Without a group it means the core group; a group follows the first dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KindSelector {
    /// The kind.
    pub kind: String,
    /// The group; empty for the core group.
    pub group: String,
}

impl KindSelector {
    /// Whether a reference is of this kind.
    pub fn matches(&self, reference: &ResourceRef) -> bool {
        reference.kind == self.kind && reference.group == self.group
    }

    /// The reference of one resource of this kind. What a document could not state is refused where it is used, by
    /// [`ResourceRef::check`].
    pub fn reference(&self, namespace: &str, name: &str) -> ResourceRef {
        ResourceRef {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl FromStr for KindSelector {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, group) = text.split_once('.').unwrap_or((text, ""));
        if kind.is_empty() {
            return Err(ParseSelectorError::at(text, 0, "a kind is expected, like ConfigMap"));
        }
        if group.is_empty() && text.contains('.') {
            return Err(ParseSelectorError::at(
                text,
                text.len(),
                "a group is expected behind the dot",
            ));
        }
        let selector = Self {
            kind: kind.to_owned(),
            group: group.to_owned(),
        };
        super::reference::check_name("kind", text)
            .and_then(|()| selector.reference("", "name").check())
            .map_err(|_| ParseSelectorError::at(text, 0, "it is no KIND or KIND.GROUP"))?;
        Ok(selector)
    }
}

impl fmt::Display for KindSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// A label selector: all of its requirements have to hold. The empty one selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, BTreeSet<String>),
    /// Holds also where the label is absent, as in Kubernetes.
    NotIn(String, BTreeSet<String>),
}

impl LabelSelector {
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether `metadata.labels` of a resource satisfy every requirement.
    pub fn matches(&self, resource: &Resource) -> bool {
        self.matches_content(&resource.content)
    }

    /// The same for content alone. A label that is not a string is as if it were absent.
    pub fn matches_content(&self, content: &Value) -> bool {
        let labels = content.get("metadata").and_then(|metadata| metadata.get("labels"));
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
            Requirement::In(key, values) => label(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|value| !values.contains(value)),
        })
    }
}

impl FromStr for LabelSelector {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parser = Parser { text, at: 0 };
        let mut requirements = Vec::new();
        parser.space();
        if parser.rest().is_empty() {
            return Ok(Self { requirements });
        }
        loop {
            requirements.push(parser.requirement()?);
            if parser.rest().is_empty() {
                return Ok(Self { requirements });
            }
            if !parser.takes(",") {
                return Err(parser.error("',' is expected between requirements"));
            }
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn error(&self, detail: &'static str) -> ParseSelectorError {
        ParseSelectorError::at(self.text, self.at, detail)
    }

    fn takes(&mut self, token: &str) -> bool {
        let takes = self.rest().starts_with(token);
        if takes {
            self.at += token.len();
            self.space();
        }
        takes
    }

    /// A key or a value: letters, digits, `-`, `_`, `.`, and `/` in keys. May be empty.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')));
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        self.space();
        word
    }

    fn key(&mut self) -> Result<String, ParseSelectorError> {
        let start = self.at;
        let key = self.word();
        let (prefix, name) = key.rsplit_once('/').unwrap_or(("", key));
        if name.is_empty() || prefix.contains('/') || key.starts_with('/') {
            self.at = start;
            return Err(self.error("the key of a label is expected"));
        }
        Ok(key.to_owned())
    }

    fn value(&mut self) -> Result<String, ParseSelectorError> {
        let start = self.at;
        let value = self.word();
        if value.contains('/') {
            self.at = start;
            return Err(self.error("the value of a label has no '/'"));
        }
        Ok(value.to_owned())
    }

    fn requirement(&mut self) -> Result<Requirement, ParseSelectorError> {
        if self.takes("!") {
            return Ok(Requirement::Absent(self.key()?));
        }
        let key = self.key()?;
        if self.takes("!=") {
            return Ok(Requirement::NotIn(key, BTreeSet::from([self.value()?])));
        }
        if self.takes("==") || self.takes("=") {
            return Ok(Requirement::In(key, BTreeSet::from([self.value()?])));
        }
        if self.rest().is_empty() || self.rest().starts_with(',') {
            return Ok(Requirement::Exists(key));
        }
        let operator_at = self.at;
        match self.word() {
            "in" => Ok(Requirement::In(key, self.values()?)),
            "notin" => Ok(Requirement::NotIn(key, self.values()?)),
            _ => {
                self.at = operator_at;
                Err(self.error("one of '=', '==', '!=', 'in', 'notin' or ',' is expected"))
            }
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, ParseSelectorError> {
        if !self.takes("(") {
            return Err(self.error("'(' is expected"));
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value()?);
            if self.takes(")") {
                return Ok(values);
            }
            if !self.takes(",") {
                return Err(self.error("',' or ')' is expected"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(selector: &str, labels: Value) -> bool {
        let selector: LabelSelector = selector.parse().unwrap();
        selector.matches_content(&json!({"metadata": {"labels": labels}}))
    }

    #[test]
    fn every_operator_of_kubernetes_selects() {
        let labels = json!({"app": "web", "tier": "front", "example.com/zone": "a", "empty": ""});
        for selector in [
            "",
            " ",
            "app",
            "app=web",
            "app==web",
            "app = web , tier!=back",
            "app in (web, api)",
            "!gone",
            "gone!=x",
            "gone notin (x,y)",
            "example.com/zone=a",
            "empty=",
            "empty in (,x)",
            "tier notin (back),app",
            "! gone",
        ] {
            assert!(selects(selector, labels.clone()), "{selector}");
        }
        for selector in [
            "app=api",
            "!app",
            "gone",
            "app!=web",
            "app notin (web)",
            "gone in (a)",
            "app=web,gone",
            "gone=",
        ] {
            assert!(!selects(selector, labels.clone()), "{selector}");
        }
        assert!(!selects("a", json!("not an object")));
        assert!(!selects("a", json!({"a": 1})));
    }

    #[test]
    fn a_selector_is_refused_where_it_goes_wrong() {
        for (text, column) in [
            ("=a", 1),
            ("a=b,,c", 5),
            ("a=b c", 5),
            ("a in b", 6),
            ("a in (b", 8),
            ("a like (b)", 3),
            ("ä", 1),
            ("a=x/y", 3),
            ("a,", 3),
            ("!", 2),
            ("x/y/z", 1),
            ("a>1", 2),
        ] {
            let error = text.parse::<LabelSelector>().unwrap_err();
            assert_eq!(error.column, column, "{error}");
        }
    }

    #[test]
    fn a_kind_may_name_its_group() {
        let selector: KindSelector = "Deployment.apps.example".parse().unwrap();
        assert_eq!(
            (selector.kind.as_str(), selector.group.as_str()),
            ("Deployment", "apps.example")
        );
        assert_eq!(selector.to_string(), "Deployment.apps.example");
        assert!(selector.matches(&selector.reference("n", "x")));
        assert!(
            !"Deployment"
                .parse::<KindSelector>()
                .unwrap()
                .matches(&selector.reference("n", "x"))
        );
        for text in ["", ".apps", "Deployment.", "a/b", "a..b", "a\0"] {
            assert!(text.parse::<KindSelector>().is_err(), "{text:?}");
        }
    }
}
