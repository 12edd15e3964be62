//! What every file keeps to: its length, no unfinished work, an introduction where a crate begins, no path of a machine.

use super::Finding;
use crate::source::{self, Source};

/// The most lines of a source file. One that needs more has two subjects.
const LINES_MAX: usize = 800;

/// Macros for unfinished work, and for looking.
const MACROS: &[&str] = &["todo", "unimplemented", "dbg"];

/// Marks of unfinished work, in two halves so that this file has none.
const MARKS: &[(&str, &str)] = &[("TO", "DO"), ("FIX", "ME"), ("X", "XX")];

/// Folders that exist on somebody's machine only, in two halves for the same reason.
const MACHINE: &[(&str, &str)] = &[
    ("/ho", "me/"),
    ("/Use", "rs/"),
    ("/ro", "ot/"),
    ("/wo", "rk/"),
    ("C:", "\\"),
];

/// All findings in `files`.
pub fn check(files: &[Source]) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| !is_generated(&file.path))
        .flat_map(check_one)
        .collect()
}

fn is_generated(path: &str) -> bool {
    ["Cargo.lock", "go.sum", ".snap", ".txt", ".proptest-regressions"]
        .iter()
        .any(|end| path.ends_with(end))
}

fn check_one(file: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let at = |what: String| Finding::at(&*file.path, index + 1, what);
        let marks = MARKS
            .iter()
            .map(|(a, b)| format!("{a}{b}"))
            .filter(|mark| !source::lines_with(line, mark).is_empty());
        findings.extend(marks.map(|mark| at(format!("{mark}: finish it, or open an issue"))));
        let machine = MACHINE
            .iter()
            .map(|(a, b)| format!("{a}{b}"))
            .filter(|folder| is_rooted(line, folder));
        findings.extend(machine.map(|folder| at(format!("{folder}… is a path of one machine"))));
    }
    if file.is_rust() {
        findings.extend(check_rust(file));
    }
    findings
}

fn check_rust(file: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        findings.push(Finding::of(
            &*file.path,
            format!("{lines} lines, and {LINES_MAX} are the most: split it by subject"),
        ));
    }
    let code = source::code(&file.text);
    for name in MACROS {
        let calls = source::lines_with(&code, name)
            .into_iter()
            .filter(|line| is_call(&code, *line, name));
        findings.extend(calls.map(|line| Finding::at(&*file.path, line, format!("`{name}!` is unfinished work"))));
    }
    let begins_crate = file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs");
    if begins_crate && !file.text.starts_with("//! ") {
        findings.push(Finding::at(&*file.path, 1, "a crate opens with what it is (`//! …`)"));
    }
    findings
}

fn is_call(code: &str, line: usize, name: &str) -> bool {
    code.lines()
        .nth(line - 1)
        .is_some_and(|text| text.contains(&format!("{name}!")))
}

/// Whether `folder` stands in `line` as the beginning of a path.
fn is_rooted(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '/' | '~'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(path: &str, text: &str, expected: usize) {
        let files = [Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }];
        let findings = check(&files);
        assert_eq!(findings.len(), expected, "{path}: {findings:?}");
    }

    #[test]
    fn unfinished_work_is_found() {
        let mark = format!("{}{}", "TO", "DO");
        check_text("a.md", &format!("text {mark}: more"), 1);
        check_text("a.rs", "fn f() { todo!() }", 1);
        check_text("a.rs", "// todo!() in a comment\nlet s = \"dbg!\"; let todo = 1;", 0);
    }

    #[test]
    fn a_path_of_a_machine_is_found() {
        let home = format!("{}{}", "/ho", "me/");
        check_text("a.md", &format!("in `{home}ada/x`"), 1);
        check_text("a.md", &format!("in `some{home}page`"), 0);
    }

    #[test]
    fn long_files_and_bare_crates_are_found() {
        check_text("a.rs", &"\n".repeat(LINES_MAX), 0);
        check_text("a.rs", &"\n".repeat(LINES_MAX + 1), 1);
        check_text("crates/x/src/lib.rs", "mod y;\n", 1);
        check_text("crates/x/src/lib.rs", "//! What it is.\n", 0);
    }
}
