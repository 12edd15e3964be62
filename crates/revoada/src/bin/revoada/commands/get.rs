//! `get`: reads one resource.

use clap::Args;
use revoada::client::message::GetResource;
use revoada_core::error::ErrorKind;
use revoada_core::resource::{KindSelector, ResourceFormat};
use serde_json::Value;

use super::list::{row, table};
use super::target::{self, Namespace};
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::output::Format;

/// Reads one resource
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada get ConfigMap hello                     in YAML
  revoada get Deployment.apps web -n prod -o json
  revoada get ConfigMap hello --revision 42       as it was then
  revoada get ConfigMap hello --stale             from the node that is asked, also without a quorum")]
pub struct Get {
    /// KIND, or KIND.GROUP
    pub kind: KindSelector,
    /// Its name
    pub name: String,
    #[command(flatten)]
    pub namespace: Namespace,
    /// As it was at this revision
    #[arg(long, value_name = "R")]
    pub revision: Option<u64>,
    /// From what the asked node has at hand
    #[arg(long)]
    pub stale: bool,
}

pub async fn run(context: &Context, arguments: Get) -> Outcome {
    let Get {
        kind,
        name,
        namespace,
        revision,
        stale,
    } = arguments;
    let format = context.out.format(Format::Yaml);
    let request = GetResource {
        target: target::one(&kind, namespace.namespace.as_deref(), &name)?,
        revision,
        stale,
        format: Some(format.document().unwrap_or(ResourceFormat::Json)),
    };
    let got = context.call(async |client| client.get(&request).await).await;
    let got = got.map_err(|error| match error.kind() {
        ErrorKind::NotFound if namespace.namespace.is_none() => {
            error.hint("without -n NS only resources that have no namespace are looked at")
        }
        _ => error,
    })?;
    if format.document().is_some() {
        let mut document = Vec::from(got.document);
        if document.last() != Some(&b'\n') {
            document.push(b'\n');
        }
        context.out.bytes(&document)?;
        return Ok(Exit::Done);
    }
    let content: Value = serde_json::from_slice(&got.document)
        .map_err(|error| CliError::because(ErrorKind::Unavailable, "the node sent no JSON", &error))?;
    if format == Format::Name {
        let address = target::address(&content);
        context
            .out
            .line(&target::short_name(&address.group, &address.kind, &address.name))?;
    } else {
        let mut table = table();
        row(&mut table, &content);
        context.out.text(&table.render(context.out.colour()))?;
    }
    Ok(Exit::Done)
}
