//! `check`: proves a declaration, and needs no cluster for it.

use std::path::PathBuf;

use clap::Args;
use revoada_core::declaration::{self, DeclarationFormat, FindingCode, Severity, Verdict};
use serde_json::json;

use super::files;
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::output::{Format, Style, paint};

/// Proves a declaration: all findings at once, no cluster needed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada check cluster.yaml
  revoada check cluster.hcl -o json
  revoada check --explain            every finding there is, and why it is one
  revoada check --schema > cluster.schema.json")]
pub struct Check {
    /// A declaration in YAML, JSON or HCL; - for stdin
    #[arg(value_name = "FILE", required_unless_present_any = ["schema", "explain"])]
    pub file: Option<PathBuf>,
    /// Prints the JSON Schema of a declaration
    #[arg(long, conflicts_with_all = ["file", "explain"])]
    pub schema: bool,
    /// Prints every code, with what it means and why
    #[arg(long, conflicts_with = "file")]
    pub explain: bool,
}

pub fn run(context: &Context, arguments: &Check) -> Outcome {
    if arguments.schema {
        let schema = declaration::schema();
        if context.out.format(Format::Table) == Format::Table {
            context.out.line(&format!("{schema:#}"))?;
        } else {
            context.out.value(&schema, String::new)?;
        }
        return Ok(Exit::Done);
    }
    if arguments.explain {
        return explain(context);
    }
    let file = arguments.file.as_deref();
    let file = file.ok_or_else(|| CliError::invalid("a declaration is needed: revoada check FILE"))?;
    let verdict = read(file)?;
    let colour = context.out.colour();
    context.out.value(&verdict, || render(&verdict, colour))?;
    Ok(Exit::of_answer(verdict.declaration.is_some()))
}

/// Reads and judges a declaration.
pub fn read(file: &std::path::Path) -> Result<Verdict, CliError> {
    let bytes = files::read(file)?;
    let format = file.to_str().and_then(DeclarationFormat::from_file_name);
    declaration::check(&bytes, format).map_err(|error| {
        CliError::because(
            error.kind(),
            format!("{} is not a declaration", files::name(file)),
            &error,
        )
    })
}

/// A verdict for people.
fn render(verdict: &Verdict, colour: bool) -> String {
    let mut text = String::new();
    for finding in &verdict.findings {
        text.push_str(&finding_text(finding, colour));
    }
    match &verdict.declaration {
        Some(proved) => text.push_str(&format!("{} is coherent\n  digest {}\n", proved.id(), proved.digest())),
        None => text.push_str("the declaration is not coherent: no cluster can be started from it\n"),
    }
    text
}

/// A finding for people: what, where, and what to do.
pub fn finding_text(finding: &declaration::Finding, colour: bool) -> String {
    format!(
        "{}[{}] {}: {}\n  {}\n",
        paint(finding.severity.name(), style(finding.severity), colour),
        finding.code,
        finding.path,
        finding.message,
        finding.remedy
    )
}

const fn style(severity: Severity) -> Style {
    match severity {
        Severity::Error => Style::Bad,
        Severity::Warning => Style::Warn,
        Severity::Note => Style::Dim,
    }
}

fn explain(context: &Context) -> Outcome {
    let codes: Vec<_> = FindingCode::ALL
        .iter()
        .map(|code| json!({"code": code.name(), "severity": code.severity().name(), "explanation": code.explain()}))
        .collect();
    let colour = context.out.colour();
    context.out.value(&json!({ "codes": codes }), || {
        let lines = FindingCode::ALL.iter().map(|code| {
            let severity = paint(code.severity().name(), style(code.severity()), colour);
            format!(
                "{} ({severity})\n  {}\n",
                paint(code.name(), Style::Bold, colour),
                code.explain()
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}
