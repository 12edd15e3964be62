//! The licence of every dependency is one that deny.toml allows.
//!
//! deny.toml is cargo-deny's, and where that is installed it checks more. This reads the same list, so that licences are
//! checked on a fresh machine as well: building cargo-deny takes longer than building revoada.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Finding;

/// Packages in `metadata` whose licence expression the list `allow` of `deny` does not satisfy.
pub fn check(metadata: &Value, deny: &str) -> Vec<Finding> {
    let allowed = allowed(deny);
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let mut findings = Vec::new();
    for package in packages {
        let text = |field: &str| package[field].as_str().unwrap_or_default();
        if !satisfied(text("license"), &allowed) {
            let (name, version, licence) = (text("name"), text("version"), text("license"));
            findings.push(Finding::of(
                "deny.toml",
                format!("does not allow {name} {version}: {licence:?}"),
            ));
        }
    }
    findings
}

/// The entries of `allow = […]`.
fn allowed(deny: &str) -> BTreeSet<&str> {
    let list = deny
        .split_once("\nallow = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("", |(list, _)| list);
    list.lines().filter_map(|line| line.split('"').nth(1)).collect()
}

/// Whether an SPDX expression is satisfied. `AND` binds more than `OR`; the old `/` means `OR`.
fn satisfied(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any(&mut rest, allowed) && rest.is_empty()
}

fn any(words: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut satisfied = all(words, allowed);
    while let ["OR", rest @ ..] = words {
        *words = rest;
        satisfied |= all(words, allowed);
    }
    satisfied
}

fn all(words: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut satisfied = one(words, allowed);
    while let ["AND", rest @ ..] = words {
        *words = rest;
        satisfied &= one(words, allowed);
    }
    satisfied
}

fn one(words: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let satisfied = any(words, allowed);
            match words {
                [")", rest @ ..] => {
                    *words = rest;
                    satisfied
                }
                _ => false,
            }
        }
        [name, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(format!("{name} WITH {exception}").as_str())
        }
        [name, rest @ ..] => {
            *words = rest;
            allowed.contains(name.trim_end_matches('+'))
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_satisfied_by_what_is_allowed() {
        let allowed = allowed("x\nallow = [\n  \"MIT\", # why\n  \"ISC\",\n  \"MPL-2.0\",\n]\n");
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "MIT AND ISC",
            "(GPL-3.0 OR MIT) AND ISC",
            "MPL-2.0+",
        ] {
            assert!(satisfied(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT AND (GPL-3.0",
            "MIT ISC",
            "MIT WITH x-exception",
        ] {
            assert!(!satisfied(bad, &allowed), "{bad}");
        }
    }
}
