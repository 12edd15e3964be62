//! Flags the way of Go, environment, and config file: all of etcd 3.6's, each with what becomes of it here.
//!
//! Go's flags are not getopt's: one dash or two, and a boolean takes its value behind `=` alone. So they are read here,
//! and not by clap, which would refuse scripts that etcd takes. Of the three sources etcd takes a config file alone
//! where there is one, and refuses a flag that is in the environment as well.

mod table;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub use table::{FLAGS, Fate, Flag};

/// Why what was given is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// Help was asked for.
    #[error("help")]
    Help,
    /// It cannot be read as flags; as Go says it.
    #[error("{0}")]
    Usage(String),
    /// It can be read, and does not fit.
    #[error("{0}")]
    Invalid(String),
}

fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// What was given, by name, with what there is to say about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    values: BTreeMap<&'static str, String>,
    /// In sentences, for the log.
    pub warnings: Vec<String>,
}

impl Given {
    /// Reads the arguments; where they name no config file, the environment as well, and else that file alone.
    ///
    /// # Errors
    /// [`FlagError`] says what is not understood.
    pub fn read(arguments: &[String], environment: &BTreeMap<String, String>) -> Result<Self, FlagError> {
        let mut given = Self::arguments(arguments)?;
        if given.switch("version")? {
            return Ok(given);
        }
        let file = given
            .values
            .get("config-file")
            .or_else(|| environment.get("ETCD_CONFIG_FILE"));
        if let Some(path) = file.filter(|path| !path.is_empty()).cloned() {
            given = Self::file(Path::new(&path))?;
        } else {
            given.environment(environment)?;
        }
        given.judge()?;
        Ok(given)
    }

    /// Whether a flag was given at all.
    pub fn has(&self, name: &'static str) -> bool {
        self.values.contains_key(name)
    }

    /// The value of a flag, or its default.
    pub fn text(&self, name: &'static str) -> &str {
        let default = || find(name).map_or("", |flag| flag.default);
        self.values.get(name).map_or_else(default, String::as_str)
    }

    /// The value of a flag that is not the empty text.
    pub fn some(&self, name: &'static str) -> Option<&str> {
        Some(self.text(name)).filter(|value| !value.is_empty())
    }

    /// The value of a switch.
    pub fn switch(&self, name: &'static str) -> Result<bool, FlagError> {
        truth(self.text(name)).ok_or_else(|| self.not_a("boolean", name))
    }

    /// The value of a flag as a number.
    pub fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, FlagError> {
        self.text(name)
            .trim()
            .parse()
            .map_err(|_| self.not_a("number of this kind", name))
    }

