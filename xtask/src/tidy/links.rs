//! Links between pages of the repository lead somewhere.
//!
//! Only links inside the repository: a check that needs the network fails for reasons that nobody here can repair.

use super::Finding;
use crate::source::Source;

/// Links of Markdown pages whose target does not exist; `exists` is asked with a path from the root.
pub fn check(files: &[Source], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let mut fenced = false;
        for (index, line) in file.text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            if fenced {
                continue;
            }
            for target in targets(line) {
                let broken = match target.split_once('#') {
                    Some(("", heading)) => !has_heading(&file.text, heading),
                    Some((path, _)) => !exists(&resolve(&file.path, path)),
                    None => !exists(&resolve(&file.path, target)),
                };
                if broken {
                    findings.push(Finding::at(
                        &*file.path,
                        index + 1,
                        format!("the link to {target} leads nowhere"),
                    ));
                }
            }
        }
    }
    findings
}

/// The targets of `[text](target)` in `line` that are no addresses of elsewhere.
fn targets(line: &str) -> Vec<&str> {
    let links = line.match_indices("](").filter_map(|(start, _)| {
        let rest = &line[start + 2..];
        rest.find(')')
            .map(|end| rest[..end].split(' ').next().unwrap_or_default())
    });
    links
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

fn resolve(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') {
        Vec::new()
    } else {
        page.split('/').collect()
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn has_heading(page: &str, anchor: &str) -> bool {
    page.lines().filter(|line| line.starts_with('#')).any(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let words = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        words.map(|c| if c == ' ' { '-' } else { c }).eq(anchor.chars())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str, expected: &[&str]) {
        let files = [Source {
            path: "docs/a.md".to_owned(),
            text: text.to_owned(),
        }];
        let found: Vec<String> = check(&files, |path| path == "docs/b.md" || path == "README.md")
            .into_iter()
            .map(|finding| finding.what)
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        check_text(
            "# One two\n[b](b.md) [r](../README.md#x) [w](https://x.org/c.md) [h](#one-two)",
            &[],
        );
        check_text("```\n[c](c.md)\n```", &[]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        check_text("[c](c.md)", &["the link to c.md leads nowhere"]);
        check_text("# One\n[h](#two)", &["the link to #two leads nowhere"]);
    }
}
