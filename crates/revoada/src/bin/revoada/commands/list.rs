//! `list`: reads the resources of a kind, all at one revision.

use clap::Args;
use revoada::client::message::{ListResources, ListedResources};
use revoada_core::resource::{KindSelector, LabelSelector};
use serde_json::Value;

use super::target::{self, Namespaces};
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::output::{Format, Table, document, note};

/// How many resources are asked for at once.
const PAGE_ITEMS: usize = 1_000;

/// Reads the resources of a kind
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada list ConfigMap                those without a namespace
  revoada list ConfigMap -n prod
  revoada list ConfigMap -A -l app=web,tier!=test
  revoada list Deployment.apps -A -o yaml > all.yaml")]
pub struct List {
    /// KIND, or KIND.GROUP
    pub kind: KindSelector,
    #[command(flatten)]
    pub namespaces: Namespaces,
    /// Only those with such labels: a=b, a!=b, a in (b,c), a, !a
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<LabelText>,
    /// As they were at this revision
    #[arg(long, value_name = "R")]
    pub revision: Option<u64>,
    /// From what the asked node has at hand
    #[arg(long)]
    pub stale: bool,
}

/// A label selector that was found to be one, as it was written.
#[derive(Debug, Clone)]
pub struct LabelText(pub String);

impl std::str::FromStr for LabelText {
    type Err = revoada_core::resource::ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<LabelSelector>()?;
        Ok(Self(text.to_owned()))
    }
}

pub async fn run(context: &Context, arguments: List) -> Outcome {
    let List {
        kind,
        namespaces,
        selector,
        revision,
        stale,
    } = arguments;
    target::check(&kind, namespaces.namespace.as_deref(), None)?;
    let request = ListResources {
        group: target::group(&kind),
        kind: kind.kind,
        namespace: namespaces.filter(),
        selector: selector.map(|LabelText(text)| text),
        limit: Some(PAGE_ITEMS),
        continue_token: None,
        revision,
        stale,
    };
    let listed = context.call(async |client| client.list_all(&request).await).await?;
    print(context, &listed)?;
    if listed.items.is_empty() && context.out.format(Format::Table) == Format::Table {
        let elsewhere = if namespaces.namespace.is_none() && !namespaces.all_namespaces {
            " without a namespace (-n NS: in one, -A: in all)"
        } else {
            ""
        };
        note(format!("no {} there{elsewhere}", request.kind));
    }
    Ok(Exit::Done)
}

fn print(context: &Context, listed: &ListedResources) -> Result<(), CliError> {
    let out = &context.out;
    match out.format(Format::Table) {
        Format::Json => out.json(listed),
        Format::Table => {
            if listed.items.is_empty() {
                return Ok(());
            }
            let mut table = table();
            listed.items.iter().for_each(|item| row(&mut table, item));
            out.text(&table.render(out.colour()))
        }
        Format::Name => {
            let names = listed.items.iter().map(|item| {
                let address = target::address(item);
                target::short_name(&address.group, &address.kind, &address.name) + "\n"
            });
            out.text(&names.collect::<String>())
        }
        format @ (Format::Yaml | Format::Hcl) => {
            // Documents that `apply` takes as they are.
            let mut text = Vec::new();
            for (number, item) in listed.items.iter().enumerate() {
                if number > 0 && format == Format::Yaml {
                    text.extend_from_slice(b"---\n");
                }
                if let Some(format) = format.document() {
                    text.extend(document(item, format)?);
                }
            }
            out.bytes(&text)
        }
    }
}

/// The table of resources.
pub fn table() -> Table {
    Table::new(&["NAMESPACE", "NAME", "KIND", "LABELS"])
}

/// Adds a resource to it.
pub fn row(table: &mut Table, content: &Value) {
    let address = target::address(content);
    let kind = if address.group.is_empty() {
        address.kind
    } else {
        format!("{}.{}", address.kind, address.group)
    };
    let namespace = if address.namespace.is_empty() {
        "-".to_owned()
    } else {
        address.namespace
    };
    table.row([
        namespace.into(),
        address.name.into(),
        kind.into(),
        target::labels(content).into(),
    ]);
}
