//! The files of the repository, and Rust source reduced to its code.
//!
//! Checks look at names in code, not in comments and texts, so both are blanked out first. Rejected: a full parser (syn),
//! a minute of building for what one pass over the characters decides, and macros would hide names from it as well.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A text file of the repository.
pub struct Source {
    /// From the root, with `/`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

impl Source {
    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is read by tests alone, or not part of the crate proper.
    pub fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| matches!(part, "tests" | "tests.rs" | "testing.rs" | "examples" | "benches"))
    }
}

/// All text files below `root`, by path, but for what is built and what versions are kept in.
pub fn files(root: &Path) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let kind = entry
                .file_type()
                .with_context(|| format!("cannot look at {}", entry.path().display()))?;
            if kind.is_dir() && !is_skipped(&entry.file_name().to_string_lossy()) {
                folders.push(entry.path());
            } else if kind.is_file() && entry.file_name() != ".git" {
                found.extend(read(root, entry.path())?);
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// `text` without comments and without what stands in string and character literals; line breaks stay where they are.
pub fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let after_word = at > 0 && is_word(chars[at - 1]);
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => comment_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' | 'b' | 'c' if !after_word => match raw_start(&chars, at) {
                Some((quote, hashes)) => raw_end(&chars, quote, hashes),
                None => at,
            },
            '\'' => char_end(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The lines of `code` on which `name` stands as whole words, counted from 1. A name may end in `::`.
pub fn lines_with(code: &str, name: &str) -> Vec<usize> {
    code.lines()
        .enumerate()
        .filter(|(_, line)| has_word(line, name))
        .map(|(index, _)| index + 1)
        .collect()
}

fn has_word(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + name.len()..]
            .chars()
            .next()
            .filter(|_| !name.ends_with("::"));
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_skipped(folder: &str) -> bool {
    matches!(folder, ".git" | "target" | ".revoada" | "__pycache__")
}

fn read(root: &Path, path: PathBuf) -> Result<Option<Source>> {
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(None);
    };
    let path = path
        .strip_prefix(root)
        .unwrap_or(&path)
        .to_string_lossy()
        .replace('\\', "/");
    Ok((!text.contains('\0')).then_some(Source { path, text }))
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..]
        .iter()
        .position(|c| *c == '\n')
        .map_or(chars.len(), |length| at + length)
}

fn comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0_u32;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

fn string_end(chars: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The position of the quote and the number of hashes, if a raw string begins at `at`.
fn raw_start(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let raw = at + usize::from(chars[at] != 'r');
    if chars.get(raw) != Some(&'r') {
        return None;
    }
    let hashes = chars[raw + 1..].iter().take_while(|c| **c == '#').count();
    let quote = raw + 1 + hashes;
    (chars.get(quote) == Some(&'"')).then_some((quote, hashes))
}

fn raw_end(chars: &[char], quote: usize, hashes: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() {
        let closes = chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    chars.len()
}

/// The end of a character literal; `at` itself where a lifetime begins.
fn char_end(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        return chars[at + 2..]
            .iter()
            .skip(1)
            .position(|c| *c == '\'')
            .map_or(chars.len(), |length| at + length + 4);
    }
    if chars.get(at + 2) == Some(&'\'') { at + 3 } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(code(text), expected);
    }

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */\n d */ e", "a             \n      e");
        check(r#"f("x \" y") g"#, "f(        ) g");
        check("r#\"a \" b\"# c", "           c");
        check("br\"a\" c", "      c");
        check("'a' 'b: x '\\'' '\\u{41}' y", "    'b: x               y");
    }

    #[test]
    fn a_name_is_found_as_a_whole_word_only() {
        assert_eq!(
            lines_with("use std::fs;\nuse std::fsx;\nx::std::fs::read", "std::fs"),
            [1, 3]
        );
        assert_eq!(lines_with("my_tokio; tokio_x; tokio::x", "tokio"), [1]);
        assert!(lines_with("my_tokio; tokio_x", "tokio").is_empty());
    }
}
