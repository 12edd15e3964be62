//! The one file that says what a folder is: its format, which generation of files counts, a revision it reached.

use serde::{Deserialize, Serialize};

use super::disk::{Folder, WriteFailed};

/// The format that this build writes, and the newest that it reads.
pub(super) const FORMAT: u64 = 1;
/// The file.
pub(super) const FILE: &str = "folder.json";
/// The file while it is being written.
pub(super) const FILE_TEMPORARY: &str = "folder.json.tmp";
/// What the name of a generation's folder begins with.
pub(super) const RESOURCES: &str = "resources-";

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// The format of the whole folder.
    pub(super) format: u64,
    /// Which folder of resources counts; every other is a leftover.
    pub(super) generation: u64,
    /// A revision that was reached; the files may say a later one.
    pub(super) revision: u64,
}

impl State {
    /// Of a new folder.
    pub(super) const NEW: Self = Self {
        format: FORMAT,
        generation: 1,
        revision: revoada_core::keyspace::FIRST_REVISION,
    };

    /// The folder of resources that counts.
    pub(super) fn resources(&self) -> String {
        format!("{RESOURCES}{}", self.generation)
    }

    /// Replaces the file durably.
    pub(super) fn write(&self, root: &Folder) -> Result<(), WriteFailed> {
        let mut bytes = serde_json::to_vec(self).expect("numbers always have a JSON form");
        bytes.push(b'\n');
        root.replace(FILE, FILE_TEMPORARY, &bytes)
    }
}
