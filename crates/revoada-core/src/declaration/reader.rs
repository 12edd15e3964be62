//! Takes typed values out of a tree, and notes what cannot be taken instead of stopping at it.
//!
//! Which fields an object has is known from which were asked for, so there is no second list that could drift.

use std::time::Duration;

use super::duration::{self, Refused};
use super::finding::{Finding, FindingCode};
use super::spelling::nearest;
use super::tree::{Tree, quoted};

/// What could not be read: the findings, and the paths whose values stand in the draft only as placeholders.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) findings: Vec<Finding>,
    pub(super) unread: Vec<String>,
}

/// An object on its way through the reader.
#[derive(Debug)]
pub(super) struct Object<'t> {
    path: String,
    /// What it is, in messages: `a pure-raft face`.
    what: String,
    /// None where the value was not an object: then no field of it is missing either.
    fields: Option<&'t [(String, Tree)]>,
    asked: Vec<&'static str>,
}

impl<'t> Object<'t> {
    /// The value of a field, which from now on is known.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'t Tree> {
        self.know(key);
        self.fields?
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// Makes a field known that is not read.
    pub(super) fn know(&mut self, key: &'static str) {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
    }

    /// Says more precisely what it is.
    pub(super) fn call(&mut self, what: impl Into<String>) {
        self.what = what.into();
    }

    /// The path of one of its fields.
    pub(super) fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Whether it has no other fields than those.
    pub(super) fn has_only(&self, keys: &[&str]) -> bool {
        self.fields
            .is_some_and(|fields| fields.iter().all(|(name, _)| keys.contains(&name.as_str())))
    }
}

/// The path of a field: dots between plain keys, brackets around others.
pub(super) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{}]", quoted(key)),
    }
}

/// Names for a remedy: `a, b, c`.
pub(super) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

impl Reader {
    /// Notes a finding about a value that the draft does not have.
    pub(super) fn refuse(
        &mut self,
        code: FindingCode,
        path: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let path = path.into();
        self.unread.push(path.clone());
        self.findings.push(Finding::new(code, path, message, remedy));
    }

    pub(super) fn wrong_type(&mut self, path: String, tree: &Tree, wanted: &str) {
        self.refuse(
            FindingCode::WrongType,
            path,
            format!("it is {}, not {wanted}", tree.describe()),
            format!("write {wanted}"),
        );
    }

    fn missing(&mut self, object: &Object<'_>, key: &'static str, wanted: &str) {
        if object.fields.is_some() {
            let message = format!("`{key}` is not there");
            self.refuse(
                FindingCode::MissingField,
                object.at(key),
                message,
                format!("add `{key}`: {wanted}"),
            );
        }
    }

    /// Notes a name that does not exist among `names`.
    pub(super) fn unknown_name(&mut self, path: String, given: &str, what: &str, names: &[&str]) {
        let remedy = match nearest(given, names.iter().copied()) {
            Some(near) if names.len() > 1 => format!("write {near}; there are {}", listed(names.iter().copied())),
            Some(only) => format!("write {only}; it is the only one"),
            None => "remove it".to_owned(),
        };
        self.refuse(
            FindingCode::UnknownName,
            path,
            format!("there is no {what} {}", quoted(given)),
            remedy,
        );
    }

