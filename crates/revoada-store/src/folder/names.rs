//! The names of files: every reference has one path, no two share one, and none leads anywhere else.
//!
//! A path is `KIND[@GROUP]/NAMESPACE/NAME.resource`. Small letters, digits and `-` stand for themselves, so that a
//! person finds `_config_map/default/app.resource`; a capital is `_` and the small letter, because file systems exist
//! that take the two for the same; every other byte is `%` and its hex. What a file system could read as something
//! else (`..`, a leading dot, `con`) never comes out whole. Rejected: hex for everything, which nobody can read.

use revoada_core::resource::ResourceRef;

/// What ends the name of a resource's file.
pub(super) const SUFFIX: &str = ".resource";
/// A file that is being written; `%` and two letters that are no hex are never part of an escaped name.
pub(super) const TEMPORARY: &str = "%tmp";
/// The folder of resources that have no namespace.
const NO_NAMESPACE: &str = "%none";
/// File systems take 255 bytes; the suffix needs some of them.
const NAME_BYTES_MAX: usize = 240;
/// How much of a name that is too long is kept for people; the rest is a digest.
const LONG_NAME_KEPT_BYTES: usize = 160;
/// Names that some systems give to devices, whatever comes behind a dot.
const RESERVED: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// Where the file of a resource lies, as the names of two folders and a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) file: String,
}

impl Place {
    pub(super) fn of(reference: &ResourceRef) -> Self {
        let kind = if reference.group.is_empty() {
            shortened(escaped(&reference.kind))
        } else {
            shortened(format!("{}@{}", escaped(&reference.kind), escaped(&reference.group)))
        };
        let namespace = if reference.namespace.is_empty() {
            NO_NAMESPACE.to_owned()
        } else {
            shortened(escaped(&reference.namespace))
        };
        Self {
            kind,
            namespace,
            file: shortened(escaped(&reference.name)) + SUFFIX,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.file)
    }
}

/// Injective, and in a set of characters that every file system takes and keeps as it is.
fn escaped(name: &str) -> String {
    let stem = name.split('.').next().unwrap_or(name);
    let device = RESERVED.iter().any(|reserved| {
        let rest = stem.to_ascii_lowercase();
        rest.strip_prefix(reserved).is_some_and(|rest| rest.len() <= 1)
    });
    let mut text = String::with_capacity(name.len());
    for (index, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' if !(device && index == 0) => text.push(char::from(byte)),
            // A dot inside is harmless; at an end it is not.
            b'.' if index > 0 && index + 1 < name.len() => text.push('.'),
            b'A'..=b'Z' if !(device && index == 0) => {
                text.push('_');
                text.push(char::from(byte.to_ascii_lowercase()));
            }
            _ => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}

/// An escaped name that is too long: its beginning, and a digest of all of it (in hex, behind a mark that no escaped
/// name has).
fn shortened(escaped: String) -> String {
    if escaped.len() <= NAME_BYTES_MAX {
        return escaped;
    }
    let digest = blake3::hash(escaped.as_bytes()).to_hex();
    // Escaped names are ASCII: every place is the end of a character.
    format!("{}%~{digest}", &escaped[..LONG_NAME_KEPT_BYTES])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference(kind: &str, namespace: &str, name: &str) -> ResourceRef {
        ResourceRef {
            group: String::new(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn place(kind: &str, namespace: &str, name: &str) -> String {
        Place::of(&reference(kind, namespace, name)).to_string()
    }

    #[test]
    fn ordinary_names_can_be_read() {
        assert_eq!(
            place("ConfigMap", "default", "app-1.v2"),
            "_config_map/default/app-1.v2.resource"
        );
        assert_eq!(place("Node", "", "n1"), "_node/%none/n1.resource");
        let grouped = ResourceRef {
            group: "apps".into(),
            ..reference("Deployment", "web", "site")
        };
        assert_eq!(Place::of(&grouped).to_string(), "_deployment@apps/web/site.resource");
    }

    #[test]
    fn no_name_leads_out_of_its_folder() {
        assert_eq!(
            place("..", ".", "../../etc/passwd"),
            "%2e%2e/%2e/%2e.%2f..%2fetc%2fpasswd.resource"
        );
    }

    #[test]
    fn names_of_devices_are_told_apart_from_devices() {
        assert_eq!(place("con", "aux", "lpt1.txt"), "%63on/%61ux/%6cpt1.txt.resource");
        assert_eq!(place("CON", "nul", "COM9"), "%43_o_n/%6eul/%43_o_m9.resource");
        assert_eq!(
            place("console", "auxiliary", "comet"),
            "console/auxiliary/comet.resource"
        );
    }

    #[test]
    fn the_longest_names_still_fit_and_stay_apart() {
        let long = "É".repeat(126);
        let (one, other) = (
            place("K", "n", &format!("{long}a")),
            place("K", "n", &format!("{long}b")),
        );
        assert_ne!(one, other);
        assert!(one.split('/').all(|part| part.len() <= 255), "{one}");
    }

    proptest! {
        #[test]
        fn invariant_two_names_never_share_a_file_whatever_the_case(one in "\\PC{1,8}", other in "\\PC{1,8}") {
            prop_assume!(one != other);
            prop_assert_ne!(
                place("K", "n", &one).to_ascii_lowercase(),
                place("K", "n", &other).to_ascii_lowercase()
            );
        }

        #[test]
        fn invariant_a_place_is_three_plain_names(name in "\\PC{1,80}", namespace in "\\PC{0,80}") {
            let place = place("Kind", &namespace, &name);
            prop_assert_eq!(place.split('/').count(), 3);
            for part in place.split('/') {
                prop_assert!(!part.is_empty() && part.len() <= 255 && !part.starts_with('.') && part != TEMPORARY);
                prop_assert!(part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'));
            }
        }
    }
}