    /// The parts of a value between commas, without empty ones and those that were there before.
    pub fn list(&self, name: &'static str) -> Vec<String> {
        let mut parts: Vec<String> = Vec::new();
        for part in self
            .text(name)
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            if !parts.iter().any(|known| known == part) {
                parts.push(part.to_owned());
            }
        }
        parts
    }

    fn not_a(&self, what: &str, name: &'static str) -> FlagError {
        FlagError::Usage(format!(
            "invalid value {:?} for flag -{name}: it is no {what}",
            self.text(name)
        ))
    }

    fn arguments(arguments: &[String]) -> Result<Self, FlagError> {
        let mut given = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(body) = argument.strip_prefix('-').filter(|body| !body.is_empty()) else {
                return Err(FlagError::Invalid(format!("{argument:?} is not a valid flag")));
            };
            let body = body.strip_prefix('-').unwrap_or(body);
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (body, None),
            };
            if name.is_empty() || name.starts_with('-') {
                return Err(FlagError::Usage(format!("bad flag syntax: {argument}")));
            }
            let Some(flag) = find(name) else {
                return Err(match name {
                    "h" | "help" => FlagError::Help,
                    _ => FlagError::Usage(format!("flag provided but not defined: -{name}")),
                });
            };
            let value = match value {
                Some(value) => value,
                None if flag.is_switch => "true".to_owned(),
                None => rest
                    .next()
                    .cloned()
                    .ok_or_else(|| FlagError::Usage(format!("flag needs an argument: -{name}")))?,
            };
            given.values.insert(flag.name, value);
        }
        Ok(given)
    }

    fn environment(&mut self, environment: &BTreeMap<String, String>) -> Result<(), FlagError> {
        let set = environment.iter().filter(|(_, value)| !value.is_empty());
        for (variable, value) in set {
            let Some(name) = variable.strip_prefix("ETCD_") else {
                continue;
            };
            let name = name.to_ascii_lowercase().replace('_', "-");
            match find(&name) {
                Some(flag) if self.has(flag.name) => {
                    return Err(FlagError::Invalid(format!(
                        "conflicting environment variable {variable:?} is shadowed by corresponding command-line flag \
                         (either unset environment variable or disable flag)"
                    )));
                }
                Some(flag) => drop(self.values.insert(flag.name, value.clone())),
                // The suite of etcd sets it for every member.
                None if name == "unsupported-arch" => {}
                None => self
                    .warnings
                    .push(format!("unrecognized environment variable {variable}")),
            }
        }
        Ok(())
    }

    fn file(path: &Path) -> Result<Self, FlagError> {
        let failed =
            |what: String| FlagError::Invalid(format!("cannot use the config file {}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let tree: Value = serde_saphyr::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let mut given = Self::default();
        let fields = match tree {
            Value::Object(fields) => fields,
            Value::Null => return Ok(given),
            _ => return Err(failed("it is no mapping".to_owned())),
        };
        for (key, value) in fields {
            let section = match key.as_str() {
                "client-transport-security" => Some(""),
                "peer-transport-security" => Some("peer-"),
                _ => None,
            };
            match (section, value) {
                (Some(prefix), Value::Object(fields)) => {
                    for (field, value) in fields {
                        let field = match field.as_str() {
                            "allowed-cn" => "cert-allowed-cn",
                            "allowed-hostname" if prefix.is_empty() => "client-cert-allowed-hostname",
                            "allowed-hostname" => "cert-allowed-hostname",
                            field => field,
                        };
                        given.field(&format!("{prefix}{field}"), &value).map_err(failed)?;
                    }
                }
                (Some(_), Value::Null) => {}
                (Some(_), _) => return Err(failed(format!("invalid {key}"))),
                (None, value) => given.field(&key, &value).map_err(failed)?,
            }
        }
        Ok(given)
    }

    fn field(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let Some(flag) = find(name) else {
            self.warnings
                .push(format!("the config file has {name}, which is no flag of etcd 3.6"));
            return Ok(());
        };
        let text = match value {
            Value::Null => return Ok(()),
            Value::String(text) => text.clone(),
            // In a file durations are numbers of nanoseconds.
            Value::Number(number)
                if flag.default.ends_with(['s', 'm', 'h'])
                    && flag.default.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                format!("{number}ns")
            }
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(items) => {
                let texts = items
                    .iter()
                    .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
                texts.collect::<Vec<_>>().join(",")
            }
            Value::Object(_) => return Err(format!("{name} is a mapping")),
        };
        self.values.insert(flag.name, text);
        Ok(())
    }

    /// Warns of what says nothing here, and refuses what it would be wrong to pass over.
    fn judge(&mut self) -> Result<(), FlagError> {
        for (name, value) in &self.values {
            let Some(flag) = find(name).filter(|flag| !same(flag, value)) else {
                continue;
            };
            match flag.fate {
                Fate::Honoured => {}
                Fate::Ignored(why) => self.warnings.push(format!("--{name} is ignored: {why}")),
                Fate::Refused(why) => return Err(FlagError::Invalid(format!("--{name} is not served: {why}"))),
            }
        }
        Ok(())
    }
}

/// Whether a value is a flag's default.
fn same(flag: &Flag, value: &str) -> bool {
    let default = flag.default;
    value == default || (flag.is_switch && truth(value) == truth(default)) || (default.is_empty() && value == "0")
}

