//! `apply`: stores resources.
//!
//! Everything is parsed here before anything is sent, so a bad document changes nothing, wherever it stands. What is
//! sent goes in requests of bounded size, one after another, in the order of the input.

use std::path::PathBuf;

use clap::Args;
use revoada::client::message::{AppliedDocuments, AppliedResource, ApplyDocuments, Document};
use revoada_core::resource::{Resource, ResourceFormat};

use super::{files, target};
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::output::{Format, Output};

/// The most documents of one request.
const REQUEST_DOCUMENTS: usize = 500;
/// The most bytes of documents in one request, at least one document: in JSON a byte may take six, and the native API
/// takes 16 MiB.
const REQUEST_BYTES: usize = 2 * 1024 * 1024;

/// Stores resources
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada apply -f web.yaml -f db.hcl
  echo '{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}}' | revoada apply -f -
  revoada apply -f web.yaml --if-revision 0     only if it does not exist yet

A file may hold several documents. If one of them is not valid, nothing is sent.")]
pub struct Apply {
    /// A file, or - for stdin
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The namespace of resources that name none
    #[arg(short = 'n', long, value_name = "NS")]
    pub namespace: Option<String>,
    /// Only if the resource was last changed at this revision; 0: only if it does not exist
    #[arg(long, value_name = "R")]
    pub if_revision: Option<u64>,
    /// Says what would happen, and changes nothing
    #[arg(long)]
    pub dry_run: bool,
}

pub async fn run(context: &Context, arguments: &Apply) -> Outcome {
    let Apply {
        files,
        namespace,
        if_revision,
        dry_run,
    } = arguments;
    let format = context.out.format(Format::Table);
    if format == Format::Hcl {
        return Err(context.out.unsupported(format));
    }
    let resources = files::manifests(files, namespace.as_deref())?;
    if if_revision.is_some() && resources.len() != 1 {
        let message = format!("--if-revision is about one resource, and there are {}", resources.len());
        return Err(CliError::invalid(message));
    }
    let mut results = Vec::with_capacity(resources.len());
    for chunk in chunks(&resources) {
        let request = ApplyDocuments {
            documents: chunk
                .iter()
                .map(|resource| document(resource, namespace.as_deref()))
                .collect(),
            if_revision: *if_revision,
            dry_run: *dry_run,
        };
        match context.call(async |client| client.apply(&request).await).await {
            Ok(applied) => results.extend(applied.results),
            Err(mut error) => {
                results.append(&mut error.failure.applied);
                if !results.is_empty() {
                    // What was applied stays applied, and is told.
                    print(&context.out, results, *dry_run)?;
                }
                return Err(error);
            }
        }
    }
    print(&context.out, results, *dry_run)?;
    Ok(Exit::Done)
}

fn document(resource: &Resource, namespace: Option<&str>) -> Document {
    Document {
        format: Some(resource.format),
        document: resource.document.clone(),
        default_namespace: namespace.map(str::to_owned),
    }
}

/// Cuts the input into requests.
fn chunks(resources: &[Resource]) -> Vec<&[Resource]> {
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, resource) in resources.iter().enumerate() {
        // Native documents travel in base64.
        let size = match resource.format {
            ResourceFormat::Native => resource.document.len() * 4 / 3,
            ResourceFormat::Yaml | ResourceFormat::Json | ResourceFormat::Hcl => resource.document.len(),
        };
        if at > start && (at - start == REQUEST_DOCUMENTS || bytes + size > REQUEST_BYTES) {
            chunks.push(&resources[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += size;
    }
    if start < resources.len() {
        chunks.push(&resources[start..]);
    }
    chunks
}

fn print(out: &Output, results: Vec<AppliedResource>, dry_run: bool) -> Result<(), CliError> {
    let applied = AppliedDocuments { results };
    if out.format(Format::Table) == Format::Name {
        let names = applied
            .results
            .iter()
            .map(|one| target::short_name(&one.group, &one.kind, &one.name) + "\n");
        return out.text(&names.collect::<String>());
    }
    out.value(&applied, || {
        let lines = applied.results.iter().map(|one| {
            let name = target::short_name(&one.group, &one.kind, &one.name);
            let place = match one.namespace.as_str() {
                "" => String::new(),
                namespace => format!(" in {namespace}"),
            };
            let what = if dry_run { " (dry run)" } else { "" };
            let at = if dry_run {
                String::new()
            } else {
                format!(" at revision {}", one.revision)
            };
            format!("{name}{place} {}{at}{what}\n", one.action.name())
        });
        lines.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(sizes: &[usize]) -> Vec<Resource> {
        let manifest = |(number, size): (usize, &usize)| {
            let pad = "x".repeat(*size);
            format!(r#"{{"kind":"A","metadata":{{"name":"a-{number}"}},"pad":"{pad}"}}"#)
        };
        let text: Vec<String> = sizes.iter().enumerate().map(manifest).collect();
        revoada_core::resource::parse_documents(text.join("\n").as_bytes(), None, "test").unwrap()
    }

    #[test]
    fn a_large_input_is_cut_by_number_and_by_size_and_loses_nothing() {
        let many = resources(&[10; 1201]);
        let lengths: Vec<usize> = chunks(&many).iter().map(|chunk| chunk.len()).collect();
        assert_eq!(lengths, [500, 500, 201]);
        let large = resources(&[1_500_000, 1_500_000, 10, 10, 1_500_000]);
        let lengths: Vec<usize> = chunks(&large).iter().map(|chunk| chunk.len()).collect();
        assert_eq!(lengths, [1, 3, 1]);
        assert!(chunks(&[]).is_empty());
    }
}