    /// An object at a path, to be read field by field and then handed to [`Reader::finish`].
    pub(super) fn object<'t>(&mut self, path: String, tree: &'t Tree, what: &str) -> Object<'t> {
        let fields = match tree {
            Tree::Object(fields) => Some(fields.as_slice()),
            other => {
                self.wrong_type(path.clone(), other, &format!("an object that is {what}"));
                None
            }
        };
        Object {
            path,
            what: what.to_owned(),
            fields,
            asked: Vec::new(),
        }
    }

    /// An object that a field holds; none and a finding where the field is not there.
    pub(super) fn required_object<'t>(
        &mut self,
        object: &mut Object<'t>,
        key: &'static str,
        what: &str,
    ) -> Option<Object<'t>> {
        match object.get(key) {
            Some(tree) => Some(self.object(object.at(key), tree, what)),
            None => {
                self.missing(object, key, &format!("an object that is {what}"));
                None
            }
        }
    }

    /// An object that a field may hold; an empty one where the field is not there.
    pub(super) fn optional_object<'t>(&mut self, object: &mut Object<'t>, key: &'static str, what: &str) -> Object<'t> {
        match object.get(key) {
            Some(tree) => self.object(object.at(key), tree, what),
            None => Object {
                path: object.at(key),
                what: what.to_owned(),
                fields: None,
                asked: Vec::new(),
            },
        }
    }

    /// Notes every field that was not asked for.
    pub(super) fn finish(&mut self, object: Object<'_>) {
        for (name, _) in object.fields.unwrap_or_default() {
            if object.asked.contains(&name.as_str()) {
                continue;
            }
            let near = nearest(name, object.asked.iter().copied());
            let known = listed(object.asked.iter().copied());
            let remedy = near.map_or("remove it".to_owned(), |near| {
                format!("write {near}, or remove it; there are {known}")
            });
            let message = format!("{} has no field {}", object.what, quoted(name));
            self.refuse(FindingCode::UnknownField, object.at(name), message, remedy);
        }
    }

    pub(super) fn optional_text(&mut self, object: &mut Object<'_>, key: &'static str) -> Option<String> {
        match object.get(key)? {
            Tree::Text(text) => Some(text.clone()),
            other => {
                self.wrong_type(object.at(key), other, "a text in quotes");
                None
            }
        }
    }

    pub(super) fn text(&mut self, object: &mut Object<'_>, key: &'static str, default: impl Into<String>) -> String {
        self.optional_text(object, key).unwrap_or_else(|| default.into())
    }

    pub(super) fn required_text(&mut self, object: &mut Object<'_>, key: &'static str, wanted: &str) -> Option<String> {
        if object.get(key).is_none() {
            self.missing(object, key, wanted);
        }
        self.optional_text(object, key)
    }

    pub(super) fn texts(&mut self, object: &mut Object<'_>, key: &'static str, wanted: &str) -> Vec<String> {
        let path = object.at(key);
        match object.get(key) {
            None => {
                self.missing(object, key, wanted);
                Vec::new()
            }
            Some(Tree::List(items)) => {
                let mut texts = Vec::new();
                for (nth, item) in items.iter().enumerate() {
                    match item {
                        Tree::Text(text) => texts.push(text.clone()),
                        other => self.wrong_type(format!("{path}[{nth}]"), other, "a text in quotes"),
                    }
                }
                texts
            }
            Some(other) => {
                self.wrong_type(path, other, "a list of texts");
                Vec::new()
            }
        }
    }

    pub(super) fn flag(&mut self, object: &mut Object<'_>, key: &'static str, default: bool) -> bool {
        match object.get(key) {
            None => default,
            Some(Tree::Bool(value)) => *value,
            Some(other) => {
                self.wrong_type(object.at(key), other, "true or false");
                default
            }
        }
    }

    /// One of a few names.
    pub(super) fn choice<T: Copy>(
        &mut self,
        object: &mut Object<'_>,
        key: &'static str,
        what: &str,
        names: &[(&'static str, T)],
        default: T,
    ) -> T {
        let Some(given) = self.optional_text(object, key) else {
            return default;
        };
        match names.iter().find(|(name, _)| *name == given) {
            Some((_, value)) => *value,
            None => {
                let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
                self.unknown_name(object.at(key), &given, what, &names);
                default
            }
        }
    }

    /// A whole number from zero to what its type holds.
    pub(super) fn integer<T: TryFrom<i128> + std::fmt::Display>(
        &mut self,
        object: &mut Object<'_>,
        key: &'static str,
        max: T,
        default: T,
    ) -> T {
        let Some(tree) = object.get(key) else { return default };
        let number = match tree {
            Tree::Integer(value) => Some(*value),
            // A whole number is the same number with `.0` behind it; the cast saturates, and is then out of range.
            Tree::Float(value) if value.fract() == 0.0 || !value.is_finite() => Some(*value as i128),
            Tree::Text(text) if duration::not_finite(text) => None,
            other => {
                self.wrong_type(object.at(key), other, "a whole number");
                return default;
            }
        };
        let finite = !matches!(tree, Tree::Float(value) if !value.is_finite());
        match number.filter(|_| finite).and_then(|number| T::try_from(number).ok()) {
            Some(value) => value,
            None => {
                let message = format!("it is {}, which is not from 0 to {max}", tree.describe());
                let remedy = format!("write a whole number from 0 to {max}, e.g. {default}");
                self.refuse(FindingCode::NumberOutOfRange, object.at(key), message, remedy);
                default
            }
        }
    }

    /// Any number, also one that is not finite: the proof judges it.
    pub(super) fn float(&mut self, object: &mut Object<'_>, key: &'static str, default: f64) -> f64 {
        match object.get(key) {
            None => default,
            Some(Tree::Float(value)) => *value,
            Some(Tree::Integer(value)) => *value as f64,
            Some(Tree::Text(text)) if duration::not_finite(text) => f64::NAN,
            Some(other) => {
                self.wrong_type(object.at(key), other, "a number");
                default
            }
        }
    }

    pub(super) fn duration(&mut self, object: &mut Object<'_>, key: &'static str, default: Duration) -> Duration {
        let Some(tree) = object.get(key) else { return default };
        let example = duration::text(default);
        let refused = match tree {
            Tree::Text(text) => match duration::parse(text) {
                Ok(duration) => return duration,
                Err(refused) => refused,
            },
            Tree::Integer(value) if *value < 0 => Refused::Negative,
            Tree::Float(value) if *value < 0.0 => Refused::Negative,
            Tree::Float(value) if !value.is_finite() => Refused::TooLong,
            _ => Refused::NotADuration,
        };
        let path = object.at(key);
        let remedy = format!("write a number and a unit, e.g. {example}");
        let (code, why) = match refused {
            Refused::Negative => (FindingCode::NumberOutOfRange, "which is below zero"),
            Refused::TooLong => (
                FindingCode::NumberOutOfRange,
                "which is not finite, or longer than a hundred years",
            ),
            Refused::NotADuration => (FindingCode::WrongType, "which is not a duration"),
        };
        self.refuse(code, path, format!("it is {}, {why}", tree.describe()), remedy);
        default
    }
}