/// Go's booleans (strconv.ParseBool).
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Given, FlagError> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Given::read(&arguments, &environment.collect())
    }

    #[test]
    fn flags_are_gos() {
        let given = read(
            &[
                "-name",
                "a",
                "--data-dir=d",
                "--auto-tls",
                "--strict-reconfig-check=false",
            ],
            &[],
        )
        .unwrap();
        assert_eq!((given.text("name"), given.text("data-dir")), ("a", "d"));
        assert_eq!(
            (given.switch("auto-tls"), given.switch("strict-reconfig-check")),
            (Ok(true), Ok(false))
        );
        assert_eq!(given.number::<u64>("snapshot-count"), Ok(10_000));
        assert!(!given.has("snapshot-count") && given.warnings.is_empty());
        let usage = |arguments: &[&str]| match read(arguments, &[]) {
            Err(FlagError::Usage(what)) => what,
            other => panic!("{arguments:?}: {other:?}"),
        };
        assert!(usage(&["--nam", "a"]).contains("not defined: -nam"));
        assert!(usage(&["--name"]).contains("needs an argument"));
        assert!(usage(&["---name=a"]).contains("bad flag syntax"));
        assert_eq!(read(&["--help"], &[]), Err(FlagError::Help));
        assert!(matches!(read(&["run"], &[]), Err(FlagError::Invalid(_))));
        assert!(read(&["--auto-tls=yes"], &[]).unwrap().switch("auto-tls").is_err());
    }

    #[test]
    fn the_environment_fills_what_no_flag_says() {
        let given = read(
            &["--name=a"],
            &[("ETCD_DATA_DIR", "d"), ("ETCD_NONSENSE", "1"), ("HOME", "/")],
        )
        .unwrap();
        assert_eq!(given.text("data-dir"), "d");
        assert!(given.warnings[0].contains("ETCD_NONSENSE"), "{:?}", given.warnings);
        let conflict = read(&["--name=a"], &[("ETCD_NAME", "b")]).unwrap_err();
        assert!(conflict.to_string().contains("shadowed"), "{conflict}");
    }

    #[test]
    fn a_config_file_counts_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.yaml");
        let text = "name: f\nquota-backend-bytes: 42\nlog-outputs: [stderr, x.log]\nclient-transport-security:\n  \
                    cert-file: c\n  client-cert-auth: true\npeer-transport-security:\n  auto-tls: true\n\
                    watch-progress-notify-interval: 5000000000\nnonsense: 1\n";
        std::fs::write(&path, text).unwrap();
        let file = path.to_string_lossy().into_owned();
        let given = read(&["--name=a", "--config-file", &file], &[("ETCD_DATA_DIR", "d")]).unwrap();
        assert_eq!(
            (given.text("name"), given.text("data-dir"), given.text("cert-file")),
            ("f", "", "c")
        );
        assert_eq!(given.list("log-outputs"), ["stderr", "x.log"]);
        assert_eq!(given.text("watch-progress-notify-interval"), "5000000000ns");
        assert_eq!(given.number::<i64>("quota-backend-bytes"), Ok(42));
        assert_eq!(
            (given.switch("client-cert-auth"), given.switch("peer-auto-tls")),
            (Ok(true), Ok(true))
        );
        assert_eq!(given.switch("auto-tls"), Ok(false));
        assert!(given.warnings[0].contains("nonsense"), "{:?}", given.warnings);
        let missing = read(&["--config-file=/nowhere.yaml"], &[]).unwrap_err();
        assert!(missing.to_string().contains("/nowhere.yaml"), "{missing}");
    }

    #[test]
    fn what_says_nothing_is_warned_of_and_what_would_be_missed_is_refused() {
        let given = read(
            &["--max-wals=9", "--enable-pprof", "--pre-vote=true", "--max-snapshots=5"],
            &[],
        )
        .unwrap();
        assert_eq!(given.warnings.len(), 2, "{:?}", given.warnings);
        for refused in [
            "--discovery-srv=example.org",
            "--wal-dir=/fast",
            "--peer-cert-allowed-cn=a",
        ] {
            let error = read(&[refused], &[]).unwrap_err();
            let name = refused.split('=').next().unwrap();
            assert!(error.to_string().contains(name), "{error}");
        }
        read(&["--discovery-srv=", "--host-whitelist=*"], &[]).unwrap();
    }
}
